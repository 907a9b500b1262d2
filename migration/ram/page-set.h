/*
 * page-set.h - pages of guest memory: those that still have to go
 *
 * One bitmap a block, a bit a 4 KiB page.  Every channel of a migration shares
 * the set: a page belongs to the channel that takes it, and to one only.
 */
#ifndef MINIVMM_MIGRATION_PAGE_SET_H
#define MINIVMM_MIGRATION_PAGE_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/units.h"
#include "vmm/memory/memory.h"

/* Consecutive pages of one block. */
struct page_run {
	size_t block; /* index in mem->blocks */
	uint64_t first, n;
};

struct page_set {
	const struct memory *mem;         /* borrowed */
	uint64_t *map[MEMORY_MAX_BLOCKS]; /* owned; words atomic; NULL: the block is left out */
	uint64_t pages;                   /* atomic: bits that are set */
	uint64_t removed;                 /* atomic: by page_set_remove(), ever */
};

/* Empty, over all blocks but those that are not logged (ram_block.unlogged).  0 or -ENOMEM. */
int page_set_init(struct page_set *s, const struct memory *mem);
void page_set_fini(struct page_set *s); /* zeroed is fine */

/*
 * Add pages [first, first + n), or those of a bitmap of the block (a bit a
 * page); returns how many were not in the set.  One thread adds; others may
 * take meanwhile.
 */
uint64_t page_set_add(struct page_set *s, size_t block, uint64_t first, uint64_t n);
uint64_t page_set_add_map(struct page_set *s, size_t block, const uint64_t *map);

/*
 * Take the first stretch of pages within *run that are in the set, at most
 * 'max' of them: they are removed from it, and *run says which.  False:
 * there is none.  Any thread.
 */
bool page_set_take(struct page_set *s, struct page_run *run, uint64_t max);

/* Pages [first, first + n) need not go.  Any thread, but not while one adds; others may take. */
void page_set_remove(struct page_set *s, size_t block, uint64_t first, uint64_t n);

static inline uint64_t page_set_removed(const struct page_set *s)
{
	return __atomic_load_n(&s->removed, __ATOMIC_RELAXED);
}

static inline uint64_t page_set_pages(const struct page_set *s)
{
	return __atomic_load_n(&s->pages, __ATOMIC_RELAXED);
}

/* Pages that the block has. */
static inline uint64_t page_set_block_pages(const struct page_set *s, size_t block)
{
	return s->map[block] ? s->mem->blocks[block]->bytes / PAGE_BYTES : 0;
}

#endif
