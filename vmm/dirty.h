/*
 * dirty.h - which pages were written since they were last asked about
 *
 * One interface over two providers: KVM_GET_DIRTY_LOG with manual protect
 * (dirty-log.c) and the per-vCPU dirty ring (dirty-ring.c).  Writes by the VMM
 * itself (memory_mark_dirty) are merged in.
 *
 * One user takes the pages (a migration, or a measurement); start and stop
 * under the machine lock, sync and protect on the user's own thread without
 * it.  Any number of others may count at the same time how many pages each
 * vCPU dirties, where there is a dirty ring.
 */
#ifndef MINIVMM_DIRTY_H
#define MINIVMM_DIRTY_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct machine;
struct memory;
struct ram_block;

/*
 * Begin: from now on each written page is reported by a later sync at least
 * once.  Pages written before are not promised to be reported.
 */
int dirty_start(struct machine *m, struct err *err);
/*
 * The same for a user that is less important than the next one: yield() is
 * called (machine lock held) when another wants to start, and calls
 * dirty_stop() before it returns.
 */
int dirty_start_yielding(struct machine *m, void (*yield)(void *opaque), void *opaque,
			 struct err *err);
/* One that has not started is fine.  All blocks are logged again (ram_block.unlogged). */
void dirty_stop(struct machine *m);
/* Is there a taker of the dirty pages?  Machine lock held. */
bool dirty_taken(const struct machine *m);

/*
 * Count in vcpu->dirtied_pages; each start wants its stop.  Machine lock
 * held.  -ENOTSUP without a dirty ring.
 */
int dirty_count_start(struct machine *m, struct err *err);
void dirty_count_stop(struct machine *m);
/* Bring the counts up to this moment.  Any thread, while counting. */
void dirty_count_update(struct machine *m);

/*
 * Collect: set the bit of every page of every block that was written since
 * its bit was last cleared.  'maps' has one bitmap per block, in mem->blocks
 * order, a bit per 4 KiB page; NULL entries are skipped.  *added counts the bits that were 0
 * before.
 */
int dirty_sync(struct machine *m, uint64_t *const *maps, uint64_t *added, struct err *err);

/*
 * The caller is about to read pages [first, first + n) of the block and has
 * cleared their bits in its own map: protect them again so that later writes
 * are seen.  Works in chunks behind the scenes; call it before each read.
 */
void dirty_protect(struct machine *m, struct ram_block *b, uint64_t first, uint64_t n);

#endif
