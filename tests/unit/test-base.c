/* Bitmaps against a plain array, buffers and sources, lists, errors, logs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/check-main.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/buf.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/list.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/base/uuid.h"

/* ---- bitmap ---- */

#define MAP_BITS 200

struct model {
	uint64_t map[BITMAP_WORDS(MAP_BITS)];
	bool bit[MAP_BITS];
};

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void model_range(struct model *m, size_t first, size_t n, bool value)
{
	if (value)
		bitmap_set_range(m->map, first, n);
	else
		bitmap_clear_range(m->map, first, n);
	for (size_t i = first; i < first + n; i++)
		m->bit[i] = value;
}

/* The first bit of this value in [from, bits), or bits. */
static size_t model_next(const struct model *m, size_t bits, size_t from, bool value)
{
	while (from < bits && m->bit[from] != value)
		from++;
	return MIN(from, bits);
}

/* What the map says at bit i, and about those before it, is what the model says. */
static void model_check_bit(const struct model *m, size_t i, size_t count)
{
	bool same = bitmap_next_set(m->map, MAP_BITS, i) == model_next(m, MAP_BITS, i, true) &&
		    bitmap_next_clear(m->map, MAP_BITS, i) == model_next(m, MAP_BITS, i, false) &&
		    bitmap_next_set(m->map, i, 0) == model_next(m, i, 0, true) &&
		    bitmap_count(m->map, i) == count;

	ck_assert_msg(same, "bit %zu", i);
}

static void model_check(const struct model *m)
{
	size_t count = 0;

	for (size_t i = 0; i < MAP_BITS; i++) {
		ck_assert_int_eq(bitmap_test(m->map, i), m->bit[i]);
		model_check_bit(m, i, count);
		count += m->bit[i];
	}
	ck_assert_uint_eq(bitmap_count(m->map, MAP_BITS), count);
}

START_TEST(bitmap_ranges)
{
	static const size_t edges[] = {0, 1, 63, 64, 65, 127, 128, 191, 199, 200};

	for (size_t a = 0; a < ARRAY_LEN(edges); a++) {
		for (size_t b = a; b < ARRAY_LEN(edges); b++) {
			struct model m = {0};

			model_range(&m, edges[a], edges[b] - edges[a], true);
			model_check(&m);
			model_range(&m, 0, MAP_BITS, true);
			model_range(&m, edges[a], edges[b] - edges[a], false);
			model_check(&m);
		}
	}
}
END_TEST

START_TEST(bitmap_random)
{
	struct model m = {0};
	uint32_t seed = 7;

	for (int i = 0; i < 500; i++) {
		size_t first = next_random(&seed) % MAP_BITS;
		size_t n = next_random(&seed) % (MAP_BITS - first + 1);

		model_range(&m, first, n, next_random(&seed) & 1);
		if (i % 10 == 0)
			model_check(&m);
	}
	model_check(&m);
}
END_TEST

START_TEST(bitmap_single)
{
	static const uint64_t want[] = {1, 1, 2};
	CLEANUP(cleanup_free) uint64_t *map = bitmap_new(130);
	size_t seen = 0, sum = 0;

	bitmap_set(map, 0);
	bitmap_set(map, 64);
	bitmap_set_atomic(map, 129);
	bitmap_set_atomic(map, 129);
	ck_assert_mem_eq(map, want, sizeof(want));
	bitmap_for_each_set (bit, map, 130) {
		seen++;
		sum += bit;
	}
	ck_assert_uint_eq(seen, 3);
	ck_assert_uint_eq(sum, 193);
	bitmap_clear(map, 64);
	ck_assert_uint_eq(bitmap_count(map, 130), 2);
}
END_TEST

START_TEST(bitmap_ends)
{
	CLEANUP(cleanup_free) uint64_t *map = bitmap_new(130), *none = bitmap_new(0);

	bitmap_set(map, 129);
	ck_assert_uint_eq(bitmap_next_set(map, 130, 1), 129);
	ck_assert_uint_eq(bitmap_next_set(map, 129, 1), 129);
	ck_assert_uint_eq(bitmap_next_set(map, 130, 5000), 130);
	ck_assert_uint_eq(bitmap_next_set(map, 0, 0), 0);
	ck_assert_ptr_nonnull(none);
}
END_TEST

