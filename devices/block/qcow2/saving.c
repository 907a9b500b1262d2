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
 * The VM state.  Its L2 tables are arrays in memory until the commit, eight bytes a cluster.
 * Clusters come from a reserve, a run of some MiB that is allocated at once, so that a state that
 * is written from front to back lies in long runs and one call writes what one call brings.
 *
 * The commit.  L2 tables of the VM state and the snapshot's own L1 table are written, and a barrier
 * takes all that to the medium while the guest goes on.  The references of the instant are counted,
 * those kept are subtracted, for these were never taken away, and qcow2_relink() does the rest in
 * one step.
 *
 * Locks: s->lock is for the VM state, and is taken before q->lock.
 */
#include "devices/block/qcow2/saving.h"

#include <errno.h>
#include <stdlib.h>

#include "devices/block/qcow2/relink.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"

#define RESERVE_BYTES (4 * MiB)
#define PIECES        64

struct qcow2_saving {
	struct qcow2 *q;
	uint64_t bytes; /* the disk's size at the instant */

	/* under q->lock */
	uint64_t *l1;       /* owned: the instant's, without flags */
	uint32_t l1_n;      /* as many as the disk needs */
	uint64_t *copied;   /* owned: bitmap of entries whose table is a copy, ours alone */
	struct counts kept; /* references that the active tables gave up, negative */
	bool over;          /* committed or aborted */

	/* the VM state: under 'lock' */
	pthread_mutex_t lock;
	uint64_t **l2; /* owned: n_l2 tables of places, 0: none yet */
	size_t n_l2;
	uint64_t reserve, reserve_clusters; /* place and length of the run */
	bool reserve_zero;                  /* it reads as zero */

	/* commit only: places of tables */
	uint64_t *l2_host; /* owned */
	size_t n_l2_host;
	uint64_t l1_host, l1_host_bytes; /* 0: none */
};

