/*
 * xxh64.h - XXH64, a fast 64-bit hash that notices damage
 *
 * As in the xxHash specification 0.1.1, with seed 0.  It is no defence against
 * deliberate changes: no checksum inside a file is.
 */
#ifndef MINIVMM_BASE_XXH64_H
#define MINIVMM_BASE_XXH64_H

#include <stddef.h>
#include <stdint.h>

struct xxh64 {
	uint64_t lane[4];
	uint64_t bytes;     /* so far */
	uint8_t stripe[32]; /* its first bytes % 32 are not yet in the lanes */
};

void xxh64_init(struct xxh64 *h);
void xxh64_add(struct xxh64 *h, const void *data, size_t n);
/* The hash of all that was added; more may be added afterwards. */
uint64_t xxh64_value(const struct xxh64 *h);

#endif