START_TEST(bitmap_union)
{
	uint64_t dst[2] = {0xf0, 0}, src[2] = {0xff, ~0ULL};

	ck_assert_uint_eq(bitmap_or(dst, src, 68), 4 + 4);
	ck_assert_uint_eq(dst[0], 0xff);
	ck_assert_uint_eq(dst[1], 0xf); /* bits beyond the 68th are not taken */
	ck_assert_uint_eq(bitmap_or(dst, src, 68), 0);
	ck_assert_uint_eq(bitmap_or(dst, src, 128), 60);
	ck_assert_uint_eq(bitmap_or(dst, src, 0), 0);
}
END_TEST

/* ---- buf ---- */

START_TEST(buf_values)
{
	static const uint8_t want[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
				       0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 2,
				       'h',  'i',  0,    0,    'n',  '=',  '7'};
	CLEANUP(buf_free) struct buf b = {0};

	buf_u8(&b, 1);
	buf_be16(&b, 0x0203);
	buf_be32(&b, 0x04050607);
	buf_be64(&b, 0x08090a0b0c0d0e0fULL);
	buf_str8(&b, "hi");
	buf_zero(&b, 2);
	buf_put(&b, want, 0);
	buf_printf(&b, "%c=%d", 'n', 7);
	ck_assert_uint_eq(b.len, sizeof(want));
	ck_assert_mem_eq(b.data, want, sizeof(want));
	buf_clear(&b);
	ck_assert_uint_eq(b.len, 0);
	ck_assert_uint_ge(b.cap, sizeof(want));
}
END_TEST

START_TEST(buf_grows)
{
	CLEANUP(buf_free) struct buf b = {0};
	uint8_t block[1000];

	for (unsigned i = 0; i < 300; i++) {
		memset(block, (int)(i & 0xff), sizeof(block));
		buf_put(&b, block, sizeof(block));
	}
	ck_assert_uint_eq(b.len, 300000);
	for (size_t i = 0; i < b.len; i += 500)
		ck_assert_uint_eq(b.data[i], (i / 1000) & 0xff);
	memset(buf_room(&b, 100000), 1, 100000);
	ck_assert_uint_eq(b.len, 300000);
	buf_free(&b);
	ck_assert_ptr_null(b.data);
	ck_assert_uint_eq(b.cap, 0);
}
END_TEST

START_TEST(src_values)
{
	static const uint8_t bytes[] = {1,  2,  3,  4,  5,  6, 7,   8,   9, 10,
					11, 12, 13, 14, 15, 2, 'h', 'i', 9};
	struct src s = src_mem(bytes, sizeof(bytes));
	uint8_t u8 = 0;
	uint16_t u16 = 0;
	uint32_t u32 = 0;
	uint64_t u64 = 0;
	char str[256];

	ck_assert_int_eq(src_u8(&s, &u8) | src_be16(&s, &u16) | src_be32(&s, &u32), 0);
	ck_assert_int_eq(src_be64(&s, &u64) | src_str8(&s, str), 0);
	ck_assert_uint_eq(u8, 1);
	ck_assert_uint_eq(u16, 0x0203);
	ck_assert_uint_eq(u32, 0x04050607);
	ck_assert_uint_eq(u64, 0x08090a0b0c0d0e0fULL);
	ck_assert_str_eq(str, "hi");
	ck_assert_uint_eq(src_offset(&s), sizeof(bytes) - 1);
	ck_assert_uint_eq(*src_peek(&s, 1), 9);
	ck_assert_int_eq(src_skip(&s, 1), 0);
	ck_assert_ptr_null(src_peek(&s, 1));
	ck_assert_ptr_nonnull(src_peek(&s, 0));
}
END_TEST

