/* populated.h - which pages of guest memory were ever touched */
#ifndef MINIVMM_MIGRATION_POPULATED_H
#define MINIVMM_MIGRATION_POPULATED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ram_block;

/*
 * Set the bit of every 4 KiB page that may hold something but zeros; 'map'
 * is zeroed.  A clear bit promises that the page read as zero at some moment
 * of the call.  Nothing is populated by asking.  Where the host cannot tell,
 * all bits are set.
 */
void ram_populated(const struct ram_block *b, uint64_t *map);

/*
 * Set the bit of every 4 KiB page that this process's page tables lead to, and that is not the
 * zero page; 'map' holds what the caller put there.  Not those in swap: for a block that
 * is protected by userfaultfd, a page that was never there looks like one in
 * swap.  false: the host cannot tell.
 */
bool ram_present(const struct ram_block *b, uint64_t *map);
/* May pages of this process be in swap?  Where the host cannot tell, yes. */
bool ram_may_be_swapped(void);

/*
 * How this process's page tables are read: the first that the kernel has is
 * used.  A NULL name ends the list.
 */
struct page_tables {
	const char *name;
	/* Set the bits of pages that are there, in memory or (swapped) in swap.  0, or -errno. */
	int (*find)(const struct ram_block *b, bool swapped, uint64_t *map);
};
extern const struct page_tables page_tables[];

/* The same as ram_populated() with one of them, for tests; NULL: with whichever does it. */
void ram_populated_by(const struct page_tables *only, const struct ram_block *b, uint64_t *map);

#endif
