/* XXH64: known values, and every way to cut the same bytes. */
#include <string.h>

#include "tests/unit/check-main.h"
#include "vmm/base/units.h"
#include "vmm/base/xxh64.h"

static uint64_t hash(const void *p, size_t n)
{
	struct xxh64 h;

	xxh64_init(&h);
	xxh64_add(&h, p, n);
	return xxh64_value(&h);
}

/* What libxxhash 0.8.1 says. */
START_TEST(test_known_values)
{
	static const struct {
		const char *text;
		uint64_t value;
	} rows[] = {
	    {"",										0xef46db3751d8e999U},
	    {"a",									       0xd24ec4f1a98c6e5bU},
	    {"abcd",									    0xde0327b0d25d92ccU},
	    {"a saved guest",								   0x83574992fee0f9c9U},
	    {"eight of seven and twenty b.",						    0x4ad0f01d67c262ecU},
	    {"a stripe has thirty-two bytes: ok",                                               0x5c07cc7f907b36cfU},
	    {"longer than two stripes, and with a rest that has a word, a half word and bytes",
	     0x2b2c7ac0d07e4ebaU										   },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		ck_assert_uint_eq(hash(rows[i].text, strlen(rows[i].text)), rows[i].value);
}
END_TEST

START_TEST(test_pieces)
{
	uint8_t all[200];
	struct xxh64 h;

	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)(i * 31);
	for (size_t piece = 1; piece <= sizeof(all); piece++) {
		xxh64_init(&h);
		for (size_t at = 0; at < sizeof(all); at += piece)
			xxh64_add(&h, all + at, MIN(piece, sizeof(all) - at));
		ck_assert_uint_eq(xxh64_value(&h), hash(all, sizeof(all)));
	}
}
END_TEST

CHECK_MAIN("xxh64", test_known_values, test_pieces)
