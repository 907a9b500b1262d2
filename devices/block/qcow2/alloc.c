/*
 * alloc.c - room for clusters: runs of free ones, refcount blocks and a larger table for them
 *
 * Room is looked for from free_from on, below which nothing is free.  Where a run reaches into what
 * a refcount block would count that does not exist yet, the block is put directly behind the run
 * and is part of it: the search is for n clusters and as many more as the run lacks blocks.  Behind
 * the end of the refcount table the table is made larger first: elsewhere, complete with the blocks
 * that count its own new place, and then one write of the header makes it the table.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/internal.h"
#include "devices/block/qcow2/refblock.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

#define MAX_FREES      8192U      /* let go and not written back: more is written back by itself */
#define MAX_FREED      (64 * MiB) /* or a part of a smaller image */
#define MIN_FREED      (4 * MiB)
#define FREED_PART     16
#define MAX_HOST_BYTES (1ULL << 56) /* what an entry can say */

struct run {
	uint64_t first, n; /* clusters, in cluster numbers */
	uint64_t blocks;   /* behind them: refcount blocks that are made */
	uint64_t first_free;
};

/* ---- searching ---- */

/* Look at one piece of counts from cluster c on; true: the run is complete. */
static bool search_piece(const struct qcow2 *q, const struct rb_pos *pos, uint64_t c, uint64_t min,
			 uint64_t max, struct run *r)
{
	for (uint64_t k = 0; k < pos->n; k++) {
		if (pos->b && rb_count(q, pos, k) != 0) {
			if (r->n && r->n >= min + r->blocks)
				return true;
			r->n = r->blocks = 0;
			continue;
		}
		if (r->n == 0)
			r->first = c + k;
		if (!pos->b && (k == 0 || r->n == 0))
			r->blocks++;
		r->n++;
		r->first_free = MIN(r->first_free, c + k);
		if (r->n >= max + r->blocks)
			return true;
	}
	return false;
}

/* min to max clusters; r->n is without the blocks. */
static int search(struct qcow2 *q, uint64_t min, uint64_t max, struct run *r)
{
	uint64_t c = q->free_from;
	bool found = false;

	*r = (struct run){.first_free = UINT64_MAX};
	while (!found) {
		struct rb_pos pos = {0};
		int ret;

		if (c >= MAX_HOST_BYTES >> q->cluster_bits)
			return -EFBIG;
		ret = rb_get(q, c, &pos);
		if (ret < 0)
			return ret;
		found = search_piece(q, &pos, c, min, max, r);
		c += pos.n;
		rb_put(&pos);
	}
	r->n -= r->blocks;
	return 0;
}

/* ---- a larger table ---- */

struct growth {
	uint64_t first;  /* cluster: the table's new place, then the blocks */
	uint64_t table;  /* clusters of it */
	uint64_t blocks; /* that count all this */
	uint64_t n;      /* entries */
};

static int growth_plan(const struct qcow2 *q, uint64_t need, struct growth *g)
{
	uint64_t max = QCOW2_MAX_RT_BYTES / 8;

	g->first = (uint64_t)q->rt.n << q->rb_bits;
	g->n = MIN(MAX(2ULL * q->rt.n, need + 64), max);
	g->n = ALIGN_UP(g->n * 8, q->cluster_bytes) / 8;
	g->table = g->n * 8 >> q->cluster_bits;
	g->blocks = 1;
	while (g->blocks << q->rb_bits < g->table + g->blocks)
		g->blocks++;
	return need >= g->n || q->rt.n + g->blocks > g->n ? -EFBIG : 0;
}

/* Block k of the growth: it counts a part of the table and of the blocks, once each. */
static int growth_write_block(struct qcow2 *q, const struct growth *g, uint64_t k, uint8_t *buf)
{
	uint64_t per = 1ULL << q->rb_bits, used = g->table + g->blocks;
	uint64_t n = MIN(per, used - MIN(used, k * per));

	memset(buf, 0, q->cluster_bytes);
	for (uint64_t i = 0; i < n; i++)
		refblock_set(q->refcount_order, buf, (uint32_t)i, 1);
	return qcow2_pwrite(q, buf, q->cluster_bytes, (g->first + g->table + k) << q->cluster_bits);
}

static int growth_write(struct qcow2 *q, const struct growth *g, uint64_t *e)
{
	CLEANUP(cleanup_free) uint8_t *buf = qcow2_buffer(q->cluster_bytes);
	int ret;

	if (!buf)
		return -ENOMEM;
	ret = qcow2_cache_write(q, &q->rbc, false); /* the new table points at them, too */
	memcpy(e, q->rt.e, q->rt.n * 8ULL);
	for (uint64_t k = 0; k < g->blocks && ret == 0; k++) {
		e[q->rt.n + k] = (g->first + g->table + k) << q->cluster_bits;
		ret = growth_write_block(q, g, k, buf);
	}
	if (ret == 0)
		ret = qcow2_write_be64(q, e, g->n, g->first << q->cluster_bits);
	return ret;
}