static void saving_free(struct qcow2_saving *s)
{
	for (size_t i = 0; i < s->n_l2; i++)
		free(s->l2[i]);
	free(s->l2);
	free(s->l2_host);
	free(s->l1);
	free(s->copied);
	counts_fini(&s->kept);
	(void)pthread_mutex_destroy(&s->lock);
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
	(void)pthread_mutex_init(&s->lock, NULL);
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
		struct qcow2_l2_pos pos;

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

/* ---- the VM state ---- */

/* Its table is there. */
static uint64_t *state_slot(const struct qcow2_saving *s, uint64_t cluster)
{
	uint64_t *table = s->l2[cluster >> s->q->l2_bits];

	return &table[cluster & ((1ULL << s->q->l2_bits) - 1)];
}

static uint64_t *state_entry(const struct qcow2_saving *s, uint64_t cluster)
{
	uint64_t table = cluster >> s->q->l2_bits;

	return table < s->n_l2 && s->l2[table] ? state_slot(s, cluster) : NULL;
}

/* There is an entry for this cluster of the VM state. */
static int state_reach(struct qcow2_saving *s, uint64_t cluster)
{
	size_t table = (size_t)(cluster >> s->q->l2_bits);

	if (table >= s->n_l2) {
		size_t n = table + 1 + table / 2;
		uint64_t **l2 = realloc(s->l2, n * sizeof(*l2));

		if (!l2)
			return -ENOMEM;
		for (size_t i = s->n_l2; i < n; i++)
			l2[i] = NULL;
		s->l2 = l2;
		s->n_l2 = n;
	}
	if (!s->l2[table])
		s->l2[table] = calloc(1ULL << s->q->l2_bits, sizeof(uint64_t));
	return s->l2[table] ? 0 : -ENOMEM;
}

/* The reserve has at least one cluster. */
static int reserve_fill(struct qcow2_saving *s, uint64_t want)
{
	struct qcow2 *q = s->q;
	uint64_t n = MAX(want, RESERVE_BYTES >> q->cluster_bits);
	int ret;

	if (s->reserve_clusters)
		return 0;
	(void)pthread_mutex_lock(&q->lock);
	ret = qcow2_may_change(q);
	if (ret == 0)
		ret = qcow2_alloc_some(q, &n, &s->reserve, &s->reserve_zero);
	(void)pthread_mutex_unlock(&q->lock);
	if (ret == 0)
		s->reserve_clusters = n;
	return ret;
}

/* A run of the VM state on the storage. */
struct state_run {
	uint64_t host; /* of its first cluster */
	uint64_t clusters;
	bool fresh, zero;
};

/* How many clusters from 'first' on, at most n, have no place. */
static uint64_t state_missing(const struct qcow2_saving *s, uint64_t first, uint64_t n)
{
	uint64_t i = 0;

	for (; i < n; i++) {
		const uint64_t *e = state_entry(s, first + i);

		if (e && *e)
			break;
	}
	return i;
}

static int state_alloc(struct qcow2_saving *s, uint64_t first, uint64_t n, struct state_run *run)
{
	uint64_t take;
	int ret;

	n = state_missing(s, first, n);
	ret = reserve_fill(s, n);
	if (ret < 0)
		return ret;
	take = MIN(n, s->reserve_clusters);
	for (uint64_t i = 0; i < take && ret == 0; i++)
		ret = state_reach(s, first + i);
	if (ret < 0)
		return ret;
	*run = (struct state_run){
	    .host = s->reserve, .clusters = take, .fresh = true, .zero = s->reserve_zero};
	for (uint64_t i = 0; i < take; i++)
		*state_slot(s, first + i) = s->reserve + (i << s->q->cluster_bits);
	s->reserve += take << s->q->cluster_bits;
	s->reserve_clusters -= take;
	return 0;
}

/* The first of n clusters from 'first' on, and those that follow it on the storage, too. */
static int state_run(struct qcow2_saving *s, uint64_t first, uint64_t n, struct state_run *run)
{
	const uint64_t *e = state_entry(s, first);

	if (!e || !*e)
		return state_alloc(s, first, n, run);
	*run = (struct state_run){.host = *e, .clusters = 1};
	while (run->clusters < n) {
		e = state_entry(s, first + run->clusters);
		if (!e || *e != run->host + (run->clusters << s->q->cluster_bits))
			break;
		run->clusters++;
	}
	return 0;
}

/* A new run is zero before 'from' and behind 'to', offsets in it. */
static int zero_edges(struct qcow2_saving *s, const struct state_run *run, uint64_t from,
		      uint64_t to)
{
	uint64_t end = run->clusters << s->q->cluster_bits;
	int ret = 0;

	if (!run->fresh || run->zero)
		return 0;
	if (from)
		ret = qcow2_pzero(s->q, run->host, from);
	if (ret == 0 && to < end)
		ret = qcow2_pzero(s->q, run->host + to, end - to);
	return ret;
}

/* What of iov[] from 'at' on fits into one call, at most 'bytes': *n is how much. */
static int write_some(struct qcow2 *q, const struct iovec *iov, int n_iov, uint64_t at,
		      uint64_t bytes, uint64_t host)
{
	struct iovec part[PIECES];
	int ret = 0;

	for (uint64_t done = 0; done < bytes && ret == 0;) {
		uint64_t skip = at + done, n = 0;
		int k = 0;

		for (int i = 0; i < n_iov && k < PIECES && done + n < bytes; i++) {
			size_t here;

			if (skip >= iov[i].iov_len) {
				skip -= iov[i].iov_len;
				continue;
			}
			here = (size_t)MIN(iov[i].iov_len - skip, bytes - done - n);
			part[k].iov_base = (uint8_t *)iov[i].iov_base + skip;
			part[k++].iov_len = here;
			n += here;
			skip = 0;
		}
		ret = q->s.ops->writev(q->s.opaque, part, k, host + done);
		done += n;
	}
	return ret;
}

/* From pos + at on; *done: how much. */
static int state_write(struct qcow2_saving *s, const struct iovec *iov, int n_iov, uint64_t pos,
		       uint64_t at, uint64_t bytes, uint64_t *done)
{
	uint32_t bits = s->q->cluster_bits;
	uint64_t first = (pos + at) >> bits, end = (pos + bytes - 1) >> bits;
	uint64_t in = (pos + at) & (s->q->cluster_bytes - 1);
	struct state_run run;
	uint64_t n = 0;
	int ret;

	(void)pthread_mutex_lock(&s->lock);
	ret = state_run(s, first, end - first + 1, &run);
	if (ret == 0) {
		n = MIN(bytes - at, (run.clusters << bits) - in);
		ret = zero_edges(s, &run, in, in + n);
	}
	(void)pthread_mutex_unlock(&s->lock);
	*done = n;
	return ret < 0 ? ret : write_some(s->q, iov, n_iov, at, n, run.host + in);
}

static uint64_t state_max(const struct qcow2_saving *s)
{
	return (SNAPSHOT_L1_BYTES_MAX / 8 - s->l1_n) * s->q->l2_covers;
}

int qcow2_saving_write(struct qcow2_saving *s, const struct iovec *iov, int n_iov, uint64_t pos,
		       struct err *err)
{
	uint64_t bytes = iov_bytes(iov, (size_t)n_iov), max = state_max(s);
	int ret = 0;

	if (s->over)
		return err_set(err, EINVAL, "the snapshot is not being saved any more");
	if (pos > max || bytes > max - pos)
		return err_set(err, EFBIG,
			       "the VM state has more bytes than the image's tables can tell: %llu",
			       (unsigned long long)max);
	for (uint64_t at = 0, n; at < bytes && ret == 0; at += n)
		ret = state_write(s, iov, n_iov, pos, at, bytes, &n);
	if (ret < 0)
		return err_set(err, -ret, "the VM state cannot be written into the image: %s",
			       err_text(-ret));
	return 0;
}

/* ---- commit ---- */

static size_t state_tables(const struct qcow2_saving *s)
{
	size_t n = s->n_l2;

	while (n && !s->l2[n - 1])
		n--;
	return n;
}

static int write_state_table(struct qcow2_saving *s, const uint64_t *places, uint64_t to)
{
	const struct qcow2 *q = s->q;
	size_t n = (size_t)1 << q->l2_bits;
	CLEANUP(cleanup_free) uint8_t *buf = calloc(n, q->entry_bytes);

	if (!buf)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		uint8_t *p = buf + i * q->entry_bytes;

		if (!places[i])
			continue;
		put_be64(p, places[i] | QCOW2_COPIED);
		if (q->entry_bytes == 16)
			put_be64(p + 8, UINT32_MAX);
	}
	return qcow2_pwrite(s->q, buf, n * q->entry_bytes, to);
}