/* Every get at this cut is refused, and nothing is read behind the end. */
static void check_cut(const uint8_t *bytes, size_t n)
{
	CLEANUP(cleanup_free)
	uint8_t *copy = xcalloc(n, 1); /* the sanitizer sees a byte too many */
	struct src s;
	uint64_t v;
	char str[256];

	memcpy(copy, bytes, n);
	s = src_mem(copy, n);
	ck_assert_int_eq(src_be64(&s, &v), -EIO);
	s = src_mem(copy, n);
	ck_assert_int_eq(src_str8(&s, str), -EIO);
	s = src_mem(copy, n);
	ck_assert_int_eq(src_skip(&s, n), 0);
	ck_assert_int_eq(src_skip(&s, 1), -EIO);
	ck_assert_int_eq(src_skip(&s, SIZE_MAX), -EIO);
}

START_TEST(src_cut)
{
	static const uint8_t bytes[8] = {7, 'a', 'b', 'c', 'd', 'e', 'f', 'g'};

	for (size_t n = 0; n < sizeof(bytes); n++)
		check_cut(bytes, n);
}
END_TEST

START_TEST(src_string)
{
	static const uint8_t with_nul[] = {3, 'a', 0, 'b'};
	uint8_t longest[256];
	struct src s = src_mem(with_nul, sizeof(with_nul));
	char str[256];

	ck_assert_int_eq(src_str8(&s, str), -EINVAL);
	memset(longest, 'x', sizeof(longest));
	longest[0] = 255;
	s = src_mem(longest, sizeof(longest));
	ck_assert_int_eq(src_str8(&s, str), 0);
	ck_assert_uint_eq(strlen(str), 255);
	longest[0] = 0;
	s = src_mem(longest, 1);
	ck_assert_int_eq(src_str8(&s, str), 0);
	ck_assert_str_eq(str, "");
}
END_TEST

/* A channel that gives a few bytes of 0, 1, 2, ... at a time out of a small window. */
struct drip {
	uint8_t window[8192];
	size_t left; /* bytes still to come */
	uint8_t next;
};

static int drip_fill(struct src *s, size_t n)
{
	struct drip *d = s->opaque;

	if (n > sizeof(d->window))
		return -ENOBUFS;
	memmove(d->window, d->window + s->at, s->len - s->at);
	s->base += s->at;
	s->len -= s->at;
	s->at = 0;
	while (s->len < n && d->left > 0) {
		d->window[s->len++] = d->next++;
		d->left--;
	}
	return 0;
}

START_TEST(src_filled)
{
	static struct drip d = {.left = 20000};
	static uint8_t out[20000], want[20000];
	struct src s = {.data = d.window, .fill = drip_fill, .opaque = &d};

	for (size_t i = 0; i < sizeof(want); i++)
		want[i] = i & 0xff;
	ck_assert_int_eq(src_get(&s, out, sizeof(out)), 0);
	ck_assert_mem_eq(out, want, sizeof(want));
	ck_assert_uint_eq(src_offset(&s), sizeof(out));
	ck_assert_int_eq(src_get(&s, out, 1), -EIO);
}
END_TEST

START_TEST(src_skipped)
{
	static struct drip d = {.left = 30000};
	struct src s = {.data = d.window, .fill = drip_fill, .opaque = &d};

	ck_assert_int_eq(src_skip(&s, 29999), 0);
	ck_assert_uint_eq(*src_take(&s, 1), 29999 & 0xff);
	ck_assert_uint_eq(src_offset(&s), 30000);
	ck_assert_ptr_null(src_take(&s, 1));
}
END_TEST

static int broken_fill(struct src *s, size_t n)
{
	(void)s;
	(void)n;
	return -ECONNRESET;
}

START_TEST(src_broken)
{
	static const uint8_t bytes[2] = {1, 2};
	struct src s = src_mem(bytes, sizeof(bytes));
	uint32_t v;

	s.fill = broken_fill;
	ck_assert_int_eq(src_be32(&s, &v), -EIO);
	ck_assert_ptr_nonnull(src_take(&s, 2));
	ck_assert_ptr_null(src_take(&s, 1));
}
END_TEST

/* ---- bytes, list, units ---- */

