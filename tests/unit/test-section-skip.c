/* Passing over a section whose fields are not read: up to its footer, and no other place. */
#include "tests/unit/check-main.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "migration/incoming/section-skip.h"
#include "migration/stream/wire.h"
#include "vmm/base/buf.h"

#define ID 0x11223344u

static void put_footer(struct buf *b, uint32_t id)
{
	buf_u8(b, TAG_FOOTER);
	buf_be32(b, id);
}

/* What stands behind a footer, and whether it makes it one. */
static const struct {
	const char *name; /* of a section that follows; NULL: only the tag */
	uint8_t tag;
	bool ends;
} follows[] = {
    {NULL,       TAG_EOF,        true },
    {NULL,       TAG_PART,       true },
    {NULL,       TAG_END,        true },
    {NULL,       TAG_COMMAND,    true },
    {"serial",   TAG_FULL,       true },
    {"ram",      TAG_START,      true },
    {"ser\001l", TAG_FULL,       false},
    {"",         TAG_FULL,       false},
    {NULL,       TAG_SUBSECTION, false},
    {NULL,       TAG_FOOTER,     false},
    {NULL,       0xaa,           false},
};

static void put_next(struct buf *b, int i)
{
	buf_u8(b, follows[i].tag);
	if (!follows[i].name)
		return;
	buf_be32(b, 9);
	buf_str8(b, follows[i].name);
	buf_be32(b, 0);
}

START_TEST(test_end)
{
	struct buf b = {0};
	struct src in;

	buf_put(&b, "fields", 6);
	put_footer(&b, ID + 1); /* another's */
	put_footer(&b, ID);
	put_next(&b, _i);
	in = src_mem(b.data, b.len);
	if (follows[_i].ends) {
		ck_assert_int_eq(section_skip(&in, ID), 0);
		ck_assert_uint_eq(src_offset(&in), 11);
	} else {
		ck_assert_int_eq(section_skip(&in, ID), -EIO);
	}
	buf_free(&b);
}
END_TEST

/* Fields that look like the footer are passed over when no record follows. */
START_TEST(test_not_the_first)
{
	struct buf b = {0};
	struct src in;

	put_footer(&b, ID);
	buf_u8(&b, 0xff);
	put_footer(&b, ID);
	buf_u8(&b, TAG_EOF);
	in = src_mem(b.data, b.len);
	ck_assert_int_eq(section_skip(&in, ID), 0);
	ck_assert_uint_eq(src_offset(&in), 6);
	buf_free(&b);
}
END_TEST

/* However short, it is never read beyond its end. */
START_TEST(test_cut)
{
	struct buf b = {0};

	buf_put(&b, "fields", 6);
	put_footer(&b, ID);
	put_next(&b, 4);
	for (size_t n = 0; n < b.len - 4; n++) {
		struct src in = src_mem(b.data, n);

		ck_assert_int_eq(section_skip(&in, ID), -EIO);
	}
	buf_free(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("section-skip");
	TCase *tc = tcase_create("section-skip");
	SRunner *r;
	int failed;

	tcase_add_loop_test(tc, test_end, 0, sizeof(follows) / sizeof(follows[0]));
	tcase_add_test(tc, test_not_the_first);
	tcase_add_test(tc, test_cut);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
