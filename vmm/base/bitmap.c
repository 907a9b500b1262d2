/*
 * bitmap.c - ranges and searches a word at a time
 *
 * A range is cut at word boundaries and each piece is one mask.  A search skips
 * whole words; next_bit() looks for clear bits by searching the complement.
 */
#include "vmm/base/bitmap.h"

#include <stdlib.h>

uint64_t *bitmap_new(size_t bits)
{
	return calloc(BITMAP_WORDS(bits) ? BITMAP_WORDS(bits) : 1, sizeof(uint64_t));
}

/* Bits [bit % 64, bit % 64 + n) of one word, n >= 1, clipped to the word. */
static uint64_t word_mask(size_t bit, size_t n)
{
	size_t at = bit % BITS_PER_WORD;
	uint64_t mask = ~0ULL << at;

	if (n < BITS_PER_WORD - at)
		mask &= ~(~0ULL << (at + n));
	return mask;
}

void bitmap_set_range(uint64_t *map, size_t first, size_t n)
{
	while (n > 0) {
		size_t here = BITS_PER_WORD - first % BITS_PER_WORD;

		map[first / BITS_PER_WORD] |= word_mask(first, n);
		if (here >= n)
			return;
		first += here;
		n -= here;
	}
}

void bitmap_clear_range(uint64_t *map, size_t first, size_t n)
{
	while (n > 0) {
		size_t here = BITS_PER_WORD - first % BITS_PER_WORD;

		map[first / BITS_PER_WORD] &= ~word_mask(first, n);
		if (here >= n)
			return;
		first += here;
		n -= here;
	}
}

/* First bit at or after 'from' that is set in map ^ flip. */
static size_t next_bit(const uint64_t *map, size_t bits, size_t from, uint64_t flip)
{
	uint64_t word;

	if (from >= bits)
		return bits;
	word = (map[from / BITS_PER_WORD] ^ flip) & (~0ULL << (from % BITS_PER_WORD));
	from -= from % BITS_PER_WORD;
	while (!word) {
		from += BITS_PER_WORD;
		if (from >= bits)
			return bits;
		word = map[from / BITS_PER_WORD] ^ flip;
	}
	from += (size_t)__builtin_ctzll(word);
	return from < bits ? from : bits;
}

size_t bitmap_next_set(const uint64_t *map, size_t bits, size_t from)
{
	return next_bit(map, bits, from, 0);
}

size_t bitmap_next_clear(const uint64_t *map, size_t bits, size_t from)
{
	return next_bit(map, bits, from, ~0ULL);
}

size_t bitmap_count(const uint64_t *map, size_t bits)
{
	size_t n = 0;

	for (size_t w = 0; w < bits / BITS_PER_WORD; w++)
		n += (size_t)__builtin_popcountll(map[w]);
	if (bits % BITS_PER_WORD)
		n += (size_t)__builtin_popcountll(map[bits / BITS_PER_WORD] &
						  word_mask(0, bits % BITS_PER_WORD));
	return n;
}

size_t bitmap_or(uint64_t *dst, const uint64_t *src, size_t bits)
{
	size_t added = 0;

	for (size_t w = 0; w < BITMAP_WORDS(bits); w++) {
		uint64_t word = src[w];

		if ((w + 1) * BITS_PER_WORD > bits)
			word &= word_mask(0, bits % BITS_PER_WORD);
		word &= ~dst[w];
		if (!word)
			continue;
		added += (size_t)__builtin_popcountll(word);
		dst[w] |= word;
	}
	return added;
}

void bitmap_reset(uint64_t *map, size_t bits)
{
	for (size_t w = 0; w < BITMAP_WORDS(bits); w++)
		if (map[w])
			map[w] = 0;
}
