/*
 * delete.c - a snapshot is deleted from all images that have it
 *
 * The one with the VM state loses it first: a snapshot that is left in some images after a failure
 * can then not be loaded any more, and deleting it again goes on where the failure was.
 */
#include "migration/snapshot/snapshot.h"

#include <errno.h>
#include <stdlib.h>

#include "devices/block/node.h"
#include "devices/block/qcow2/qcow2.h"
#include "migration/snapshot/chain.h"
#include "migration/snapshot/nodes.h"
#include "migration/snapshot/replace.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/machine.h"

/* The node whose turn it is: the first that has it, one with a VM state before all others. */
static struct block_node *next_node(const struct snapshot_nodes *ns, const char *tag)
{
	struct block_node *found = NULL;

	for (size_t i = 0; i < ns->n; i++) {
		const struct qcow2_snapshot *snap = snapshot_node_find(ns->v[i], tag);

		if (snap && snap->vmstate_bytes)
			return ns->v[i];
		if (snap && !found)
			found = ns->v[i];
	}
	return found;
}

/* *err says which images still have it. */
static int say_left(const struct snapshot_nodes *ns, const char *tag, int ret, struct err *err)
{
	struct buf left = {0};
	struct err why = *err;

	for (size_t i = 0; i < ns->n; i++)
		if (snapshot_node_find(ns->v[i], tag))
			snapshot_list_name(&left, snapshot_node_name(ns->v[i]));
	ret = err_set(err, -ret, "snapshot '%.100s' is still in %.*s: " ERR_WITHIN, tag,
		      (int)left.len, (const char *)left.data, why.msg);
	buf_free(&left);
	return ret;
}

/* A parent that is gone is none. */
static void forget_parent(struct snapshots *s, const struct parent_mark *mark)
{
	machine_lock(s->m);
	track_deleted(&s->track, mark);
	machine_unlock(s->m);
}

static int delete_all(struct snapshots *s, const struct snapshot_nodes *ns, const char *tag,
		      struct err *err)
{
	struct block_node *n;
	int ret = 0;

	while (ret == 0 && (n = next_node(ns, tag))) {
		const struct qcow2_snapshot *snap = snapshot_node_find(n, tag);
		char *id = xstrdup(snap->id);
		struct parent_mark mark;

		snapshot_mark_of(snap, &mark);
		ret = snapshot_node_delete(s->m, n, id, err);
		free(id);
		if (ret == 0)
			forget_parent(s, &mark);
	}
	return ret < 0 ? say_left(ns, tag, ret, err) : 0;
}

int snapshot_delete(struct snapshots *s, const struct snapshot_request *r, struct job *j,
		    struct err *err)
{
	struct snapshot_nodes ns = {0};
	struct machine *m = s->m;
	struct err why = {0};
	int ret;

	machine_lock(m);
	ret = snapshots_claim(s, j, err);
	if (ret < 0) {
		machine_unlock(m);
		return ret;
	}
	ret = snapshot_nodes_find(&ns, r, false, &why);
	machine_unlock(m);
	if (j) /* a unit of work, as QEMU's job tells it: no bytes are moved */
		job_set_total(j, 1);
	if (ret == 0)
		ret = replace_check(&ns, r->tag, &why);
	if (ret == 0 && j)
		ret = job_commit_point(j);
	if (ret == 0)
		ret = delete_all(s, &ns, r->tag, &why);
	if (j)
		job_add_done(j, 1);
	if (ret == 0)
		log_notice("snapshot '%s' is deleted", r->tag);
	else if (why.errnum)
		log_notice("snapshot '%s' could not be deleted: %s", r->tag, why.msg);
	if (ret < 0 && why.errnum && err)
		*err = why;
	machine_lock(m);
	snapshots_release(s);
	snapshot_nodes_fini(&ns);
	machine_unlock(m);
	return ret;
}
