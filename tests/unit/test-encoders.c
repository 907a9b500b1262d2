/* The encoders: what each makes of a page, in which pass, and that the other side ends up with it.
 */
#include <errno.h>

#include "migration/ram/encode/compress.h"
#include "migration/ram/encode/page-pool.h"
#include "migration/ram/encode/xbzrle.h"
#include "tests/unit/check-main.h"
#include "tests/unit/ram-rig.h"

#define ONE_BYTE (8 + 3 + 3) /* the record of a page in which its first byte has changed */

static struct ram_rig *xbzrle_rig(uint64_t cache_bytes)
{
	struct ram_rig *r = ram_rig_new();

	r->caps[CAP_XBZRLE] = true;
	r->cache_bytes = cache_bytes;
	for (uint64_t page = 0; page < RAM_PAGES; page++)
		ram_rig_noise(ram_rig_page(r, 0, page), (uint32_t)page);
	ram_rig_noise(ram_rig_page(r, 1, 0), 99);
	ram_rig_begin(r);
	ram_rig_move(r, TAG_PART);
	return r;
}

/* The page's first byte becomes 'value'. */
static void write_byte(struct ram_rig *r, uint64_t page, uint8_t value)
{
	ram_rig_page(r, 0, page)[0] = value;
	ram_rig_dirty(r, 0, page);
}

START_TEST(test_xbzrle_passes)
{
	struct ram_rig *r = xbzrle_rig(MiB);
	const struct ram_counters *c = &r->save.stream.count;

	/* The first pass is as without it. */
	ck_assert_uint_eq(c->xbzrle_miss, 0);
	ck_assert_uint_eq(c->normal, RAM_PAGES + 1);
	ck_assert_uint_eq(c->duplicate, BIOS_PAGES - 1);
	write_byte(r, 3, 1);
	write_byte(r, 4, 1);
	ram_rig_sync(r);
	ram_rig_move(r, TAG_PART);
	ck_assert_uint_eq(c->xbzrle_miss, 2);
	ck_assert_uint_eq(c->normal, RAM_PAGES + 3);
	/* Now they are known: one changes in a byte, one not at all. */
	write_byte(r, 3, 2);
	write_byte(r, 4, 1);
	ram_rig_sync(r);
	ck_assert_uint_eq(ram_rig_move(r, TAG_PART), NO_RECORD + ONE_BYTE);
	ck_assert_uint_eq(c->xbzrle_pages, 2);
	ck_assert_uint_eq(c->xbzrle_bytes, 6);
	ck_assert_uint_eq(c->xbzrle_miss, 2);
	/* The last record uses what is known, and goes on with misses as they are. */
	write_byte(r, 3, 3);
	write_byte(r, 5, 3);
	ram_rig_sync(r);
	ck_assert_uint_eq(ram_rig_move(r, TAG_END), NO_RECORD + ONE_BYTE + 8 + PAGE_BYTES);
	ck_assert_uint_eq(c->xbzrle_pages, 3);
	ck_assert_uint_eq(c->xbzrle_miss, 3);
	ram_rig_free(r);
}
END_TEST

START_TEST(test_xbzrle_overflow)
{
	struct ram_rig *r = xbzrle_rig(MiB);
	const struct ram_counters *c = &r->save.stream.count;

	for (unsigned i = 0; i < 3; i++) {
		ram_rig_noise(ram_rig_page(r, 0, 7), 1000 + i);
		ram_rig_dirty(r, 0, 7);
		ram_rig_sync(r);
		ck_assert_uint_eq(ram_rig_move(r, TAG_PART),
				  NO_RECORD + 8 + (i ? 0 : sizeof("microvm.ram")) + PAGE_BYTES);
	}
	ck_assert_uint_eq(c->xbzrle_miss, 1);
	ck_assert_uint_eq(c->xbzrle_overflow, 2);
	ck_assert_uint_eq(c->xbzrle_pages, 2);
	ck_assert_uint_eq(c->xbzrle_bytes, 2 * PAGE_BYTES);
	ck_assert_uint_eq(c->normal, RAM_PAGES + 1 + 3);
	/* The cache has followed: a byte is a delta again. */
	write_byte(r, 7, (uint8_t)~ram_rig_page(r, 0, 7)[0]);
	ram_rig_sync(r);
	ck_assert_uint_eq(ram_rig_move(r, TAG_PART), NO_RECORD + ONE_BYTE);
	ram_rig_noise(ram_rig_page(r, 0, 7), 5000);
	ram_rig_dirty(r, 0, 7);
	ram_rig_sync(r);
	ram_rig_move(r, TAG_END);
	ck_assert_uint_eq(c->xbzrle_overflow, 3);
	ram_rig_free(r);
}
END_TEST

