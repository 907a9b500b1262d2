/*
 * refcount.c - who uses which cluster: counts, and what is let go
 *
 * The refcount table is in memory as a whole, the blocks it points at in pieces.  Counts go up at
 * once; down when nothing on the medium refers to the cluster any more (THE ORDER, internal.h).
 * Counts of 2^order bits stand big-endian; those narrower than a byte from the lowest bit on.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/internal.h"
#include "devices/block/qcow2/refblock.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

/* ---- counts in a block ---- */

uint64_t refblock_get(uint32_t order, const uint8_t *p, uint32_t i)
{
	switch (order) {
	case 0:
		return p[i / 8] >> i % 8 & 1U;
	case 1:
		return p[i / 4] >> 2 * (i % 4) & 3U;
	case 2:
		return p[i / 2] >> 4 * (i % 2) & 15U;
	case 3:
		return p[i];
	case 4:
		return get_be16(p + 2 * (size_t)i);
	case 5:
		return get_be32(p + 4 * (size_t)i);
	default:
		return get_be64(p + 8 * (size_t)i);
	}
}

static void bits_set(uint8_t *p, unsigned shift, unsigned mask, uint64_t v)
{
	*p = (uint8_t)((*p & ~(mask << shift)) | (unsigned)v << shift);
}

void refblock_set(uint32_t order, uint8_t *p, uint32_t i, uint64_t v)
{
	switch (order) {
	case 0:
		bits_set(p + i / 8, i % 8, 1, v);
		break;
	case 1:
		bits_set(p + i / 4, 2 * (i % 4), 3, v);
		break;
	case 2:
		bits_set(p + i / 2, 4 * (i % 2), 15, v);
		break;
	case 3:
		p[i] = (uint8_t)v;
		break;
	case 4:
		put_be16(p + 2 * (size_t)i, (uint16_t)v);
		break;
	case 5:
		put_be32(p + 4 * (size_t)i, (uint32_t)v);
		break;
	default:
		put_be64(p + 8 * (size_t)i, v);
	}
}

static uint64_t block_host(const struct qcow2 *q, uint64_t cluster)
{
	uint64_t i = cluster >> q->rb_bits;

	return i < q->rt.n ? q->rt.e[i] & QCOW2_RT_MASK : 0;
}

static uint32_t piece_counts(const struct qcow2 *q)
{
	return (uint32_t)((uint64_t)q->piece_bytes * 8 >> q->refcount_order);
}

static int rb_judge(struct qcow2 *q, uint64_t host)
{
	if (host & (q->cluster_bytes - 1) || host > QCOW2_OFF_MASK)
		return qcow2_damaged(
		    q, "a refcount block is said to be at 0x%" PRIx64 ", which is not at a cluster",
		    host);
	if (host < q->cluster_bytes ||
	    (host < q->rt.host + q->rt.n * 8ULL && host + q->cluster_bytes > q->rt.host) ||
	    (host < q->l1.host + q->l1.n * 8ULL && host + q->cluster_bytes > q->l1.host))
		return qcow2_damaged(
		    q, "a refcount block is said to be at 0x%" PRIx64 ", where another table is",
		    host);
	return 0;
}

int rb_get(struct qcow2 *q, uint64_t cluster, struct rb_pos *pos)
{
	uint64_t index = cluster & ((1ULL << q->rb_bits) - 1), host = block_host(q, cluster);
	struct qcow2_block *b = NULL;
	int ret;

	if (!host) {
		*pos = (struct rb_pos){.n = (1ULL << q->rb_bits) - index};
		return 0;
	}
	ret = rb_judge(q, host);
	if (ret == 0)
		ret = qcow2_block_get(q, &q->rbc, host + index / piece_counts(q) * q->piece_bytes,
				      &b);
	if (ret < 0)
		return ret;
	pos->b = b;
	pos->i = (uint32_t)(index % piece_counts(q));
	pos->n = piece_counts(q) - pos->i;
	return 0;
}

void rb_put(struct rb_pos *pos)
{
	if (pos->b)
		qcow2_block_put(pos->b);
	pos->b = NULL;
}

uint64_t rb_count(const struct qcow2 *q, const struct rb_pos *pos, uint64_t k)
{
	return pos->b ? refblock_get(q->refcount_order, pos->b->data, pos->i + (uint32_t)k) : 0;
}

void rb_set(struct qcow2 *q, const struct rb_pos *pos, uint64_t k, uint64_t v)
{
	uint32_t i = pos->i + (uint32_t)k;
	uint32_t first = (uint32_t)(((uint64_t)i << q->refcount_order) / 8);

	assert(pos->b);
	refblock_set(q->refcount_order, pos->b->data, i, v);
	qcow2_block_dirty(&q->rbc, pos->b, first, MAX(1U << q->refcount_order, 8U) / 8);
}

