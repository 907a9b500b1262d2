/*
 * tables.c - L1 and L2: which entry, whose table, what an entry refers to
 *
 * The active L1 table is in memory as a whole, L2 tables in pieces.  COPIED in an L1 entry says
 * that the L2 table is the active table's alone; without it a table is copied before it is changed.
 * A table is judged when one of its pieces is read, an entry when it is used.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define SECTOR_ENTRIES 64U

/* ---- tables in memory ---- */

int qcow2_read_be64(struct qcow2 *q, uint64_t *e, size_t n, uint64_t host)
{
	int ret = n ? qcow2_pread(q, e, n * 8, host) : 0;

	for (size_t i = 0; i < n && ret == 0; i++)
		e[i] = be64toh(e[i]);
	return ret;
}

int qcow2_write_be64(struct qcow2 *q, const uint64_t *e, size_t n, uint64_t host)
{
	CLEANUP(cleanup_free) uint64_t *be = qcow2_buffer(n * 8);

	if (!be)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		be[i] = htobe64(e[i]);
	return n ? qcow2_pwrite(q, be, n * 8, host) : 0;
}

/* Room for whole sectors. */
int qcow2_table_init(struct qcow2_table *t, uint64_t host, uint32_t n)
{
	size_t sectors = n / SECTOR_ENTRIES + 1;

	*t = (struct qcow2_table){.host = host, .n = n};
	t->e = calloc(sectors * SECTOR_ENTRIES, sizeof(t->e[0]));
	t->dirty = bitmap_new(sectors);
	if (t->e && t->dirty)
		return 0;
	qcow2_table_fini(t);
	return -ENOMEM;
}

int qcow2_table_load(struct qcow2 *q, struct qcow2_table *t, uint64_t host, uint32_t n)
{
	struct qcow2_table loaded;
	int ret = qcow2_table_init(&loaded, host, n);

	if (ret == 0)
		ret = qcow2_read_be64(q, loaded.e, n, host);
	if (ret == 0)
		*t = loaded;
	else
		qcow2_table_fini(&loaded);
	return ret;
}

void qcow2_table_fini(struct qcow2_table *t)
{
	free(t->e);
	free(t->dirty);
	*t = (struct qcow2_table){0};
}

void qcow2_table_set(struct qcow2_table *t, uint32_t i, uint64_t v)
{
	t->e[i] = v;
	bitmap_set(t->dirty, i / SECTOR_ENTRIES);
	t->any_dirty = true;
}

int qcow2_table_write(struct qcow2 *q, struct qcow2_table *t)
{
	size_t sectors = t->n / SECTOR_ENTRIES + 1;

	if (!t->any_dirty)
		return 0;
	bitmap_for_each_set (s, t->dirty, sectors) {
		int ret = qcow2_write_be64(q, t->e + s * SECTOR_ENTRIES, SECTOR_ENTRIES,
					   t->host + s * 512);

		if (ret < 0)
			return ret;
		bitmap_clear(t->dirty, s);
	}
	t->any_dirty = false;
	return 0;
}

/* ---- L1 ---- */

uint64_t qcow2_l1_needs(const struct qcow2 *q, uint64_t bytes)
{
	return bytes / q->l2_covers + (bytes % q->l2_covers != 0);
}

int qcow2_l1_load(struct qcow2 *q, struct err *err)
{
	int ret = qcow2_table_load(q, &q->l1, q->h.l1_host, q->h.l1_n);

	if (ret < 0)
		return err_set(err, -ret, "the L1 table at 0x%" PRIx64 " cannot be read: %s",
			       q->h.l1_host, err_text(-ret));
	for (uint32_t i = 0; i < q->l1.n; i++)
		if (q->l1.e[i] & QCOW2_OFF_MASK)
			qcow2_table_note(q, q->l1.e[i] & QCOW2_OFF_MASK);
	return 0;
}

