/*
 * bitmap.c - persistent bitmaps of what has been written: loaded, kept up, stored
 *
 * The bits of a bitmap are in memory while the image is open for writing, and its entry in the
 * file's directory says that it is in use: what the file has of it is stale until a clean close.  A
 * bitmap that is found in use was so when a process ended without one: it tells nothing any more,
 * and is left as it is.  So is one of a kind that is not known here; it is marked as in use before
 * the first write, for it misses that.
 *
 * At the close the bits that have changed are written to new clusters, with a new table; a new
 * directory, without the marks, comes into force with one write of the header.  Whatever is cut off
 * before, the old directory with its marks is there.
 *
 * Without the header's autoclear bit a program that does not know bitmaps has written to the image:
 * they are as if they were not there, as with QEMU.
 */
#include "devices/block/qcow2/bitmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/bitmap-dir.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/base/zero.h"

#define BITS_MAX        (1ULL << 31) /* of a bitmap in memory: 256 MiB */
#define TABLE_ALL_ONES  1ULL
#define TABLE_RESERVED  (~(QCOW2_OFF_MASK | TABLE_ALL_ONES))
#define DIR_FLAGS_KNOWN (BITMAP_IN_USE | BITMAP_AUTO | BITMAP_EXTRA_OK)

/* The bits of a bitmap; map NULL: not loaded. */
struct bits {
	uint64_t *map; /* owned */
	uint64_t n;
	bool changed;
};

struct places {
	struct qcow2_free *at; /* owned */
	size_t n, cap;
};

struct bitmap_state {
	struct bitmap_entry *dir; /* owned, n of them; flags are those in the file */
	struct bits *bits;        /* owned, n of them */
	uint32_t n;
	char *damaged; /* owned: why the directory cannot be read; NULL: it could */
};

/* ---- places in the file ---- */

static void places_add(struct places *p, uint64_t host, uint64_t bytes)
{
	if (p->n == p->cap) {
		p->cap = 2 * p->cap + 16;
		p->at = xrealloc(p->at, p->cap * sizeof(p->at[0]));
	}
	p->at[p->n++] = (struct qcow2_free){.host = host, .bytes = bytes};
}

static uint64_t whole_clusters(const struct qcow2 *q, uint64_t bytes)
{
	return ALIGN_UP(bytes, q->cluster_bytes);
}

static uint64_t bits_needed(uint64_t disk_bytes, const struct bitmap_entry *e)
{
	uint64_t g = e->pub.granularity;

	return disk_bytes / g + (disk_bytes % g != 0);
}

/* Entries that a table for so many bits has. */
static uint64_t table_entries(const struct qcow2 *q, uint64_t bits)
{
	return whole_clusters(q, (bits + 7) / 8) >> q->cluster_bits;
}

static int read_table(struct qcow2 *q, const struct bitmap_entry *e, uint64_t **table)
{
	uint64_t *t = calloc((size_t)e->table_n + 1, sizeof(*t));
	int ret = t ? qcow2_read_be64(q, t, e->table_n, e->table_host) : -ENOMEM;

	for (uint32_t i = 0; i < e->table_n && ret == 0; i++)
		if (t[i] & TABLE_RESERVED || t[i] & QCOW2_OFF_MASK & (q->cluster_bytes - 1) ||
		    (t[i] & TABLE_ALL_ONES && t[i] & QCOW2_OFF_MASK))
			ret = -EINVAL;
	if (ret < 0)
		free(t);
	else
		*table = t;
	return ret;
}

/* Are there any, for those who know what the header says of them? */
static bool bitmaps_there(const struct qcow2 *q)
{
	return q->h.n_bitmaps && q->h.version >= 3 && q->h.autoclear & QCOW2_AUTOCLEAR_BITMAPS;
}

/* ---- load ---- */

