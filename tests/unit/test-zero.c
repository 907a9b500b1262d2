/* Zero detection: every length, every alignment, a byte at every place; each variant of the host.
 */
#include <stdint.h>
#include <string.h>

#include "tests/unit/check-main.h"
#include "vmm/base/units.h"
#include "vmm/base/zero.h"

#define MAX_BYTES 700U /* more than two blocks of the widest vectors */
#define MAX_SHIFT 64U

static uint8_t area[MAX_BYTES + 2 * MAX_SHIFT];

typedef bool zero_fn(const void *p, size_t n);

/* All zero, whatever stands around it. */
static void check_zero(zero_fn *test, size_t shift, size_t n)
{
	memset(area, 0xff, sizeof(area));
	memset(area + shift, 0, n);
	ck_assert_msg(test(area + shift, n), "zero: shift %zu, %zu bytes", shift, n);
}

static void check_byte(zero_fn *test, size_t shift, size_t n, size_t at)
{
	area[shift + at] = 1;
	ck_assert_msg(!test(area + shift, n), "shift %zu, %zu bytes, byte %zu", shift, n, at);
	area[shift + at] = 0;
}

static void check_all(zero_fn *test)
{
	for (size_t n = 0; n <= MAX_BYTES; n++) {
		size_t shift = n % MAX_SHIFT;

		check_zero(test, shift, n);
		for (size_t at = 0; at < n; at++)
			check_byte(test, shift, n, at);
	}
	for (size_t shift = 0; shift < MAX_SHIFT; shift++)
		for (size_t n = 0; n <= MAX_BYTES; n += 13) {
			check_zero(test, shift, n);
			if (n)
				check_byte(test, shift, n, n - 1);
		}
}

START_TEST(test_each_variant)
{
	for (const struct zero_test *t = zero_tests; t->name; t++)
		if (t->usable())
			check_all(t->test);
}
END_TEST

START_TEST(test_chosen)
{
	check_all(buffer_is_zero);
	ck_assert_ptr_nonnull(zero_tests[0].name);
}
END_TEST

START_TEST(test_page)
{
	static uint8_t page[PAGE_BYTES];

	ck_assert(buffer_is_zero(page, PAGE_BYTES));
	for (size_t at = 0; at < PAGE_BYTES; at++) {
		page[at] = 0x80;
		ck_assert(!buffer_is_zero(page, PAGE_BYTES));
		page[at] = 0;
	}
}
END_TEST

CHECK_MAIN("zero", test_each_variant, test_chosen, test_page)
