/*
 * page-index-file.c - the index as bytes (page-index.h)
 *
 * What is read may be anything: lengths are held against the file's, extents against their block
 * and the stream.  Two checksums tell damage from intent; they replace no check.
 */
#include "migration/ram/lazy/page-index.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/xxh64.h"

#define VERSION     1U
#define MAGIC_BYTES 8U
#define PIECE       (64 * KiB)
#define SUM_AT      (PAGE_INDEX_TRAILER - MAGIC_BYTES - 8U) /* of the trailer's own checksum */

static const char head[] = "mvmpages", tail[] = "mvmtrail";

static uint64_t hash(const void *p, size_t n)
{
	struct xxh64 h;

	xxh64_init(&h);
	xxh64_add(&h, p, n);
	return xxh64_value(&h);
}

/* ---- writing ---- */

struct index_writer {
	int (*put)(void *opaque, const void *p, size_t n);
	void *opaque;
	struct buf piece;
	struct xxh64 sum;
	uint64_t bytes;
};

static int put_piece(struct index_writer *w)
{
	int ret = w->put(w->opaque, w->piece.data, w->piece.len);

	xxh64_add(&w->sum, w->piece.data, w->piece.len);
	w->bytes += w->piece.len;
	buf_clear(&w->piece);
	return ret;
}

static int put_block(struct index_writer *w, const struct page_index_block *b)
{
	int ret = 0;

	buf_str8(&w->piece, b->name);
	buf_be32(&w->piece, (uint32_t)b->pages);
	buf_be32(&w->piece, (uint32_t)b->n);
	for (size_t i = 0; ret == 0 && i < b->n; i++) {
		buf_be32(&w->piece, b->v[i].first);
		buf_be32(&w->piece, b->v[i].pages);
		buf_be64(&w->piece, b->v[i].place);
		if (w->piece.len >= PIECE)
			ret = put_piece(w);
	}
	return ret;
}

static int put_trailer(struct index_writer *w, const struct page_index *ix)
{
	struct buf *b = &w->piece;

	buf_be32(b, VERSION);
	buf_be32(b, ix->layer ? PAGE_INDEX_LAYER : 0);
	buf_be64(b, ix->stream_bytes);
	buf_be64(b, w->bytes);
	buf_be64(b, ix->start);
	buf_be64(b, ix->end);
	buf_put(b, ix->identity, sizeof(ix->identity));
	buf_put(b, ix->parent, sizeof(ix->parent));
	buf_be64(b, ix->content);
	buf_be32(b, (uint32_t)ix->n);
	buf_be32(b, 0);
	buf_be64(b, xxh64_value(&w->sum));
	buf_be64(b, hash(b->data, b->len));
	buf_put(b, tail, MAGIC_BYTES);
	return w->put(w->opaque, b->data, b->len);
}

int page_index_write(const struct page_index *ix, int (*put)(void *opaque, const void *p, size_t n),
		     void *opaque)
{
	struct index_writer w = {.put = put, .opaque = opaque};
	int ret = 0;

	xxh64_init(&w.sum);
	buf_put(&w.piece, head, MAGIC_BYTES);
	for (size_t i = 0; ret == 0 && i < ix->n; i++)
		ret = put_block(&w, &ix->blocks[i]);
	if (ret == 0)
		ret = put_piece(&w);
	if (ret == 0)
		ret = put_trailer(&w, ix);
	buf_free(&w.piece);
	return ret;
}

/* ---- reading ---- */

struct trailer {
	uint64_t stream_bytes, index_bytes, sum;
	uint32_t blocks;
};

static int check_extent(const struct page_index *ix, const struct page_index_block *b,
			const struct page_extent *e, uint64_t *behind, struct err *err)
{
	uint64_t last = e->first + (uint64_t)e->pages - 1, end;

	if (!e->pages || e->first < *behind || last >= b->pages)
		return err_set(err, EINVAL,
			       "its extent of %u pages from page %u of RAM block '%s' on is empty, "
			       "not in order or beyond the block",
			       e->pages, e->first, b->name);
	*behind = last + 1;
	if (page_extent_is_zero(e))
		return 0;
	/* 48 bits, and 32 times 17: no sum of these overflows */
	end = page_extent_pos(e, last) + PAGE_BYTES;
	if (page_extent_pos(e, e->first) < ix->start || end > ix->end)
		return err_set(err, EINVAL,
			       "its extent of %u pages from page %u of RAM block '%s' on does not "
			       "lie in the pages' part of the stream",
			       e->pages, e->first, b->name);
	return 0;
}

static int get_extents(const struct page_index *ix, struct page_index_block *b, struct src *in,
		       struct err *err)
{
	uint64_t behind = 0;

