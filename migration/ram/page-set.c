/*
 * page-set.c - bitmaps of the pages that have to go, shared by all channels
 *
 * page_set_take() looks for the first stretch of set bits and clears it, one
 * atomic operation a word.  Another channel may clear bits of the same stretch at the
 * same time.  The first bit that was lost to it ends the stretch, and bits of the
 * same word behind that gap are set again, so that no page is taken twice and
 * none is lost.  A count of set bits goes along, so that "how much is left"
 * needs no scan.
 */
#include "migration/ram/page-set.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/bitmap.h"
#include "vmm/base/units.h"

int page_set_init(struct page_set *s, const struct memory *mem)
{
	*s = (struct page_set){.mem = mem};
	for (size_t i = 0; i < mem->n_blocks; i++) {
		if (mem->blocks[i]->unlogged)
			continue;
		s->map[i] = bitmap_new(mem->blocks[i]->bytes / PAGE_BYTES);
		if (!s->map[i])
			return -ENOMEM;
	}
	return 0;
}

void page_set_fini(struct page_set *s)
{
	for (size_t i = 0; i < MEMORY_MAX_BLOCKS; i++)
		free(s->map[i]);
	*s = (struct page_set){0};
}

/* Set bits of one word; returns how many are new. */
static uint64_t add_word(struct page_set *s, size_t block, size_t w, uint64_t bits)
{
	uint64_t old;

	if (!bits)
		return 0;
	old = __atomic_fetch_or(&s->map[block][w], bits, __ATOMIC_SEQ_CST);
	return (uint64_t)__builtin_popcountll(bits & ~old);
}

static uint64_t count_added(struct page_set *s, uint64_t n)
{
	(void)__atomic_fetch_add(&s->pages, n, __ATOMIC_SEQ_CST);
	return n;
}

/* Bits [from, to) of a word, to at most BITS_PER_WORD. */
static uint64_t mask(unsigned from, unsigned to)
{
	uint64_t below = to == BITS_PER_WORD ? ~0ULL : (1ULL << to) - 1;

	return below & ~((1ULL << from) - 1);
}

uint64_t page_set_add(struct page_set *s, size_t block, uint64_t first, uint64_t n)
{
	uint64_t end = first + n, sum = 0;

	while (first < end) {
		uint64_t w = first / BITS_PER_WORD, next = MIN((w + 1) * BITS_PER_WORD, end);

		sum += add_word(s, block, w,
				mask((unsigned)(first - w * BITS_PER_WORD),
				     (unsigned)(next - w * BITS_PER_WORD)));
		first = next;
	}
	return count_added(s, sum);
}

uint64_t page_set_add_map(struct page_set *s, size_t block, const uint64_t *map)
{
	size_t words = BITMAP_WORDS(page_set_block_pages(s, block));
	uint64_t sum = 0;

	for (size_t w = 0; w < words; w++)
		sum += add_word(s, block, w, map[w]);
	return count_added(s, sum);
}

/* First bit at or after 'from' and below 'end' that is set ('set') or clear, or 'end'. */
static uint64_t next_page(const uint64_t *map, uint64_t from, uint64_t end, bool set)
{
	while (from < end) {
		uint64_t word = __atomic_load_n(&map[from / BITS_PER_WORD], __ATOMIC_RELAXED);

		word = (set ? word : ~word) >> (from % BITS_PER_WORD);
		if (word)
			return MIN(from + (uint64_t)__builtin_ctzll(word), end);
		from = ALIGN_DOWN(from, BITS_PER_WORD) + BITS_PER_WORD;
	}
	return end;
}

/*
 * Clear bits [first, end), which have been seen set, and return how many from
 * the first on were ours to clear.  Others take at the same time: what they
 * were first to get ends the stretch, and bits behind that gap go back.
 */
static uint64_t claim_pages(uint64_t *map, uint64_t first, uint64_t end)
{
	uint64_t at = first;

	while (at < end) {
		uint64_t *word = &map[at / BITS_PER_WORD], base = ALIGN_DOWN(at, BITS_PER_WORD);
		uint64_t stop = MIN(base + BITS_PER_WORD, end);
		uint64_t want = mask((unsigned)(at - base), (unsigned)(stop - base));
		uint64_t got = __atomic_fetch_and(word, ~want, __ATOMIC_SEQ_CST) & want;

		if (got != want) {
			uint64_t lost = base + (uint64_t)__builtin_ctzll(want & ~got);
			uint64_t back = got & ~mask((unsigned)(at - base), (unsigned)(lost - base));

			if (back)
				(void)__atomic_fetch_or(word, back, __ATOMIC_SEQ_CST);
			return lost - first;
		}
		at = stop;
	}
	return end - first;
}

bool page_set_take(struct page_set *s, struct page_run *run, uint64_t max)
{
	uint64_t *map = s->map[run->block];
	uint64_t end = MIN(run->first + run->n, page_set_block_pages(s, run->block));
	uint64_t at = next_page(map, run->first, end, true), n = 0;

	while (at < end) {
		n = claim_pages(map, at, next_page(map, at, MIN(at + max, end), false));
		if (n)
			break;
		at = next_page(map, at + 1, end, true);
	}
	(void)__atomic_fetch_sub(&s->pages, n, __ATOMIC_SEQ_CST);
	run->first = at;
	run->n = n;
	return n > 0;
}

void page_set_remove(struct page_set *s, size_t block, uint64_t first, uint64_t n)
{
	uint64_t end = MIN(first + n, page_set_block_pages(s, block)), sum = 0;

	while (first < end) {
		uint64_t base = ALIGN_DOWN(first, BITS_PER_WORD);
		uint64_t next = MIN(base + BITS_PER_WORD, end);
		uint64_t bits = mask((unsigned)(first - base), (unsigned)(next - base));
		uint64_t *word = &s->map[block][base / BITS_PER_WORD];

		sum += (uint64_t)__builtin_popcountll(
		    __atomic_fetch_and(word, ~bits, __ATOMIC_SEQ_CST) & bits);
		first = next;
	}
	(void)__atomic_fetch_sub(&s->pages, sum, __ATOMIC_SEQ_CST);
	(void)__atomic_fetch_add(&s->removed, sum, __ATOMIC_RELAXED);
}