void qcow2_l1_fini(struct qcow2 *q)
{
	qcow2_table_fini(&q->l1);
	free(q->fresh_l2);
	q->fresh_l2 = NULL;
	q->n_fresh_l2 = q->cap_fresh_l2 = 0;
}

/* The new table is on the storage with all that it relies on; only the header has to follow. */
static int l1_switch(struct qcow2 *q, struct qcow2_table *t, uint64_t bytes)
{
	struct qcow2_header old = q->h;
	int ret;

	q->h.l1_host = t->host;
	q->h.l1_n = t->n;
	q->h.bytes = bytes;
	ret = qcow2_header_commit(q);
	if (ret < 0) {
		q->h.l1_host = old.l1_host;
		q->h.l1_n = old.l1_n;
		q->h.bytes = old.bytes;
		qcow2_header_restore(q);
		return ret;
	}
	if (q->l1.n)
		qcow2_unref(q, q->l1.host, q->l1.n * 8ULL);
	qcow2_table_fini(&q->l1);
	q->l1 = *t;
	qcow2_info_update(q);
	return 0;
}

int qcow2_l1_replace(struct qcow2 *q, const uint64_t *e, uint32_t n, uint64_t bytes)
{
	struct qcow2_table t = {0};
	uint64_t host, room = ALIGN_UP(MAX(n, 1U) * 8ULL, q->cluster_bytes);
	int ret;

	if (n > QCOW2_MAX_L1_BYTES / 8)
		return -EFBIG;
	ret = qcow2_alloc_bytes(q, room, &host);
	if (ret < 0)
		return ret;
	ret = qcow2_table_init(&t, host, n);
	if (ret == 0) {
		memcpy(t.e, e, n * 8ULL);
		ret = qcow2_pzero(q, host, room);
		if (ret == 0)
			ret = qcow2_write_be64(q, t.e, n, host);
		if (ret == 0)
			ret = qcow2_write_back(q);
		if (ret < 0)
			qcow2_table_fini(&t);
	}
	if (ret < 0) {
		qcow2_unalloc(q, host, room);
		return ret;
	}
	ret = l1_switch(q, &t, bytes);
	if (ret < 0) /* the place stays in use: the header may know it */
		qcow2_table_fini(&t);
	return ret;
}

/* ---- L2 ---- */

static bool is_fresh(const struct qcow2 *q, uint64_t host)
{
	for (size_t i = q->n_fresh_l2; i > 0; i--)
		if (q->fresh_l2[i - 1] == host)
			return true;
	return false;
}

static void fresh_add(struct qcow2 *q, uint64_t host)
{
	if (q->n_fresh_l2 == q->cap_fresh_l2) {
		q->cap_fresh_l2 = 2 * q->cap_fresh_l2 + 16;
		q->fresh_l2 = xrealloc(q->fresh_l2, q->cap_fresh_l2 * sizeof(q->fresh_l2[0]));
	}
	q->fresh_l2[q->n_fresh_l2++] = host;
}

void qcow2_fresh_clear(struct qcow2 *q)
{
	if (!q->n_fresh_l2)
		return;
	q->n_fresh_l2 = 0;
	for (uint32_t i = 0; i < q->l2c.n; i++)
		q->l2c.blocks[i].fresh = false;
}

static uint32_t piece_entries(const struct qcow2 *q)
{
	return q->piece_bytes / q->entry_bytes;
}

static uint64_t piece_host(const struct qcow2 *q, uint64_t table, uint32_t index)
{
	return table + ALIGN_DOWN((uint64_t)index * q->entry_bytes, q->piece_bytes);
}

static void set_pos(const struct qcow2 *q, struct qcow2_l2_pos *pos, struct qcow2_block *b,
		    uint32_t index)
{
	pos->b = b;
	pos->i = index % piece_entries(q);
	pos->n = piece_entries(q) - pos->i;
}

