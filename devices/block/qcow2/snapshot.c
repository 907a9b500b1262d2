/*
 * snapshot.c - the list of snapshots of an image: loaded, deleted from, applied, read through
 *
 * A snapshot is an L1 table of its own.  Its clusters and L2 tables have a reference for it, so
 * that the active tables copy what they change; its COPIED flags mean nothing.  Deleting one takes
 * its references away, applying one adds them once more for the active L1 table and takes those
 * away that the active one had; both are one qcow2_relink(): before it or after it, never in
 * between.
 *
 * A list that cannot be read does not keep the image from being used, as with QEMU, for the disk
 * itself is whole; nothing is then changed in the list.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/relink.h"
#include "devices/block/qcow2/saving.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"

/* ---- the list ---- */

static void forget_read_l1(struct snapshot_state *state)
{
	free(state->read_l1);
	state->read_l1 = NULL;
	state->read_l1_n = 0;
	state->read_l1_host = 0;
}

int qcow2_snapshots_load(struct qcow2 *q, struct err *err)
{
	struct snapshot_state *state = NEW(struct snapshot_state);
	struct snapshot_geometry g = {
	    .disk_bytes = q->h.bytes,
	    .version = q->h.version,
	    .cluster_bytes = (uint32_t)q->cluster_bytes,
	    .l2_covers = q->l2_covers,
	};
	struct err why = {0};
	int ret = q->s.ops->size(q->s.opaque, &g.file_bytes);

	if (ret < 0) {
		free(state);
		return err_set(err, -ret, "the size of the image file is not known: %s",
			       err_text(-ret));
	}
	q->snapshot_state = state;
	ret = snapshot_table_read(&state->table, &q->s, &g, q->h.n_snapshots, q->h.snapshots_host,
				  &why);
	if (ret < 0) {
		log_warn("the image's list of snapshots cannot be read: %s", why.msg);
		state->damaged = true;
		state->why = xstrdup(why.msg);
	}
	return 0;
}

void qcow2_snapshots_fini(struct qcow2 *q)
{
	struct snapshot_state *state = q->snapshot_state;

	qcow2_saving_drop(q);
	if (!state)
		return;
	forget_read_l1(state);
	snapshot_table_fini(&state->table);
	free(state->why);
	free(state);
	q->snapshot_state = NULL;
}

void qcow2_snapshots_replace(struct qcow2 *q, struct snapshot_table *t, uint64_t host,
			     uint64_t bytes)
{
	struct snapshot_state *state = q->snapshot_state;

	forget_read_l1(state);
	snapshot_table_fini(&state->table);
	state->table = *t;
	state->table.off = host;
	state->table.bytes = bytes;
	*t = (struct snapshot_table){0};
}

int qcow2_snapshots_may_change(struct qcow2 *q, struct err *err)
{
	const struct snapshot_state *state = q->snapshot_state;

	if (!q->active || !state)
		return err_set(err, EPERM, "the image is in use by another process");
	if (!q->how.writable)
		return err_set(err, EROFS, "the image is read-only");
	if (q->broken)
		return err_set(err, EIO, "the image is damaged");
	if (state->damaged)
		return err_set(err, EIO, "the image's list of snapshots cannot be read: %s",
			       state->why);
	qcow2_saving_drop_left(q);
	if (q->held)
		return err_set(err, EBUSY, "a snapshot of the image is being saved");
	return 0;
}

const struct qcow2_snapshot *qcow2_snapshot_at(const struct qcow2 *q, size_t i)
{
	const struct snapshot_state *state = q->snapshot_state;

	return state && i < state->table.n ? &state->table.at[i].pub : NULL;
}

const struct qcow2_snapshot *qcow2_snapshot_with_id(const struct qcow2 *q, const char *id)
{
	const struct snapshot_state *state = q->snapshot_state;
	const struct snapshot *s = state ? snapshot_table_find(&state->table, id) : NULL;

	return s ? &s->pub : NULL;
}

const struct qcow2_snapshot *qcow2_snapshot_named(const struct qcow2 *q, const char *name)
{
	const struct snapshot_state *state = q->snapshot_state;

	for (uint32_t i = state ? state->table.n : 0; i-- > 0;)
		if (strcmp(state->table.at[i].pub.name, name) == 0)
			return &state->table.at[i].pub;
	return NULL;
}

