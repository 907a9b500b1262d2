/* page-set and page-queue: what is taken once, by whom, and in which order */
#include <check.h>
#include <stdlib.h>

#include "migration/ram/page-queue.h"
#include "tests/unit/check-main.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/thread.h"

#define PAGES  1000U /* of block 0; block 1 has SMALL */
#define SMALL  3U
#define TAKERS 3U

static struct ram_block large = {.bytes = PAGES * (uint64_t)PAGE_BYTES};
static struct ram_block small = {.bytes = SMALL * (uint64_t)PAGE_BYTES};
static struct ram_block left_out = {.bytes = PAGE_BYTES, .unlogged = true};

static void set_up(struct memory *mem, struct page_set *s)
{
	*mem = (struct memory){.n_blocks = 3};
	mem->blocks[0] = &large;
	mem->blocks[1] = &small;
	mem->blocks[2] = &left_out;
	ck_assert_int_eq(page_set_init(s, mem), 0);
}

START_TEST(test_add_and_take)
{
	struct memory mem;
	struct page_set s;
	struct page_run run = {.block = 0, .first = 0, .n = PAGES};

	set_up(&mem, &s);
	ck_assert(!page_set_take(&s, &run, 10));
	ck_assert_uint_eq(page_set_add(&s, 0, 60, 10), 10);
	ck_assert_uint_eq(page_set_add(&s, 0, 65, 10), 5);
	ck_assert_uint_eq(page_set_pages(&s), 15);
	run = (struct page_run){.block = 0, .first = 0, .n = PAGES};
	ck_assert(page_set_take(&s, &run, 8)); /* across a word's end */
	ck_assert_uint_eq(run.first, 60);
	ck_assert_uint_eq(run.n, 8);
	run = (struct page_run){.block = 0, .first = 70, .n = 2};
	ck_assert(page_set_take(&s, &run, 8)); /* not beyond what was asked for */
	ck_assert_uint_eq(run.first, 70);
	ck_assert_uint_eq(run.n, 2);
	run = (struct page_run){.block = 0, .first = 0, .n = PAGES};
	ck_assert(page_set_take(&s, &run, PAGES)); /* up to the gap */
	ck_assert_uint_eq(run.first, 68);
	ck_assert_uint_eq(run.n, 2);
	ck_assert_uint_eq(page_set_pages(&s), 3);
	page_set_fini(&s);
}
END_TEST

START_TEST(test_remove)
{
	struct memory mem;
	struct page_set s;
	struct page_run run = {.block = 0, .first = 0, .n = PAGES};

	set_up(&mem, &s);
	(void)page_set_add(&s, 0, 50, 200);
	(void)page_set_add(&s, 1, 0, SMALL);
	page_set_remove(&s, 0, 60, 130); /* whole words, and parts of them */
	ck_assert_uint_eq(page_set_pages(&s), 70 + SMALL);
	page_set_remove(&s, 0, 0, 61); /* some are not in it */
	page_set_remove(&s, 1, 1, 100);
	page_set_remove(&s, 2, 0, 1); /* a block that is left out */
	ck_assert_uint_eq(page_set_pages(&s), 61);
	ck_assert_uint_eq(page_set_removed(&s), 142);
	ck_assert(page_set_take(&s, &run, PAGES));
	ck_assert_uint_eq(run.first, 190);
	ck_assert_uint_eq(run.n, 60);
	page_set_fini(&s);
}
END_TEST

START_TEST(test_whole_block)
{
	struct memory mem;
	struct page_set s;
	struct page_run run = {.block = 0, .first = 0, .n = UINT64_MAX};
	uint64_t map[BITMAP_WORDS(PAGES)] = {0};

	set_up(&mem, &s);
	ck_assert_uint_eq(page_set_block_pages(&s, 2), 0);
	ck_assert_uint_eq(page_set_add(&s, 0, 0, PAGES), PAGES);
	bitmap_set(map, 7);
	ck_assert_uint_eq(page_set_add_map(&s, 0, map), 0);
	ck_assert(page_set_take(&s, &run, PAGES + 5));
	ck_assert_uint_eq(run.n, PAGES);
	ck_assert_uint_eq(page_set_add_map(&s, 0, map), 1);
	ck_assert_uint_eq(page_set_pages(&s), 1);
	page_set_fini(&s);
}
END_TEST

