/*
 * merge.h - equal pages of guest memory, which the host may merge (KSM)
 *
 * The kernel looks at memory that it has been told of (MADV_MERGEABLE), once somebody switches
 * merging on.  Telling it has a price even while it is off: what is to be moved or protected
 * has to be gone over page by page first, 20 to 50 ms a GiB.  So blocks with 'merge' are told of
 * when merging is on at the host, at the start or whenever that is seen later (vmm/merge-watch.h).
 */
#ifndef MINIVMM_MEMORY_MERGE_H
#define MINIVMM_MEMORY_MERGE_H

#include <stdbool.h>

struct memory;
struct ram_block;

/* Is merging on at this host?  Reads a file. */
bool memory_merging_is_on(void);
/* It is: the blocks that may be merged, and are not kept from it just now, are told of.  Any
 * thread. */
void memory_follow_merging(struct memory *mem);
/* The block has a new mapping, of which the kernel has not been told. */
void memory_advise_merging(struct ram_block *b);
/*
 * May the host merge the block's pages?  Pages that are merged are single again when it may not;
 * a block without 'merge' never is.  0 or -errno.  Any thread.
 */
int memory_allow_merging(struct ram_block *b, bool allow);

#endif
