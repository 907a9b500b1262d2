/*
 * pagemap-scan.h - the PAGEMAP_SCAN call of /proc/self/pagemap (Linux 6.7)
 *
 * The headers that a distribution builds with may be older than the kernel
 * that the program runs on, so the call is described here.
 */
#ifndef MINIVMM_MIGRATION_PAGEMAP_SCAN_H
#define MINIVMM_MIGRATION_PAGEMAP_SCAN_H

#include <stdint.h>
#include <sys/ioctl.h>

/* What a page can be said to be; the kernel knows more. */
#define PM_PRESENT (1ULL << 3) /* a page table entry leads to memory */
#define PM_SWAPPED (1ULL << 4) /* ... or to swap, or is just being moved */
#define PM_ZERO    (1ULL << 5) /* ... to the zero page, which all mappings share */

/* Pages [start, end) in a row, addresses, that are alike in what was asked for. */
struct pm_region {
	uint64_t start, end, categories;
};

struct pm_scan {
	uint64_t size, flags;         /* of this struct; 0: only look */
	uint64_t start, end;          /* page-aligned addresses */
	uint64_t walk_end;            /* out: how far the kernel came */
	uint64_t vec, vec_len;        /* room for so many struct pm_region */
	uint64_t max_pages;           /* 0: any number */
	uint64_t category_inverted;   /* these are asked for by their absence */
	uint64_t category_mask;       /* all of these, after the inversion */
	uint64_t category_anyof_mask; /* and any of these */
	uint64_t return_mask;         /* what to tell of them */
};

/* Returns the number of regions. */
#define PM_SCAN _IOWR('f', 16, struct pm_scan)

#endif