START_TEST(byte_orders)
{
	uint8_t p[9] = {0};

	put_be32(p + 1, 0x01020304);
	ck_assert_uint_eq(p[1], 1);
	ck_assert_uint_eq(get_be32(p + 1), 0x01020304);
	ck_assert_uint_eq(get_le32(p + 1), 0x04030201);
	put_le16(p + 1, 0x0102);
	ck_assert_uint_eq(p[1], 2);
	ck_assert_uint_eq(get_be16(p + 1), 0x0201);
	put_le64(p + 1, 0x0102030405060708ULL);
	ck_assert_uint_eq(p[8], 1);
	ck_assert_uint_eq(get_be64(p + 1), 0x0807060504030201ULL);
}
END_TEST

struct item {
	int value;
	struct list link;
};

/* The values in order, as decimal digits of one number. */
static int digits(const struct list *head)
{
	int n = 0;

	list_for_each (it, head, struct item, link)
		n = n * 10 + it->value;
	return n;
}

START_TEST(lists)
{
	struct list head = LIST_INIT(head), other;
	struct item items[4] = {{.value = 1}, {.value = 2}, {.value = 3}, {.value = 4}};

	list_init(&other);
	ck_assert(list_empty(&head) && list_empty(&other));
	for (size_t i = 0; i < ARRAY_LEN(items); i++)
		list_add_tail(&head, &items[i].link);
	ck_assert_int_eq(digits(&head), 1234);
	list_for_each_safe (it, &head, struct item, link) {
		if (it->value % 2 == 0) {
			list_del(&it->link);
			list_add_tail(&other, &it->link);
		}
	}
	ck_assert_int_eq(digits(&head), 13);
	ck_assert_int_eq(digits(&other), 24);
	list_del(&items[0].link);
	list_del(&items[0].link); /* a removed link is a list of its own */
	list_del(&items[2].link);
	ck_assert(list_empty(&head));
}
END_TEST

START_TEST(units)
{
	const size_t page = 4096;

	ck_assert_uint_eq(ALIGN_UP(page + 1, page), 2 * page);
	ck_assert_uint_eq(ALIGN_UP(page, page), page);
	ck_assert_uint_eq(ALIGN_DOWN(page + 1, page), page);
	ck_assert_uint_eq(ALIGN_DOWN((size_t)10, 3), 9);
	ck_assert_uint_eq(GiB, 1ULL << 30);
}
END_TEST

/* ---- error, log ---- */

