/* Delta coding: known bytes, round trips of many shapes, every broken delta. */
#include <errno.h>
#include <string.h>

#include "migration/ram/encode/xbzrle-codec.h"
#include "tests/unit/check-main.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static uint8_t old[PAGE_BYTES], now[PAGE_BYTES], out[PAGE_BYTES], page[PAGE_BYTES];

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

START_TEST(test_known_bytes)
{
	static const uint8_t first[] = {0, 1, 5};
	static const uint8_t two[] = {0xc8, 0x01, 2, 7, 8, 0x80, 0x01, 1, 9};

	memset(old, 0, sizeof(old));
	memset(now, 0, sizeof(now));
	ck_assert_int_eq(xbzrle_encode(old, now, PAGE_BYTES, out, PAGE_BYTES), 0);
	now[0] = 5;
	ck_assert_int_eq(xbzrle_encode(old, now, PAGE_BYTES, out, PAGE_BYTES), 3);
	ck_assert_mem_eq(out, first, sizeof(first));
	now[0] = 0;
	now[200] = 7;
	now[201] = 8;
	now[330] = 9;
	ck_assert_int_eq(xbzrle_encode(old, now, PAGE_BYTES, out, PAGE_BYTES), (int)sizeof(two));
	ck_assert_mem_eq(out, two, sizeof(two));
}
END_TEST

START_TEST(test_round_trips)
{
	uint32_t seed = 1;

	for (int round = 0; round < 3000; round++) {
		uint32_t changes = next_random(&seed) % 300, run = 1 + next_random(&seed) % 40;
		int n;

		for (size_t i = 0; i < PAGE_BYTES; i++)
			now[i] = old[i] = (uint8_t)next_random(&seed);
		for (uint32_t c = 0; c < changes; c++) {
			uint32_t at = next_random(&seed) % PAGE_BYTES;

			for (uint32_t i = at; i < MIN(at + run, PAGE_BYTES); i++)
				now[i] = (uint8_t)next_random(&seed);
		}
		n = xbzrle_encode(old, now, PAGE_BYTES, out, PAGE_BYTES);
		if (n == -EOVERFLOW)
			continue;
		ck_assert((n == 0) == (memcmp(old, now, PAGE_BYTES) == 0));
		memcpy(page, old, PAGE_BYTES);
		ck_assert_int_eq(xbzrle_decode(out, (size_t)n, page, PAGE_BYTES), 0);
		ck_assert_mem_eq(page, now, PAGE_BYTES);
	}
}
END_TEST

START_TEST(test_overflow)
{
	memset(old, 0, sizeof(old));
	memset(now, 1, sizeof(now));
	/* 1 + 2 bytes of counts and the page itself */
	ck_assert_int_eq(xbzrle_encode(old, now, PAGE_BYTES, out, PAGE_BYTES), -EOVERFLOW);
	now[0] = 0;
	now[1] = 0;
	now[2] = 0;
	ck_assert_int_eq(xbzrle_encode(old, now, PAGE_BYTES, out, PAGE_BYTES), PAGE_BYTES);
	for (size_t room = 0; room < 100; room++)
		ck_assert_int_eq(xbzrle_encode(old, now, PAGE_BYTES, out, room), -EOVERFLOW);
}
END_TEST

