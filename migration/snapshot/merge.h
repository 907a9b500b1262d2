/*
 * merge.h - a snapshot that stands on others gets a VM state that is whole (minivmm-img)
 *
 * Nobody else uses the image; the thread may wait.
 */
#ifndef MINIVMM_MIGRATION_SNAPSHOT_MERGE_H
#define MINIVMM_MIGRATION_SNAPSHOT_MERGE_H

#include <stdint.h>

struct err;
struct qcow2;
struct qcow2_snapshot;
struct snapshot_chain;

/* How far it is: bytes that have been read, of all that will be. */
struct merge_progress {
	void (*fn)(void *opaque, uint64_t bytes);
	void *opaque;
};

/*
 * The first of the chain gets the pages of all of it, and stands on nothing then; those that stand
 * on it still do.  What it stood on is as it was.  0: the image has it; -errno with *err set: the
 * image has what it had.
 */
int snapshot_merge(struct qcow2 *q, const struct snapshot_chain *chain,
		   const struct merge_progress *progress, struct err *err);

#endif
