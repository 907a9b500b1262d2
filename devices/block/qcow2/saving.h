/* saving.h - what of a snapshot in the making the rest of the room has to know */
#ifndef MINIVMM_DEVICES_BLOCK_QCOW2_SAVING_H
#define MINIVMM_DEVICES_BLOCK_QCOW2_SAVING_H

#include "devices/block/qcow2/internal.h"
#include "devices/block/qcow2/snapshot-table.h"

struct counts;

/* What snapshot.c keeps in q->snapshot_state. */
struct snapshot_state {
	struct snapshot_table table;
	bool damaged; /* the list in the file cannot be read: 'why' */
	char *why;    /* owned */

	/* the L1 table of the last snapshot that was read; read_l1_host 0: none */
	uint64_t *read_l1; /* owned */
	uint32_t read_l1_n;
	uint64_t read_l1_host;
};

/* May the list of snapshots be changed?  Lock held, no request in flight. */
int qcow2_snapshots_may_change(struct qcow2 *q, struct err *err);
/* Lock held; NULL with *err. */
struct snapshot *qcow2_snapshot_find(const struct qcow2 *q, const char *id, struct err *err);
/* The snapshot's L1 table; returns owned, or NULL with *err. */
uint64_t *qcow2_snapshot_l1(struct qcow2 *q, const struct snapshot *s, struct err *err);
/* One reference less of what these 'n' of its L1 table's entries need, and of the table.  Lock
 * held. */
int qcow2_snapshot_count_gone(struct qcow2 *q, const struct snapshot *s, const uint64_t *l1,
			      uint32_t n, struct counts *c, struct err *err);
/* It is *t now (taken), at this place. */
void qcow2_snapshots_replace(struct qcow2 *q, struct snapshot_table *t, uint64_t host,
			     uint64_t bytes);

#endif