/* Places for the tables.  Lock held. */
static int take_tables(struct qcow2_saving *s, size_t n)
{
	struct qcow2 *q = s->q;
	uint64_t l1_bytes = MAX((s->l1_n + n) * 8, 8);
	int ret = qcow2_may_change(q);

	for (size_t i = 0; i < n && ret == 0; i++) {
		if (s->l2[i])
			ret = qcow2_alloc(q, 1, &s->l2_host[i]);
		if (ret < 0)
			s->l2_host[i] = 0;
	}
	if (ret == 0)
		ret = qcow2_alloc_bytes(q, l1_bytes, &s->l1_host);
	if (ret < 0)
		s->l1_host = 0;
	s->l1_host_bytes = l1_bytes;
	return ret;
}

/* L2 tables of the VM state, on the medium when the guest's clusters are.  No lock. */
static int write_state_tables(struct qcow2_saving *s)
{
	size_t n = state_tables(s);
	int ret;

	s->l2_host = calloc(n + 1, sizeof(*s->l2_host));
	if (!s->l2_host)
		return -ENOMEM;
	s->n_l2_host = n;
	(void)pthread_mutex_lock(&s->q->lock);
	ret = take_tables(s, n);
	(void)pthread_mutex_unlock(&s->q->lock);
	for (size_t i = 0; i < n && ret == 0; i++)
		if (s->l2[i])
			ret = write_state_table(s, s->l2[i], s->l2_host[i]);
	return ret < 0 ? ret : qcow2_barrier(s->q);
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
	size_t n = s->l1_host_bytes / 8;
	CLEANUP(cleanup_free) uint64_t *l1 = calloc(n, sizeof(*l1));

	if (!l1)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->l1_n; i++)
		l1[i] = s->l1[i];
	for (size_t i = 0; i < s->n_l2_host; i++)
		l1[s->l1_n + i] = s->l2_host[i];
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
	return snapshot_table_add(t, &entry, s->l1_host, (uint32_t)(s->l1_host_bytes / 8), err);
}