START_TEST(test_xbzrle_zero_pages)
{
	struct ram_rig *r = xbzrle_rig(MiB);

	write_byte(r, 9, 1);
	ram_rig_sync(r);
	ram_rig_move(r, TAG_PART); /* cached with content */
	memset(ram_rig_page(r, 0, 9), 0, PAGE_BYTES);
	ram_rig_dirty(r, 0, 9);
	ram_rig_sync(r);
	ck_assert_uint_eq(ram_rig_move(r, TAG_PART), NO_RECORD + 9);
	write_byte(r, 9, 5); /* a delta against zeros */
	ram_rig_sync(r);
	ck_assert_uint_eq(ram_rig_move(r, TAG_PART), NO_RECORD + ONE_BYTE);
	/* A page that was zero from the start comes into the cache as zeros, too. */
	ram_rig_dirty(r, 1, 2);
	ram_rig_sync(r);
	ck_assert_uint_eq(ram_rig_move(r, TAG_PART), NO_RECORD + 9 + 8);
	memset(ram_rig_page(r, 1, 2), 6, 2);
	ram_rig_dirty(r, 1, 2);
	ram_rig_sync(r);
	ck_assert_uint_eq(ram_rig_move(r, TAG_PART), NO_RECORD + 8 + 3 + 4);
	ram_rig_free(r);
}
END_TEST

/* The guest writes between the encoding and the moment at which the bytes leave. */
static void guest_writes(struct ram_rig *r)
{
	for (uint64_t page = 0; page < RAM_PAGES; page++)
		ram_rig_page(r, 0, page)[100]++;
}

START_TEST(test_xbzrle_guest_writes_meanwhile)
{
	struct ram_rig *r = xbzrle_rig(MiB);
	size_t n = 0;

	r->flushing = guest_writes;
	for (unsigned pass = 0; pass < 6; pass++) {
		for (uint64_t page = 0; page < RAM_PAGES; page++)
			ram_rig_dirty(r, 0, page); /* as guest_writes() made them */
		if (pass == 3)
			ram_rig_noise(ram_rig_page(r, 0, 1), 77);
		ram_rig_sync(r);
		n = ram_rig_send(r, TAG_PART);
		ram_rig_load(r);
	}
	/* Every page was written in the same place: word, three, two counts and the byte. */
	ck_assert_uint_eq(n, NO_RECORD + RAM_PAGES * (8 + 3 + 3));
	ck_assert_uint_eq(r->save.stream.count.xbzrle_miss, RAM_PAGES);
	r->flushing = NULL;
	for (uint64_t page = 0; page < RAM_PAGES; page++)
		ram_rig_dirty(r, 0, page);
	ram_rig_sync(r);
	ram_rig_move(r, TAG_END);
	ram_rig_free(r);
}
END_TEST

/* Many writes over many passes, a cache too small for them, and a size that changes. */
START_TEST(test_xbzrle_any_cache)
{
	static const uint64_t sizes[] = {PAGE_BYTES, 4 * PAGE_BYTES, 64 * PAGE_BYTES, MiB};
	uint32_t seed = 3;

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct ram_rig *r = xbzrle_rig(sizes[i]);

		for (unsigned pass = 0; pass < 200; pass++) {
			for (unsigned n = 0; n < 20; n++) {
				seed = seed * 1664525 + 1013904223;
				if (seed >> 29 == 0)
					memset(ram_rig_page(r, 0, seed % RAM_PAGES), 0, PAGE_BYTES);
				else if (seed >> 29 == 1)
					ram_rig_noise(ram_rig_page(r, 0, seed % RAM_PAGES), seed);
				write_byte(r, seed % RAM_PAGES, (uint8_t)(seed >> 8) & 1);
			}
			if (pass % 50 == 49)
				r->cache_bytes = sizes[(i + pass / 50) % ARRAY_LEN(sizes)];
			ram_rig_sync(r);
			ram_rig_move(r, TAG_PART);
		}
		ck_assert_uint_gt(r->save.stream.count.xbzrle_pages, 0);
		ck_assert_uint_gt(r->save.stream.count.xbzrle_miss, 0);
		ram_rig_free(r);
	}
}
END_TEST