START_TEST(test_broken_deltas)
{
	static const struct {
		const char *why;
		uint8_t bytes[8];
		size_t n;
	} bad[] = {
	    {"no second count",             {5},                   1},
	    {"count cut off",               {0x80},                1},
	    {"count of three bytes",        {0x80, 0x80, 1, 1},    4},
	    {"no changed bytes",            {0, 0},                2},
	    {"bytes cut off",               {0, 2, 9},             3},
	    {"later run of no equal bytes", {0, 1, 9, 0, 1, 9},    6},
	    {"equal run past the page",     {0x80, 0x20, 1, 9},    4},
	    {"changed run past the page",   {0xff, 0x1f, 2, 9, 9}, 5},
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(xbzrle_decode(bad[i].bytes, bad[i].n, page, PAGE_BYTES) == -EINVAL,
			      "%s", bad[i].why);
	ck_assert_int_eq(xbzrle_decode(NULL, 0, page, PAGE_BYTES), 0);
}
END_TEST

START_TEST(test_cache)
{
	struct xbzrle_cache *c = xbzrle_cache_new(4 * PAGE_BYTES, NULL);
	struct err err = {0};
	uint8_t *a, *b;

	ck_assert_ptr_null(xbzrle_cache_new(3 * PAGE_BYTES, &err));
	ck_assert_ptr_null(xbzrle_cache_new(PAGE_BYTES / 2, &err));
	ck_assert_ptr_null(xbzrle_cache_new(1ULL << 63, &err));
	ck_assert_ptr_null(xbzrle_cache_find(c, 0x1000, 1));
	a = xbzrle_cache_insert(c, 0x1000, 1);
	ck_assert_ptr_nonnull(a);
	ck_assert_ptr_eq(xbzrle_cache_find(c, 0x1000, 1), a);
	ck_assert_ptr_null(xbzrle_cache_find(c, 0x5000, 1));   /* same slot, other page */
	ck_assert_ptr_null(xbzrle_cache_insert(c, 0x5000, 1)); /* too fresh to be thrown out */
	ck_assert_ptr_null(xbzrle_cache_insert(c, 0x5000, 2));
	b = xbzrle_cache_insert(c, 0x5000, 3);
	ck_assert_ptr_nonnull(b);
	ck_assert_ptr_null(xbzrle_cache_find(c, 0x1000, 1));
	ck_assert_uint_eq(xbzrle_cache_bytes(c), 4 * PAGE_BYTES);
	/* A page that was found in a pass is used in it. */
	ck_assert_ptr_eq(xbzrle_cache_find(c, 0x5000, 5), b);
	ck_assert_ptr_null(xbzrle_cache_insert(c, 0x9000, 6));
	xbzrle_cache_free(c);
	xbzrle_cache_free(NULL);
}
END_TEST

START_TEST(test_cache_resize)
{
	struct xbzrle_cache *c = xbzrle_cache_new(4 * PAGE_BYTES, NULL);
	struct err err = {0};

	for (uint64_t i = 0; i < 4; i++)
		memset(xbzrle_cache_insert(c, i * PAGE_BYTES, i), (int)i, PAGE_BYTES);
	ck_assert_int_eq(xbzrle_cache_resize(c, 1ULL << 63, &err), -ENOMEM);
	ck_assert_uint_eq(xbzrle_cache_bytes(c), 4 * PAGE_BYTES);
	ck_assert_int_eq(xbzrle_cache_resize(c, 64 * PAGE_BYTES, NULL), 0);
	for (uint64_t i = 0; i < 4; i++)
		ck_assert_uint_eq(*xbzrle_cache_find(c, i * PAGE_BYTES, i), i);
	/* 2 and 0, 3 and 1 now share a slot: the later ones stay. */
	ck_assert_int_eq(xbzrle_cache_resize(c, 2 * PAGE_BYTES, NULL), 0);
	ck_assert_ptr_null(xbzrle_cache_find(c, 0, 9));
	ck_assert_ptr_null(xbzrle_cache_find(c, PAGE_BYTES, 9));
	ck_assert_uint_eq(*xbzrle_cache_find(c, 2 * PAGE_BYTES, 2), 2);
	ck_assert_uint_eq(*xbzrle_cache_find(c, 3 * PAGE_BYTES, 3), 3);
	xbzrle_cache_free(c);
}
END_TEST

CHECK_MAIN("xbzrle", test_known_bytes, test_round_trips, test_overflow, test_broken_deltas,
	   test_cache, test_cache_resize)