START_TEST(errors)
{
	struct err err = {.errnum = 99, .msg = "before"};
	char big[1000];

	ck_assert_int_eq(err_set(NULL, EIO, "x"), -EIO);
	ck_assert_int_eq(err_prefix(NULL, -EIO, "x"), -EIO);
	ck_assert_int_eq(err_set(&err, EIO, "%s: %d", "disk", 5), -EIO);
	ck_assert_int_eq(err.errnum, EIO);
	ck_assert_str_eq(err.msg, "disk: 5");
	ck_assert_int_eq(err_prefix(&err, -EIO, "load of '%s'", "x"), -EIO);
	ck_assert_str_eq(err.msg, "load of 'x': disk: 5");
	memset(big, 'y', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	(void)err_prefix(&err, -EIO, "%s", big);
	ck_assert_uint_eq(strlen(err.msg), sizeof(err.msg) - 1);
	(void)err_set(&err, EIO, "%s", big);
	ck_assert_uint_eq(strlen(err.msg), sizeof(err.msg) - 1);
	for (size_t i = 0; i + 1 < sizeof(big); i += 5)
		memcpy(big + i, "word ", MIN(sizeof(big) - 1 - i, 5));
	(void)err_set(&err, EIO, "%s", big);
	ck_assert_str_eq(err.msg + strlen(err.msg) - 9, " word ...");
	(void)err_set(&err, EIO, "why");
	(void)err_prefix(&err, -EIO, "%.*s", (int)sizeof(err.msg) - 4, big);
	ck_assert_str_eq(err.msg + strlen(err.msg) - 4, " ...");
	(void)err_set(&err, EIO, "%.*s", (int)sizeof(err.msg) - 1, big); /* it fits */
	ck_assert_int_eq(memcmp(err.msg, big, sizeof(err.msg) - 1), 0);
	ck_assert_str_eq(err_text(ENOENT), "No such file or directory");
	ck_assert_str_eq(err_text(123456), "Unknown error");
}
END_TEST

/* What log_line() wrote to the file so far; owned. */
static char *contents(const char *path)
{
	char *text = xcalloc(1, 8192);
	FILE *f = fopen(path, "r");

	ck_assert_ptr_nonnull(f);
	(void)!fread(text, 1, 8191, f);
	(void)fclose(f);
	return text;
}

START_TEST(logs)
{
	char path[] = "/tmp/minivmm-log-XXXXXX", big[3000];
	int fd = mkstemp(path);
	struct err err = {0};
	char *text;

	ck_assert_int_ge(fd, 0);
	(void)close(fd);
	ck_assert_int_eq(log_open("/nope/x", &err), -ENOENT);
	ck_assert_str_eq(err.msg, "Error opening logfile /nope/x: No such file or directory");
	ck_assert_int_eq(log_open(path, &err), 0);
	log_error("one %d", 1);
	log_warn("two");
	log_debug("not this");
	log_set_level(LOG_ERROR);
	log_info("nor this");
	memset(big, 'z', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	log_error("%s", big);
	text = contents(path);
	ck_assert_ptr_eq(strstr(text, "minivmm: one 1\nminivmm: warning: two\nminivmm: zzz"), text);
	ck_assert_ptr_null(strstr(text, "this"));
	ck_assert_int_eq(text[strlen(text) - 1], '\n'); /* a long line is cut, and ends */
	free(text);
	log_set_timestamp(true);
	log_error("three");
	text = contents(path);
	ck_assert_ptr_nonnull(strstr(text, "Z minivmm: three\n"));
	free(text);
	(void)unlink(path);
}
END_TEST

START_TEST(strings)
{
	char *a = xstrndup("abcdef", 3), *b = xasprintf("%s-%d", a, 7);
	int *many = xcalloc(0, 0);

	ck_assert_str_eq(a, "abc");
	ck_assert_str_eq(b, "abc-7");
	ck_assert_ptr_nonnull(many);
	many = xrealloc(many, 0);
	ck_assert_ptr_nonnull(many);
	free(many);
	free(a);
	free(b);
}
END_TEST

START_TEST(uuids)
{
	static const char text[] = "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87";
	static const char *const wrong[] = {
	    "",
	    "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb8",
	    "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb877",
	    "324e6eafd1d1-4bf6-bf41-b9bb6c91fb87-",
	    "324e6eag-d1d1-4bf6-bf41-b9bb6c91fb87",
	    "{324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87}",
	};
	static const uint8_t swapped[] = {0xaf, 0x6e, 0x4e, 0x32, 0xd1, 0xd1, 0xf6, 0x4b,
					  0xbf, 0x41, 0xb9, 0xbb, 0x6c, 0x91, 0xfb, 0x87};
	uint8_t uuid[UUID_BYTES] = {0}, other[UUID_BYTES];

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		ck_assert_msg(!uuid_parse(wrong[i], uuid), "%s", wrong[i]);
	ck_assert_uint_eq(uuid[0], 0);
	ck_assert(uuid_parse("324E6EAF-D1D1-4bf6-BF41-b9bb6c91fB87", uuid));
	ck_assert_uint_eq(uuid[0], 0x32);
	ck_assert_str_eq(uuid_text(uuid).s, text);
	uuid_swap(uuid, other);
	ck_assert_mem_eq(other, swapped, sizeof(swapped));
	uuid_swap(other, other);
	ck_assert_mem_eq(uuid, other, UUID_BYTES);
	ck_assert_int_eq(uuid_random(uuid), 0);
	ck_assert_int_eq(uuid_random(other), 0);
	ck_assert_mem_ne(uuid, other, UUID_BYTES);
	ck_assert_int_eq(uuid_text(uuid).s[14], '4');
	ck_assert_ptr_nonnull(strchr("89ab", uuid_text(uuid).s[19]));
}
END_TEST

CHECK_MAIN("base", bitmap_ranges, bitmap_random, bitmap_single, bitmap_ends, bitmap_union,
	   buf_values, buf_grows, src_values, src_cut, src_string, src_filled, src_skipped,
	   src_broken, byte_orders, lists, units, errors, logs, strings, uuids)