START_TEST(test_xbzrle_live_size)
{
	struct ram_rig *r = xbzrle_rig(PAGE_BYTES);
	const struct ram_counters *c = &r->save.stream.count;

	for (unsigned pass = 0; pass < 4; pass++) { /* one slot: only one of two is known */
		write_byte(r, 20, (uint8_t)pass);
		write_byte(r, 21, (uint8_t)pass);
		ram_rig_sync(r);
		ram_rig_move(r, TAG_PART);
	}
	ck_assert_uint_eq(c->xbzrle_miss, 5);
	ck_assert_uint_eq(c->xbzrle_pages, 3);
	r->cache_bytes = 16 * PAGE_BYTES;
	for (unsigned pass = 4; pass < 6; pass++) {
		write_byte(r, 20, (uint8_t)pass);
		write_byte(r, 21, (uint8_t)pass);
		ram_rig_sync(r);
		ram_rig_move(r, TAG_PART);
	}
	ck_assert_uint_eq(c->xbzrle_miss, 6); /* the one that is known stays known */
	ck_assert_uint_eq(c->xbzrle_pages, 6);
	r->cache_bytes = 1ULL << 63; /* cannot be: it goes on as it is */
	write_byte(r, 20, 9);
	ram_rig_sync(r);
	ck_assert_uint_eq(ram_rig_move(r, TAG_PART), NO_RECORD + ONE_BYTE);
	ram_rig_free(r);
}
END_TEST

START_TEST(test_xbzrle_size_that_cannot_be)
{
	struct ram_rig *r = ram_rig_new();
	struct err err = {0};

	r->caps[CAP_XBZRLE] = true;
	r->cache_bytes = 1ULL << 63;
	ram_save_init(&r->save, &r->from, r->w, 2);
	ck_assert_int_eq(ram_save_encoders(&r->save, r->caps, &r->params, &r->cache_bytes, &err),
			 -ENOMEM);
	ck_assert_str_eq(err.msg, "no memory for an xbzrle cache of 9223372036854775808 bytes");
	ram_rig_free(r);
}
END_TEST

/* ---- compress ---- */

/* Zeros, text, noise. */
static void fill_mixed(struct ram_rig *r)
{
	for (uint64_t page = 0; page < RAM_PAGES; page++) {
		if (page % 4 == 1)
			memset(ram_rig_page(r, 0, page), (int)page, PAGE_BYTES);
		else if (page % 4 == 2)
			ram_rig_noise(ram_rig_page(r, 0, page), (uint32_t)page);
		else if (page % 4 == 3)
			memset(ram_rig_page(r, 0, page), 'x', 100);
	}
	for (uint64_t page = 0; page < BIOS_PAGES; page++)
		memset(ram_rig_page(r, 1, page), 'b', 200 + page);
}

static struct ram_rig *compress_rig(uint8_t threads, uint8_t level)
{
	struct ram_rig *r = ram_rig_new();

	r->caps[CAP_COMPRESS] = true;
	r->params.compress_threads = threads;
	r->params.compress_level = level;
	fill_mixed(r);
	ck_assert_int_eq(ram_load_compressed(r->load, threads, NULL), 0);
	ram_rig_begin(r);
	return r;
}

