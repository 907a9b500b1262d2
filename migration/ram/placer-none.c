/* placer-none.c - pages that are only looked at: a stream is checked before it is loaded */
#include "migration/ram/placer.h"

static uint8_t *none_begin(struct load_block *lb, uint64_t off, uint64_t pages, bool *fresh)
{
	(void)lb;
	(void)off;
	(void)pages;
	if (fresh)
		*fresh = false;
	return NULL;
}

static int none_commit(struct load_block *lb, uint64_t off, uint64_t pages)
{
	(void)lb;
	(void)off;
	(void)pages;
	return 0;
}

static int none_zero(struct load_block *lb, uint64_t off)
{
	(void)lb;
	(void)off;
	return 0;
}

const struct page_placer placer_none = {
    .name = "none",
    .begin = none_begin,
    .commit = none_commit,
    .zero = none_zero,
};