static bool is_known(const struct bitmap_entry *e)
{
	return e->type == BITMAP_TYPE_DIRTY && !(e->flags & ~DIR_FLAGS_KNOWN) &&
	       (!e->extra_bytes || e->flags & BITMAP_EXTRA_OK);
}

static int load_bits(struct qcow2 *q, const uint64_t *table, struct bits *b)
{
	uint64_t bytes = (b->n + 7) / 8;

	for (uint64_t at = 0, i = 0; at < bytes; at += q->cluster_bytes, i++) {
		size_t n = (size_t)MIN(bytes - at, q->cluster_bytes);
		uint8_t *to = (uint8_t *)b->map + at;
		uint64_t host = table[i] & QCOW2_OFF_MASK;
		int ret = host ? qcow2_pread(q, to, n, host) : 0;

		if (ret < 0)
			return ret;
		if (!host && table[i] & TABLE_ALL_ONES)
			memset(to, 0xff, n);
	}
	if (b->n % BITS_PER_WORD) /* bits of no byte of the disk */
		b->map[b->n / BITS_PER_WORD] &= ~(~0ULL << b->n % BITS_PER_WORD);
	return 0;
}

static int load_one(struct qcow2 *q, const struct bitmap_entry *e, struct bits *b)
{
	CLEANUP(cleanup_free) uint64_t *table = NULL;
	int ret;

	b->n = bits_needed(q->h.bytes, e);
	if (!is_known(e))
		return -ENOTSUP;
	if (b->n > BITS_MAX)
		return -EFBIG;
	if (e->table_n != table_entries(q, b->n))
		return -EINVAL;
	ret = read_table(q, e, &table);
	if (ret < 0)
		return ret;
	b->map = bitmap_new(b->n + BITS_PER_WORD);
	ret = b->map ? load_bits(q, table, b) : -ENOMEM;
	if (ret < 0) {
		free(b->map);
		b->map = NULL;
	}
	return ret;
}

/* The directory as it is in the file, flags and all, over the old one: only flags differ. */
static int write_flags(struct qcow2 *q, const struct bitmap_state *s)
{
	size_t bytes;
	CLEANUP(cleanup_free) uint8_t *p = bitmap_dir_pack(s->dir, s->n, &bytes);
	int ret = p ? qcow2_pwrite(q, p, bytes, q->h.bitmap_dir_host) : -ENOMEM;

	return ret < 0 ? ret : qcow2_barrier(q);
}

/* Bits of those that are whole; all are marked as in use. */
static int load_for_writing(struct qcow2 *q, struct bitmap_state *s, struct err *err)
{
	bool marks = false;
	int ret;

	for (uint32_t i = 0; i < s->n; i++) {
		struct bitmap_entry *e = &s->dir[i];

		if (e->flags & BITMAP_IN_USE)
			continue;
		ret = load_one(q, e, &s->bits[i]);
		if (ret < 0) {
			log_warn("the bitmap '%s' cannot be kept up, and counts as in use: %s",
				 e->pub.name, err_text(-ret));
			e->pub.in_use = true;
		}
		e->flags |= BITMAP_IN_USE;
		marks = true;
	}
	ret = marks ? write_flags(q, s) : 0;
	if (ret < 0)
		return err_set(err, -ret, "the image's bitmaps cannot be marked as in use: %s",
			       err_text(-ret));
	return 0;
}

static int read_directory(struct qcow2 *q, struct bitmap_state *s, struct err *err)
{
	CLEANUP(cleanup_free) uint8_t *p = malloc(q->h.bitmap_dir_bytes);
	int ret = p ? qcow2_pread(q, p, q->h.bitmap_dir_bytes, q->h.bitmap_dir_host) : -ENOMEM;

	if (ret < 0)
		return err_set(err, -ret, "the directory of bitmaps cannot be read: %s",
			       err_text(-ret));
	ret = bitmap_dir_parse(&s->dir, q->h.n_bitmaps, p, q->h.bitmap_dir_bytes, q->cluster_bytes,
			       err);
	if (ret < 0)
		return ret;
	s->bits = xcalloc((size_t)q->h.n_bitmaps + 1, sizeof(*s->bits));
	s->n = q->h.n_bitmaps;
	return 0;
}