START_TEST(test_compress)
{
	static const struct {
		uint8_t threads, level;
	} rows[] = {
	    {1,   1},
            {2,   9},
            {8,   6},
            {255, 1}
        };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ram_rig *r = compress_rig(rows[i].threads, rows[i].level);
		const struct ram_counters *c = &r->save.stream.count;

		ck_assert_uint_lt(ram_rig_move(r, TAG_PART), 20 * PAGE_BYTES);
		/* The first page of each block is ZERO or PAGE, noise is PAGE. */
		ck_assert_uint_eq(c->duplicate, RAM_PAGES / 4);
		ck_assert_uint_eq(c->normal, RAM_PAGES / 4 + 1);
		ck_assert_uint_eq(c->compress_pages, RAM_PAGES / 2 + BIOS_PAGES - 1);
		ck_assert_uint_eq(c->compress_busy, 0);
		for (unsigned pass = 0; pass < 20; pass++) {
			for (uint64_t page = pass % 3; page < RAM_PAGES; page += 3)
				write_byte(r, page, (uint8_t)pass);
			ram_rig_dirty(r, 1, pass % BIOS_PAGES);
			ram_rig_sync(r);
			ram_rig_move(r, pass == 19 ? TAG_END : TAG_PART);
		}
		ram_rig_free(r);
	}
}
END_TEST

START_TEST(test_compress_level_0)
{
	struct ram_rig *r = compress_rig(1, 0);

	ram_rig_move(r, TAG_PART);
	ck_assert_uint_eq(r->save.stream.count.compress_pages, 0);
	ck_assert_uint_eq(r->save.stream.count.normal, RAM_PAGES * 3 / 4 + BIOS_PAGES);
	ram_rig_free(r);
}
END_TEST

START_TEST(test_compress_does_not_wait)
{
	struct ram_rig *r = ram_rig_new();
	const struct ram_counters *c = &r->save.stream.count;
	uint64_t all;

	r->caps[CAP_COMPRESS] = true;
	r->params.compress_threads = 1;
	r->params.compress_level = 9;
	r->params.compress_wait_thread = false;
	fill_mixed(r);
	ck_assert_int_eq(ram_load_compressed(r->load, 1, NULL), 0);
	ram_rig_begin(r);
	ram_rig_move(r, TAG_PART);
	all = c->duplicate + c->normal + c->compress_pages;
	ck_assert_uint_eq(all, RAM_PAGES + BIOS_PAGES);
	ck_assert_uint_le(c->compress_busy + RAM_PAGES / 4 + 1, c->normal + RAM_PAGES / 4);
	ram_rig_free(r);
}
END_TEST

START_TEST(test_compress_then_xbzrle)
{
	struct ram_rig *r = ram_rig_new();
	const struct ram_counters *c = &r->save.stream.count;
	uint64_t compressed;

	r->caps[CAP_COMPRESS] = r->caps[CAP_XBZRLE] = true;
	fill_mixed(r);
	ck_assert_int_eq(ram_load_compressed(r->load, 2, NULL), 0);
	ram_rig_begin(r);
	ram_rig_move(r, TAG_PART);
	compressed = c->compress_pages;
	ck_assert_uint_gt(compressed, 0);
	for (uint8_t pass = 1; pass < 4; pass++) {
		write_byte(r, 5, pass);
		ram_rig_sync(r);
		ram_rig_move(r, TAG_PART);
	}
	ck_assert_uint_eq(c->compress_pages, compressed);
	ck_assert_uint_eq(c->xbzrle_miss, 1);
	ck_assert_uint_eq(c->xbzrle_pages, 2);
	ram_rig_free(r);
}
END_TEST

START_TEST(test_compress_refused)
{
	struct ram_rig *r = ram_rig_new();
	struct err err = {0};

	r->caps[CAP_COMPRESS] = true;
	fill_mixed(r);
	ram_rig_begin(r);
	ram_rig_send(r, TAG_PART);
	ck_assert_int_eq(ram_rig_try_load(r, &err), -EINVAL);
	ck_assert_msg(strstr(err.msg, "Received an unexpected compressed page") == err.msg, "%s",
		      err.msg);
	ram_rig_free(r);
}
END_TEST

/* ---- what a hostile source may send ---- */

/* One record for page 2 of microvm.ram; 'n' bytes of payload. */
static int load_one(struct ram_rig *r, uint64_t flags, const void *payload, size_t n,
		    struct err *err)
{
	struct buf b = {0};
	struct src in;
	int ret;

	buf_be64(&b, 2 * PAGE_BYTES | flags);
	buf_str8(&b, "microvm.ram");
	buf_put(&b, payload, n);
	buf_be64(&b, RAM_FLAG_EOS);
	in = src_mem(b.data, b.len);
	*err = (struct err){0};
	ret = ram_load_body(r->load, &in, err);
	buf_free(&b);
	return ret;
}

