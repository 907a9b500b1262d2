/*
 * restate.c - a snapshot gets another VM state
 *
 * The new state lies in clusters that nothing refers to, with L2 tables of its own (vm-state.c).
 * The snapshot's new L1 table has the disk's entries of the old one and theirs behind them; the
 * old table and what was the old state lose their references, and the list has the new place and
 * size: all that is one qcow2_relink().  Killed before it, the image has leaks at most.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/relink.h"
#include "devices/block/qcow2/saving.h"
#include "devices/block/qcow2/vm-state.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"

struct qcow2_restate {
	struct qcow2 *q;
	char *id;        /* owned */
	uint32_t n_disk; /* entries of its L1 table that are the disk's */
	struct vm_state state;
	uint64_t l1_host, l1_bytes; /* of the new L1 table; 0: not yet */
};

static void restate_free(struct qcow2_restate *r)
{
	vm_state_fini(&r->state);
	free(r->id);
	free(r);
}

/* Lock held. */
static int begin_locked(struct qcow2 *q, const char *id, struct qcow2_restate **out,
			struct err *err)
{
	const struct snapshot *s;
	uint64_t n_disk;
	int ret = qcow2_snapshots_may_change(q, err);

	if (ret < 0)
		return ret;
	s = qcow2_snapshot_find(q, id, err);
	if (!s)
		return -ENOENT;
	n_disk = s->pub.vmstate_off / q->l2_covers;
	if (n_disk > s->l1_entries)
		return err_set(err, EIO, "the L1 table of snapshot '%s' is too short for its disk",
			       s->pub.name);
	*out = NEW(struct qcow2_restate);
	(*out)->q = q;
	(*out)->id = xstrdup(id);
	(*out)->n_disk = (uint32_t)n_disk;
	vm_state_init(&(*out)->state, q);
	return 0;
}

int qcow2_restate_begin(struct qcow2 *q, const char *id, struct qcow2_restate **r, struct err *err)
{
	int ret;

	(void)pthread_mutex_lock(&q->lock);
	ret = begin_locked(q, id, r, err);
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
}

int qcow2_restate_write(struct qcow2_restate *r, const struct iovec *iov, int n_iov, uint64_t pos,
			struct err *err)
{
	return vm_state_write(&r->state, r->n_disk, iov, n_iov, pos, err);
}

/* ---- commit ---- */

/* Room for the new L1 table, and the table there.  Lock held. */
static int write_l1(struct qcow2_restate *r, const uint64_t *old)
{
	size_t n = MAX(r->n_disk + r->state.n_l2_host, 1);
	uint64_t *l1, host;
	int ret = qcow2_alloc_bytes(r->q, n * 8, &host);

	if (ret < 0)
		return ret;
	r->l1_host = host;
	r->l1_bytes = n * 8;
	l1 = calloc(n, sizeof(*l1));
	if (!l1)
		return -ENOMEM;
	memcpy(l1, old, r->n_disk * sizeof(*l1));
	for (size_t i = 0; i < r->state.n_l2_host; i++)
		l1[r->n_disk + i] = r->state.l2_host[i];
	ret = qcow2_write_be64(r->q, l1, n, host);
	free(l1);
	return ret;
}

/* The old table and the old state go.  Lock held. */
static int count_old(const struct qcow2_restate *r, const struct snapshot *s, const uint64_t *old,
		     struct counts *c, struct err *err)
{
	return qcow2_snapshot_count_gone(r->q, s, old + r->n_disk, s->l1_entries - r->n_disk, c,
					 err);
}

/* The list with the new state.  Lock held. */
static int new_list(const struct qcow2_restate *r, uint64_t vmstate_bytes, struct snapshot_table *t,
		    struct err *err)
{
	const struct snapshot_state *state = r->q->snapshot_state;
	struct snapshot *s;

	if (snapshot_table_copy(t, &state->table, NULL) < 0)
		return err_set(err, ENOMEM, "no memory for the list of snapshots");
	s = snapshot_table_find(t, r->id);
	s->l1_off = r->l1_host;
	s->l1_entries = (uint32_t)(r->l1_bytes / 8);
	s->pub.vmstate_bytes = vmstate_bytes;
	return 0;
}

/* Lock held. */
static int commit_locked(struct qcow2_restate *r, uint64_t vmstate_bytes, struct err *err)
{
	struct qcow2 *q = r->q;
	struct qcow2_relink link = {.l1 = q->l1.e, .l1_n = q->l1.n, .bytes = q->h.bytes};
	const struct snapshot *s = qcow2_snapshot_find(q, r->id, err);
	CLEANUP(cleanup_free) uint64_t *old = s ? qcow2_snapshot_l1(q, s, err) : NULL;
	struct snapshot_table t = {0};
	int ret;

	if (!old)
		return -EIO;
	ret = write_l1(r, old);
	if (ret < 0)
		return err_set(err, -ret, "the snapshot's L1 table cannot be written: %s",
			       err_text(-ret));
	ret = count_old(r, s, old, &link.refs, err);
	if (ret == 0)
		ret = new_list(r, vmstate_bytes, &t, err);
	link.snapshots = &t;
	if (ret == 0)
		ret = qcow2_relink(q, &link, err);
	if (ret == 0)
		qcow2_snapshots_replace(q, &t, link.table_host, link.table_bytes);
	qcow2_relink_fini(q, &link, ret == 0);
	snapshot_table_fini(&t);
	return ret;
}

int qcow2_restate_commit(struct qcow2_restate *r, uint64_t vmstate_bytes, struct err *err)
{
	struct qcow2 *q = r->q;
	int ret = vm_state_finish(&r->state);

	if (ret == 0)
		ret = qcow2_barrier(q);
	if (ret < 0) {
		ret = err_set(err, -ret, "the VM state's tables cannot be written: %s",
			      err_text(-ret));
	} else {
		(void)pthread_mutex_lock(&q->lock);
		ret = commit_locked(r, vmstate_bytes, err);
		(void)pthread_mutex_unlock(&q->lock);
	}
	if (ret < 0)
		qcow2_restate_abort(r);
	else
		restate_free(r);
	return ret;
}

void qcow2_restate_abort(struct qcow2_restate *r)
{
	struct qcow2 *q = r->q;

	(void)pthread_mutex_lock(&q->lock);
	if (!q->broken) {
		vm_state_give_back(&r->state);
		if (r->l1_host)
			qcow2_unalloc(q, r->l1_host, ALIGN_UP(r->l1_bytes, q->cluster_bytes));
	}
	(void)pthread_mutex_unlock(&q->lock);
	restate_free(r);
}