/* Lock held; r->refs has the data's references. */
static int commit_locked(struct qcow2_saving *s, struct qcow2_relink *r, struct snapshot_table *t,
			 struct err *err)
{
	struct qcow2 *q = s->q;
	int ret = count_rest(s, &r->refs);

	if (ret == 0)
		ret = write_l1(s);
	if (ret < 0)
		return err_set(err, -ret, "the snapshot's tables cannot be written: %s",
			       err_text(-ret));
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

static void give_reserve_back(struct qcow2_saving *s)
{
	qcow2_unalloc(s->q, s->reserve, s->reserve_clusters << s->q->cluster_bits);
	s->reserve_clusters = 0;
}

static int commit(struct qcow2_saving *s, const struct qcow2_snapshot *what, struct err *err)
{
	struct qcow2_relink r = {0};
	struct snapshot_table t = {0};
	int ret = write_state_tables(s);

	if (ret < 0)
		return err_set(err, -ret, "the snapshot's tables cannot be written: %s",
			       err_text(-ret));
	ret = count_data(s, &r.refs, err);
	(void)pthread_mutex_lock(&s->q->lock);
	if (ret == 0 && s->reserve_clusters)
		give_reserve_back(s);
	if (ret == 0)
		ret = new_list(s, what, &t, err);
	if (ret == 0)
		ret = commit_locked(s, &r, &t, err);
	else
		counts_fini(&r.refs);
	(void)pthread_mutex_unlock(&s->q->lock);
	snapshot_table_fini(&t);
	return ret;
}

/* ---- abort ---- */

/* Clusters of the VM state, in runs. */
static void give_state_back(struct qcow2_saving *s)
{
	struct qcow2 *q = s->q;
	uint64_t host = 0, bytes = 0;

	for (size_t t = 0; t < s->n_l2; t++)
		for (uint64_t i = 0; s->l2[t] && i < 1ULL << q->l2_bits; i++) {
			uint64_t e = s->l2[t][i];

			if (e == 0)
				continue;
			if (bytes && e == host + bytes) {
				bytes += q->cluster_bytes;
				continue;
			}
			if (bytes)
				qcow2_unalloc(q, host, bytes);
			host = e;
			bytes = q->cluster_bytes;
		}
	if (bytes)
		qcow2_unalloc(q, host, bytes);
	if (s->reserve_clusters)
		give_reserve_back(s);
}

static void give_tables_back(struct qcow2_saving *s)
{
	struct qcow2 *q = s->q;

	for (size_t i = 0; i < s->n_l2_host; i++)
		if (s->l2_host[i])
			qcow2_unalloc(q, s->l2_host[i], q->cluster_bytes);
	if (s->l1_host)
		qcow2_unalloc(q, s->l1_host, ALIGN_UP(s->l1_host_bytes, q->cluster_bytes));
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
	give_state_back(s);
	give_tables_back(s);
	give_kept_up(s);
}

/* It stays there until qcow2_saving_abort(), which may or may not follow. */
int qcow2_saving_commit(struct qcow2_saving *s, const struct qcow2_snapshot *what, struct err *err)
{
	struct qcow2 *q = s->q;
	int ret = s->over ? err_set(err, EINVAL, "the snapshot is not being saved any more")
			  : commit(s, what, err);

	(void)pthread_mutex_lock(&q->lock);
	if (ret < 0 && !s->over)
		abort_locked(s);
	if (ret == 0)
		qcow2_saving_drop(q);
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
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
