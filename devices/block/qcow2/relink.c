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
 * Step 2 is in relink-plan.c, step 4 in relink-write.c.
 */
#include "devices/block/qcow2/relink.h"

#include <errno.h>
#include <stdlib.h>

#include "devices/block/qcow2/relink-internal.h"
#include "devices/block/qcow2/saving.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

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
		return relink_no_memory(err);
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
	ret = relink_find_tables(q, r, err);
	if (ret == 0)
		ret = relink_find_blocks(q, r, err);
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
		return relink_no_memory(err);
	r->table_bytes = list_bytes;
	ret = prepare(q, r, err);
	if (ret == 0)
		ret = write_taken(q, r, err);
	if (ret == 0)
		ret = relink_write_tables(q, r, buf, err);
	rb_put(&r->at);
	if (ret == 0)
		ret = relink_write_list(q, r, list, err);
	if (ret == 0)
		ret = relink_write_refcounts(q, r, buf, err);
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