/* No table: all entries to the end of what it would cover. */
static void set_none(const struct qcow2 *q, struct qcow2_l2_pos *pos, uint32_t index)
{
	pos->b = NULL;
	pos->i = 0;
	pos->n = (1U << q->l2_bits) - index;
}

/* Before it is read for the first time. */
static int l2_judge(struct qcow2 *q, uint64_t table)
{
	const char *what;

	if (table & (q->cluster_bytes - 1))
		return qcow2_damaged(
		    q, "an L2 table is said to be at 0x%" PRIx64 ", which is not at a cluster",
		    table);
	what = qcow2_overlaps(q, table, q->cluster_bytes, false);
	if (what)
		return qcow2_damaged(
		    q, "an L2 table is said to be at 0x%" PRIx64 ", where the %s is", table, what);
	return 0;
}

int qcow2_l2_get_at(struct qcow2 *q, uint64_t l1_entry, uint32_t index, struct qcow2_l2_pos *pos)
{
	uint64_t table = l1_entry & QCOW2_OFF_MASK, host = piece_host(q, table, index);
	struct qcow2_block *b = NULL;
	int ret;

	if (!table) {
		set_none(q, pos, index);
		return 0;
	}
	b = table & (q->cluster_bytes - 1) ? NULL : qcow2_block_peek(q, &q->l2c, host);
	if (!b) {
		ret = l2_judge(q, table);
		if (ret == 0)
			ret = qcow2_block_get(q, &q->l2c, host, &b);
		if (ret < 0 || !b)
			return ret;
		b->fresh = is_fresh(q, table);
	}
	set_pos(q, pos, b, index);
	return 0;
}

int qcow2_l2_get(struct qcow2 *q, uint64_t off, struct qcow2_l2_pos *pos)
{
	uint64_t i = qcow2_l1_index(q, off);

	return qcow2_l2_get_at(q, i < q->l1.n ? q->l1.e[i] : 0, qcow2_l2_index(q, off), pos);
}

int qcow2_l2_peek(struct qcow2 *q, uint64_t off, struct qcow2_l2_pos *pos)
{
	uint64_t i = qcow2_l1_index(q, off);
	uint64_t table = i < q->l1.n ? q->l1.e[i] & QCOW2_OFF_MASK : 0;
	uint32_t index = qcow2_l2_index(q, off);
	struct qcow2_block *b = NULL;

	if (!table) {
		set_none(q, pos, index);
		return 0;
	}
	b = qcow2_block_peek(q, &q->l2c, piece_host(q, table, index));
	if (!b)
		return -EAGAIN;
	set_pos(q, pos, b, index);
	return 0;
}

void qcow2_l2_put(struct qcow2_l2_pos *pos)
{
	if (pos->b)
		qcow2_block_put(pos->b);
	pos->b = NULL;
}

/* The piece of a new table that 'index' is in; the others are zero on the storage. */
static int l2_fill_new(struct qcow2 *q, uint64_t host, uint32_t index, bool zero)
{
	bool one = q->piece_bytes == q->cluster_bytes;
	struct qcow2_block *b = NULL;
	int ret = zero || one ? 0 : qcow2_pzero(q, host, q->cluster_bytes);

	if (ret == 0)
		ret = qcow2_block_new(q, &q->l2c, piece_host(q, host, index), &b);
	if (ret < 0 || !b)
		return ret;
	if (!zero && one)
		qcow2_block_dirty(&q->l2c, b, 0, q->piece_bytes);
	b->fresh = true;
	qcow2_block_put(b);
	return 0;
}

