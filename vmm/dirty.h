/*
 * dirty.h - which pages were written since they were last asked about
 *
 * One interface over two providers: KVM_GET_DIRTY_LOG with manual protect
 * (dirty-log.c) and the per-vCPU dirty ring (dirty-ring.c).  Writes by the VMM
 * itself (memory_mark_dirty) are merged in.
 *
 * One user at a time, under the machine lock for start and stop; sync and
 * clear may run on the user's own thread without it.
 */
#ifndef MINIVMM_DIRTY_H
#define MINIVMM_DIRTY_H

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
void dirty_stop(struct machine *m);

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
