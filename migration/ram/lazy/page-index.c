/*
 * page-index.c - the index as it grows, and questions to it (page-index.h)
 *
 * Extents are kept in the order in which their pages are written, and sorted once at the end: a
 * saver that sweeps over memory has them nearly sorted.  How many there are is bounded; a save
 * whose pages lie too scattered has no index.
 */
#include "migration/ram/lazy/page-index.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "vmm/base/alloc.h"

#define MAX_GAP 0xffffU

struct page_index *page_index_new(const struct memory *mem)
{
	struct page_index *ix = NEW(struct page_index);

	ix->max_extents = PAGE_INDEX_MAX_EXTENTS;
	if (getrandom(ix->identity, sizeof(ix->identity), 0) != (ssize_t)sizeof(ix->identity))
		ix->lost = true;
	for (; ix->n < mem->n_blocks; ix->n++) {
		const struct ram_block *b = mem->blocks[ix->n];
		struct page_index_block *to = &ix->blocks[ix->n];

		(void)snprintf(to->name, sizeof(to->name), "%s", b->name);
		to->pages = b->bytes / PAGE_BYTES;
		ix->lost |= to->pages > UINT32_MAX;
	}
	return ix;
}

static void drop_extents(struct page_index *ix)
{
	for (size_t i = 0; i < ix->n; i++) {
		free(ix->blocks[i].v);
		ix->blocks[i].v = NULL;
		ix->blocks[i].n = ix->blocks[i].cap = 0;
	}
}

void page_index_free(struct page_index *ix)
{
	if (!ix)
		return;
	drop_extents(ix);
	free(ix);
}

/* ---- growing ---- */

static struct page_extent *new_extent(struct page_index *ix, struct page_index_block *b)
{
	if (ix->extents == ix->max_extents) {
		ix->lost = true;
		return NULL;
	}
	if (b->n == b->cap) {
		size_t cap = MAX(2 * b->cap, 256);
		struct page_extent *more = reallocarray(b->v, cap, sizeof(*more));

		if (!more) {
			ix->lost = true;
			return NULL;
		}
		b->v = more;
		b->cap = cap;
	}
	ix->extents++;
	return &b->v[b->n++];
}

/* Does the page go on where the last extent ends? */
static bool goes_on(struct page_extent *e, uint64_t page, uint64_t pos)
{
	uint64_t gap;

	if (page != (uint64_t)e->first + e->pages || page_extent_is_zero(e))
		return false;
	if (e->pages > 1)
		return pos == page_extent_pos(e, page);
	gap = pos - e->place - PAGE_BYTES;
	if (gap > MAX_GAP)
		return false;
	e->place |= gap << 48;
	return true;
}

static void add(struct page_index *ix, size_t block, uint64_t page, uint64_t n, uint64_t place)
{
	struct page_index_block *b = &ix->blocks[block];
	struct page_extent *e = ix->lost ? NULL : new_extent(ix, b);

	ix->last = block;
	if (e)
		*e = (struct page_extent){(uint32_t)page, (uint32_t)n, place};
	else
		drop_extents(ix);
}

static struct page_extent *last_extent(const struct page_index *ix, size_t block)
{
	const struct page_index_block *b = &ix->blocks[block];

	return ix->last == block && b->n ? &b->v[b->n - 1] : NULL;
}

void page_index_add(struct page_index *ix, size_t block, uint64_t page, uint64_t n, uint64_t pos)
{
	struct page_extent *e = last_extent(ix, block);

	ix->content += n;
	if (n == 1 && e && goes_on(e, page, pos))
		e->pages++;
	else
		add(ix, block, page, n, pos);
}

void page_index_add_zero(struct page_index *ix, size_t block, uint64_t page)
{
	struct page_extent *e = last_extent(ix, block);

	if (!ix->layer)
		return;
	if (e && page_extent_is_zero(e) && page == (uint64_t)e->first + e->pages)
		e->pages++;
	else
		add(ix, block, page, 1, PAGE_EXTENT_ZERO);
}

void page_index_begin_record(struct page_index *ix, uint64_t pos)
{
	if (!ix->end)
		ix->start = ix->end = pos;
}

void page_index_end_record(struct page_index *ix, uint64_t pos)
{
	if (ix->end)
		ix->end = pos;
}

static int compare_extents(const void *a, const void *b)
{
	const struct page_extent *x = a, *y = b;

	return (x->first > y->first) - (x->first < y->first);
}

static int sort_block(struct page_index_block *b)
{
	if (b->n)
		qsort(b->v, b->n, sizeof(*b->v), compare_extents);
	for (size_t i = 1; i < b->n; i++)
		if (b->v[i].first - b->v[i - 1].first < b->v[i - 1].pages)
			return -EINVAL;
	return 0;
}

int page_index_complete(struct page_index *ix, uint64_t stream_bytes)
{
	int ret = ix->lost || stream_bytes >= PAGE_EXTENT_ZERO ? -ENOSPC : 0;

	ix->stream_bytes = stream_bytes;
	for (size_t i = 0; ret == 0 && i < ix->n; i++)
		ret = sort_block(&ix->blocks[i]);
	return ret;
}

/* ---- questions ---- */

int page_index_find_block(const struct page_index *ix, const char *name)
{
	for (size_t i = 0; i < ix->n; i++)
		if (!strcmp(ix->blocks[i].name, name))
			return (int)i;
	return -1;
}

const struct page_extent *page_index_at(const struct page_index *ix, size_t block, uint64_t page,
					uint64_t *next)
{
	const struct page_index_block *b = &ix->blocks[block];
	size_t low = 0, high = b->n;

	while (low < high) { /* the first that ends behind the page */
		size_t mid = low + (high - low) / 2;

		if ((uint64_t)b->v[mid].first + b->v[mid].pages > page)
			high = mid;
		else
			low = mid + 1;
	}
	if (low < b->n && b->v[low].first <= page)
		return &b->v[low];
	if (next)
		*next = low < b->n ? b->v[low].first : b->pages;
	return NULL;
}
