/*
 * relink-write.c - a relink's new tables are written (relink.c, step 4)
 *
 * Each from the old one and what changes, into the room that was taken for it.  Nothing refers to
 * them yet.
 */
#include "devices/block/qcow2/relink-internal.h"

#include <string.h>

#include "vmm/base/bitmap.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static int write_table(struct qcow2 *q, struct qcow2_relink *r, uint64_t l1_entry, uint64_t to,
		       uint8_t *buf, struct err *err)
{
	uint32_t n = 1U << q->l2_bits;
	int ret = 0;

	for (uint32_t k = 0; k < n && ret == 0;) {
		struct qcow2_l2_pos pos = {0};

		ret = qcow2_l2_get_at(q, l1_entry, k, &pos);
		if (ret < 0)
			return err_set(err, -ret, "an L2 table cannot be read: %s", err_text(-ret));
		for (uint32_t at = 0; at < pos.n && ret == 0; at++) {
			struct qcow2_entry e = qcow2_entry_get(q, &pos, at);
			uint8_t *p = buf + (size_t)at * q->entry_bytes;

			ret = relink_entry_after(q, r, &e, err);
			put_be64(p, e.desc);
			if (q->entry_bytes == 16)
				put_be64(p + 8, e.bitmap);
		}
		if (ret == 0) {
			ret = qcow2_pwrite(q, buf, (size_t)pos.n * q->entry_bytes,
					   to + (uint64_t)k * q->entry_bytes);
			if (ret < 0)
				err_set(err, -ret, "an L2 table cannot be written: %s",
					err_text(-ret));
		}
		k += pos.n;
		qcow2_l2_put(&pos);
	}
	return ret;
}

/* L2 tables, and the L1 table with their places and its flags. */
int relink_write_tables(struct qcow2 *q, struct qcow2_relink *r, uint8_t *buf, struct err *err)
{
	size_t used = 0;
	int ret;

	for (uint32_t i = 0; i < r->l1_n; i++) {
		uint64_t host = r->l1[i] & QCOW2_OFF_MASK, count = 0;

		if (!host)
			continue;
		if (bitmap_test(r->copied, i)) {
			ret = write_table(q, r, r->l1[i], r->tables[used], buf, err);
			r->new_l1.e[i] = r->tables[used++] | QCOW2_COPIED;
		} else {
			ret = relink_count_after(q, r, host >> q->cluster_bits, &count, err);
			r->new_l1.e[i] = host | (ret == 0 && count == 1 ? QCOW2_COPIED : 0);
		}
		if (ret < 0)
			return ret;
	}
	ret = qcow2_write_be64(q, r->new_l1.e, r->l1_n, r->new_l1.host);
	if (ret < 0)
		err_set(err, -ret, "an L1 table cannot be written: %s", err_text(-ret));
	return ret;
}

int relink_write_list(struct qcow2 *q, const struct qcow2_relink *r, const uint8_t *list,
		      struct err *err)
{
	int ret = r->table_bytes ? qcow2_pwrite(q, list, r->table_bytes, r->table_host) : 0;

	if (ret < 0)
		err_set(err, -ret, "the list of snapshots cannot be written: %s", err_text(-ret));
	return ret;
}

/* A refcount block as it is now, with what changes. */
static int write_block(struct qcow2 *q, const struct qcow2_relink *r, uint32_t block, uint64_t to,
		       uint8_t *buf)
{
	uint64_t from = q->rt.e[block] & QCOW2_RT_MASK;
	uint32_t in_piece = (uint32_t)((uint64_t)q->piece_bytes * 8 >> q->refcount_order);
	uint64_t cluster = (uint64_t)block << q->rb_bits;

	for (uint64_t at = 0; at < q->cluster_bytes; at += q->piece_bytes) {
		struct qcow2_block *b = NULL;
		int ret = qcow2_block_get(q, &q->rbc, from + at, &b);

		if (ret < 0)
			return ret;
		memcpy(buf, b->data, q->piece_bytes);
		qcow2_block_put(b);
		for (uint64_t c = counts_next(&r->refs, cluster); c < cluster + in_piece;
		     c = counts_next(&r->refs, c + 1)) {
			uint32_t i = (uint32_t)(c - cluster);
			uint64_t now = refblock_get(q->refcount_order, buf, i);

			refblock_set(q->refcount_order, buf, i,
				     now + (uint64_t)(int64_t)counts_get(&r->refs, c));
		}
		ret = qcow2_pwrite(q, buf, q->piece_bytes, to + at);
		if (ret < 0)
			return ret;
		cluster += in_piece;
	}
	return 0;
}

int relink_write_refcounts(struct qcow2 *q, struct qcow2_relink *r, uint8_t *buf, struct err *err)
{
	int ret = 0;

	if (!r->n_blocks)
		return 0;
	memcpy(r->new_rt.e, q->rt.e, (size_t)q->rt.n * 8);
	for (size_t i = 0; i < r->n_blocks && ret == 0; i++) {
		ret = write_block(q, r, r->blocks[i], r->new_blocks[i], buf);
		r->new_rt.e[r->blocks[i]] = r->new_blocks[i];
	}
	if (ret == 0)
		ret = qcow2_write_be64(q, r->new_rt.e, r->new_rt.n, r->new_rt.host);
	if (ret < 0)
		err_set(err, -ret, "refcounts cannot be written: %s", err_text(-ret));
	return ret;
}