/* The refcount table has an entry 'need' afterwards. */
static int grow(struct qcow2 *q, uint64_t need)
{
	CLEANUP(cleanup_free) uint64_t *e = NULL;
	struct qcow2_header old = q->h;
	struct qcow2_table t = {0};
	struct growth g = {0};
	int ret = growth_plan(q, need, &g);

	if (ret < 0)
		return ret;
	e = qcow2_buffer(g.n * 8);
	if (!e)
		return -ENOMEM;
	memset(e, 0, g.n * 8);
	ret = growth_write(q, &g, e);
	if (ret == 0)
		ret = qcow2_table_init(&t, g.first << q->cluster_bits, (uint32_t)g.n);
	if (ret < 0)
		return ret;
	memcpy(t.e, e, g.n * 8);
	q->h.rt_host = t.host;
	q->h.rt_clusters = (uint32_t)g.table;
	ret = qcow2_header_commit(q);
	if (ret < 0) {
		qcow2_table_fini(&t);
		q->h.rt_host = old.rt_host;
		q->h.rt_clusters = old.rt_clusters;
		qcow2_header_restore(q);
		return ret;
	}
	for (uint64_t k = 0; k < g.blocks; k++)
		qcow2_table_note(q, t.e[q->rt.n + k]);
	qcow2_since_add(q, g.first, g.table + g.blocks);
	q->hole_from = MAX(q->hole_from, (g.first + g.table + g.blocks) << q->cluster_bits);
	qcow2_unref(q, q->rt.host, q->rt.n * 8ULL);
	qcow2_table_fini(&q->rt);
	q->rt = t;
	return 0;
}

/* ---- taking ---- */

/* A new refcount block for 'cluster' at 'host', all counts 0. */
static int block_make(struct qcow2 *q, uint64_t cluster, uint64_t host)
{
	bool zero = host >= q->hole_from, one = q->piece_bytes == q->cluster_bytes;
	struct qcow2_block *b = NULL;
	int ret;

	qcow2_cache_drop(q, &q->rbc, host, q->cluster_bytes);
	ret = zero || one ? 0 : qcow2_pzero(q, host, q->cluster_bytes);
	if (ret == 0)
		ret = qcow2_block_new(q, &q->rbc, host, &b);
	if (ret < 0)
		return ret;
	if (one)
		qcow2_block_dirty(&q->rbc, b, 0, q->piece_bytes);
	qcow2_block_put(b);
	qcow2_table_set(&q->rt, (uint32_t)(cluster >> q->rb_bits), host);
	qcow2_table_note(q, host);
	return 0;
}

/* Clusters [r->first, done) as they were: counts 0, and no blocks in the run. */
static void take_undo(struct qcow2 *q, const struct run *r, uint64_t done)
{
	uint64_t lo = (r->first + r->n) << q->cluster_bits;
	uint64_t hi = (r->first + r->n + r->blocks) << q->cluster_bits;

	for (uint64_t c = r->first; c < r->first + r->n + r->blocks;
	     c = ((c >> q->rb_bits) + 1) << q->rb_bits) {
		uint32_t i = (uint32_t)(c >> q->rb_bits);
		uint64_t host = q->rt.e[i] & QCOW2_RT_MASK;

		if (host < lo || host >= hi)
			continue;
		qcow2_table_set(&q->rt, i, 0);
		qcow2_cache_drop(q, &q->rbc, host, q->cluster_bytes);
	}
	for (uint64_t c = r->first; c < done; c++) {
		struct rb_pos pos = {0};

		if (rb_get(q, c, &pos) < 0)
			continue; /* a leak */
		if (pos.b)
			rb_set(q, &pos, 0, 0);
		rb_put(&pos);
	}
}

/* All clusters of the run have count 1, its blocks are there. */
static int take(struct qcow2 *q, const struct run *r)
{
	uint64_t end = r->first + r->n + r->blocks, spare = r->first + r->n, c = r->first;
	int ret = 0;

	while (c < end && ret == 0) {
		struct rb_pos pos = {0};

		ret = rb_get(q, c, &pos);
		if (ret == 0 && !pos.b) {
			ret = block_make(q, c, spare++ << q->cluster_bits);
			if (ret == 0)
				ret = rb_get(q, c, &pos);
		}
		if (ret < 0)
			break;
		for (uint64_t k = 0; k < pos.n && c < end; k++, c++)
			rb_set(q, &pos, k, 1);
		rb_put(&pos);
	}
	if (ret < 0)
		take_undo(q, r, c);
	return ret;
}

