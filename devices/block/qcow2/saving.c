/*
 * saving.c - a snapshot in the making
 *
 * The instant.  qcow2_saving_begin() copies the active L1 table and nothing else.  From then on
 * (internal.h, at 'held') the guest's writes leave alone what was there: a cluster that was not
 * allocated since is not written in place; an L2 table is copied here before it is changed for the
 * first time; and a reference that the active tables give up is remembered ('kept') instead of
 * being taken away.  On the medium none of this shows: until the commit the image is one without
 * the snapshot, and with clusters that nothing refers to.
 *
 * The commit.  L2 tables of the VM state and the snapshot's own L1 table are written, and a barrier
 * takes all that to the medium while the guest goes on.  The references of the instant are counted,
 * those kept are subtracted, for these were never taken away, and qcow2_relink() does the rest in
 * one step.
 */
#include "devices/block/qcow2/saving.h"

#include <errno.h>
#include <stdlib.h>

#include "devices/block/qcow2/relink.h"
#include "devices/block/qcow2/vm-state.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"

struct qcow2_saving {
	struct qcow2 *q;
	uint64_t bytes; /* the disk's size at the instant */

	/* under q->lock */
	uint64_t *l1;       /* owned: the instant's, without flags */
	uint32_t l1_n;      /* as many as the disk needs */
	uint64_t *copied;   /* owned: bitmap of entries whose table is a copy, ours alone */
	struct counts kept; /* references that the active tables gave up, negative */
	bool over;          /* committed or aborted */
	bool left;          /* to be aborted when nothing is in flight */

	struct vm_state state;
	uint64_t l1_host, l1_bytes; /* of the snapshot's L1 table; 0: not yet */
};

static void saving_free(struct qcow2_saving *s)
{
	vm_state_fini(&s->state);
	free(s->l1);
	free(s->copied);
	counts_fini(&s->kept);
	free(s);
}

/* ---- the instant ---- */

static int saving_may_begin(struct qcow2 *q, struct err *err)
{
	int ret = qcow2_snapshots_may_change(q, err);

	if (ret < 0)
		return ret;
	if (q->refcount_max < 2)
		return err_set(err, ENOTSUP,
			       "an image with refcounts of 1 bit can have no snapshots");
	if (q->h.n_snapshots >= SNAPSHOTS_MAX)
		return err_set(err, EFBIG, "the image has %u snapshots already", q->h.n_snapshots);
	return 0;
}

static struct qcow2_saving *saving_new(struct qcow2 *q)
{
	struct qcow2_saving *s = calloc(1, sizeof(*s));
	uint32_t n = (uint32_t)qcow2_l1_needs(q, q->h.bytes);

	if (!s)
		return NULL;
	s->q = q;
	s->bytes = q->h.bytes;
	s->l1_n = n;
	vm_state_init(&s->state, q);
	s->l1 = calloc((size_t)n + 1, sizeof(*s->l1));
	s->copied = bitmap_new(n);
	if (s->l1 && s->copied)
		return s;
	saving_free(s);
	return NULL;
}

/* Lock held. */
static int saving_begin_locked(struct qcow2 *q, struct err *err)
{
	struct qcow2_saving *s;
	int ret = saving_may_begin(q, err);

	if (ret < 0)
		return ret;
	qcow2_saving_drop(q); /* one that is over */
	s = saving_new(q);
	q->held = s ? bitmap_new(MAX(q->l1.n, 1U)) : NULL;
	if (!q->held) {
		if (s)
			saving_free(s);
		return err_set(err, ENOMEM, "no memory for the image's L1 table");
	}
	for (uint32_t i = 0; i < s->l1_n; i++) {
		s->l1[i] = q->l1.e[i] & QCOW2_OFF_MASK;
		if (s->l1[i])
			bitmap_set(q->held, i);
	}
	q->compress_at = 0;
	q->saving = s;
	return 0;
}

int qcow2_saving_begin(struct qcow2 *q, struct qcow2_saving **s, struct err *err)
{
	int ret;

	(void)pthread_mutex_lock(&q->lock);
	ret = saving_begin_locked(q, err);
	if (ret == 0)
		*s = q->saving;
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
}

/* The table at 'l1_entry' as it is, at 'to'. */
static int copy_table(struct qcow2 *q, uint64_t l1_entry, uint64_t to)
{
	uint32_t n = 1U << q->l2_bits;
	int ret = 0;

	for (uint32_t k = 0; k < n && ret == 0;) {
		struct qcow2_l2_pos pos = {0};

		ret = qcow2_l2_get_at(q, l1_entry, k, &pos);
		if (ret < 0)
			return ret;
		ret =
		    qcow2_pwrite(q, pos.b->data + (size_t)pos.i * q->entry_bytes,
				 (size_t)pos.n * q->entry_bytes, to + (uint64_t)k * q->entry_bytes);
		k += pos.n;
		qcow2_l2_put(&pos);
	}
	return ret;
}

