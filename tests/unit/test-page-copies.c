/*
 * The pool of copies: random takes and returns against a model.  No slot has two owners, a copy
 * lies side by side, none is lost, and the sender gets them in the order in which they were ready.
 */
#include <string.h>

#include "migration/ram/page-copies.h"
#include "tests/unit/check-main.h"

#define SLOT   64U /* bytes */
#define SLOTS  100U
#define ROUNDS 20000U

struct pool {
	struct page_copies c;
	uint64_t owner[SLOTS]; /* 0: free */
	uint64_t next_owner, next_given;
	uint32_t seed;
};

static uint32_t next_random(struct pool *p)
{
	p->seed = p->seed * 1664525 + 1013904223;
	return p->seed >> 8;
}

static size_t slot_of(const struct pool *p, const struct page_copy *copy)
{
	return (size_t)(copy->content - p->c.arena) / SLOT;
}

static unsigned count_free(const struct pool *p)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SLOTS; i++)
		n += p->owner[i] == 0;
	return n;
}

static void take(struct pool *p, unsigned slots)
{
	struct page_copy *copy = page_copies_get(&p->c, slots);
	size_t first;

	ck_assert_int_eq(copy == NULL, count_free(p) == 0);
	if (!copy)
		return;
	first = slot_of(p, copy);
	ck_assert_uint_ge(copy->slots, 1);
	ck_assert_uint_le(copy->slots, slots);
	ck_assert_uint_le(first + copy->slots, SLOTS);
	copy->run = (struct page_run){.first = p->next_owner, .n = copy->slots};
	for (size_t i = first; i < first + copy->slots; i++) {
		ck_assert_uint_eq(p->owner[i], 0);
		p->owner[i] = p->next_owner;
	}
	p->next_owner++;
	page_copies_ready(&p->c, copy);
}

static void give(struct pool *p)
{
	struct page_copy *copy = page_copies_next(&p->c);

	if (!copy)
		return;
	ck_assert_uint_eq(copy->run.first, p->next_given);
	ck_assert_uint_eq(p->owner[slot_of(p, copy)], p->next_given);
	p->next_given++;
}

static void recycle(struct pool *p)
{
	page_copies_recycle(&p->c);
	for (unsigned i = 0; i < SLOTS; i++)
		if (p->owner[i] < p->next_given)
			p->owner[i] = 0;
}

START_TEST(test_against_model)
{
	struct pool p = {.next_owner = 1, .next_given = 1, .seed = 7};

	ck_assert_int_eq(page_copies_init(&p.c, SLOTS * SLOT, SLOT), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint32_t what = next_random(&p) % 8;

		if (what < 4)
			take(&p, 1 + next_random(&p) % 40);
		else if (what < 7)
			give(&p);
		else
			recycle(&p);
		ck_assert_uint_eq(p.c.n_free, count_free(&p));
	}
	page_copies_fini(&p.c);
}
END_TEST

/* What is taken of an empty pool is one run, from its first slot on each time. */
START_TEST(test_side_by_side)
{
	struct pool p = {.next_owner = 1, .next_given = 1};

	ck_assert_int_eq(page_copies_init(&p.c, SLOTS * SLOT, SLOT), 0);
	for (unsigned i = 0; i < 3; i++) {
		struct page_copy *copy = page_copies_get(&p.c, 30);

		ck_assert_uint_eq(copy->slots, 30);
		ck_assert_ptr_eq(copy->content, p.c.arena);
		page_copies_ready(&p.c, copy);
		ck_assert_ptr_eq(page_copies_next(&p.c), copy);
		ck_assert_uint_eq(p.c.n_given, 30);
		page_copies_recycle(&p.c);
	}
	page_copies_fini(&p.c);
}
END_TEST

/* One beyond the pool takes no slot, and is freed. */
START_TEST(test_extra)
{
	struct page_copies c;
	struct page_copy *extra;

	ck_assert_int_eq(page_copies_init(&c, 0, SLOT), 0);
	ck_assert_ptr_null(page_copies_get(&c, 1));
	extra = page_copies_extra(SLOT);
	memset(extra->content, 1, SLOT);
	page_copies_ready(&c, extra);
	ck_assert_ptr_eq(page_copies_next(&c), extra);
	page_copies_recycle(&c);
	ck_assert_uint_eq(c.n_free, 0);
	page_copies_fini(&c);
}
END_TEST

CHECK_MAIN("page-copies", test_against_model, test_side_by_side, test_extra)