static int l2_fill_copy(struct qcow2 *q, uint64_t host, uint64_t from)
{
	for (uint64_t at = 0; at < q->cluster_bytes; at += q->piece_bytes) {
		struct qcow2_l2_pos old = {0};
		struct qcow2_block *b = NULL;
		int ret = qcow2_l2_get_at(q, from, (uint32_t)(at / q->entry_bytes), &old);

		if (ret < 0)
			return ret;
		ret = qcow2_block_new(q, &q->l2c, host + at, &b);
		if (ret == 0) {
			memcpy(b->data, old.b->data, q->piece_bytes);
			qcow2_block_dirty(&q->l2c, b, 0, q->piece_bytes);
			b->fresh = true;
			qcow2_block_put(b);
		}
		qcow2_l2_put(&old);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* L1 entry i has a table of its own from now on, new or a copy. */
static int l2_make_own(struct qcow2 *q, uint32_t i, uint32_t index)
{
	uint64_t old = q->l1.e[i], host, one = 1;
	bool zero;
	int ret = qcow2_alloc_some(q, &one, &host, &zero);

	if (ret < 0)
		return ret;
	ret = old & QCOW2_OFF_MASK ? l2_fill_copy(q, host, old) : l2_fill_new(q, host, index, zero);
	if (ret < 0) {
		qcow2_unalloc(q, host, q->cluster_bytes);
		return ret;
	}
	fresh_add(q, host);
	qcow2_table_note(q, host);
	qcow2_table_set(&q->l1, i, host | QCOW2_COPIED);
	if (old & QCOW2_OFF_MASK)
		qcow2_unref(q, old & QCOW2_OFF_MASK, q->cluster_bytes);
	return 0;
}

int qcow2_l2_get_own(struct qcow2 *q, uint64_t off, struct qcow2_l2_pos *pos)
{
	uint64_t i = qcow2_l1_index(q, off);
	int ret = 0;

	if (i >= q->l1.n)
		return -EIO;
	if (q->held && bitmap_test(q->held, i))
		ret = qcow2_saving_hold(q, i);
	if (ret == 0 && !(q->l1.e[i] & QCOW2_COPIED && q->l1.e[i] & QCOW2_OFF_MASK))
		ret = l2_make_own(q, (uint32_t)i, qcow2_l2_index(q, off));
	return ret < 0 ? ret : qcow2_l2_get(q, off, pos);
}

/* ---- entries ---- */

struct qcow2_entry qcow2_entry_get(const struct qcow2 *q, const struct qcow2_l2_pos *pos,
				   uint32_t k)
{
	const uint8_t *p;

	if (!pos->b)
		return (struct qcow2_entry){0};
	p = pos->b->data + (size_t)(pos->i + k) * q->entry_bytes;
	return (struct qcow2_entry){get_be64(p), q->entry_bytes == 16 ? get_be64(p + 8) : 0};
}

void qcow2_entry_set(struct qcow2 *q, const struct qcow2_l2_pos *pos, uint32_t k,
		     struct qcow2_entry e)
{
	uint32_t at = (pos->i + k) * q->entry_bytes;

	put_be64(pos->b->data + at, e.desc);
	if (q->entry_bytes == 16)
		put_be64(pos->b->data + at + 8, e.bitmap);
	qcow2_block_dirty(&q->l2c, pos->b, at, q->entry_bytes);
}

void qcow2_entry_compressed(const struct qcow2 *q, const struct qcow2_entry *e, uint64_t *host,
			    uint64_t *bytes)
{
	unsigned x = 62 - (q->cluster_bits - 8);
	uint64_t sectors = (e->desc & ~(QCOW2_COPIED | QCOW2_COMPRESSED_FLAG)) >> x;

	*host = e->desc & ((1ULL << x) - 1);
	*bytes = (sectors + 1) * 512 - *host % 512;
}

bool qcow2_entry_range(const struct qcow2 *q, const struct qcow2_entry *e, uint64_t *host,
		       uint64_t *bytes)
{
	uint64_t at, n;

	if (qcow2_entry_is_compressed(e)) {
		qcow2_entry_compressed(q, e, &at, &n);
		*host = ALIGN_DOWN(at, q->cluster_bytes);
		*bytes = ALIGN_UP(at + n, q->cluster_bytes) - *host;
		return true;
	}
	*host = e->desc & QCOW2_OFF_MASK;
	*bytes = q->cluster_bytes;
	return *host != 0;
}

const char *qcow2_entry_wrong(const struct qcow2 *q, const struct qcow2_entry *e)
{
	uint32_t alloc = (uint32_t)e->bitmap, zeroes = (uint32_t)(e->bitmap >> 32);

	if (qcow2_entry_is_compressed(e))
		return (e->desc & ((1ULL << (62 - (q->cluster_bits - 8))) - 1)) < q->cluster_bytes
			   ? "a compressed cluster is said to be where the header is"
			   : NULL;
	if (e->desc & QCOW2_OFF_MASK & (q->cluster_bytes - 1))
		return "the data is said to be at a place that is not at a cluster";
	if (q->entry_bytes == 8 && e->desc & QCOW2_ZERO_FLAG && q->h.version < 3)
		return "the entry has the flag of zeroes, which version 2 does not have";
	if (alloc & zeroes)
		return "a subcluster is said to be allocated and zero at the same time";
	if (alloc && !(e->desc & QCOW2_OFF_MASK))
		return "subclusters are said to be allocated without a place";
	return NULL;
}

/* ---- all that a table refers to ---- */

/* Ranges of clusters, those in a row put together. */
struct ranges {
	struct qcow2_free *r; /* owned */
	size_t n, cap;
};

static int ranges_add(struct ranges *l, uint64_t host, uint64_t bytes)
{
	struct qcow2_free *last = l->n ? &l->r[l->n - 1] : NULL;

	if (last && last->host + last->bytes == host) {
		last->bytes += bytes;
		return 0;
	}
	if (l->n == l->cap) {
		size_t cap = 2 * l->cap + 64;
		struct qcow2_free *r = realloc(l->r, cap * sizeof(*r));

		if (!r)
			return -ENOMEM;
		l->r = r;
		l->cap = cap;
	}
	l->r[l->n++] = (struct qcow2_free){host, bytes};
	return 0;
}

/* What the pieces of the table refer to; nothing has changed yet. */
static int collect_ranges(struct qcow2 *q, uint64_t l1_entry, struct ranges *l)
{
	uint32_t n = 1U << q->l2_bits, step;

	for (uint32_t i = 0; i < n; i += step) {
		struct qcow2_l2_pos pos = {0};
		int ret = qcow2_l2_get_at(q, l1_entry, i, &pos);

		if (ret < 0)
			return ret;
		step = pos.n;
		for (uint32_t k = 0; pos.b && k < pos.n && ret == 0; k++) {
			struct qcow2_entry e = qcow2_entry_get(q, &pos, k);
			const char *wrong = qcow2_entry_wrong(q, &e);
			uint64_t host, bytes;

			if (wrong)
				ret = qcow2_damaged(q, "an L2 entry is 0x%" PRIx64 ": %s", e.desc,
						    wrong);
			else if (qcow2_entry_range(q, &e, &host, &bytes))
				ret = ranges_add(l, host, bytes);
		}
		qcow2_l2_put(&pos);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int qcow2_l2_ref_all(struct qcow2 *q, uint64_t l1_entry)
{
	struct ranges l = {0};
	size_t done = 0;
	int ret = collect_ranges(q, l1_entry, &l);

	for (; done < l.n && ret == 0; done++)
		ret = qcow2_ref(q, l.r[done].host, l.r[done].bytes);
	/* Nothing relied on those that are there: they are taken back at once. */
	for (size_t i = 0; ret < 0 && i + 1 < done; i++)
		qcow2_unalloc(q, l.r[i].host, l.r[i].bytes);
	free(l.r);
	return ret;
}

int qcow2_l2_unref_all(struct qcow2 *q, uint64_t l1_entry)
{
	struct ranges l = {0};
	int ret = collect_ranges(q, l1_entry, &l);

	for (size_t i = 0; i < l.n && ret == 0; i++)
		qcow2_unref(q, l.r[i].host, l.r[i].bytes);
	free(l.r);
	return ret;
}
