/*
 * nodes.h - the disks that a snapshot is made of
 *
 * Machine lock held for all of this, unless said otherwise.
 */
#ifndef MINIVMM_MIGRATION_SNAPSHOT_NODES_H
#define MINIVMM_MIGRATION_SNAPSHOT_NODES_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/base/buf.h"

struct block_node;
struct err;
struct job;
struct machine;
struct qcow2;
struct qcow2_snapshot;
struct snapshot_request;
struct snapshots;

struct snapshot_nodes {
	struct block_node **v; /* owned; the nodes are borrowed */
	size_t n;
	size_t vmstate;      /* which of them has the VM state */
	struct buf left_out; /* writable disks that are not among them: "'a', 'b'" */
};

/*
 * Nobody else saves, loads, deletes or migrates: it is claimed, until snapshots_release().  Waits
 * for pages that still come from a snapshot, with the lock given up; 'j' (NULL: none) may be
 * cancelled meanwhile.
 */
int snapshots_claim(struct snapshots *s, struct job *j, struct err *err);
void snapshots_release(struct snapshots *s);

/*
 * Find them: all there, each able to have snapshots.  'with_vmstate': r->vmstate is one of them.
 * They are neither deleted nor resized until snapshot_nodes_fini(), which follows in any case.
 * 0, or -errno with *err set.
 */
int snapshot_nodes_find(struct snapshot_nodes *ns, const struct snapshot_request *r,
			bool with_vmstate, struct err *err);
void snapshot_nodes_fini(struct snapshot_nodes *ns);

struct qcow2 *snapshot_node_image(const struct block_node *n);
/* The node's last snapshot of that name, or NULL.  Borrowed until the image's list changes. */
const struct qcow2_snapshot *snapshot_node_find(const struct block_node *n, const char *tag);
/*
 * Delete the snapshot with that id (borrowed; not the list's own string); nothing is in flight on
 * the disk meanwhile, and the end of the program does not cut it.  The lock is not held, the thread
 * may wait.  0, or -errno with *err set.
 */
int snapshot_node_delete(struct machine *m, struct block_node *n, const char *id, struct err *err);
/* What messages call it: its node name, or its drive's id where that name was made up. */
const char *snapshot_node_name(const struct block_node *n);
/* Append "'name'", behind a comma if it is not the first. */
void snapshot_list_name(struct buf *b, const char *name);

#endif
