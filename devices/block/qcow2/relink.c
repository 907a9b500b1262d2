/*
 * relink.c - other tables, all at once
 *
 * A refcount and the COPIED flags of the entries that refer to its cluster have to agree: a check
 * calls it an error if they do not, even for the moment between two writes.  They lie in different
 * places of the file, thousands of them change with one snapshot, and so there is no order of
 * writes in place that would be right at each moment.
 *
 * What the header refers to, though, changes with one write of one sector: L1 table, refcount
 * table, list of snapshots and size.  So:
 *
 *     1  all is written back; nothing is dirty
 *     2  the refcounts afterwards are those of now and r->refs; by them, each L2 table of the
 *        disk that has a COPIED flag that would be wrong is to be replaced
 *     3  room is found for new L2 tables, an L1 table, a list of snapshots, each refcount block
 *        that changes, a refcount table; it is taken with the refcounts as they are, written back
 *     4  all these are written, from the old ones and what changes; barrier
 *     5  the header; barrier
 *     6  tables in memory follow, and what was replaced is let go, as anything else is
 *
 * A crash before 5 leaves the new tables as leaks, after it the old ones.  A failure before 5 gives
 * the room back, and nothing has happened.  Data of the disk does not move.
 */
#include "devices/block/qcow2/relink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/saving.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static int no_memory(struct err *err)
{
	return err_set(err, ENOMEM, "no memory for the tables of the image");
}

/* ---- step 2: what has to change ---- */

/* The refcount of a cluster as it is: mostly from the piece that the last one was in. */
static int count_now(struct qcow2 *q, struct qcow2_relink *r, uint64_t cluster, uint64_t *count)
{
	int ret = 0;

	if (cluster < r->at_first || cluster - r->at_first >= r->at.n) {
		rb_put(&r->at);
		r->at.n = 0;
		ret = rb_get(q, cluster, &r->at);
		r->at_first = cluster;
	}
	if (ret < 0)
		r->at = (struct rb_pos){0};
	else
		*count = rb_count(q, &r->at, cluster - r->at_first);
	return ret;
}

/* The refcount of a cluster afterwards. */
static int count_after(struct qcow2 *q, struct qcow2_relink *r, uint64_t cluster, uint64_t *count,
		       struct err *err)
{
	int64_t by = counts_get(&r->refs, cluster);
	uint64_t now, after;
	int ret = count_now(q, r, cluster, &now);

	if (ret < 0)
		return err_set(err, -ret, "a refcount cannot be read: %s", err_text(-ret));
	after = now + (uint64_t)by;
	if (by < 0 && now < (uint64_t)-by)
		return err_set(err, EIO,
			       "the cluster at %#llx has a refcount of %llu, too small: the image "
			       "has to be repaired first",
			       (unsigned long long)cluster << q->cluster_bits,
			       (unsigned long long)now);
	if (by > 0 && (after > q->refcount_max || after < now))
		return err_set(err, ERANGE,
			       "refcounts of %u bits cannot count one more reference to a cluster",
			       1U << q->refcount_order);
	*count = after;
	return 0;
}

/* The entry with the flag that it should have. */
static int entry_after(struct qcow2 *q, struct qcow2_relink *r, struct qcow2_entry *e,
		       struct err *err)
{
	uint64_t host, bytes, count;
	int ret;

	if (qcow2_entry_is_compressed(e) || !qcow2_entry_range(q, e, &host, &bytes))
		return 0;
	ret = count_after(q, r, host >> q->cluster_bits, &count, err);
	if (ret < 0)
		return ret;
	if (count == 1)
		e->desc |= QCOW2_COPIED;
	else
		e->desc &= ~QCOW2_COPIED;
	return 0;
}

/* Has the L2 table a flag that would be wrong? */
static int table_changes(struct qcow2 *q, struct qcow2_relink *r, uint64_t l1_entry, bool *changes,
			 struct err *err)
{
	uint32_t n = 1U << q->l2_bits;
	int ret = 0;

	*changes = false;
	for (uint32_t k = 0; k < n && ret == 0 && !*changes;) {
		struct qcow2_l2_pos pos = {0};

		ret = qcow2_l2_get_at(q, l1_entry, k, &pos);
		if (ret < 0)
			return err_set(err, -ret, "the L2 table at %#llx cannot be read: %s",
				       (unsigned long long)(l1_entry & QCOW2_OFF_MASK),
				       err_text(-ret));
		for (uint32_t at = 0; at < pos.n && ret == 0 && !*changes; at++) {
			struct qcow2_entry e = qcow2_entry_get(q, &pos, at);
			uint64_t before = e.desc;

			ret = entry_after(q, r, &e, err);
			*changes = e.desc != before;
		}
		k += pos.n;
		qcow2_l2_put(&pos);
	}
	return ret;
}

