/*
 * vm-state.c - the VM state of a snapshot in the making: clusters that nothing refers to yet
 *
 * Its L2 tables are arrays of places in memory until the end, eight bytes a cluster.  Clusters come
 * from a reserve, a run of some MiB that is allocated at once, so that a state that is written from
 * front to back lies in long runs and one call writes what one call brings.  A cluster that is
 * written in part is zero in the rest.
 */
#include "devices/block/qcow2/vm-state.h"

#include <errno.h>
#include <stdlib.h>

#include "devices/block/qcow2/snapshot-table.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"

#define RESERVE_BYTES (4 * MiB)
#define PIECES        64

void vm_state_init(struct vm_state *v, struct qcow2 *q)
{
	*v = (struct vm_state){.q = q};
	(void)pthread_mutex_init(&v->lock, NULL);
}

void vm_state_fini(struct vm_state *v)
{
	for (size_t i = 0; i < v->n_l2; i++)
		free(v->l2[i]);
	free(v->l2);
	free(v->l2_host);
	(void)pthread_mutex_destroy(&v->lock);
}

/* ---- places ---- */

/* Its table is there. */
static uint64_t *state_slot(const struct vm_state *v, uint64_t cluster)
{
	uint64_t *table = v->l2[cluster >> v->q->l2_bits];

	return &table[cluster & ((1ULL << v->q->l2_bits) - 1)];
}

static uint64_t *state_entry(const struct vm_state *v, uint64_t cluster)
{
	uint64_t table = cluster >> v->q->l2_bits;

	return table < v->n_l2 && v->l2[table] ? state_slot(v, cluster) : NULL;
}

/* There is an entry for this cluster of the VM state. */
static int state_reach(struct vm_state *v, uint64_t cluster)
{
	size_t table = (size_t)(cluster >> v->q->l2_bits);

	if (table >= v->n_l2) {
		size_t n = table + 1 + table / 2;
		uint64_t **l2 = realloc(v->l2, n * sizeof(*l2));

		if (!l2)
			return -ENOMEM;
		for (size_t i = v->n_l2; i < n; i++)
			l2[i] = NULL;
		v->l2 = l2;
		v->n_l2 = n;
	}
	if (!v->l2[table])
		v->l2[table] = calloc(1ULL << v->q->l2_bits, sizeof(uint64_t));
	return v->l2[table] ? 0 : -ENOMEM;
}

/* The reserve has at least one cluster. */
static int reserve_fill(struct vm_state *v, uint64_t want)
{
	struct qcow2 *q = v->q;
	uint64_t n = MAX(want, RESERVE_BYTES >> q->cluster_bits);
	int ret;

	if (v->reserve_clusters)
		return 0;
	(void)pthread_mutex_lock(&q->lock);
	ret = qcow2_may_change(q);
	if (ret == 0)
		ret = qcow2_alloc_some(q, &n, &v->reserve, &v->reserve_zero);
	(void)pthread_mutex_unlock(&q->lock);
	if (ret == 0)
		v->reserve_clusters = n;
	return ret;
}

/* A run of the VM state on the storage. */
struct state_run {
	uint64_t host; /* of its first cluster */
	uint64_t clusters;
	bool fresh, zero;
};

/* How many clusters from 'first' on, at most n, have no place. */
static uint64_t state_missing(const struct vm_state *v, uint64_t first, uint64_t n)
{
	uint64_t i = 0;

	for (; i < n; i++) {
		const uint64_t *e = state_entry(v, first + i);

		if (e && *e)
			break;
	}
	return i;
}

static int state_alloc(struct vm_state *v, uint64_t first, uint64_t n, struct state_run *run)
{
	uint64_t take;
	int ret;

	n = state_missing(v, first, n);
	ret = reserve_fill(v, n);
	if (ret < 0)
		return ret;
	take = MIN(n, v->reserve_clusters);
	for (uint64_t i = 0; i < take && ret == 0; i++)
		ret = state_reach(v, first + i);
	if (ret < 0)
		return ret;
	*run = (struct state_run){
	    .host = v->reserve, .clusters = take, .fresh = true, .zero = v->reserve_zero};
	for (uint64_t i = 0; i < take; i++)
		*state_slot(v, first + i) = v->reserve + (i << v->q->cluster_bits);
	v->reserve += take << v->q->cluster_bits;
	v->reserve_clusters -= take;
	return 0;
}

/* The first of n clusters from 'first' on, and those that follow it on the storage, too. */
static int state_run(struct vm_state *v, uint64_t first, uint64_t n, struct state_run *run)
{
	const uint64_t *e = state_entry(v, first);

	if (!e || !*e)
		return state_alloc(v, first, n, run);
	*run = (struct state_run){.host = *e, .clusters = 1};
	while (run->clusters < n) {
		e = state_entry(v, first + run->clusters);
		if (!e || *e != run->host + (run->clusters << v->q->cluster_bits))
			break;
		run->clusters++;
	}
	return 0;
}

