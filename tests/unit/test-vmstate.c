/* State tables: bytes, description, versions, subsections, hostile streams. */
#include <errno.h>
#include <string.h>

#include "tests/unit/check-main.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/vmstate.h"

struct inner {
	uint16_t a;
	uint8_t b;
};

struct thing {
	bool flag;
	uint8_t u8;
	uint32_t u32;
	int64_t s64;
	uint16_t arr[3];
	struct inner in[2];
	uint8_t raw[4];
	uint32_t n;
	uint8_t list[5];
	uint64_t newer;
	uint64_t extra;
	uint32_t limit; /* post_load refuses u32 above it, if set */
};

static const struct vms_field inner_fields[] = {
    VMS_U16(struct inner, a, "a"),
    VMS_U8(struct inner, b, "b"),
    VMS_LAST,
};
static const struct vms_desc inner_desc = {
    .name = "inner", .version = 1, .min_version = 1, .fields = inner_fields};

static bool extra_needed(void *dev)
{
	return ((struct thing *)dev)->extra != 0;
}

static const struct vms_field extra_fields[] = {VMS_U64(struct thing, extra, "extra"), VMS_LAST};
static const struct vms_desc extra_desc = {.name = "thing/extra",
					   .version = 1,
					   .min_version = 1,
					   .fields = extra_fields,
					   .needed = extra_needed};
static const struct vms_desc *const thing_subs[] = {&extra_desc, NULL};

static int thing_post_load(void *dev, uint32_t version, struct err *err)
{
	struct thing *t = dev;

	(void)version;
	if (t->limit && t->u32 > t->limit)
		return err_set(err, EINVAL, "thing: u32 %u above %u", t->u32, t->limit);
	return 0;
}

static const struct vms_field thing_fields[] = {
    VMS_BOOL(struct thing, flag, "flag"),
    VMS_U8(struct thing, u8, "u8"),
    VMS_U32(struct thing, u32, "u32"),
    VMS_S64(struct thing, s64, "s64"),
    VMS_ARRAY(uint16_t, struct thing, arr, "arr"),
    VMS_STRUCTS(struct thing, in, "in", &inner_desc),
    VMS_BUFFER(struct thing, raw, "raw"),
    VMS_UNUSED("unused", 2),
    VMS_U32(struct thing, n, "n"),
    VMS_ARRAY(uint8_t, struct thing, list, "list", .counted = true,
	      .count_at = offsetof(struct thing, n)),
    VMS_U64(struct thing, newer, "newer", .since = 3),
    VMS_LAST,
};
static const struct vms_desc thing_desc = {
    .name = "thing",
    .version = 3,
    .min_version = 2,
    .fields = thing_fields,
    .subs = thing_subs,
    .post_load = thing_post_load,
};

static struct thing sample(void)
{
	return (struct thing){
	    .flag = true,
	    .u8 = 1,
	    .u32 = 0x01020304,
	    .s64 = -2,
	    .arr = {5, 6,     7},
	    .in = {{8, 9}, {10, 11}},
	    .raw = "abc",
	    .n = 2,
	    .list = {12, 13    },
	    .newer = 14,
	    .extra = 15
        };
}

