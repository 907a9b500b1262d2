/*
 * relink.h - the one step from an image with these tables to the same image with others
 *
 * Making, deleting and applying a snapshot, and repairing, change refcounts, COPIED flags, the L1
 * table and the list of snapshots, which have to agree at any moment.  Here they change at once:
 * new tables beside the old ones, then the header.
 */
#ifndef MINIVMM_DEVICES_BLOCK_QCOW2_RELINK_H
#define MINIVMM_DEVICES_BLOCK_QCOW2_RELINK_H

#include "devices/block/qcow2/counts.h"
#include "devices/block/qcow2/internal.h"
#include "devices/block/qcow2/refblock.h"
#include "devices/block/qcow2/snapshot-table.h"

/* A reference, by an L1 table or one of its L2 tables, to whole clusters. */
typedef int qcow2_tree_fn(void *opaque, uint64_t host, uint64_t bytes);

/*
 * fn() for each L2 table of n entries of an L1 table (flags are ignored), and for all that these
 * refer to.  What fn() returns if it is not 0, or -EIO with *err for an entry that cannot be.
 * Lock held; 'what' is whose tables they are.
 */
int qcow2_tree_walk(struct qcow2 *q, const uint64_t *l1, uint32_t n, const char *what,
		    qcow2_tree_fn *fn, void *opaque, struct err *err);
/* The same, counting: 'by' to each cluster's number. */
int qcow2_tree_count(struct qcow2 *q, struct counts *c, const uint64_t *l1, uint32_t n, int by,
		     const char *what, struct err *err);
int qcow2_range_count(const struct qcow2 *q, struct counts *c, uint64_t host, uint64_t bytes,
		      int by);

struct qcow2_relink {
	/* set by the caller */
	struct counts refs; /* references that come and go; owned */
	const uint64_t *l1; /* the disk's L1 table; COPIED flags are set here */
	uint32_t l1_n;
	uint64_t bytes;                         /* the disk's size */
	const struct snapshot_table *snapshots; /* the list; NULL: stays */

	/* private: what has been replaced, and what replaces it */
	struct qcow2_table new_l1, new_rt;
	uint64_t *copied; /* bitmap of L1 entries: its L2 table is replaced */
	uint64_t *tables; /* places for these */
	size_t n_tables;
	uint32_t *blocks;     /* indexes of refcount blocks that are replaced */
	uint64_t *new_blocks; /* their places */
	size_t n_blocks, n_new_blocks;
	uint64_t table_host, table_bytes; /* of the list of snapshots */
	struct rb_pos at; /* a piece of refcounts, pinned, from cluster at_first on */
	uint64_t at_first;
	struct qcow2_free *old; /* what is let go after it */
	size_t n_old, cap_old;
};

/*
 * 0: the medium has it.  Else nothing has changed but that *r has been used; -EIO with q->broken:
 * it is not known what the medium has.  qcow2_relink_fini() follows in any case.  Lock held.
 */
int qcow2_relink(struct qcow2 *q, struct qcow2_relink *r, struct err *err);
/* The old tables are let go if it was done, the new ones if not. */
void qcow2_relink_fini(struct qcow2 *q, struct qcow2_relink *r, bool done);

#endif
