/*
 * stream-source.c - positions of pages in a stream (stream-source.h)
 *
 * A word for each page: the position of its content plus one, 0 when it has none.  In a stream
 * that sends pages in a row each one stands behind its own 8-byte word, so positions of
 * neighbours differ by the same number; such a row is read with one call, words and all, and the
 * words are dropped.
 */
#include "migration/ram/lazy/stream-source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/buf.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/memory/memory.h"

#define MAX_GAP   64U  /* bytes between two pages that are read together all the same */
#define ROW_PAGES 128U /* that are read with one call */

struct stream_source {
	struct page_source base;
	struct stream_access access;
	size_t n;
	uint64_t pages[MEMORY_MAX_BLOCKS];
	uint64_t *at[MEMORY_MAX_BLOCKS]; /* owned; position + 1, or 0 */
	const char *names[MEMORY_MAX_BLOCKS];
	/* parts of the stream that have nothing but pages, in order */
	struct body {
		uint64_t start, end;
	} * bodies; /* owned */
	size_t n_bodies, max_bodies;
};

static struct stream_source *source_of(const struct page_source *s)
{
	return container_of(s, struct stream_source, base);
}

/* How many pages from 'page' on are *stride bytes apart, at most 'max'. */
static uint64_t row_of(const uint64_t *at, uint64_t page, uint64_t max, uint64_t *stride)
{
	uint64_t n = 1;

	*stride = PAGE_BYTES;
	if (max > 1 && at[page + 1] > at[page] && at[page + 1] - at[page] >= PAGE_BYTES &&
	    at[page + 1] - at[page] <= PAGE_BYTES + MAX_GAP)
		*stride = at[page + 1] - at[page];
	while (n < max && at[page + n] && at[page + n] - at[page + n - 1] == *stride)
		n++;
	return n;
}

static int read_row(struct stream_source *m, const uint64_t *at, uint64_t page, uint64_t n,
		    uint64_t stride, uint8_t *to, struct err *err)
{
	size_t bytes = (size_t)((n - 1) * stride + PAGE_BYTES);
	CLEANUP(cleanup_free) uint8_t *row = NULL;
	int ret;

	if (stride == PAGE_BYTES)
		return m->access.read(m->access.opaque, to, bytes, at[page] - 1, err);
	row = malloc(bytes);
	if (!row)
		return err_set(err, ENOMEM, "no memory to read %s", m->base.name);
	ret = m->access.read(m->access.opaque, row, bytes, at[page] - 1, err);
	for (uint64_t i = 0; ret == 0 && i < n; i++)
		memcpy(to + i * PAGE_BYTES, row + i * stride, PAGE_BYTES);
	return ret;
}

static int stream_source_read(struct page_source *s, size_t block, uint64_t page, uint64_t n,
			      uint8_t *to, struct err *err)
{
	struct stream_source *m = source_of(s);
	const uint64_t *at = m->at[block];

	while (n > 0) {
		uint64_t stride, row = row_of(at, page, MIN(n, ROW_PAGES), &stride);
		int ret = read_row(m, at, page, row, stride, to, err);

		if (ret < 0)
			return ret;
		page += row;
		n -= row;
		to += row * PAGE_BYTES;
	}
	return 0;
}

static void stream_source_identity(const struct page_source *s, uint8_t out[PAGE_SOURCE_IDENTITY])
{
	memcpy(out, source_of(s)->access.identity, PAGE_SOURCE_IDENTITY);
}

static char *stream_source_notes(const struct page_source *s)
{
	const char *path = source_of(s)->access.notes_path;

	return path ? xstrdup(path) : NULL;
}

static void stream_source_close(struct page_source *s)
{
	struct stream_source *m = source_of(s);

	if (m->access.close)
		m->access.close(m->access.opaque);
	for (size_t i = 0; i < m->n; i++)
		free(m->at[i]);
	free(m->bodies);
	free(m);
}

static const struct page_source_ops stream_source_ops = {
    .read = stream_source_read,
    .identity = stream_source_identity,
    .notes_path = stream_source_notes,
    .close = stream_source_close,
};

struct page_source *stream_source_new(const struct stream_access *access, const struct memory *mem)
{
	struct stream_source *m = NEW(struct stream_source);

	m->base = (struct page_source){.ops = &stream_source_ops, .name = access->name};
	for (m->n = 0; m->n < mem->n_blocks; m->n++) {
		const struct ram_block *b = mem->blocks[m->n];

		m->pages[m->n] = b->bytes / PAGE_BYTES;
		m->names[m->n] = b->name;
		m->at[m->n] = calloc(m->pages[m->n], sizeof(uint64_t));
		if (!m->at[m->n]) {
			stream_source_close(&m->base);
			return NULL;
		}
	}
	m->access = *access;
	return &m->base;
}

/* ---- the index ---- */

void stream_source_note(struct page_source *s, size_t block, uint64_t page, uint64_t n,
			uint64_t pos)
{
	uint64_t *at = source_of(s)->at[block];

	for (uint64_t i = 0; i < n; i++)
		at[page + i] = pos + i * PAGE_BYTES + 1;
}