START_TEST(test_bytes_and_description)
{
	static const uint8_t want[] = {
	    1,   1,   1,   2,   3,   4, 255, 255, 255, 255, 255, 255, 255, 254, 0,   5,   0,   6,
	    0,   7,   0,   8,   9,   0, 10,  11,  'a', 'b', 'c', 0,   0,   0,   0,   0,   0,   2,
	    12,  13,  0,   0,   0,   0, 0,   0,   0,   14,  5,   11,  't', 'h', 'i', 'n', 'g', '/',
	    'e', 'x', 't', 'r', 'a', 0, 0,   0,   1,   0,   0,   0,   0,   0,   0,   0,   15};
	struct thing t = sample();
	struct buf out = {0}, json = {0};

	ck_assert_int_eq(vms_save(&thing_desc, &t, &out, &json, NULL), 0);
	ck_assert_uint_eq(out.len, sizeof(want));
	ck_assert_mem_eq(out.data, want, sizeof(want));
	buf_u8(&json, 0);
	ck_assert_str_eq(
	    (char *)json.data,
	    "\"vmsd_name\": \"thing\", \"version\": 3, \"fields\": ["
	    "{\"name\": \"flag\", \"type\": \"bool\", \"size\": 1}, "
	    "{\"name\": \"u8\", \"type\": \"uint8\", \"size\": 1}, "
	    "{\"name\": \"u32\", \"type\": \"uint32\", \"size\": 4}, "
	    "{\"name\": \"s64\", \"type\": \"int64\", \"size\": 8}, "
	    "{\"name\": \"arr\", \"array_len\": 3, \"type\": \"uint16\", \"size\": 2}, "
	    "{\"name\": \"in\", \"array_len\": 2, \"type\": \"struct\", \"struct\": "
	    "{\"vmsd_name\": \"inner\", "
	    "\"version\": 1, \"fields\": [{\"name\": \"a\", \"type\": \"uint16\", \"size\": 2}, "
	    "{\"name\": \"b\", \"type\": \"uint8\", \"size\": 1}]}, \"size\": 3}, "
	    "{\"name\": \"raw\", \"type\": \"buffer\", \"size\": 4}, "
	    "{\"name\": \"unused\", \"type\": \"unused_buffer\", \"size\": 2}, "
	    "{\"name\": \"n\", \"type\": \"uint32\", \"size\": 4}, "
	    "{\"name\": \"list\", \"array_len\": 2, \"type\": \"uint8\", \"size\": 1}, "
	    "{\"name\": \"newer\", \"type\": \"uint64\", \"size\": 8}], "
	    "\"subsections\": [{\"vmsd_name\": \"thing/extra\", \"version\": 1, \"fields\": "
	    "[{\"name\": \"extra\", \"type\": \"uint64\", \"size\": 8}]}]");
	buf_free(&out);
	buf_free(&json);
}
END_TEST

START_TEST(test_round_trip_and_old_version)
{
	struct thing t = sample(), u = {0};
	struct buf out = {0};
	struct src in;

	ck_assert_int_eq(vms_save(&thing_desc, &t, &out, NULL, NULL), 0);
	in = src_mem(out.data, out.len);
	ck_assert_int_eq(vms_load(&thing_desc, &u, &in, 3, NULL), 0);
	ck_assert_uint_eq(in.at, out.len);
	ck_assert_mem_eq(&t, &u, sizeof(t));

	/* Version 2 has no 'newer': its eight bytes are then read as what follows. */
	u = (struct thing){0};
	t.extra = 0;
	buf_clear(&out);
	ck_assert_int_eq(vms_save(&thing_desc, &t, &out, NULL, NULL), 0);
	in = src_mem(out.data, out.len);
	ck_assert_int_eq(vms_load(&thing_desc, &u, &in, 2, NULL), 0);
	ck_assert_uint_eq(in.at, out.len - 8);
	ck_assert_uint_eq(u.newer, 0);
	buf_free(&out);
}
END_TEST

START_TEST(test_every_truncation_is_refused)
{
	struct thing t = sample(), u = {0};
	struct buf out = {0};
	struct err err;

	ck_assert_int_eq(vms_save(&thing_desc, &t, &out, NULL, NULL), 0);
	for (size_t cut = 0; cut < out.len; cut++) {
		struct src in = src_mem(out.data, cut);
		/* The fields end at 46; a cut in the subsection's name makes it no subsection. */
		bool whole = cut >= 46 && cut < 46 + 13;

		memset(&err, 0, sizeof(err));
		ck_assert_int_eq(vms_load(&thing_desc, &u, &in, 3, &err) == 0, whole);
		ck_assert(whole || strstr(err.msg, "the stream ends within"));
	}
	buf_free(&out);
}
END_TEST