struct snapshot *qcow2_snapshot_find(const struct qcow2 *q, const char *id, struct err *err)
{
	const struct snapshot_state *state = q->snapshot_state;
	struct snapshot *s = state ? snapshot_table_find(&state->table, id) : NULL;

	if (!s)
		(void)err_set(err, ENOENT, "the image has no snapshot with the id '%s'", id);
	return s;
}

static void *l1_memory(uint32_t n)
{
	return calloc((size_t)n + 1, sizeof(uint64_t));
}

uint64_t *qcow2_snapshot_l1(struct qcow2 *q, const struct snapshot *s, struct err *err)
{
	uint64_t *l1 = l1_memory(s->l1_entries);
	int ret = l1 ? qcow2_read_be64(q, l1, s->l1_entries, s->l1_off) : -ENOMEM;

	if (ret == 0)
		return l1;
	free(l1);
	(void)err_set(err, -ret, "the L1 table of snapshot '%s' cannot be read: %s", s->pub.name,
		      err_text(-ret));
	return NULL;
}

/* ---- delete ---- */

int qcow2_snapshot_count_gone(struct qcow2 *q, const struct snapshot *s, const uint64_t *l1,
			      uint32_t n, struct counts *c, struct err *err)
{
	int ret = qcow2_tree_count(q, c, l1, n, -1, "the snapshot", err);

	if (ret < 0)
		return ret;
	ret = qcow2_range_count(q, c, s->l1_off,
				ALIGN_UP((uint64_t)s->l1_entries * 8, q->cluster_bytes), -1);
	return ret < 0 ? err_set(err, -ret, "the snapshot's clusters cannot be counted: %s",
				 err_text(-ret))
		       : 0;
}

static int count_deleted(struct qcow2 *q, const struct snapshot *s, struct counts *c,
			 struct err *err)
{
	CLEANUP(cleanup_free) uint64_t *l1 = qcow2_snapshot_l1(q, s, err);

	return l1 ? qcow2_snapshot_count_gone(q, s, l1, s->l1_entries, c, err) : -EIO;
}

/* The list without it, and as many references less as *refs says (taken). */
static int delete_relink(struct qcow2 *q, const struct snapshot *s, struct counts *refs,
			 struct err *err)
{
	const struct snapshot_state *state = q->snapshot_state;
	struct qcow2_relink r = {
	    .refs = *refs, .l1 = q->l1.e, .l1_n = q->l1.n, .bytes = q->h.bytes};
	struct snapshot_table t = {0};
	int ret = 0;

	*refs = (struct counts){0};
	if (s && snapshot_table_copy(&t, &state->table, s) < 0)
		ret = err_set(err, ENOMEM, "no memory for the list of snapshots");
	r.snapshots = s ? &t : NULL;
	if (ret == 0)
		ret = qcow2_relink(q, &r, err);
	if (ret == 0 && s)
		qcow2_snapshots_replace(q, &t, r.table_host, r.table_bytes);
	qcow2_relink_fini(q, &r, ret == 0);
	snapshot_table_fini(&t);
	return ret;
}

/* Clusters that only the snapshot had are free, and no longer in *refs. */
static int free_its_own(struct qcow2 *q, struct counts *refs)
{
	int ret = 0;

	for (uint64_t c = counts_next(refs, 0); c != UINT64_MAX && ret == 0;
	     c = counts_next(refs, c + 1)) {
		int32_t n = counts_get(refs, c);
		uint64_t count;

		ret = qcow2_refcount_get(q, c, &count);
		if (ret < 0 || count != (uint64_t) - (int64_t)n)
			continue;
		ret = counts_add(refs, c, -n);
		for (; n < 0 && ret == 0; n++)
			qcow2_unref(q, c << q->cluster_bits, q->cluster_bytes);
	}
	return ret < 0 ? ret : qcow2_write_back(q);
}

/*
 * There is no room for new tables, and room is perhaps what the snapshot is deleted for.  So first
 * the list without it, which takes the least; then what it alone had is free; what it shared with
 * others comes last, in that room, or is left as a leak.
 */
