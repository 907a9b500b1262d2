/*
 * chain.h - snapshots whose memory stands on that of others in the same image
 *
 * A snapshot that was saved with x-minivmm-parent has a mark (stream/parent-mark.h).  Its parent
 * may have one, too, and so on; the last, which has none, is whole.
 *
 * All of this reads the image and may wait; the list of snapshots does not change meanwhile.  No
 * lock is held.
 */
#ifndef MINIVMM_MIGRATION_SNAPSHOT_CHAIN_H
#define MINIVMM_MIGRATION_SNAPSHOT_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/stream/parent-mark.h"

struct buf;
struct err;
struct qcow2;
struct qcow2_snapshot;

#define SNAPSHOT_CHAIN_MAX 64U /* snapshots, the whole one included */

struct snapshot_link {
	char *id, *name;     /* owned */
	uint64_t off, bytes; /* of its VM state */
	uint64_t saved_ns;
};

/* v[0] is the snapshot itself, v[1] its parent, ... */
struct snapshot_chain {
	struct snapshot_link *v; /* owned */
	size_t n;
};

/* What a child of it says. */
void snapshot_mark_of(const struct qcow2_snapshot *s, struct parent_mark *mark);
/* Is that the one which the mark means? */
bool snapshot_is_marked(const struct qcow2_snapshot *s, const struct parent_mark *mark);

/* That one; NULL: it is not there. */
const struct qcow2_snapshot *snapshot_find_marked(const struct qcow2 *q,
						  const struct parent_mark *mark);

/* 1: it stands on the one that the mark tells; 0: on none; -errno with *err set. */
int snapshot_parent(struct qcow2 *q, const struct qcow2_snapshot *s, struct parent_mark *mark,
		    struct err *err);
/*
 * The snapshot with all that it stands on. -ENOENT: one is not there any more, or another has its
 * name; -ELOOP: it stands on itself; -E2BIG; each with a sentence. snapshot_chain_fini() follows in
 * any case.
 */
int snapshot_chain_find(struct snapshot_chain *c, struct qcow2 *q, const struct qcow2_snapshot *s,
			struct err *err);
void snapshot_chain_fini(struct snapshot_chain *c); /* zeroed is fine */

/* Append the names of those that stand on it directly: "'a', 'b'". */
void snapshot_children(struct qcow2 *q, const struct qcow2_snapshot *s, struct buf *names);
/* Nothing stands on it: 0; -EBUSY with a sentence that names what does, and the way out. */
int snapshot_check_childless(struct qcow2 *q, const struct qcow2_snapshot *s, struct err *err);

#endif
