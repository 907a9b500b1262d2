/*
 * counts.c - pages of numbers, made when the first number in them is not zero
 *
 * The clusters that a snapshot or a check counts lie together, so that memory goes by what is
 * counted, four bytes a cluster, and not by the size of the file.
 */
#include "devices/block/qcow2/counts.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/units.h"

#define PAGE_NUMBERS ((size_t)1 << COUNTS_PAGE_BITS)

void counts_fini(struct counts *c)
{
	for (size_t i = 0; i < c->n_pages; i++)
		free(c->page[i]);
	free(c->page);
	*c = (struct counts){0};
}

/* The list of pages has one for page 'p', which may still be NULL. */
static int counts_reach(struct counts *c, size_t p)
{
	size_t n = MAX(p + 1, c->n_pages + c->n_pages / 2);
	int32_t **page;

	if (p < c->n_pages)
		return 0;
	page = realloc(c->page, n * sizeof(*page));
	if (!page)
		return -ENOMEM;
	for (size_t i = c->n_pages; i < n; i++)
		page[i] = NULL;
	c->page = page;
	c->n_pages = n;
	return 0;
}

int counts_add(struct counts *c, uint64_t i, int32_t by)
{
	size_t p = (size_t)(i >> COUNTS_PAGE_BITS);
	int32_t *at;
	int ret;

	if (i >= COUNTS_MAX)
		return -EFBIG;
	ret = counts_reach(c, p);
	if (ret < 0)
		return ret;
	if (!c->page[p])
		c->page[p] = calloc(PAGE_NUMBERS, sizeof(int32_t));
	if (!c->page[p])
		return -ENOMEM;
	at = &c->page[p][i % PAGE_NUMBERS];
	return __builtin_add_overflow(*at, by, at) ? -ERANGE : 0;
}

int32_t counts_get(const struct counts *c, uint64_t i)
{
	uint64_t p = i >> COUNTS_PAGE_BITS;

	return p < c->n_pages && c->page[p] ? c->page[p][i % PAGE_NUMBERS] : 0;
}

uint64_t counts_next(const struct counts *c, uint64_t from)
{
	for (uint64_t p = from >> COUNTS_PAGE_BITS; p < c->n_pages; p++) {
		uint64_t i = MAX(from, p << COUNTS_PAGE_BITS);

		for (; c->page[p] && i < (p + 1) << COUNTS_PAGE_BITS; i++)
			if (c->page[p][i % PAGE_NUMBERS])
				return i;
	}
	return UINT64_MAX;
}
