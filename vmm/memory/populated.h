/* populated.h - which pages of guest memory were ever touched */
#ifndef MINIVMM_MIGRATION_POPULATED_H
#define MINIVMM_MIGRATION_POPULATED_H

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
 * How this process's page tables are read: the first that the kernel has is
 * used.  A NULL name ends the list.
 */
struct page_tables {
	const char *name;
	/* Set the bits of pages that are there, in memory or in swap.  0, or -errno. */
	int (*find)(const struct ram_block *b, uint64_t *map);
};
extern const struct page_tables page_tables[];

/* The same as ram_populated() with one of them, for tests; NULL: with whichever does it. */
void ram_populated_by(const struct page_tables *only, const struct ram_block *b, uint64_t *map);

#endif