void stream_source_note_zero(struct page_source *s, size_t block, uint64_t page)
{
	source_of(s)->at[block][page] = 0;
}

int stream_source_note_body(struct page_source *s, uint64_t start, uint64_t end, struct err *err)
{
	struct stream_source *m = source_of(s);

	if (m->n_bodies == m->max_bodies) {
		size_t max = MAX(2 * m->max_bodies, 64);
		struct body *more = reallocarray(m->bodies, max, sizeof(*more));

		if (!more)
			return err_set(err, ENOMEM, "no memory for the index of %s", m->base.name);
		m->bodies = more;
		m->max_bodies = max;
	}
	m->bodies[m->n_bodies++] = (struct body){start, end};
	return 0;
}

uint64_t stream_source_bytes(const struct page_source *s, size_t block)
{
	return source_of(s)->pages[block] * PAGE_BYTES;
}

static int compare_bodies(const void *key, const void *elem)
{
	const uint64_t *start = key;
	const struct body *b = elem;

	return (*start > b->start) - (*start < b->start);
}

uint64_t stream_source_body_end(const struct page_source *s, uint64_t start)
{
	const struct stream_source *m = source_of(s);
	const struct body *b =
	    m->n_bodies ? bsearch(&start, m->bodies, m->n_bodies, sizeof(*b), compare_bodies)
			: NULL;

	return b ? b->end : 0;
}

uint64_t *stream_source_comes(const struct page_source *s, size_t block)
{
	const struct stream_source *m = source_of(s);
	uint64_t *map = bitmap_new(m->pages[block]);

	for (uint64_t i = 0; map && i < m->pages[block]; i++)
		if (m->at[block][i])
			bitmap_set(map, i);
	return map;
}

static uint32_t put_runs(const uint64_t *at, uint64_t pages, struct buf *out)
{
	uint32_t runs = 0;
	uint64_t n, stride;

	for (uint64_t page = 0; page < pages; page += n) {
		n = 1;
		if (!at[page])
			continue;
		n = row_of(at, page, pages - page, &stride);
		buf_be32(out, (uint32_t)page);
		buf_be32(out, (uint32_t)n);
		buf_be64(out, at[page] - 1);
		buf_be32(out, (uint32_t)stride);
		runs++;
	}
	return runs;
}

void stream_index_put(const struct page_source *s, struct buf *out)
{
	const struct stream_source *m = source_of(s);

	for (size_t i = 0; i < m->n; i++) {
		size_t head = out->len;

		buf_be32(out, 0);
		put_be32(out->data + head, put_runs(m->at[i], m->pages[i], out));
	}
}

static int get_run(const struct stream_source *m, size_t block, struct src *in, uint64_t *behind,
		   uint64_t stream_bytes, struct err *err)
{
	uint64_t where = src_offset(in), pos, last, end;
	uint32_t first, n, stride;

	if (src_be32(in, &first) < 0 || src_be32(in, &n) < 0 || src_be64(in, &pos) < 0 ||
	    src_be32(in, &stride) < 0)
		return err_set(err, EINVAL, "the index of pages ends at offset 0x%" PRIx64,
			       src_offset(in));
	if (!n || first < *behind || first >= m->pages[block] || n > m->pages[block] - first)
		return err_set(err, EINVAL,
			       "the run of %u pages from page %u of RAM block '%s' on, at offset "
			       "0x%" PRIx64 " of the index, is empty, not in order or beyond the "
			       "block",
			       n, first, m->names[block], where);
	if (stride < PAGE_BYTES ||
	    __builtin_mul_overflow((uint64_t)n - 1, (uint64_t)stride, &last) ||
	    __builtin_add_overflow(last, pos, &end) ||
	    __builtin_add_overflow(end, (uint64_t)PAGE_BYTES, &end) || end > stream_bytes)
		return err_set(err, EINVAL,
			       "the run of %u pages at position 0x%" PRIx64 ", %u bytes apart, at "
			       "offset 0x%" PRIx64
			       " of the index, is not within the stream of 0x%" PRIx64 " bytes",
			       n, pos, stride, where, stream_bytes);
	for (uint32_t i = 0; i < n; i++)
		m->at[block][first + i] = pos + (uint64_t)i * stride + 1;
	*behind = (uint64_t)first + n;
	return 0;
}

int stream_index_get(struct page_source *s, const uint8_t *p, size_t n, uint64_t stream_bytes,
		     struct err *err)
{
	struct stream_source *m = source_of(s);
	struct src in = src_mem(p, n);
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < m->n; i++) {
		uint64_t behind = 0;
		uint32_t runs;

		memset(m->at[i], 0, m->pages[i] * sizeof(uint64_t));
		if (src_be32(&in, &runs) < 0)
			ret = err_set(err, EINVAL,
				      "the index of pages ends in front of RAM block '%s'",
				      m->names[i]);
		for (; ret == 0 && runs > 0; runs--)
			ret = get_run(m, i, &in, &behind, stream_bytes, err);
	}
	if (ret == 0 && in.at != in.len)
		ret = err_set(err, EINVAL, "bytes follow the index of pages");
	return ret;
}