int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *count)
{
	struct rb_pos pos = {0};
	int ret = rb_get(q, cluster, &pos);

	if (ret < 0)
		return ret;
	*count = rb_count(q, &pos, 0);
	rb_put(&pos);
	return 0;
}

/* ---- loading ---- */

int qcow2_refcounts_load(struct qcow2 *q, struct err *err)
{
	uint32_t n = (uint32_t)(((uint64_t)q->h.rt_clusters << q->cluster_bits) / 8);
	uint64_t bytes = 0;
	int ret = qcow2_table_load(q, &q->rt, q->h.rt_host, n);

	if (ret == 0)
		ret = q->s.ops->size(q->s.opaque, &bytes);
	if (ret < 0)
		return err_set(err, -ret, "the refcount table at 0x%" PRIx64 " cannot be read: %s",
			       q->h.rt_host, err_text(-ret));
	for (uint32_t i = 0; i < n; i++)
		if (q->rt.e[i] & QCOW2_RT_MASK)
			qcow2_table_note(q, q->rt.e[i] & QCOW2_RT_MASK);
	q->free_from = 0;
	q->hole_from = ALIGN_UP(bytes, q->cluster_bytes);
	return 0;
}

void qcow2_refcounts_fini(struct qcow2 *q)
{
	qcow2_table_fini(&q->rt);
	free(q->frees);
	q->frees = NULL;
	q->n_frees = q->cap_frees = 0;
	q->freed_bytes = 0;
}

void qcow2_refcounts_changed(struct qcow2 *q)
{
	q->free_from = 0;
	q->compress_at = 0;
}

/* ---- what is where ---- */

static uint32_t filter_bit(const struct qcow2 *q, uint64_t host)
{
	uint64_t n = (host >> q->cluster_bits) * 0x9e3779b97f4a7c15ULL;

	return (uint32_t)(n >> (64 - q->table_filter_bits));
}

void qcow2_table_note(struct qcow2 *q, uint64_t host)
{
	uint32_t bit = filter_bit(q, host);

	q->table_filter[bit / 64] |= 1ULL << bit % 64;
}

static bool in_table(const struct qcow2_table *t, uint64_t mask, uint64_t host)
{
	for (uint32_t i = 0; i < t->n; i++)
		if ((t->e[i] & mask) == host)
			return true;
	return false;
}

static bool touches(uint64_t host, uint64_t bytes, uint64_t at, uint64_t n)
{
	return n && host < at + n && at < host + bytes;
}

const char *qcow2_overlaps(struct qcow2 *q, uint64_t host, uint64_t bytes, bool l2)
{
	if (host < q->cluster_bytes)
		return "header";
	if (touches(host, bytes, q->l1.host, q->l1.n * 8ULL))
		return "L1 table";
	if (touches(host, bytes, q->rt.host, q->rt.n * 8ULL))
		return "refcount table";
	if (touches(host, bytes, q->h.snapshots_host, q->h.n_snapshots ? 1 : 0))
		return "snapshot table";
	for (uint64_t at = ALIGN_DOWN(host, q->cluster_bytes); at < host + bytes;
	     at += q->cluster_bytes) {
		uint32_t bit = filter_bit(q, at);

		if (!(q->table_filter[bit / 64] >> bit % 64 & 1))
			continue;
		if (in_table(&q->rt, QCOW2_RT_MASK, at))
			return "refcount block";
		if (l2 && in_table(&q->l1, QCOW2_OFF_MASK, at))
			return "L2 table";
	}
	return NULL;
}

/* ---- counts that change ---- */

/* The cluster is nobody's any more. */
static void cluster_is_free(struct qcow2 *q, uint64_t cluster)
{
	uint64_t host = cluster << q->cluster_bits;

	qcow2_cache_drop(q, &q->l2c, host, q->cluster_bytes);
	q->free_from = MIN(q->free_from, cluster);
	if (q->compress_at && q->compress_at >> q->cluster_bits == cluster)
		q->compress_at = 0;
	if (q->since && cluster < q->since_n)
		q->since[cluster / 64] &= ~(1ULL << cluster % 64);
}

/* One less for clusters [first, end), as far as *done. */
static int count_down(struct qcow2 *q, uint64_t first, uint64_t end, uint64_t *done)
{
	uint64_t c = first;
	int ret = 0;

	while (c < end && ret == 0) {
		struct rb_pos pos = {0};
		uint64_t k = 0;

		ret = rb_get(q, c, &pos);
		for (; ret == 0 && k < pos.n && c + k < end; k++) {
			uint64_t count = rb_count(q, &pos, k);

			if (count == 0) {
				ret = qcow2_damaged(q,
						    "the cluster at 0x%" PRIx64
						    " is let go, but its refcount is 0",
						    (c + k) << q->cluster_bits);
				break;
			}
			rb_set(q, &pos, k, count - 1);
			if (count == 1)
				cluster_is_free(q, c + k);
		}
		if (ret == 0 || k > 0)
			c += k;
		rb_put(&pos);
	}
	*done = c;
	return ret;
}

