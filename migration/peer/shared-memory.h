/*
 * shared-memory.h - RAM that both ends have, and that does not travel (x-ignore-shared)
 *
 * A block whose backing is shared (share=on) is listed in the stream and its
 * pages are left out: the destination has the same file.  When the destination
 * is minivmm and a unix socket leads to it, it need not have anything: it is
 * given the descriptors of the blocks' backings before RAM, whatever they are
 * (BACKING commands with SCM_RIGHTS), and maps them in place of its own.
 */
#ifndef MINIVMM_MIGRATION_SHARED_H
#define MINIVMM_MIGRATION_SHARED_H

#include <stdbool.h>
#include <stdint.h>

struct channel;
struct err;
struct machine;
struct memory;
struct writer;

/*
 * Source, after the other end is known: hand the descriptors over (*given) to
 * a minivmm, or make sure that each block left out is a file that the other
 * end can open.  Migration thread; the writer is flushed.
 */
int shared_offer(const struct memory *mem, struct writer *w, bool to_minivmm, bool *given,
		 struct err *err);
/* Bytes of the blocks that are left out. */
uint64_t shared_bytes(const struct memory *mem);
/* Destination: a BACKING command of n bytes, which a descriptor came with on the channel. */
int shared_take(struct machine *m, struct channel *ch, const uint8_t *payload, uint16_t n,
		struct err *err);
/*
 * Destination: the guest runs here and the memory is ours; or it does not,
 * and the source's memory must no longer be touched.  Machine lock held.
 */
void shared_commit(struct machine *m, bool ours);

#endif