START_TEST(test_urgent_first)
{
	struct memory mem;
	struct page_set s;
	struct page_queue q;
	struct page_run run;

	set_up(&mem, &s);
	page_queue_init(&q, &s);
	ck_assert(!page_queue_next(&q, 4, &run));
	(void)page_set_add(&s, 0, 10, 4);
	(void)page_set_add(&s, 0, 500, 2);
	(void)page_set_add(&s, 1, 0, 1);
	ck_assert(page_queue_next(&q, 3, &run));
	ck_assert_uint_eq(run.first, 10);
	ck_assert_uint_eq(run.n, 3);
	page_queue_add_urgent(&q, 0, 10, 2);   /* has gone */
	page_queue_add_urgent(&q, 0, 490, 20); /* of it, two are left */
	page_queue_add_urgent(&q, 1, 0, SMALL);
	ck_assert(page_queue_next(&q, 1, &run));
	ck_assert_uint_eq(run.first, 500);
	ck_assert(page_queue_next(&q, 1, &run)); /* the rest of the oldest */
	ck_assert_uint_eq(run.first, 501);
	ck_assert(page_queue_next_urgent(&q, 1, &run));
	ck_assert_uint_eq(run.block, 1);
	ck_assert(!page_queue_next_urgent(&q, 1, &run));
	ck_assert(page_queue_next(&q, 8, &run)); /* the sweep goes on where it was */
	ck_assert_uint_eq(run.first, 13);
	ck_assert(!page_queue_next(&q, 8, &run));
	ck_assert_uint_eq(page_set_pages(&s), 0);
	page_queue_fini(&q);
	page_set_fini(&s);
}
END_TEST

START_TEST(test_sweep_goes_round)
{
	struct memory mem;
	struct page_set s;
	struct page_queue q;
	struct page_run run;

	set_up(&mem, &s);
	page_queue_init(&q, &s);
	(void)page_set_add(&s, 0, 900, 1);
	ck_assert(page_queue_next(&q, 8, &run));
	(void)page_set_add(&s, 0, 5, 1);
	(void)page_set_add(&s, 1, 2, 1);
	ck_assert(page_queue_next(&q, 8, &run));
	ck_assert(run.block == 1 && run.first == 2);
	ck_assert(page_queue_next(&q, 8, &run));
	ck_assert(run.block == 0 && run.first == 5);
	page_queue_fini(&q);
	page_set_fini(&s);
}
END_TEST

struct taker {
	struct page_set *s;
	unsigned *owners; /* by page, atomic: how often it was taken */
	uint64_t taken;
};

static void *take_all(void *opaque)
{
	struct taker *t = opaque;

	while (page_set_pages(t->s)) {
		struct page_run run = {.block = 0, .first = 0, .n = PAGES};

		if (!page_set_take(t->s, &run, 7))
			continue;
		t->taken += run.n;
		for (uint64_t i = 0; i < run.n; i++)
			(void)__atomic_fetch_add(&t->owners[run.first + i], 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

/* Several threads empty one set: each page belongs to one of them, once for each time added. */
START_TEST(test_takers)
{
	static unsigned owners[PAGES];
	struct memory mem;
	struct page_set s;
	const unsigned rounds = 50;

	set_up(&mem, &s);
	for (unsigned round = 1; round <= rounds; round++) {
		struct taker takers[TAKERS];
		struct thread threads[TAKERS] = {0};
		uint64_t sum = 0;

		(void)page_set_add(&s, 0, 0, PAGES);
		for (unsigned i = 0; i < TAKERS; i++) {
			takers[i] = (struct taker){.s = &s, .owners = owners};
			ck_assert_int_eq(thread_start(&threads[i], "taker", THREAD_HELPER, take_all,
						      &takers[i], NULL),
					 0);
		}
		for (unsigned i = 0; i < TAKERS; i++) {
			thread_join(&threads[i]);
			sum += takers[i].taken;
		}
		ck_assert_uint_eq(sum, PAGES);
		for (unsigned i = 0; i < PAGES; i++)
			ck_assert_uint_eq(owners[i], round);
	}
	page_set_fini(&s);
}
END_TEST

CHECK_MAIN("page-queue", test_add_and_take, test_remove, test_whole_block, test_urgent_first,
	   test_sweep_goes_round, test_takers)
