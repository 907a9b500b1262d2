/*
 * stream-source.c - positions of pages in a stream (stream-source.h)
 *
 * In a stream that sends pages in a row each one stands behind its own 8-byte word.  An extent of
 * the index is such a row: it is read with one call, words and all, and the words are dropped.
 *
 * While a stream without an index is read there is a word for each page: the position of its
 * content plus one, 0 when it has none.  A page may come twice then, and the last position counts;
 * in the end the words become extents.
 */
#include "migration/ram/lazy/stream-source.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "migration/ram/lazy/page-index.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/memory/memory.h"

#define MAX_GAP   64U  /* bytes between two pages that are read together all the same */
#define ROW_PAGES 128U /* that are read with one call */

struct stream_source {
	struct page_source base;
	struct stream_access access;
	const struct memory *mem; /* borrowed */
	size_t n;
	uint64_t pages[MEMORY_MAX_BLOCKS];
	struct page_index *index;        /* owned; NULL: being noted */
	size_t which[MEMORY_MAX_BLOCKS]; /* of the index's blocks, by number of the memory's */
	/* while it is noted */
	uint64_t *at[MEMORY_MAX_BLOCKS]; /* owned; position + 1, or 0; NULL: nothing was noted */
	bool no_memory;
	bool kept; /* the index was saved with the stream, and has an identity that stays */
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

/* ---- the source ---- */

/* Pages of one extent. */
static int read_row(struct stream_source *m, uint64_t pos, uint64_t n, uint64_t stride, uint8_t *to,
		    struct err *err)
{
	size_t bytes = (size_t)((n - 1) * stride + PAGE_BYTES);
	CLEANUP(cleanup_free) uint8_t *row = NULL;
	int ret;

	if (stride == PAGE_BYTES || n == 1)
		return m->access.read(m->access.opaque, to, bytes, pos, err);
	row = malloc(bytes);
	if (!row)
		return err_set(err, ENOMEM, "no memory to read %s", m->base.name);
	ret = m->access.read(m->access.opaque, row, bytes, pos, err);
	for (uint64_t i = 0; ret == 0 && i < n; i++)
		memcpy(to + i * PAGE_BYTES, row + i * stride, PAGE_BYTES);
	return ret;
}

static int stream_source_read(struct page_source *s, size_t block, uint64_t page, uint64_t n,
			      uint8_t *to, struct err *err)
{
	struct stream_source *m = source_of(s);

	while (n > 0) {
		const struct page_extent *e = page_index_at(m->index, m->which[block], page, NULL);
		uint64_t stride = e ? page_extent_stride(e) : 0;
		uint64_t row = e ? MIN(e->first + (uint64_t)e->pages - page, MIN(n, ROW_PAGES)) : 1;
		int ret = 0;

		if (!e || page_extent_is_zero(e))
			memset(to, 0, row * PAGE_BYTES);
		else if (stride > PAGE_BYTES + MAX_GAP)
			ret = read_row(m, page_extent_pos(e, page), row = 1, stride, to, err);
		else
			ret = read_row(m, page_extent_pos(e, page), row, stride, to, err);
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
	_Static_assert(PAGE_SOURCE_IDENTITY == PAGE_INDEX_IDENTITY, "an index has one");
	memcpy(out, source_of(s)->index->identity, PAGE_SOURCE_IDENTITY);
}

static char *stream_source_notes(const struct page_source *s)
{
	const struct stream_source *m = source_of(s);

	return m->kept && m->access.notes_path ? xstrdup(m->access.notes_path) : NULL;
}

static void drop_notes(struct stream_source *m)
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->at[i]);
		m->at[i] = NULL;
	}
}

static void stream_source_close(struct page_source *s)
{
	struct stream_source *m = source_of(s);

	if (m->access.close)
		m->access.close(m->access.opaque);
	page_index_free(m->index);
	drop_notes(m);
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
	m->mem = mem;
	for (m->n = 0; m->n < mem->n_blocks; m->n++)
		m->pages[m->n] = mem->blocks[m->n]->bytes / PAGE_BYTES;
	m->access = *access;
	return &m->base;
}

uint64_t stream_source_bytes(const struct page_source *s, size_t block)
{
	return source_of(s)->pages[block] * PAGE_BYTES;
}

uint64_t *stream_source_comes(const struct page_source *s, size_t block)
{
	const struct stream_source *m = source_of(s);
	const struct page_index_block *b = &m->index->blocks[m->which[block]];
	uint64_t *map = bitmap_new(m->pages[block]);

	for (size_t i = 0; map && i < b->n; i++)
		if (!page_extent_is_zero(&b->v[i]))
			bitmap_set_range(map, b->v[i].first, b->v[i].pages);
	return map;
}

/* ---- an index that there is ---- */

static int find_block(struct stream_source *m, size_t block, struct err *err)
{
	const char *name = m->mem->blocks[block]->name;
	int i = page_index_find_block(m->index, name);

	if (i < 0 || m->index->blocks[i].pages != m->pages[block])
		return err_set(err, EINVAL, "RAM block '%s' %s in it", name,
			       i < 0 ? "is not" : "has another length");
	m->which[block] = (size_t)i;
	return 0;
}

int stream_source_use(struct page_source *s, struct page_index *index, struct err *err)
{
	struct stream_source *m = source_of(s);
	int ret = 0;

	m->index = index;
	for (size_t i = 0; ret == 0 && i < m->n; i++)
		ret = find_block(m, i, err);
	if (ret == 0 && index->n != m->n)
		ret =
		    err_set(err, EINVAL, "it has %zu RAM blocks, this machine %zu", index->n, m->n);
	m->kept = ret == 0;
	if (ret < 0) {
		page_index_free(index);
		m->index = NULL;
	}
	return ret;
}

/* ---- one that is noted ---- */

static uint64_t *notes_of(struct stream_source *m, size_t block)
{
	if (!m->at[block]) {
		m->at[block] = calloc(m->pages[block], sizeof(uint64_t));
		m->no_memory |= !m->at[block];
	}
	return m->at[block];
}

void stream_source_note(struct page_source *s, size_t block, uint64_t page, uint64_t n,
			uint64_t pos)
{
	uint64_t *at = notes_of(source_of(s), block);

	for (uint64_t i = 0; at && i < n; i++)
		at[page + i] = pos + i * PAGE_BYTES + 1;
}

void stream_source_note_zero(struct page_source *s, size_t block, uint64_t page)
{
	struct stream_source *m = source_of(s);

	if (m->at[block])
		m->at[block][page] = 0;
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

int stream_source_noted(struct page_source *s, struct err *err)
{
	struct stream_source *m = source_of(s);
	struct page_index *ix = page_index_new(m->mem);

	ix->max_extents = SIZE_MAX;
	for (size_t i = 0; i < m->n; i++) {
		m->which[i] = i;
		for (uint64_t page = 0; m->at[i] && page < m->pages[i]; page++)
			if (m->at[i][page])
				page_index_add(ix, i, page, 1, m->at[i][page] - 1);
		free(m->at[i]);
		m->at[i] = NULL;
	}
	m->index = ix;
	if (!m->no_memory && !ix->lost)
		return 0;
	return err_set(err, ENOMEM, "no memory for the index of %s", m->base.name);
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
