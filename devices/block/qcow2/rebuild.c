/*
 * rebuild.c - refcounts made anew from what refers to what
 *
 * New blocks and a new table go behind all that any table refers to and behind the end of the file:
 * which of the clusters before are free cannot be believed.  They count themselves, too.  They are
 * complete on the medium before the header says that they are the refcounts; the old ones are free
 * by then, for nothing has counted them.
 *
 * COPIED flags are put right in place, afterwards: with the flags of before and right refcounts an
 * image is as good as it was, and the next repair goes on.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/check.h"
#include "devices/block/qcow2/refblock.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

/* Where they go: clusters. */
struct layout {
	uint64_t first, blocks, table;
};

static int layout_find(struct check *k, struct layout *l)
{
	const struct qcow2 *q = k->q;
	uint64_t per_block = 1ULL << q->rb_bits;

	*l = (struct layout){.first = MAX(k->clusters, k->end), .blocks = 1, .table = 1};
	for (;;) {
		uint64_t all = l->first + l->blocks + l->table;
		uint64_t blocks = (all + per_block - 1) / per_block;
		uint64_t table = ALIGN_UP(blocks * 8, q->cluster_bytes) >> q->cluster_bits;

		if (blocks <= l->blocks && table <= l->table)
			break;
		l->blocks = MAX(blocks, l->blocks);
		l->table = MAX(table, l->table);
	}
	return l->table << q->cluster_bits > QCOW2_MAX_RT_BYTES ? -EFBIG : 0;
}

static int put_blocks(struct check *k, const struct layout *l, uint64_t *table)
{
	struct qcow2 *q = k->q;
	CLEANUP(cleanup_free) uint8_t *buf = malloc(q->cluster_bytes);
	uint64_t per_block = 1ULL << q->rb_bits;
	int ret = buf ? 0 : -ENOMEM;

	for (uint64_t b = 0; b < l->blocks && ret == 0; b++) {
		uint64_t first = b * per_block, host = (l->first + b) << q->cluster_bits;

		memset(buf, 0, q->cluster_bytes);
		for (uint64_t c = counts_next(&k->refs, first); c < first + per_block;
		     c = counts_next(&k->refs, c + 1)) {
			uint64_t count = (uint64_t)counts_get(&k->refs, c);

			if (count > q->refcount_max)
				return -ERANGE;
			refblock_set(q->refcount_order, buf, (uint32_t)(c - first), count);
		}
		ret = qcow2_pwrite(q, buf, q->cluster_bytes, host);
		table[b] = host;
	}
	return ret;
}

static int switch_table(struct qcow2 *q, const struct layout *l)
{
	const struct qcow2_header before = q->h;
	int ret;

	q->h.rt_host = (l->first + l->blocks) << q->cluster_bits;
	q->h.rt_clusters = (uint32_t)l->table;
	ret = qcow2_header_commit(q);
	if (ret < 0) {
		q->h = before;
		qcow2_header_restore(q);
	}
	return ret;
}

/* All that was known of the refcounts is read anew. */
static int reload(struct qcow2 *q, struct err *err)
{
	qcow2_refcounts_fini(q);
	qcow2_cache_empty(q, &q->rbc);
	return qcow2_refcounts_load(q, err);
}

int check_rebuild(struct check *k, struct err *err)
{
	struct qcow2 *q = k->q;
	CLEANUP(cleanup_free) uint64_t *table = NULL;
	struct layout l;
	int ret = layout_find(k, &l);

	if (ret == 0) {
		table = calloc(l.table << q->cluster_bits, 1);
		ret = table ? 0 : -ENOMEM;
	}
	for (uint64_t c = l.first; c < l.first + l.blocks + l.table && ret == 0; c++)
		ret = counts_add(&k->refs, c, 1);
	if (ret == 0)
		ret = put_blocks(k, &l, table);
	if (ret == 0)
		ret = qcow2_write_be64(q, table, (l.table << q->cluster_bits) / 8,
				       (l.first + l.blocks) << q->cluster_bits);
	if (ret == 0)
		ret = switch_table(q, &l);
	if (ret < 0)
		return err_set(err, -ret, "the image's refcounts cannot be rebuilt: %s",
			       err_text(-ret));
	return reload(q, err);
}

/* ---- COPIED ---- */

static uint64_t flag_for(const struct check *k, uint64_t host)
{
	return counts_get(&k->refs, host >> k->q->cluster_bits) == 1 ? QCOW2_COPIED : 0;
}

/* The flags in k->l2; true: one has changed. */
static bool fix_entries(struct check *k)
{
	bool changed = false;

	for (uint32_t i = 0; i < 1U << k->q->l2_bits; i++) {
		const struct qcow2_entry e = check_entry(k, i);
		uint64_t host, bytes, desc = e.desc & ~QCOW2_COPIED;

		if (!qcow2_entry_is_compressed(&e) && qcow2_entry_range(k->q, &e, &host, &bytes))
			desc |= flag_for(k, host);
		else if (!qcow2_entry_is_compressed(&e))
			continue;
		if (desc == e.desc)
			continue;
		put_be64(k->l2 + (size_t)i * k->q->entry_bytes, desc);
		changed = true;
	}
	return changed;
}

static int fix_table(struct check *k, uint64_t host)
{
	int ret;

	if (host & (k->q->cluster_bytes - 1) || host >> k->q->cluster_bits >= k->clusters)
		return 0; /* told already */
	ret = check_read_l2(k, host);
	if (ret == 0 && fix_entries(k))
		ret = qcow2_pwrite(k->q, k->l2, k->q->cluster_bytes, host);
	return ret;
}

int check_fix_flags(struct check *k, struct err *err)
{
	struct qcow2 *q = k->q;
	uint64_t *l1 = check_read_table(k, q->h.l1_host, q->h.l1_n, "L1 table");
	int ret = l1 ? 0 : -EIO;

	for (uint32_t i = 0; i < q->h.l1_n && ret == 0; i++) {
		uint64_t host = l1[i] & QCOW2_OFF_MASK;

		if (!host)
			continue;
		ret = fix_table(k, host);
		l1[i] = host | flag_for(k, host);
	}
	if (ret == 0)
		ret = qcow2_write_be64(q, l1, q->h.l1_n, q->h.l1_host);
	if (ret == 0)
		ret = qcow2_barrier(q);
	free(l1);
	if (ret < 0)
		return err_set(err, -ret, "the image's COPIED flags cannot be repaired: %s",
			       err_text(-ret));
	qcow2_cache_empty(q, &q->l2c);
	qcow2_l1_fini(q);
	return qcow2_l1_load(q, err);
}
