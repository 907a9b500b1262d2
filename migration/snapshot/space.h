/* space.h - is there room for the guest's memory in an image? */
#ifndef MINIVMM_MIGRATION_SNAPSHOT_SPACE_H
#define MINIVMM_MIGRATION_SNAPSHOT_SPACE_H

struct block_node;
struct err;
struct memory;

/*
 * -ENOSPC with *err set where it is certain that a snapshot of the memory as it is now does not fit
 * into the node's image; 0 where it fits, or that is not known.  Reads guest memory: a thread that
 * may wait for it, no lock held.
 */
int snapshot_check_space(const struct memory *mem, const struct block_node *n, struct err *err);

#endif