START_TEST(test_refusals_in_words)
{
	struct thing t = sample(), u = {0};
	struct buf out = {0};
	struct err err = {0};
	struct src in;

	ck_assert_int_eq(vms_save(&thing_desc, &t, &out, NULL, NULL), 0);
	in = src_mem(out.data, out.len);
	ck_assert_int_eq(vms_load(&thing_desc, &u, &in, 4, &err), -EINVAL);
	ck_assert_str_eq(err.msg,
			 "thing: version 4 at stream offset 0x0, this program reads 2 to 3");
	in = src_mem(out.data, out.len);
	ck_assert_int_eq(vms_load(&thing_desc, &u, &in, 1, &err), -EINVAL);

	u.limit = 5;
	in = src_mem(out.data, out.len);
	ck_assert_int_eq(vms_load(&thing_desc, &u, &in, 3, &err), -EINVAL);
	ck_assert_str_eq(err.msg, "thing: u32 16909060 above 5");

	out.data[46 + 12] = 'b'; /* thing/extrb */
	u.limit = 0;
	in = src_mem(out.data, out.len);
	ck_assert_int_eq(vms_load(&thing_desc, &u, &in, 3, &err), -ENOENT);
	ck_assert_str_eq(err.msg, "thing: unknown subsection 'thing/extrb' at stream offset 0x2e");

	out.data[35] = 6; /* six elements in a list of five */
	in = src_mem(out.data, out.len);
	ck_assert_int_eq(vms_load(&thing_desc, &u, &in, 3, &err), -EINVAL);
	ck_assert_str_eq(err.msg,
			 "thing: 6 elements of list, at most 5 are possible (stream offset 0x24)");
	buf_free(&out);
}
END_TEST

START_TEST(test_foreign_subsection_is_left_alone)
{
	struct thing t = sample(), u = {0};
	struct buf out = {0};
	struct src in;
	size_t own;

	t.extra = 0;
	ck_assert_int_eq(vms_save(&thing_desc, &t, &out, NULL, NULL), 0);
	own = out.len;
	buf_u8(&out, 5);
	buf_str8(&out, "outer/sub");
	buf_be32(&out, 1);
	in = src_mem(out.data, out.len);
	ck_assert_int_eq(vms_load(&thing_desc, &u, &in, 3, NULL), 0);
	ck_assert_uint_eq(in.at, own);
	buf_free(&out);
}
END_TEST

START_TEST(test_registry_order_and_alias)
{
	struct vms_registry r;
	struct thing t;
	const char *const want[] = {"timer", "cpu", "apic", "rtc", "globalstate"};
	size_t i = 0;

	vms_registry_init(&r);
	vms_register(&r, VMS_RANK_GLOBALSTATE, "globalstate", 0, -1, &thing_desc, &t);
	vms_register(&r, VMS_RANK_CPU, "cpu", 0, -1, &thing_desc, &t);
	vms_register(&r, VMS_RANK_RTC, "rtc", 0, 0x70, &thing_desc, &t);
	vms_register(&r, VMS_RANK_CPU, "apic", 0, -1, &thing_desc, &t);
	vms_register(&r, VMS_RANK_TIMER, "timer", 0, -1, &thing_desc, &t);
	list_for_each (e, &r.entries, struct vms_entry, link)
		ck_assert_str_eq(e->idstr, want[i++]);
	ck_assert_uint_eq(i, 5);
	ck_assert_ptr_eq(vms_find(&r, "rtc", 0x70), vms_find(&r, "rtc", 0));
	ck_assert_ptr_null(vms_find(&r, "rtc", 1));
	ck_assert_ptr_null(vms_find(&r, "cpu", 1));
	vms_registry_fini(&r);
}
END_TEST

CHECK_MAIN("vmstate", test_bytes_and_description, test_round_trip_and_old_version,
	   test_every_truncation_is_refused, test_refusals_in_words,
	   test_foreign_subsection_is_left_alone, test_registry_order_and_alias)