int qcow2_saving_hold(struct qcow2 *q, uint64_t i)
{
	struct qcow2_saving *s = q->saving;
	uint64_t to;
	int ret = qcow2_alloc(q, 1, &to);

	if (ret < 0)
		return ret;
	ret = copy_table(q, s->l1[i], to);
	if (ret < 0) {
		qcow2_unalloc(q, to, q->cluster_bytes);
		return ret;
	}
	s->l1[i] = to;
	bitmap_set(s->copied, (size_t)i);
	bitmap_clear(q->held, (size_t)i);
	return 0;
}

/* Without memory for it the reference stays: a leak at the end, and no harm before. */
void qcow2_saving_keep(struct qcow2 *q, uint64_t host, uint64_t bytes)
{
	(void)qcow2_range_count(q, &q->saving->kept, host, bytes, -1);
}

/* The guest's writes go where they went before the instant.  Lock held. */
static void saving_end(struct qcow2_saving *s)
{
	struct qcow2 *q = s->q;

	free(q->held);
	free(q->since);
	q->held = q->since = NULL;
	q->since_n = 0;
	s->over = true;
}

size_t qcow2_saving_cluster_bytes(const struct qcow2_saving *s)
{
	return s->q->cluster_bytes;
}

int qcow2_saving_write(struct qcow2_saving *s, const struct iovec *iov, int n_iov, uint64_t pos,
		       struct err *err)
{
	if (s->over)
		return err_set(err, EINVAL, "the snapshot is not being saved any more");
	return vm_state_write(&s->state, s->l1_n, iov, n_iov, pos, err);
}

/*
 * What the instant's L2 tables refer to, table by table while the guest goes on; not the tables
 * themselves, which may yet be copied.
 */
static int count_data(struct qcow2_saving *s, struct counts *c, struct err *err)
{
	int ret = 0;

	for (uint32_t i = 0; i < s->l1_n && ret == 0; i++) {
		(void)pthread_mutex_lock(&s->q->lock);
		ret = qcow2_tree_count(s->q, c, &s->l1[i], 1, 1, "the disk", err);
		if (ret == 0 && s->l1[i])
			ret = qcow2_range_count(s->q, c, s->l1[i], s->q->cluster_bytes, -1);
		(void)pthread_mutex_unlock(&s->q->lock);
	}
	return ret;
}

/* The tables that are the active L1 table's, too, and what it gave up.  Lock held. */
static int count_rest(const struct qcow2_saving *s, struct counts *c)
{
	int ret = 0;

	for (uint32_t i = 0; i < s->l1_n && ret == 0; i++)
		if (s->l1[i] && !bitmap_test(s->copied, i))
			ret = qcow2_range_count(s->q, c, s->l1[i], s->q->cluster_bytes, 1);
	for (uint64_t k = counts_next(&s->kept, 0); k != UINT64_MAX && ret == 0;
	     k = counts_next(&s->kept, k + 1))
		ret = counts_add(c, k, counts_get(&s->kept, k));
	return ret;
}

static int write_l1(const struct qcow2_saving *s)
{
	size_t n = s->l1_bytes / 8;
	CLEANUP(cleanup_free) uint64_t *l1 = calloc(n, sizeof(*l1));

	if (!l1)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->l1_n; i++)
		l1[i] = s->l1[i];
	for (size_t i = 0; i < s->state.n_l2_host; i++)
		l1[s->l1_n + i] = s->state.l2_host[i];
	return qcow2_write_be64(s->q, l1, n, s->l1_host);
}

static int new_list(const struct qcow2_saving *s, const struct qcow2_snapshot *what,
		    struct snapshot_table *t, struct err *err)
{
	const struct snapshot_state *state = s->q->snapshot_state;
	struct qcow2_snapshot entry = *what;
	int ret = snapshot_table_copy(t, &state->table, NULL);

	if (ret < 0)
		return err_set(err, ENOMEM, "no memory for the list of snapshots");
	entry.disk_bytes = s->bytes;
	entry.vmstate_off = (uint64_t)s->l1_n * s->q->l2_covers;
	return snapshot_table_add(t, &entry, s->l1_host, (uint32_t)(s->l1_bytes / 8), err);
}

/* Lock held; r->refs has the data's references. */
static int commit_locked(struct qcow2_saving *s, struct qcow2_relink *r, struct snapshot_table *t,
			 struct err *err)
{
	struct qcow2 *q = s->q;
	int ret = count_rest(s, &r->refs);