/* A new run is zero before 'from' and behind 'to', offsets in it. */
static int zero_edges(struct vm_state *v, const struct state_run *run, uint64_t from, uint64_t to)
{
	uint64_t end = run->clusters << v->q->cluster_bits;
	int ret = 0;

	if (!run->fresh || run->zero)
		return 0;
	if (from)
		ret = qcow2_pzero(v->q, run->host, from);
	if (ret == 0 && to < end)
		ret = qcow2_pzero(v->q, run->host + to, end - to);
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
static int state_write(struct vm_state *v, const struct iovec *iov, int n_iov, uint64_t pos,
		       uint64_t at, uint64_t bytes, uint64_t *done)
{
	uint32_t bits = v->q->cluster_bits;
	uint64_t first = (pos + at) >> bits, end = (pos + bytes - 1) >> bits;
	uint64_t in = (pos + at) & (v->q->cluster_bytes - 1);
	struct state_run run;
	uint64_t n = 0;
	int ret;

	(void)pthread_mutex_lock(&v->lock);
	ret = state_run(v, first, end - first + 1, &run);
	if (ret == 0) {
		n = MIN(bytes - at, (run.clusters << bits) - in);
		ret = zero_edges(v, &run, in, in + n);
	}
	(void)pthread_mutex_unlock(&v->lock);
	*done = n;
	return ret < 0 ? ret : write_some(v->q, iov, n_iov, at, n, run.host + in);
}

int vm_state_write(struct vm_state *v, uint32_t n_disk, const struct iovec *iov, int n_iov,
		   uint64_t pos, struct err *err)
{
	uint64_t max = (SNAPSHOT_L1_BYTES_MAX / 8 - n_disk) * v->q->l2_covers;
	uint64_t bytes = iov_bytes(iov, (size_t)n_iov);
	int ret = 0;

	if (pos > max || bytes > max - pos)
		return err_set(err, EFBIG,
			       "the VM state has more bytes than the image's tables can tell: %llu",
			       (unsigned long long)max);
	for (uint64_t at = 0, n; at < bytes && ret == 0; at += n)
		ret = state_write(v, iov, n_iov, pos, at, bytes, &n);
	return ret < 0 ? err_set(err, -ret, "the VM state cannot be written into the image: %s",
				 err_text(-ret))
		       : 0;
}

/* ---- the end ---- */

static size_t state_tables(const struct vm_state *v)
{
	size_t n = v->n_l2;

	while (n && !v->l2[n - 1])
		n--;
	return n;
}

static int write_state_table(struct vm_state *v, const uint64_t *places, uint64_t to)
{
	const struct qcow2 *q = v->q;
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
	return qcow2_pwrite(v->q, buf, n * q->entry_bytes, to);
}

static void give_reserve_back(struct vm_state *v)
{
	if (v->reserve_clusters)
		qcow2_unalloc(v->q, v->reserve, v->reserve_clusters << v->q->cluster_bits);
	v->reserve_clusters = 0;
}

/* Places for the tables.  Lock held. */
static int take_tables(struct vm_state *v)
{
	int ret = qcow2_may_change(v->q);

	for (size_t i = 0; i < v->n_l2_host && ret == 0; i++) {
		if (v->l2[i])
			ret = qcow2_alloc(v->q, 1, &v->l2_host[i]);
		if (ret < 0)
			v->l2_host[i] = 0;
	}
	return ret;
}

int vm_state_finish(struct vm_state *v)
{
	size_t n = state_tables(v);
	int ret;

	v->l2_host = calloc(n + 1, sizeof(*v->l2_host));
	if (!v->l2_host)
		return -ENOMEM;
	v->n_l2_host = n;
	(void)pthread_mutex_lock(&v->q->lock);
	give_reserve_back(v);
	ret = take_tables(v);
	(void)pthread_mutex_unlock(&v->q->lock);
	for (size_t i = 0; i < n && ret == 0; i++)
		if (v->l2[i])
			ret = write_state_table(v, v->l2[i], v->l2_host[i]);
	return ret;
}

void vm_state_give_back(struct vm_state *v)
{
	struct qcow2 *q = v->q;
	uint64_t host = 0, bytes = 0;

	for (size_t t = 0; t < v->n_l2; t++)
		for (uint64_t i = 0; v->l2[t] && i < 1ULL << q->l2_bits; i++) {
			uint64_t e = v->l2[t][i];

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
	give_reserve_back(v);
	for (size_t i = 0; i < v->n_l2_host; i++)
		if (v->l2_host[i])
			qcow2_unalloc(q, v->l2_host[i], q->cluster_bytes);
}
