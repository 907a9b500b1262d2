/* counts.h - a signed number for each cluster of a file, of which most are zero */
#ifndef MINIVMM_DEVICES_BLOCK_QCOW2_COUNTS_H
#define MINIVMM_DEVICES_BLOCK_QCOW2_COUNTS_H

#include <stddef.h>
#include <stdint.h>

struct counts {
	int32_t **page;
	size_t n_pages;
};

#define COUNTS_PAGE_BITS 12 /* numbers in a page: 16 KiB */
/* What a file of 2^31 clusters needs: 2 TiB of 1 KiB clusters, 128 TiB of 64 KiB ones. */
#define COUNTS_MAX (1ULL << 31)

/* Zeroed is empty. */
void counts_fini(struct counts *c);
/* 0, -ENOMEM, -EFBIG (behind COUNTS_MAX), -ERANGE (no longer a number of 32 bits). */
int counts_add(struct counts *c, uint64_t i, int32_t by);
int32_t counts_get(const struct counts *c, uint64_t i);
/* The first i >= from with a number that is not zero; UINT64_MAX: none. */
uint64_t counts_next(const struct counts *c, uint64_t from);

#endif