/* Clusters that were in use before are looked at twice: what the counts say may be wrong. */
static int judge(struct qcow2 *q, const struct run *r)
{
	uint64_t host = r->first << q->cluster_bits;
	uint64_t bytes = (r->n + r->blocks) << q->cluster_bits;
	const char *what;

	if (host >= q->hole_from)
		return 0;
	what = qcow2_overlaps(q, host, MIN(bytes, q->hole_from - host), true);
	if (what)
		return qcow2_damaged(
		    q,
		    "the refcounts say that the cluster at 0x%llx or one behind it is "
		    "free, but the %s is there",
		    (unsigned long long)host, what);
	return 0;
}

int qcow2_bound_frees(struct qcow2 *q)
{
	uint64_t max = MIN(MAX(q->hole_from / FREED_PART, MIN_FREED), MAX_FREED);

	if (q->n_frees > MAX_FREES || q->freed_bytes > max)
		return qcow2_write_back(q);
	return 0;
}

static int alloc_run(struct qcow2 *q, uint64_t min, uint64_t max, struct run *r)
{
	int ret = qcow2_bound_frees(q);

	while (ret == 0) {
		uint64_t last;

		ret = search(q, min, max, r);
		last = ret < 0 ? 0 : (r->first + r->n + r->blocks - 1) >> q->rb_bits;
		if (ret < 0 || last < q->rt.n)
			break;
		ret = grow(q, last);
	}
	if (ret == 0)
		ret = judge(q, r);
	return ret < 0 ? ret : take(q, r);
}

/* Bits of 'since' for n clusters, where a saving wants them. */
void qcow2_since_add(struct qcow2 *q, uint64_t first, uint64_t n)
{
	uint64_t end = first + n;

	if (!q->held)
		return;
	if (end > q->since_n) {
		uint64_t want = ALIGN_UP(MAX(end, 2 * q->since_n), 64);

		q->since = xrealloc(q->since, want / 8);
		memset((uint8_t *)q->since + q->since_n / 8, 0, (want - q->since_n) / 8);
		q->since_n = want;
	}
	for (uint64_t c = first; c < end; c++)
		q->since[c / 64] |= 1ULL << c % 64;
}

static int alloc_clusters(struct qcow2 *q, uint64_t min, uint64_t *clusters, uint64_t *host,
			  bool *zero)
{
	struct run r = {0};
	uint64_t all;
	int ret = alloc_run(q, min, *clusters, &r);

	if (ret < 0)
		return ret;
	all = r.n + r.blocks;
	*host = r.first << q->cluster_bits;
	*clusters = r.n;
	*zero = *host >= q->hole_from;
	q->hole_from = MAX(q->hole_from, (r.first + all) << q->cluster_bits);
	q->free_from = r.first_free == r.first ? r.first + all : r.first_free;
	qcow2_since_add(q, r.first, all);
	return 0;
}

int qcow2_alloc_some(struct qcow2 *q, uint64_t *clusters, uint64_t *host, bool *zero)
{
	return alloc_clusters(q, 1, clusters, host, zero);
}

int qcow2_alloc(struct qcow2 *q, uint64_t clusters, uint64_t *host)
{
	bool zero;

	return alloc_clusters(q, clusters, &clusters, host, &zero);
}

int qcow2_alloc_bytes(struct qcow2 *q, uint64_t bytes, uint64_t *host)
{
	return qcow2_alloc(q, ALIGN_UP(bytes, q->cluster_bytes) >> q->cluster_bits, host);
}

/* ---- for check ---- */

/* A block for 'cluster', put behind all that the storage has: counts may be wrong now. */
static int block_add(struct qcow2 *q, uint64_t cluster)
{
	uint64_t from = q->free_from, host;
	int ret = cluster >> q->rb_bits < q->rt.n ? 0 : grow(q, cluster >> q->rb_bits);

	if (ret < 0)
		return ret;
	q->free_from = MAX(from, q->hole_from >> q->cluster_bits);
	ret = qcow2_alloc(q, 1, &host);
	q->free_from = from;
	if (ret < 0 || q->rt.e[cluster >> q->rb_bits] & QCOW2_RT_MASK) {
		if (ret == 0)
			qcow2_unalloc(q, host, q->cluster_bytes);
		return ret;
	}
	return block_make(q, cluster, host);
}

int qcow2_refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
	struct rb_pos pos = {0};
	int ret = rb_get(q, cluster, &pos);

	if (ret == 0 && !pos.b && count == 0)
		return 0;
	if (ret == 0 && !pos.b) {
		ret = block_add(q, cluster);
		if (ret == 0)
			ret = rb_get(q, cluster, &pos);
	}
	if (ret < 0)
		return ret;
	if (count > q->refcount_max)
		ret = -ERANGE;
	else
		rb_set(q, &pos, 0, count);
	rb_put(&pos);
	return ret;
}