/* Nobody shall believe a directory that is not kept up. */
static int disown(struct qcow2 *q, struct err *err)
{
	int ret;

	if (!q->how.writable || q->how.checking || !(q->h.autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	q->h.autoclear &= ~QCOW2_AUTOCLEAR_BITMAPS;
	ret = qcow2_header_commit(q);
	return ret < 0
		   ? err_set(err, -ret, "the image's header cannot be written: %s", err_text(-ret))
		   : 0;
}

int qcow2_bitmaps_load(struct qcow2 *q, struct err *err)
{
	struct bitmap_state *s;
	struct err why = {0};

	if (!bitmaps_there(q))
		return 0;
	s = q->bitmap_state = NEW(struct bitmap_state);
	if (read_directory(q, s, &why) < 0) {
		log_warn("the image's bitmaps cannot be used: %s", why.msg);
		s->damaged = xstrdup(why.msg);
		return disown(q, err);
	}
	return q->how.writable && !q->how.checking ? load_for_writing(q, s, err) : 0;
}

void qcow2_bitmaps_fini(struct qcow2 *q)
{
	struct bitmap_state *s = q->bitmap_state;

	if (!s)
		return;
	for (uint32_t i = 0; i < s->n; i++)
		free(s->bits[i].map);
	free(s->bits);
	bitmap_dir_free(s->dir, s->n);
	free(s->damaged);
	free(s);
	q->bitmap_state = NULL;
}

const struct qcow2_bitmap *qcow2_bitmap_at(const struct qcow2 *q, size_t i)
{
	const struct bitmap_state *s = q->bitmap_state;

	return s && i < s->n ? &s->dir[i].pub : NULL;
}

/* ---- kept up ---- */

void qcow2_bitmaps_mark(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	struct bitmap_state *s = q->bitmap_state;

	for (uint32_t i = 0; s && bytes && i < s->n; i++) {
		const struct bitmap_entry *e = &s->dir[i];
		struct bits *b = &s->bits[i];
		uint64_t first = off >> e->granularity_bits;
		uint64_t last = (off + bytes - 1) >> e->granularity_bits;

		if (!b->map || !e->pub.automatic || first >= b->n)
			continue;
		bitmap_set_range(b->map, first, MIN(last, b->n - 1) - first + 1);
		b->changed = true;
	}
}

int qcow2_bitmaps_may_resize(struct qcow2 *q, uint64_t bytes, struct err *err)
{
	const struct bitmap_state *s = q->bitmap_state;

	for (uint32_t i = 0; s && i < s->n; i++) {
		const struct bitmap_entry *e = &s->dir[i];

		if (!s->bits[i].map)
			return err_set(err, ENOTSUP,
				       "the image has a bitmap '%s' that was in use when a process "
				       "ended: it has to be removed before the image is resized",
				       e->pub.name);
		if (bits_needed(bytes, e) > BITS_MAX)
			return err_set(err, EFBIG, "the bitmap '%s' would have too many bits",
				       e->pub.name);
	}
	return 0;
}

/* Without memory for it a bitmap is no longer kept up, and stays in use. */
void qcow2_bitmaps_resized(struct qcow2 *q, uint64_t old)
{
	struct bitmap_state *s = q->bitmap_state;

	(void)old;
	for (uint32_t i = 0; s && i < s->n; i++) {
		struct bits *b = &s->bits[i];
		uint64_t n = bits_needed(q->h.bytes, &s->dir[i]);
		uint64_t *map = b->map ? bitmap_new(n + BITS_PER_WORD) : NULL;

		if (map)
			(void)bitmap_or(map, b->map, MIN(n, b->n));
		else
			s->dir[i].pub.in_use = true;
		free(b->map);
		*b = (struct bits){.map = map, .n = n, .changed = true};
	}
}

/* ---- store ---- */

static int put_new(struct qcow2 *q, struct places *new, const void *p, uint64_t bytes,
		   uint64_t *host)
{
	int ret = qcow2_alloc_bytes(q, whole_clusters(q, bytes), host);

	if (ret < 0)
		return ret;
	places_add(new, *host, whole_clusters(q, bytes));
	return qcow2_pwrite(q, p, bytes, *host);
}

/* The bits in new clusters, and table[] that refers to them. */
static int store_bits(struct qcow2 *q, const struct bits *b, struct places *new, uint64_t *table)
{
	CLEANUP(cleanup_free) uint8_t *buf = malloc(q->cluster_bytes);
	uint64_t bytes = (b->n + 7) / 8;
	int ret = buf ? 0 : -ENOMEM;

	for (uint64_t at = 0, i = 0; at < bytes && ret == 0; at += q->cluster_bytes, i++) {
		const uint8_t *from = (const uint8_t *)b->map + at;
		size_t n = (size_t)MIN(bytes - at, q->cluster_bytes);

		if (buffer_is_zero(from, n))
			continue;
		memset(buf, 0, q->cluster_bytes);
		memcpy(buf, from, n);
		ret = put_new(q, new, buf, q->cluster_bytes, &table[i]);
	}
	return ret;
}

static int note_old_bits(struct qcow2 *q, const struct bitmap_entry *e, struct places *old)
{
	CLEANUP(cleanup_free) uint64_t *table = NULL;
	int ret = read_table(q, e, &table);

	for (uint32_t i = 0; i < e->table_n && ret == 0; i++)
		if (table[i] & QCOW2_OFF_MASK)
			places_add(old, table[i] & QCOW2_OFF_MASK, q->cluster_bytes);
	if (ret == 0 && e->table_n)
		places_add(old, e->table_host, whole_clusters(q, e->table_n * 8ULL));
	return ret;
}

static int store_one(struct qcow2 *q, struct bitmap_entry *e, const struct bits *b,
		     struct places *new, struct places *old)
{
	uint64_t n = table_entries(q, b->n), host = 0;
	CLEANUP(cleanup_free) uint64_t *table = calloc(n + 1, sizeof(*table));
	int ret = table ? note_old_bits(q, e, old) : -ENOMEM;

	if (ret == 0)
		ret = store_bits(q, b, new, table);
	for (uint64_t i = 0; i < n && ret == 0; i++)
		table[i] = htobe64(table[i]);
	if (ret == 0 && n)
		ret = put_new(q, new, table, n * 8, &host);
	if (ret == 0) {
		e->table_host = host;
		e->table_n = (uint32_t)n;
	}
	return ret;
}

/* A directory as it is to be, in dir[]: all is written that it refers to. */
static int store_all(struct qcow2 *q, const struct bitmap_state *s, struct bitmap_entry *dir,
		     struct places *new, struct places *old)
{
	int ret = 0;

	for (uint32_t i = 0; i < s->n && ret == 0; i++) {
		dir[i] = s->dir[i];
		if (!s->bits[i].map)
			continue;
		dir[i].flags &= ~BITMAP_IN_USE;
		if (s->bits[i].changed)
			ret = store_one(q, &dir[i], &s->bits[i], new, old);
	}
	return ret;
}

/* The directory, and the header that refers to it. */
static int switch_directory(struct qcow2 *q, const struct bitmap_entry *dir, uint32_t n,
			    struct places *new)
{
	const struct qcow2_header before = q->h;
	size_t bytes;
	CLEANUP(cleanup_free) uint8_t *p = bitmap_dir_pack(dir, n, &bytes);
	uint64_t host;
	int ret = p ? put_new(q, new, p, bytes, &host) : -ENOMEM;

	if (ret == 0)
		ret = qcow2_write_back(q);
	if (ret < 0)
		return ret;
	q->h.bitmap_dir_host = host;
	q->h.bitmap_dir_bytes = bytes;
	q->h.autoclear |= QCOW2_AUTOCLEAR_BITMAPS;
	ret = qcow2_header_commit(q);
	if (ret < 0) {
		q->h = before;
		new->n = 0; /* the header may know them: a leak at most */
		qcow2_header_restore(q);
	}
	return ret;
}

int qcow2_bitmaps_store(struct qcow2 *q, struct err *err)
{
	struct bitmap_state *s = q->bitmap_state;
	CLEANUP(cleanup_free) struct bitmap_entry *dir = NULL;
	struct places new = {0}, old = {0};
	bool any = false;
	int ret;

	for (uint32_t i = 0; s && i < s->n; i++)
		any |= s->bits[i].map != NULL;
	if (!any || q->broken)
		return 0;
	dir = xcalloc(s->n, sizeof(*dir));
	places_add(&old, q->h.bitmap_dir_host, whole_clusters(q, q->h.bitmap_dir_bytes));
	ret = store_all(q, s, dir, &new, &old);
	if (ret == 0)
		ret = switch_directory(q, dir, s->n, &new);
	for (size_t i = 0; i < new.n &&ret < 0; i++)
		qcow2_unalloc(q, new.at[i].host, new.at[i].bytes);
	for (size_t i = 0; i < old.n && ret == 0; i++)
		qcow2_unref(q, old.at[i].host, old.at[i].bytes);
	if (ret == 0) {
		memcpy(s->dir, dir, s->n * sizeof(*dir));
		for (uint32_t i = 0; i < s->n; i++)
			s->bits[i].changed = false;
	}
	free(new.at);
	free(old.at);
	if (ret < 0)
		return err_set(err, -ret, "the image's bitmaps cannot be stored: %s",
			       err_text(-ret));
	return 0;
}

/* ---- check ---- */

static int walk_one(struct qcow2 *q, const struct bitmap_entry *e, qcow2_place_fn *fn, void *opaque,
		    struct err *err)
{
	CLEANUP(cleanup_free) uint64_t *table = NULL;
	int ret = read_table(q, e, &table);

	if (ret < 0)
		return err_set(err, EIO, "the table of bitmap '%s' cannot be read: %s", e->pub.name,
			       err_text(-ret));
	if (e->table_n)
		ret = fn(opaque, "table of a bitmap", e->table_host,
			 whole_clusters(q, e->table_n * 8ULL));
	for (uint32_t i = 0; i < e->table_n && ret == 0; i++)
		if (table[i] & QCOW2_OFF_MASK)
			ret = fn(opaque, "bitmap", table[i] & QCOW2_OFF_MASK, q->cluster_bytes);
	return ret;
}

static int walk_all(struct qcow2 *q, const struct bitmap_state *s, qcow2_place_fn *fn, void *opaque,
		    struct err *err)
{
	int ret = fn(opaque, "directory of bitmaps", q->h.bitmap_dir_host,
		     whole_clusters(q, q->h.bitmap_dir_bytes));

	for (uint32_t i = 0; i < s->n && ret == 0; i++)
		ret = walk_one(q, &s->dir[i], fn, opaque, err);
	return ret;
}

int qcow2_bitmaps_walk(struct qcow2 *q, qcow2_place_fn *fn, void *opaque, struct err *err)
{
	const struct bitmap_state *s = q->bitmap_state;
	struct bitmap_state now = {0};
	int ret;

	if (!bitmaps_there(q))
		return 0;
	if (s && s->damaged)
		return err_set(err, EIO, "%s", s->damaged);
	if (s)
		return walk_all(q, s, fn, opaque, err);
	ret = read_directory(q, &now, err); /* they are loaded later */
	if (ret == 0)
		ret = walk_all(q, &now, fn, opaque, err);
	free(now.bits);
	bitmap_dir_free(now.dir, now.n);
	return ret;
}