void qcow2_unalloc(struct qcow2 *q, uint64_t host, uint64_t bytes)
{
	uint64_t first = host >> q->cluster_bits, done;

	(void)count_down(q, first, (ALIGN_UP(host + bytes, q->cluster_bytes)) >> q->cluster_bits,
			 &done);
}

int qcow2_ref(struct qcow2 *q, uint64_t host, uint64_t bytes)
{
	uint64_t first = host >> q->cluster_bits, c = first, done;
	uint64_t end = ALIGN_UP(host + bytes, q->cluster_bytes) >> q->cluster_bits;
	int ret = 0;

	while (c < end && ret == 0) {
		struct rb_pos pos = {0};
		uint64_t k = 0;

		ret = rb_get(q, c, &pos);
		if (ret < 0)
			break;
		for (; k < pos.n && c + k < end && ret == 0; k++) {
			uint64_t count = rb_count(q, &pos, k);

			if (count == 0)
				ret = qcow2_damaged(q,
						    "the cluster at 0x%" PRIx64
						    " is in use, but its refcount is 0",
						    (c + k) << q->cluster_bits);
			else if (count == q->refcount_max)
				ret = -ERANGE;
			if (ret < 0)
				break;
			rb_set(q, &pos, k, count + 1);
		}
		c += k;
		rb_put(&pos);
	}
	if (ret < 0)
		(void)count_down(q, first, c, &done);
	return ret;
}

void qcow2_unref(struct qcow2 *q, uint64_t host, uint64_t bytes)
{
	uint64_t first = ALIGN_DOWN(host, q->cluster_bytes);
	uint64_t n = ALIGN_UP(host + bytes, q->cluster_bytes) - first;
	struct qcow2_free *last = q->n_frees > q->frees_sealed ? &q->frees[q->n_frees - 1] : NULL;

	q->freed_bytes += n;
	if (last && last->host + last->bytes == first) {
		last->bytes += n;
		return;
	}
	if (q->n_frees == q->cap_frees) {
		q->cap_frees = 2 * q->cap_frees + 64;
		q->frees = xrealloc(q->frees, q->cap_frees * sizeof(q->frees[0]));
	}
	assert(q->frees);
	q->frees[q->n_frees++] = (struct qcow2_free){first, n};
}

void qcow2_release(struct qcow2 *q, uint64_t host, uint64_t bytes)
{
	uint64_t first = ALIGN_DOWN(host, q->cluster_bytes);

	for (uint64_t at = first; at < host + bytes; at += q->cluster_bytes)
		if (qcow2_is_held(q, at))
			qcow2_saving_keep(q, at, q->cluster_bytes);
		else
			qcow2_unref(q, at, q->cluster_bytes);
}

/* What has no user any more is given back; it does not matter if it is not. */
static void discard_free(struct qcow2 *q, const struct qcow2_free *f)
{
	uint64_t end = f->host + f->bytes, from = f->host;

	for (uint64_t at = f->host; at <= end; at += q->cluster_bytes) {
		uint64_t count = 1;

		if (at < end && qcow2_refcount_get(q, at >> q->cluster_bits, &count) == 0 &&
		    count == 0)
			continue;
		if (at > from)
			(void)q->s.ops->discard(q->s.opaque, from, at - from, false);
		from = at + q->cluster_bytes;
	}
}

int qcow2_apply_frees(struct qcow2 *q, size_t n)
{
	size_t i = 0;
	int ret = 0;

	q->frees_sealed = 0;
	if (q->readers || !n)
		return 0;
	for (; i < n && ret == 0; i++) {
		struct qcow2_free *f = &q->frees[i];
		uint64_t first = f->host >> q->cluster_bits, done;

		ret = count_down(q, first, first + (f->bytes >> q->cluster_bits), &done);
		if (ret == 0 && q->how.discards)
			discard_free(q, f);
		if (ret < 0) {
			f->bytes -= (done - first) << q->cluster_bits;
			f->host = done << q->cluster_bits;
			break;
		}
	}
	memmove(q->frees, q->frees + i, (q->n_frees - i) * sizeof(q->frees[0]));
	q->n_frees -= i;
	q->freed_bytes = 0;
	for (i = 0; i < q->n_frees; i++)
		q->freed_bytes += q->frees[i].bytes;
	return ret;
}
