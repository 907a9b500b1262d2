/*
 * relink-internal.h - the parts of a relink: relink-plan.c, relink-write.c, relink.c
 *
 * The image's lock is held for all of it.  0, or -errno with *err set.
 */
#ifndef MINIVMM_DEVICES_BLOCK_QCOW2_RELINK_INTERNAL_H
#define MINIVMM_DEVICES_BLOCK_QCOW2_RELINK_INTERNAL_H

#include "devices/block/qcow2/relink.h"

int relink_no_memory(struct err *err);

/* ---- the plan ---- */

/* The refcount of a cluster afterwards. */
int relink_count_after(struct qcow2 *q, struct qcow2_relink *r, uint64_t cluster, uint64_t *count,
		       struct err *err);
/* *e gets the COPIED flag that it should have. */
int relink_entry_after(struct qcow2 *q, struct qcow2_relink *r, struct qcow2_entry *e,
		       struct err *err);
/* r->copied, r->n_tables: the L2 tables that are replaced. */
int relink_find_tables(struct qcow2 *q, struct qcow2_relink *r, struct err *err);
/* r->blocks: the refcount blocks that are replaced. */
int relink_find_blocks(struct qcow2 *q, struct qcow2_relink *r, struct err *err);

/* ---- the new tables; 'buf' has q->piece_bytes ---- */

/* L2 tables, and the L1 table with their places and its flags. */
int relink_write_tables(struct qcow2 *q, struct qcow2_relink *r, uint8_t *buf, struct err *err);
int relink_write_list(struct qcow2 *q, const struct qcow2_relink *r, const uint8_t *list,
		      struct err *err);
int relink_write_refcounts(struct qcow2 *q, struct qcow2_relink *r, uint8_t *buf, struct err *err);

#endif
