/*
 * nodes.c - which disks a snapshot is made of, and whether they can have one
 *
 * QMP names them; savevm, loadvm and -loadvm take all disks of the guest that can be written, and
 * fail when one of these cannot have a snapshot, for then it would not be of the same instant.
 * A read-only disk has nothing to save.
 */
#include "migration/snapshot/nodes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/block/image.h"
#include "devices/block/node-info.h"
#include "devices/block/node.h"
#include "devices/block/qcow2/qcow2.h"
#include "migration/snapshot/notes.h"
#include "migration/snapshot/session.h"
#include "migration/snapshot/snapshot.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/machine.h"

/* ---- one at a time ---- */

int snapshots_claim(struct snapshots *s, struct job *j, struct err *err)
{
	int ret;

	if (s->busy)
		return err_set(err, EBUSY,
			       "another snapshot is being saved, loaded or deleted: ask again when "
			       "that has ended");
	if (s->migrating(s->opaque))
		return err_set(err, EBUSY, "There's a migration process in progress");
	s->busy = true;
	ret = snapshots_await_pages(s, j, err);
	s->busy = ret == 0;
	return ret;
}

void snapshots_release(struct snapshots *s)
{
	s->busy = false;
}

/* ---- nodes ---- */

const char *snapshot_node_name(const struct block_node *n)
{
	bool own = *n->name && *n->name != '#'; /* else it was made up */

	return own || !*n->drive_id ? n->name : n->drive_id;
}

struct qcow2 *snapshot_node_image(const struct block_node *n)
{
	return n->img ? n->img->q : NULL;
}

const struct qcow2_snapshot *snapshot_node_find(const struct block_node *n, const char *tag)
{
	return qcow2_snapshot_named(snapshot_node_image(n), tag);
}

/* In BLOCK_CALL: 'arg' is the snapshot's id. */
static int delete_fn(struct block_node *n, uint64_t arg, struct err *err)
{
	/* NOLINTNEXTLINE(performance-no-int-to-ptr): a pointer, for block_node_call() */
	const char *id = (const char *)(uintptr_t)arg;
	int ret = qcow2_snapshot_delete(snapshot_node_image(n), id, err);

	block_node_refresh(n);
	return ret;
}

int snapshot_node_delete(struct machine *m, struct block_node *n, const char *id, struct err *err)
{
	char *notes = snapshot_notes_of(n, id);
	int ret;

	machine_lock(m);
	ret = block_node_call_through(n, m, delete_fn, (uint64_t)(uintptr_t)id, err);
	machine_unlock(m);
	if (ret == 0 && notes)
		(void)unlink(notes);
	free(notes);
	return ret;
}

void snapshot_list_name(struct buf *b, const char *name)
{
	buf_printf(b, "%s'%s'", b->len ? ", " : "", name);
}

static struct block_node *find_node(const struct block_nodes *bs, const char *name)
{
	for (size_t i = 0; *name && i < bs->n; i++)
		if (!strcmp(bs->v[i]->name, name))
			return bs->v[i];
	return NULL;
}

static bool is_among(const struct snapshot_nodes *ns, const struct block_node *n)
{
	for (size_t i = 0; i < ns->n; i++)
		if (ns->v[i] == n)
			return true;
	return false;
}

static int check_node(const struct block_node *n, struct err *err)
{
	const char *name = snapshot_node_name(n);
	const struct qcow2 *q = snapshot_node_image(n);

	if (n->jobs) /* it is being resized, deleted or made part of another */
		return err_set(err, EBUSY, "Device '%.100s' is busy: a command works on it", name);
	if (n->readonly)
		return err_set(err, EROFS, "Device '%.100s' is read-only: it cannot have snapshots",
			       name);
	if (!q)
		return err_set(err, ENOTSUP,
			       "Device '%.100s' is writable but does not support snapshots (its "
			       "format is %s; qcow2 does)",
			       name, n->format);
	if (!block_node_active(n))
		return err_set(err, EBUSY,
			       "Device '%.100s' is inactive: another process may have its image",
			       name);
	return 0;
}

static int add_node(struct snapshot_nodes *ns, struct block_node *n, struct err *err)
{
	int ret = is_among(ns, n) ? 0 : check_node(n, err);

	if (ret == 0 && !is_among(ns, n)) {
		ns->v[ns->n++] = n;
		n->jobs++;
	}
	return ret;
}

static int add_named(struct snapshot_nodes *ns, const struct snapshot_request *r, struct err *err)
{
	if (!r->n_devices)
		return err_set(err, EINVAL, "At least one device is required for snapshot");
	for (size_t i = 0; i < r->n_devices; i++) {
		struct block_node *n = find_node(r->blocks, r->devices[i]);
		int ret = n ? add_node(ns, n, err)
			    : err_set(err, ENOENT, "No block device node '%.100s'", r->devices[i]);

		if (ret < 0)
			return ret;
	}
	return 0;
}

static bool is_writable_disk(const struct block_node *n)
{
	return n->user && !n->readonly;
}

static int add_all(struct snapshot_nodes *ns, const struct block_nodes *bs, struct err *err)
{
	for (size_t i = 0; i < bs->n; i++) {
		int ret = is_writable_disk(bs->v[i]) ? add_node(ns, bs->v[i], err) : 0;

		if (ret < 0)
			return ret;
	}
	return ns->n ? 0 : err_set(err, EINVAL, "no block device can store vmstate for snapshot");
}

static int find_vmstate(struct snapshot_nodes *ns, const struct snapshot_request *r,
			struct err *err)
{
	const struct block_node *n = find_node(r->blocks, r->vmstate);

	for (ns->vmstate = 0; n && ns->vmstate < ns->n; ns->vmstate++)
		if (ns->v[ns->vmstate] == n)
			return 0;
	ns->vmstate = 0;
	if (!n)
		return err_set(err, ENOENT, "vmstate block device '%.100s' does not exist",
			       r->vmstate);
	return err_set(err, EINVAL, "vmstate block device '%.100s' is not one of 'devices'",
		       r->vmstate);
}

int snapshot_nodes_find(struct snapshot_nodes *ns, const struct snapshot_request *r,
			bool with_vmstate, struct err *err)
{
	int ret;

	*ns = (struct snapshot_nodes){
	    .v = xcalloc(r->blocks->n + 1, sizeof(struct block_node *)),
	};
	ret = r->devices ? add_named(ns, r, err) : add_all(ns, r->blocks, err);
	if (ret == 0 && with_vmstate && r->devices)
		ret = find_vmstate(ns, r, err);
	for (size_t i = 0; ret == 0 && i < r->blocks->n; i++)
		if (is_writable_disk(r->blocks->v[i]) && !is_among(ns, r->blocks->v[i]))
			snapshot_list_name(&ns->left_out, snapshot_node_name(r->blocks->v[i]));
	return ret;
}

void snapshot_nodes_fini(struct snapshot_nodes *ns)
{
	for (size_t i = 0; i < ns->n; i++)
		ns->v[i]->jobs--;
	free(ns->v);
	buf_free(&ns->left_out);
	*ns = (struct snapshot_nodes){0};
}