	if (ret == 0)
		ret = write_l1(s);
	if (ret < 0) {
		counts_fini(&r->refs);
		return err_set(err, -ret, "the snapshot's tables cannot be written: %s",
			       err_text(-ret));
	}
	r->l1 = q->l1.e;
	r->l1_n = q->l1.n;
	r->bytes = q->h.bytes;
	r->snapshots = t;
	ret = qcow2_relink(q, r, err);
	if (ret == 0) {
		saving_end(s);
		qcow2_snapshots_replace(q, t, r->table_host, r->table_bytes);
	}
	qcow2_relink_fini(q, r, ret == 0);
	return ret;
}

/* Room for the snapshot's L1 table.  Lock held. */
static int take_l1(struct qcow2_saving *s)
{
	uint64_t n = MAX(s->l1_n + s->state.n_l2_host, 1), host;
	int ret = qcow2_alloc_bytes(s->q, n * 8, &host);

	if (ret < 0)
		return ret;
	s->l1_host = host;
	s->l1_bytes = n * 8;
	return 0;
}

static int commit(struct qcow2_saving *s, const struct qcow2_snapshot *what, struct err *err)
{
	struct qcow2_relink r = {0};
	struct snapshot_table t = {0};
	int ret = vm_state_finish(&s->state);

	if (ret == 0)
		ret = qcow2_barrier(s->q);
	if (ret < 0)
		return err_set(err, -ret, "the VM state's tables cannot be written: %s",
			       err_text(-ret));
	ret = count_data(s, &r.refs, err);
	(void)pthread_mutex_lock(&s->q->lock);
	if (ret == 0) {
		ret = take_l1(s);
		ret = ret < 0 ? err_set(err, -ret, "no room for the snapshot's L1 table: %s",
					err_text(-ret))
			      : new_list(s, what, &t, err);
	}
	if (ret == 0)
		ret = commit_locked(s, &r, &t, err);
	else
		counts_fini(&r.refs);
	(void)pthread_mutex_unlock(&s->q->lock);
	snapshot_table_fini(&t);
	return ret;
}

/* ---- abort ---- */

static void give_tables_back(struct qcow2_saving *s)
{
	struct qcow2 *q = s->q;

	if (s->l1_host)
		qcow2_unalloc(q, s->l1_host, ALIGN_UP(s->l1_bytes, q->cluster_bytes));
	bitmap_for_each_set (i, s->copied, s->l1_n)
		qcow2_unalloc(q, s->l1[i], q->cluster_bytes);
}

/* The references that the active tables gave up are taken away after all. */
static void give_kept_up(struct qcow2_saving *s)
{
	for (uint64_t c = counts_next(&s->kept, 0); c != UINT64_MAX;
	     c = counts_next(&s->kept, c + 1))
		for (int32_t n = counts_get(&s->kept, c); n < 0; n++)
			qcow2_unref(s->q, c << s->q->cluster_bits, s->q->cluster_bytes);
}

static void abort_locked(struct qcow2_saving *s)
{
	saving_end(s);
	if (s->q->broken)
		return;
	vm_state_give_back(&s->state);
	give_tables_back(s);
	give_kept_up(s);
}

int qcow2_saving_commit(struct qcow2_saving *s, const struct qcow2_snapshot *what, struct err *err)
{
	struct qcow2 *q = s->q;
	int ret = s->over ? err_set(err, EINVAL, "the snapshot is not being saved any more")
			  : commit(s, what, err);

	if (ret < 0)
		return ret;
	(void)pthread_mutex_lock(&q->lock);
	qcow2_saving_drop(q);
	(void)pthread_mutex_unlock(&q->lock);
	return 0;
}

void qcow2_saving_abort(struct qcow2_saving *s)
{
	struct qcow2 *q = s->q;

	(void)pthread_mutex_lock(&q->lock);
	if (!s->over)
		abort_locked(s);
	qcow2_saving_drop(q);
	(void)pthread_mutex_unlock(&q->lock);
}

void qcow2_saving_leave(struct qcow2_saving *s)
{
	struct qcow2 *q = s->q;

	(void)pthread_mutex_lock(&q->lock);
	s->left = true;
	(void)pthread_mutex_unlock(&q->lock);
}

void qcow2_saving_drop_left(struct qcow2 *q)
{
	if (q->saving && q->saving->left)
		qcow2_saving_drop(q);
}

void qcow2_saving_drop(struct qcow2 *q)
{
	struct qcow2_saving *s = q->saving;

	if (!s)
		return;
	if (!s->over)
		abort_locked(s);
	saving_free(s);
	q->saving = NULL;
}