	for (size_t i = 0; i < b->n; i++) {
		const uint8_t *p = src_take(in, sizeof(struct page_extent));
		struct page_extent *e = &b->v[i];
		int ret;

		if (!p)
			return err_set(err, EINVAL, "it ends in RAM block '%s'", b->name);
		*e = (struct page_extent){get_be32(p), get_be32(p + 4), get_be64(p + 8)};
		ret = check_extent(ix, b, e, &behind, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int get_block(struct page_index *ix, struct src *in, struct err *err)
{
	struct page_index_block *b = &ix->blocks[ix->n];
	char name[256];
	uint32_t pages, n;

	if (src_str8(in, name) < 0 || src_be32(in, &pages) < 0 || src_be32(in, &n) < 0)
		return err_set(err, EINVAL, "it ends in front of a RAM block, or has no name");
	if (strlen(name) >= sizeof(b->name) || page_index_find_block(ix, name) >= 0)
		return err_set(err, EINVAL,
			       "its RAM block '%.64s' has a name that is too long, "
			       "or comes twice",
			       name);
	if (n > (in->len - in->at) / sizeof(struct page_extent))
		return err_set(err, EINVAL, "it ends in RAM block '%s'", name);
	memcpy(b->name, name, strlen(name) + 1);
	b->pages = pages;
	b->v = n ? reallocarray(NULL, n, sizeof(*b->v)) : NULL;
	if (n && !b->v)
		return err_set(err, ENOMEM, "there is no memory for it");
	b->n = b->cap = n;
	ix->n++;
	return get_extents(ix, b, in, err);
}

static int get_index(struct page_index *ix, const uint8_t *p, const struct trailer *t,
		     struct err *err)
{
	struct src in = src_mem(p, t->index_bytes);
	int ret = 0;

	if (memcmp(p, head, MAGIC_BYTES) != 0 || hash(p, t->index_bytes) != t->sum)
		return err_set(err, EINVAL, "its checksum does not match");
	(void)src_skip(&in, MAGIC_BYTES);
	for (uint32_t i = 0; ret == 0 && i < t->blocks; i++)
		ret = get_block(ix, &in, err);
	if (ret == 0 && in.at != in.len)
		ret = err_set(err, EINVAL, "bytes follow its last RAM block");
	return ret;
}

/* The checksum has been compared: what follows is what a saver has written, or intent. */
static int get_trailer(struct page_index *ix, struct trailer *t, const uint8_t *p, uint64_t bytes,
		       struct err *err)
{
	uint32_t version = get_be32(p), flags = get_be32(p + 4);

	if (version != VERSION || (flags & ~PAGE_INDEX_LAYER))
		return err_set(err, EINVAL, "it has version %u with flags 0x%x, known here is %u",
			       version, flags, VERSION);
	t->stream_bytes = get_be64(p + 8);
	t->index_bytes = get_be64(p + 16);
	t->blocks = get_be32(p + 112);
	t->sum = get_be64(p + 120);
	ix->layer = flags & PAGE_INDEX_LAYER;
	ix->stream_bytes = t->stream_bytes;
	ix->start = get_be64(p + 24);
	ix->end = get_be64(p + 32);
	ix->content = get_be64(p + 104);
	memcpy(ix->identity, p + 40, sizeof(ix->identity));
	memcpy(ix->parent, p + 72, sizeof(ix->parent));
	if (t->index_bytes < MAGIC_BYTES || t->index_bytes > PAGE_INDEX_MAX_BYTES ||
	    t->stream_bytes > bytes ||
	    bytes - t->stream_bytes != t->index_bytes + PAGE_INDEX_TRAILER || ix->start > ix->end ||
	    ix->end > t->stream_bytes || t->blocks > MEMORY_MAX_BLOCKS)
		return err_set(
		    err, EINVAL,
		    "it says that the stream has 0x%" PRIx64 " bytes, pages from 0x%" PRIx64
		    " to 0x%" PRIx64 ", and the index %u blocks in 0x%" PRIx64
		    " bytes, all of 0x%" PRIx64 " bytes",
		    t->stream_bytes, ix->start, ix->end, t->blocks, t->index_bytes, bytes);
	return 0;
}

static int read_trailer(struct page_index *ix, struct trailer *t, const struct page_index_file *f,
			struct err *err)
{
	uint8_t p[PAGE_INDEX_TRAILER];
	int ret;

	if (f->bytes < sizeof(p))
		return -ENOENT;
	ret = f->read(f->opaque, p, sizeof(p), f->bytes - sizeof(p), err);
	if (ret < 0)
		return ret;
	if (memcmp(p + sizeof(p) - MAGIC_BYTES, tail, MAGIC_BYTES) != 0)
		return -ENOENT;
	if (hash(p, SUM_AT) != get_be64(p + SUM_AT))
		return err_set(err, EINVAL, "the checksum of its trailer does not match");
	return get_trailer(ix, t, p, f->bytes, err);
}

int page_index_identity(const struct page_index_file *f, uint8_t identity[PAGE_INDEX_IDENTITY])
{
	CLEANUP(cleanup_free) struct page_index *ix = NEW(struct page_index);
	struct trailer t;
	int ret = read_trailer(ix, &t, f, NULL);

	if (ret == 0)
		memcpy(identity, ix->identity, sizeof(ix->identity));
	return ret;
}

static int read_index(struct page_index *ix, const struct page_index_file *f, struct err *err)
{
	CLEANUP(cleanup_free) uint8_t *p = NULL;
	struct trailer t = {0};
	int ret = read_trailer(ix, &t, f, err);

	if (ret < 0)
		return ret;
	p = malloc(t.index_bytes);
	if (!p)
		return err_set(err, ENOMEM, "there is no memory for it");
	ret = f->read(f->opaque, p, t.index_bytes, t.stream_bytes, err);
	return ret == 0 ? get_index(ix, p, &t, err) : ret;
}

int page_index_read(struct page_index **ix, const struct page_index_file *f, struct err *err)
{
	struct page_index *got = NEW(struct page_index);
	int ret = read_index(got, f, err);

	if (ret < 0)
		page_index_free(got);
	else
		*ix = got;
	return ret;
}