static int find_tables(struct qcow2 *q, struct qcow2_relink *r, struct err *err)
{
	r->copied = bitmap_new(r->l1_n);
	if (!r->copied)
		return no_memory(err);
	for (uint32_t i = 0; i < r->l1_n; i++) {
		uint64_t host = r->l1[i] & QCOW2_OFF_MASK;
		bool changes;
		int ret;

		if (!host)
			continue;
		ret = table_changes(q, r, r->l1[i], &changes, err);
		if (ret == 0 && changes) {
			bitmap_set(r->copied, i);
			r->n_tables++;
			if (counts_add(&r->refs, host >> q->cluster_bits, -1) < 0)
				ret = no_memory(err);
		}
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Each refcount that changes has a block, and the new count fits. */
static int find_blocks(struct qcow2 *q, struct qcow2_relink *r, struct err *err)
{
	size_t cap = 0;

	for (uint64_t c = counts_next(&r->refs, 0); c != UINT64_MAX;
	     c = counts_next(&r->refs, c + 1)) {
		uint64_t block = c >> q->rb_bits, count;
		int ret = count_after(q, r, c, &count, err);

		if (ret < 0)
			return ret;
		if (block >= q->rt.n || !(q->rt.e[block] & QCOW2_RT_MASK))
			return err_set(err, EIO,
				       "the cluster at %#llx has no refcount: the image has to be "
				       "repaired first",
				       (unsigned long long)c << q->cluster_bits);
		if (r->n_blocks && r->blocks[r->n_blocks - 1] == block)
			continue;
		if (r->n_blocks == cap) {
			cap = cap * 2 + 16;
			r->blocks = xrealloc(r->blocks, cap * sizeof(*r->blocks));
		}
		r->blocks[r->n_blocks++] = (uint32_t)block;
	}
	return 0;
}

/* ---- step 3: room ---- */

/* n places of one cluster each; *got of them are there, also after a failure. */
static int take_clusters(struct qcow2 *q, uint64_t *host, size_t n, size_t *got)
{
	for (*got = 0; *got < n;) {
		uint64_t clusters = n - *got, at;
		bool zero;
		int ret = qcow2_alloc_some(q, &clusters, &at, &zero);

		if (ret < 0)
			return ret;
		for (uint64_t k = 0; k < clusters; k++)
			host[(*got)++] = at + (k << q->cluster_bits);
	}
	return 0;
}

static uint64_t whole_clusters(const struct qcow2 *q, uint64_t bytes)
{
	return ALIGN_UP(bytes, q->cluster_bytes);
}

/* Taking room may need refcount blocks, and these a larger refcount table: that is last. */
static int take_refcount_table(struct qcow2 *q, struct qcow2_relink *r)
{
	for (;;) {
		uint32_t n = q->rt.n;
		uint64_t host;
		int ret = qcow2_alloc_bytes(q, (uint64_t)n * 8, &host);

		if (ret < 0)
			return ret;
		if (q->rt.n == n) {
			ret = qcow2_table_init(&r->new_rt, host, n);
			if (ret == 0)
				return 0;
		}
		qcow2_unalloc(q, host, whole_clusters(q, (uint64_t)n * 8));
		if (ret < 0)
			return ret;
	}
}

static int take_room(struct qcow2 *q, struct qcow2_relink *r, struct err *err)
{
	size_t n_tables = r->n_tables;
	int ret;

	r->n_tables = 0;
	r->tables = calloc(n_tables + 1, sizeof(*r->tables));
	r->new_blocks = calloc(r->n_blocks + 1, sizeof(*r->new_blocks));
	if (!r->tables || !r->new_blocks || qcow2_table_init(&r->new_l1, 0, r->l1_n) < 0)
		return no_memory(err);
	ret = take_clusters(q, r->tables, n_tables, &r->n_tables);
	if (ret == 0)
		ret = qcow2_alloc_bytes(q, (uint64_t)r->l1_n * 8, &r->new_l1.host);
	if (ret == 0 && r->table_bytes)
		ret = qcow2_alloc_bytes(q, r->table_bytes, &r->table_host);
	if (ret == 0 && r->n_blocks) {
		ret = take_clusters(q, r->new_blocks, r->n_blocks, &r->n_new_blocks);
		if (ret == 0)
			ret = take_refcount_table(q, r);
	}
	if (ret < 0)
		return err_set(err, -ret, "no room for new tables: %s", err_text(-ret));
	return 0;
}

/* ---- step 4: the new tables ---- */

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

			ret = entry_after(q, r, &e, err);
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
static int write_tables(struct qcow2 *q, struct qcow2_relink *r, uint8_t *buf, struct err *err)
{
	size_t used = 0;
	int ret;

	for (uint32_t i = 0; i < r->l1_n; i++) {
		uint64_t host = r->l1[i] & QCOW2_OFF_MASK, count;

		if (!host)
			continue;
		if (bitmap_test(r->copied, i)) {
			ret = write_table(q, r, r->l1[i], r->tables[used], buf, err);
			r->new_l1.e[i] = r->tables[used++] | QCOW2_COPIED;
		} else {
			ret = count_after(q, r, host >> q->cluster_bits, &count, err);
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

static int write_list(struct qcow2 *q, const struct qcow2_relink *r, const uint8_t *list,
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

static int write_refcounts(struct qcow2 *q, struct qcow2_relink *r, uint8_t *buf, struct err *err)
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

/* ---- step 5: the header ---- */

static void put_header(struct qcow2 *q, const struct qcow2_relink *r)
{
	q->h.l1_host = r->new_l1.host;
	q->h.l1_n = r->l1_n;
	q->h.bytes = r->bytes;
	if (r->n_blocks) {
		q->h.rt_host = r->new_rt.host;
		q->h.rt_clusters =
		    (uint32_t)(whole_clusters(q, (uint64_t)r->new_rt.n * 8) >> q->cluster_bits);
	}
	if (r->snapshots) {
		q->h.n_snapshots = r->snapshots->n;
		q->h.snapshots_host = r->table_host;
	}
}

static int switch_header(struct qcow2 *q, const struct qcow2_relink *r, struct err *err)
{
	const struct qcow2_header before = q->h;
	int ret;

	put_header(q, r);
	ret = qcow2_header_commit(q);
	if (ret == 0)
		return 0;
	q->h = before;
	qcow2_header_restore(q);
	return err_set(err, -ret, "the image's header cannot be written: %s%s", err_text(-ret),
		       q->broken ? "; the image can no longer be used" : "");
}

/* ---- step 6 ---- */

static void note_old(struct qcow2_relink *r, uint64_t host, uint64_t bytes)
{
	if (r->n_old == r->cap_old) {
		r->cap_old = r->cap_old * 2 + 16;
		r->old = xrealloc(r->old, r->cap_old * sizeof(*r->old));
	}
	if (host && bytes)
		r->old[r->n_old++] = (struct qcow2_free){.host = host, .bytes = bytes};
}

static void table_take(struct qcow2_table *to, struct qcow2_table *from)
{
	qcow2_table_fini(to);
	*to = *from;
	*from = (struct qcow2_table){0};
}

/* Clusters that nobody uses any more: pieces of tables in them are forgotten. */
static void forget_free(struct qcow2 *q, const struct qcow2_relink *r)
{
	for (uint64_t c = counts_next(&r->refs, 0); c != UINT64_MAX;
	     c = counts_next(&r->refs, c + 1)) {
		uint64_t host = c << q->cluster_bits, count;

		if (counts_get(&r->refs, c) > 0)
			continue;
		qcow2_cache_drop(q, &q->l2c, host, q->cluster_bytes);
		if (q->how.discards && qcow2_refcount_get(q, c, &count) == 0 && count == 0)
			(void)q->s.ops->discard(q->s.opaque, host, q->cluster_bytes, false);
	}
}

/* Memory follows; the references to the L2 tables that were replaced went with r->refs. */
static void follow(struct qcow2 *q, struct qcow2_relink *r, const struct qcow2_header *before,
		   uint64_t list_bytes)
{
	note_old(r, q->l1.host, whole_clusters(q, (uint64_t)q->l1.n * 8));
	for (uint32_t i = 0; i < q->l1.n; i++)
		if (q->l1.e[i] & QCOW2_OFF_MASK)
			qcow2_cache_drop(q, &q->l2c, q->l1.e[i] & QCOW2_OFF_MASK, q->cluster_bytes);
	table_take(&q->l1, &r->new_l1);
	for (size_t i = 0; i < r->n_tables; i++)
		qcow2_table_note(q, r->tables[i]);
	if (r->snapshots)
		note_old(r, before->snapshots_host, whole_clusters(q, list_bytes));
	if (r->n_blocks) {
		note_old(r, q->rt.host, whole_clusters(q, (uint64_t)q->rt.n * 8));
		for (size_t i = 0; i < r->n_blocks; i++) {
			uint64_t host = q->rt.e[r->blocks[i]] & QCOW2_RT_MASK;

			note_old(r, host, q->cluster_bytes);
			qcow2_cache_drop(q, &q->rbc, host, q->cluster_bytes);
			qcow2_table_note(q, r->new_blocks[i]);
		}
		table_take(&q->rt, &r->new_rt);
		qcow2_refcounts_changed(q);
	}
	forget_free(q, r);
	qcow2_info_update(q);
}

/* ---- all of it ---- */

static int prepare(struct qcow2 *q, struct qcow2_relink *r, struct err *err)
{
	int ret = qcow2_may_change(q);

	if (ret == 0)
		ret = qcow2_write_back(q);
	if (ret < 0)
		return err_set(err, -ret, "the image cannot be written: %s", err_text(-ret));
	ret = find_tables(q, r, err);
	if (ret == 0)
		ret = find_blocks(q, r, err);
	return ret < 0 ? ret : take_room(q, r, err);
}

/*
 * The refcounts of what has been taken.  A refcount table that has become dirty by that is the old
 * one, and the new one is complete; where it stays there is an order for it.
 */
static int write_taken(struct qcow2 *q, const struct qcow2_relink *r, struct err *err)
{
	int ret = r->n_blocks ? qcow2_cache_write(q, &q->rbc, false) : qcow2_write_back(q);

	if (ret < 0)
		err_set(err, -ret, "refcounts cannot be written: %s", err_text(-ret));
	return ret;
}

int qcow2_relink(struct qcow2 *q, struct qcow2_relink *r, struct err *err)
{
	const struct qcow2_header before = q->h;
	CLEANUP(cleanup_free) uint8_t *list = NULL;
	CLEANUP(cleanup_free) uint8_t *buf = malloc(q->piece_bytes);
	const struct snapshot_state *state = q->snapshot_state;
	size_t list_bytes = 0;
	int ret;

	if (r->snapshots)
		list = snapshot_table_write(r->snapshots, &list_bytes);
	if (!buf || (r->snapshots && !list))
		return no_memory(err);
	r->table_bytes = list_bytes;
	ret = prepare(q, r, err);
	if (ret == 0)
		ret = write_taken(q, r, err);
	if (ret == 0)
		ret = write_tables(q, r, buf, err);
	rb_put(&r->at);
	if (ret == 0)
		ret = write_list(q, r, list, err);
	if (ret == 0)
		ret = write_refcounts(q, r, buf, err);
	if (ret == 0)
		ret = switch_header(q, r, err);
	if (ret == 0)
		follow(q, r, &before, state ? state->table.bytes : 0);
	return ret;
}

static void give_room_back(struct qcow2 *q, const struct qcow2_relink *r)
{
	for (size_t i = 0; i < r->n_tables && r->tables; i++)
		qcow2_unalloc(q, r->tables[i], q->cluster_bytes);
	for (size_t i = 0; i < r->n_new_blocks; i++)
		qcow2_unalloc(q, r->new_blocks[i], q->cluster_bytes);
	if (r->new_l1.host)
		qcow2_unalloc(q, r->new_l1.host, whole_clusters(q, (uint64_t)r->l1_n * 8));
	if (r->new_rt.host)
		qcow2_unalloc(q, r->new_rt.host, whole_clusters(q, (uint64_t)r->new_rt.n * 8));
	if (r->table_host)
		qcow2_unalloc(q, r->table_host, whole_clusters(q, r->table_bytes));
}

void qcow2_relink_fini(struct qcow2 *q, struct qcow2_relink *r, bool done)
{
	if (done)
		for (size_t i = 0; i < r->n_old; i++)
			qcow2_unref(q, r->old[i].host, r->old[i].bytes);
	else if (!q->broken)
		give_room_back(q, r);
	qcow2_table_fini(&r->new_l1);
	qcow2_table_fini(&r->new_rt);
	counts_fini(&r->refs);
	free(r->copied);
	free(r->tables);
	free(r->blocks);
	free(r->new_blocks);
	free(r->old);
	*r = (struct qcow2_relink){0};
}