static int delete_in_steps(struct qcow2 *q, const struct snapshot *s, struct err *err)
{
	struct counts refs = {0}, none = {0};
	struct err why = {0};
	int ret = count_deleted(q, s, &refs, err);

	if (ret == 0)
		ret = delete_relink(q, s, &none, err);
	if (ret == 0 && free_its_own(q, &refs) == 0 && delete_relink(q, NULL, &refs, &why) < 0)
		log_warn("a snapshot has been deleted, and some clusters of it are leaked: %s",
			 why.msg);
	counts_fini(&refs);
	return ret;
}

static int delete_locked(struct qcow2 *q, const struct snapshot *s, struct err *err)
{
	struct counts refs = {0};
	struct err why = {0};
	int ret = count_deleted(q, s, &refs, &why);

	if (ret == 0)
		ret = delete_relink(q, s, &refs, &why);
	counts_fini(&refs);
	if (ret == -ENOSPC && !q->broken)
		return delete_in_steps(q, s, err);
	return ret < 0 ? err_set(err, -ret, "%s", why.msg) : 0;
}

int qcow2_snapshot_delete(struct qcow2 *q, const char *id, struct err *err)
{
	const struct snapshot *s;
	int ret;

	(void)pthread_mutex_lock(&q->lock);
	ret = qcow2_snapshots_may_change(q, err);
	if (ret == 0) {
		s = qcow2_snapshot_find(q, id, err);
		ret = s ? delete_locked(q, s, err) : -ENOENT;
	}
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
}

/* ---- apply ---- */

/* The L1 entries of a snapshot that are the disk's: the VM state stays the snapshot's alone. */
static uint32_t disk_entries(const struct qcow2 *q, const struct snapshot *s)
{
	return (uint32_t)qcow2_l1_needs(q, s->pub.disk_bytes);
}

static int apply_locked(struct qcow2 *q, const struct snapshot *s, struct err *err)
{
	CLEANUP(cleanup_free) uint64_t *from = qcow2_snapshot_l1(q, s, err);
	CLEANUP(cleanup_free) uint64_t *l1 = NULL;
	uint32_t n = disk_entries(q, s);
	struct qcow2_relink r = {.l1_n = MAX(n, q->l1.n), .bytes = s->pub.disk_bytes};
	uint64_t old = q->h.bytes;
	int ret;

	if (!from)
		return -EIO;
	l1 = l1_memory(r.l1_n);
	if (!l1)
		return err_set(err, ENOMEM, "no memory for an L1 table");
	memcpy(l1, from, (size_t)n * sizeof(*l1));
	r.l1 = l1;
	ret = qcow2_tree_count(q, &r.refs, l1, r.l1_n, 1, "the snapshot", err);
	if (ret == 0)
		ret = qcow2_tree_count(q, &r.refs, q->l1.e, q->l1.n, -1, "the disk", err);
	if (ret == 0)
		ret = qcow2_relink(q, &r, err);
	qcow2_relink_fini(q, &r, ret == 0);
	if (ret < 0)
		return ret;
	if (q->h.bytes != old)
		qcow2_bitmaps_resized(q, old);
	qcow2_bitmaps_mark(q, 0, q->h.bytes);
	return 0;
}

/* Lock held, no request in flight.  The snapshot, or NULL with *err. */
static const struct snapshot *may_apply(struct qcow2 *q, const char *id, struct err *err)
{
	const struct snapshot *s = qcow2_snapshot_find(q, id, err);

	if (s && s->pub.disk_bytes != q->h.bytes &&
	    qcow2_bitmaps_may_resize(q, s->pub.disk_bytes, err) < 0)
		return NULL;
	return s;
}

int qcow2_snapshot_check_apply(struct qcow2 *q, const char *id, struct err *err)
{
	int ret;

	(void)pthread_mutex_lock(&q->lock);
	ret = may_apply(q, id, err) ? 0 : -ENOTSUP;
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
}

int qcow2_snapshot_apply(struct qcow2 *q, const char *id, struct err *err)
{
	const struct snapshot *s;
	int ret;

	(void)pthread_mutex_lock(&q->lock);
	ret = qcow2_snapshots_may_change(q, err);
	if (ret == 0) {
		s = may_apply(q, id, err);
		ret = s ? apply_locked(q, s, err) : -ENOENT;
	}
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
}
