/*
 * page-index-layer.c - an index over another one: pages that the upper has not are the lower's
 *
 * Positions in the lower stream become such in both, one behind the other, so that what reads
 * pages by an index need not know how many streams there are.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/ram/lazy/page-index.h"
#include "vmm/base/error.h"

static uint64_t end_of(const struct page_extent *e)
{
	return (uint64_t)e->first + e->pages;
}

/* Pages [first, end) of an extent, whose stream begins at 'base' now. */
static struct page_extent part_of(const struct page_extent *e, uint64_t first, uint64_t end,
				  uint64_t base)
{
	struct page_extent part = {(uint32_t)first, (uint32_t)(end - first), e->place};

	if (!page_extent_is_zero(e))
		part.place = (e->place & ~PAGE_EXTENT_ZERO) | (page_extent_pos(e, first) + base);
	return part;
}

/* *n of 'over' have been put in front of 'page', and those that end there are. */
static void put_over(struct page_index_block *out, const struct page_index_block *over, size_t *n,
		     uint64_t page)
{
	while (*n < over->n && end_of(&over->v[*n]) <= page)
		out->v[out->n++] = over->v[(*n)++];
}

/* 'out' has room: each extent of 'over' cuts one of 'under' into two at most. */
static void put_block(struct page_index_block *out, const struct page_index_block *over,
		      const struct page_index_block *under, uint64_t base)
{
	size_t n = 0;

	for (size_t i = 0; i < under->n; i++) {
		const struct page_extent *e = &under->v[i];

		for (uint64_t at = e->first; at < end_of(e);) {
			uint64_t stop = end_of(e);

			put_over(out, over, &n, at);
			if (n < over->n && over->v[n].first <= at) {
				at = end_of(&over->v[n]);
				continue;
			}
			if (n < over->n && over->v[n].first < stop)
				stop = over->v[n].first;
			out->v[out->n++] = part_of(e, at, stop, base);
			at = stop;
		}
	}
	while (n < over->n)
		out->v[out->n++] = over->v[n++];
}

static int add_block(struct page_index *ix, size_t block, const struct page_index *below,
		     uint64_t base, struct err *err)
{
	struct page_index_block *over = &ix->blocks[block], out = *over;
	int under = page_index_find_block(below, over->name);

	if (under < 0 || below->blocks[under].pages != over->pages)
		return err_set(err, EINVAL, "RAM block '%s' %s in the snapshot on which it stands",
			       over->name, under < 0 ? "is not" : "has another length");
	out.n = 0;
	out.cap = 2 * over->n + below->blocks[under].n;
	out.v = reallocarray(NULL, out.cap + 1, sizeof(*out.v));
	if (!out.v)
		return err_set(err, ENOMEM, "there is no memory for it");
	put_block(&out, over, &below->blocks[under], base);
	free(over->v);
	*over = out;
	return 0;
}

/* Pages that are not zero. */
static uint64_t count_content(const struct page_index *ix)
{
	uint64_t n = 0;

	for (size_t i = 0; i < ix->n; i++)
		for (size_t k = 0; k < ix->blocks[i].n; k++)
			if (!page_extent_is_zero(&ix->blocks[i].v[k]))
				n += ix->blocks[i].v[k].pages;
	return n;
}

int page_index_put_under(struct page_index *ix, const struct page_index *below, uint64_t base,
			 struct err *err)
{
	int ret = 0;

	if (!ix->layer || memcmp(ix->parent, below->identity, sizeof(ix->parent)) != 0)
		return err_set(err, EINVAL, "it does not stand on the one that is below it");
	if (base >= PAGE_EXTENT_ZERO - below->stream_bytes)
		return err_set(err, EFBIG, "its streams are too long");
	for (size_t i = 0; ret == 0 && i < ix->n; i++)
		ret = add_block(ix, i, below, base, err);
	if (ret < 0)
		return ret;
	memcpy(ix->parent, below->parent, sizeof(ix->parent));
	ix->layer = below->layer;
	ix->content = count_content(ix);
	return 0;
}
