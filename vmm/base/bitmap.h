/*
 * bitmap.h - arrays of bits, LSB of word 0 first (the layout of KVM's dirty log)
 *
 * Plain functions are for one owner; the *_atomic ones may race with each other.
 */
#ifndef MINIVMM_BASE_BITMAP_H
#define MINIVMM_BASE_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BITS_PER_WORD      64
#define BITMAP_WORDS(bits) (((bits) + BITS_PER_WORD - 1) / BITS_PER_WORD)

/* A zeroed bitmap of 'bits' bits, or NULL; free with free(). */
uint64_t *bitmap_new(size_t bits);

static inline bool bitmap_test(const uint64_t *map, size_t bit)
{
	return map[bit / BITS_PER_WORD] >> (bit % BITS_PER_WORD) & 1;
}

static inline void bitmap_set(uint64_t *map, size_t bit)
{
	map[bit / BITS_PER_WORD] |= 1ULL << (bit % BITS_PER_WORD);
}

static inline void bitmap_clear(uint64_t *map, size_t bit)
{
	map[bit / BITS_PER_WORD] &= ~(1ULL << (bit % BITS_PER_WORD));
}

static inline bool bitmap_test_atomic(const uint64_t *map, size_t bit)
{
	return __atomic_load_n(&map[bit / BITS_PER_WORD], __ATOMIC_SEQ_CST) >>
		   (bit % BITS_PER_WORD) &
	       1;
}

static inline void bitmap_set_atomic(uint64_t *map, size_t bit)
{
	__atomic_fetch_or(&map[bit / BITS_PER_WORD], 1ULL << (bit % BITS_PER_WORD),
			  __ATOMIC_SEQ_CST);
}

/* Set, clear bits [first, first + n). */
void bitmap_set_range(uint64_t *map, size_t first, size_t n);
void bitmap_clear_range(uint64_t *map, size_t first, size_t n);

/* First set (clear) bit at or after 'from' and below 'bits', or 'bits' if there is none. */
size_t bitmap_next_set(const uint64_t *map, size_t bits, size_t from);
size_t bitmap_next_clear(const uint64_t *map, size_t bits, size_t from);

/* How many of the first 'bits' bits are set. */
size_t bitmap_count(const uint64_t *map, size_t bits);

/*
 * dst |= src over 'bits' bits; returns how many bits of dst became set.
 * Bits of the last word beyond 'bits' are ignored in src.
 */
size_t bitmap_or(uint64_t *dst, const uint64_t *src, size_t bits);

/* All bits 0.  As bitmap_or(): what does not change is not written, and so not populated. */
void bitmap_reset(uint64_t *map, size_t bits);

#define bitmap_for_each_set(bit, map, bits)                                                        \
	for (size_t bit = bitmap_next_set(map, bits, 0); bit < (bits);                             \
	     bit = bitmap_next_set(map, bits, bit + 1))

#endif