START_TEST(test_broken_records)
{
	static const struct {
		uint64_t flags;
		const char *payload;
		size_t n;
		const char *words;
	} bad[] = {
	    {RAM_FLAG_XBZRLE,   "\2\0\3\0\1\5",       6, "unknown encoding 2"          },
	    {RAM_FLAG_XBZRLE,   "\1\x10\1",           3, "4097 bytes, more than a page"},
	    {RAM_FLAG_XBZRLE,   "\1\0\2\0\0",         5, "is no delta"                 },
	    {RAM_FLAG_XBZRLE,   "\1\1\0",             3, "the stream ends"             },
	    {RAM_FLAG_COMPRESS, "\0\0\0\0",           4, "has 0 bytes"                 },
	    {RAM_FLAG_COMPRESS, "\xff\xff\xff\xff",   4, "has 4294967295 bytes"        },
	    {RAM_FLAG_COMPRESS, "\0\0\0\4\1\2\3\4",   8, "does not unpack to a page"   },
	    {RAM_FLAG_COMPRESS, "\0\0\0\x40\1\2\3\4", 8, "the stream ends"             },
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct ram_rig *r = ram_rig_new();
		struct err err;

		ck_assert_int_eq(ram_load_compressed(r->load, 1, NULL), 0);
		ck_assert_int_lt(load_one(r, bad[i].flags, bad[i].payload, bad[i].n, &err), 0);
		ck_assert_msg(strstr(err.msg, bad[i].words) != NULL, "%s", err.msg);
		ram_rig_free(r);
	}
}
END_TEST

/* A page again and again within one section: what was sent last stays. */
START_TEST(test_same_page_again)
{
	struct ram_rig *r = compress_rig(4, 1), *plain = ram_rig_new();
	struct err err = {0};
	struct buf body = {0};
	struct src in;

	for (uint8_t i = 0; i < 200; i++) {
		size_t at = r->out.len;

		memset(ram_rig_page(r, 0, 5), i, PAGE_BYTES);
		ram_rig_dirty(r, 0, 5);
		ram_rig_sync(r);
		ram_rig_send(r, TAG_PART);
		buf_put(&body, r->out.data + at + 5, r->out.len - at - NO_RECORD);
		if (i % 3 == 0) { /* and as a ZERO record in between */
			buf_be64(&body, 5 * PAGE_BYTES | RAM_FLAG_ZERO);
			buf_str8(&body, "microvm.ram");
			buf_u8(&body, 0xee);
		}
	}
	buf_be64(&body, RAM_FLAG_EOS);
	in = src_mem(body.data, body.len);
	ck_assert_msg(ram_load_body(r->load, &in, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(in.at, in.len);
	ram_rig_check_same(r);
	buf_free(&body);
	ram_rig_free(plain);
	ram_rig_free(r);
}
END_TEST

START_TEST(test_pool_ends_with_work_left)
{
	static uint8_t page[PAGE_BYTES];
	struct ram_block b = {.hva = page, .bytes = PAGE_BYTES};
	struct page p = {.block = &b};
	uint8_t packed[8] = {1};

	for (unsigned i = 0; i < 50; i++) {
		struct page_pool *pool = decompress_new(1 + i % 3, NULL);

		for (unsigned n = 0; n < 8; n++)
			ck_assert_int_eq(decompress_page(pool, &p, packed, sizeof(packed), NULL),
					 0);
		ck_assert(page_pool_has(pool, &p));
		page_pool_free(pool);
	}
	page_pool_free(NULL);
}
END_TEST

CHECK_MAIN("encoders", test_xbzrle_passes, test_xbzrle_overflow, test_xbzrle_zero_pages,
	   test_xbzrle_guest_writes_meanwhile, test_xbzrle_any_cache, test_xbzrle_live_size,
	   test_xbzrle_size_that_cannot_be, test_compress, test_compress_level_0,
	   test_compress_does_not_wait, test_compress_then_xbzrle, test_compress_refused,
	   test_broken_records, test_same_page_again, test_pool_ends_with_work_left)
