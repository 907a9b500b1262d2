/*
 * What an incremental snapshot's stream says: the mark of its parent, and the stream taken apart
 * without a machine, whole, cut at every byte, and as it may not be; and one index of pages over
 * another, held against plain arrays.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migration/ram/lazy/page-index.h"
#include "migration/snapshot/scan.h"
#include "migration/stream/parent-mark.h"
#include "migration/stream/wire.h"
#include "tests/unit/check-main.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"

#define RAM_ID    3U
#define RAM_PAGES 40U
#define ROM_PAGES 16U

static const struct parent_mark parent = {
    .tag = "monday", .date_s = 1700000000, .date_ns = 123456789, .vm_clock_ns = 987654321012};

/* ---- a stream, piece by piece ---- */

static void put_header(struct buf *b)
{
	buf_be32(b, STREAM_MAGIC);
	buf_be32(b, STREAM_VERSION);
	buf_u8(b, TAG_CONFIGURATION);
	buf_be32(b, 7);
	buf_put(b, "microvm", 7);
}

static void put_footer(struct buf *b)
{
	buf_u8(b, TAG_FOOTER);
	buf_be32(b, RAM_ID);
}

static void put_list(struct buf *b)
{
	buf_u8(b, TAG_START);
	buf_be32(b, RAM_ID);
	buf_str8(b, "ram");
	buf_be32(b, 0);
	buf_be32(b, 4);
	buf_be64(b, (RAM_PAGES + ROM_PAGES) * PAGE_BYTES | RAM_FLAG_MEM_SIZE);
	buf_str8(b, "microvm.ram");
	buf_be64(b, RAM_PAGES * PAGE_BYTES);
	buf_str8(b, "pc.bios");
	buf_be64(b, ROM_PAGES * PAGE_BYTES);
	buf_be64(b, RAM_FLAG_EOS);
	put_footer(b);
}

static void put_page(struct buf *b, const char *block, uint64_t page, int byte)
{
	buf_be64(b, page * PAGE_BYTES | (byte ? RAM_FLAG_PAGE : RAM_FLAG_ZERO) |
			(block ? 0 : RAM_FLAG_CONTINUE));
	if (block)
		buf_str8(b, block);
	if (!byte)
		buf_u8(b, 0);
	for (unsigned i = 0; byte && i < PAGE_BYTES; i++)
		buf_u8(b, (uint8_t)byte);
}

static void begin_part(struct buf *b)
{
	buf_u8(b, TAG_PART);
	buf_be32(b, RAM_ID);
}

static void end_part(struct buf *b)
{
	buf_be64(b, RAM_FLAG_EOS);
	put_footer(b);
}

static struct buf whole_stream(bool marked)
{
	struct buf b = {0};

	put_header(&b);
	if (marked)
		parent_mark_put(&parent, &b);
	put_list(&b);
	begin_part(&b);
	put_page(&b, "microvm.ram", 5, 'a');
	put_page(&b, NULL, 6, 0);
	put_page(&b, "pc.bios", 15, 'b');
	end_part(&b);
	begin_part(&b);
	end_part(&b);
	begin_part(&b);
	put_page(&b, NULL, 2, 'c'); /* of the block named last, as QEMU's reader takes it */
	end_part(&b);
	buf_u8(&b, TAG_FULL);
	return b;
}

/* ---- the mark ---- */

static void assert_mark(const struct parent_mark *m)
{
	ck_assert_str_eq(m->tag, parent.tag);
	ck_assert_uint_eq(m->date_s, parent.date_s);
	ck_assert_uint_eq(m->date_ns, parent.date_ns);
	ck_assert_uint_eq(m->vm_clock_ns, parent.vm_clock_ns);
}

START_TEST(test_mark)
{
	struct buf marked = whole_stream(true), plain = whole_stream(false);
	struct parent_mark got;
	struct err err = {0};
	size_t whole = 0;

	ck_assert_int_eq(parent_mark_find(&got, plain.data, plain.len, &err), 0);
	for (size_t n = 0; n <= PARENT_HEAD_BYTES; n++) {
		uint8_t *exact = xcalloc(n + 1, 1);
		int ret;

		memcpy(exact, marked.data, n);
		ret = parent_mark_find(&got, exact, n, &err);
		ck_assert(ret == 0 || ret == 1 || ret == -EINVAL);
		ck_assert(ret == 1 || !whole);
		if (ret == 1)
			assert_mark(&got);
		if (ret == 1 && !whole)
			whole = n;
		free(exact);
	}
	ck_assert_uint_gt(whole, 0);
	buf_free(&marked);
	buf_free(&plain);
}
END_TEST

/* A longest name fits into what is read of a stream, and one that is empty is none. */
START_TEST(test_mark_names)
{
	struct parent_mark m = parent, got;
	struct buf b = {0};
	struct err err = {0};

	memset(m.tag, 'x', 255);
	m.tag[255] = '\0';
	put_header(&b);
	parent_mark_put(&m, &b);
	ck_assert_uint_lt(b.len, PARENT_HEAD_BYTES);
	ck_assert_int_eq(parent_mark_find(&got, b.data, b.len, &err), 1);
	ck_assert_str_eq(got.tag, m.tag);
	buf_clear(&b);
	m.tag[0] = '\0';
	put_header(&b);
	parent_mark_put(&m, &b);
	ck_assert_int_eq(parent_mark_find(&got, b.data, b.len, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "damaged"));
	buf_free(&b);
}
END_TEST

START_TEST(test_mark_version)
{
	struct buf b = whole_stream(true);
	struct parent_mark got;
	struct err err = {0};

	b.data[20 + 5 + 17 + 4 + 3]++; /* header; tag and id, name, instance */
	ck_assert_int_eq(parent_mark_find(&got, b.data, b.len, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "has version 2, only 1"));
	buf_free(&b);
}
END_TEST

/* ---- the scan ---- */

struct seen {
	char text[400];
	int stop; /* returned at the second page */
	unsigned n;
};

static int note_page(void *opaque, size_t block, uint64_t page, const uint8_t *content,
		     struct err *err)
{
	struct seen *s = opaque;
	size_t at = strlen(s->text);

	(void)snprintf(s->text + at, sizeof(s->text) - at, " %zu:%llu%c", block,
		       (unsigned long long)page, content ? content[PAGE_BYTES - 1] : '0');
	return ++s->n == 2 && s->stop ? err_set(err, s->stop, "enough") : 0;
}

static int scan(const void *p, size_t n, struct seen *seen, struct stream_scan *s,
		uint64_t *devices, struct err *err)
{
	struct src in = src_mem(p, n);
	int ret;

	*s = (struct stream_scan){.in = &in};
	ret = stream_scan_begin(s, err);
	if (ret == 0)
		ret = stream_scan_pages(s, note_page, seen, err);
	*devices = src_offset(&in);
	return ret;
}

static void scans(bool marked)
{
	struct buf b = whole_stream(marked);
	struct seen seen = {0};
	struct stream_scan s;
	struct err err = {0};
	uint64_t devices;

	ck_assert_msg(scan(b.data, b.len, &seen, &s, &devices, &err) == 0, "%s", err.msg);
	ck_assert_str_eq(seen.text, " 0:5a 0:60 1:15b 1:2c");
	ck_assert_uint_eq(devices, b.len - 1);
	ck_assert_uint_eq(s.n, 2);
	ck_assert_str_eq(s.blocks[0].name, "microvm.ram");
	ck_assert_uint_eq(s.blocks[1].pages, ROM_PAGES);
	ck_assert(s.marked == marked);
	ck_assert_int_eq(memcmp(s.head.data, b.data, s.head.len), 0);
	ck_assert_uint_eq(s.head.len, 20);
	if (marked)
		assert_mark(&s.parent);
	stream_scan_fini(&s);
	buf_free(&b);
}

START_TEST(test_scan)
{
	scans(false);
	scans(true);
}
END_TEST

/* Cut anywhere: an error with a sentence, or (between two records) fewer pages. */
START_TEST(test_scan_cut)
{
	struct buf b = whole_stream(true);

	for (size_t n = 0; n + 1 < b.len; n++) {
		uint8_t *exact = xcalloc(n + 1, 1);
		struct seen seen = {0};
		struct stream_scan s;
		struct err err = {0};
		uint64_t devices;
		int ret;

		memcpy(exact, b.data, n);
		ret = scan(exact, n, &seen, &s, &devices, &err);
		ck_assert(ret == 0 ? devices == n : err.errnum == -ret && *err.msg);
		stream_scan_fini(&s);
		free(exact);
	}
	buf_free(&b);
}
END_TEST

START_TEST(test_scan_stops)
{
	struct buf b = whole_stream(false);
	struct seen seen = {.stop = EIO};
	struct stream_scan s;
	struct err err = {0};
	uint64_t devices;

	ck_assert_int_eq(scan(b.data, b.len, &seen, &s, &devices, &err), -EIO);
	ck_assert_str_eq(err.msg, "enough");
	ck_assert_uint_eq(seen.n, 2);
	stream_scan_fini(&s);
	buf_free(&b);
}
END_TEST

static void refused(const struct buf *b, const char *words)
{
	struct seen seen = {0};
	struct stream_scan s;
	struct err err = {0};
	uint64_t devices;

	ck_assert_int_lt(scan(b->data, b->len, &seen, &s, &devices, &err), 0);
	ck_assert_msg(strstr(err.msg, words), "%s", err.msg);
	stream_scan_fini(&s);
}

/* A stream up to its pages, and one word of them. */
static void refused_word(uint64_t word, const char *block, const char *words)
{
	struct buf b = {0};

	put_header(&b);
	put_list(&b);
	begin_part(&b);
	buf_be64(&b, word);
	if (block)
		buf_str8(&b, block);
	buf_zero(&b, 2 * PAGE_BYTES);
	refused(&b, words);
	buf_free(&b);
}

START_TEST(test_scan_refuses)
{
	struct buf b = {0};

	refused_word(RAM_FLAG_XBZRLE, "microvm.ram", "a RAM record of another kind");
	refused_word(RAM_FLAG_RUN, "microvm.ram", "a RAM record of another kind");
	refused_word(RAM_FLAG_PAGE | RAM_FLAG_CONTINUE, NULL, "a page of no RAM block");
	refused_word(RAM_FLAG_PAGE, "pc.ram", "a page of no RAM block");
	refused_word(RAM_FLAG_PAGE | RAM_PAGES * PAGE_BYTES, "microvm.ram",
		     "a page of no RAM block");
	refused_word(UINT64_MAX & ~(uint64_t)0xfff, "microvm.ram", "another kind");
	buf_be64(&b, 0);
	refused(&b, "another header");
	buf_clear(&b);
	put_header(&b);
	buf_u8(&b, TAG_SUBSECTION);
	refused(&b, "no RAM");
	buf_free(&b);
}
END_TEST

/* ---- one index over another ---- */

#define LAYERS 4
#define PLACES 1000000U /* of one layer's stream */

static struct memory two_blocks(void)
{
	struct memory mem = {0};

	for (unsigned i = 0; i < 2; i++) {
		mem.blocks[i] = NEW(struct ram_block);
		(void)snprintf(mem.blocks[i]->name, RAM_NAME_BYTES, "block%u", i);
		mem.blocks[i]->bytes = 64 * PAGE_BYTES;
	}
	mem.n_blocks = 2;
	return mem;
}

/* Pages as this layer has them, in an index and in an array: 0: not, 1: zero, else the place. */
static struct page_index *random_layer(const struct memory *mem, unsigned *seed, bool whole,
				       uint64_t want[2][64], uint64_t base)
{
	struct page_index *ix = page_index_new(mem);
	uint64_t pos = 10;

	ix->layer = true; /* so that zero pages are noted */
	page_index_begin_record(ix, pos);
	for (unsigned block = 0; block < 2; block++)
		for (unsigned page = 0; page < 64; page++) {
			unsigned chance = (unsigned)rand_r(seed) % 6;

			if (chance < 3 && !whole)
				continue;
			if (chance == 3) {
				page_index_add_zero(ix, block, page);
				want[block][page] = 1;
				continue;
			}
			page_index_add(ix, block, page, 1, pos);
			want[block][page] = base + pos;
			pos += PAGE_BYTES + (chance == 4 ? 8 : 30);
		}
	page_index_end_record(ix, pos);
	ck_assert_int_eq(page_index_complete(ix, PLACES), 0);
	ix->layer = !whole;
	return ix;
}

static void assert_index(const struct page_index *ix, uint64_t want[2][64])
{
	uint64_t content = 0;

	for (unsigned block = 0; block < 2; block++)
		for (unsigned page = 0; page < 64; page++) {
			const struct page_extent *e = page_index_at(ix, block, page, NULL);
			uint64_t have = !e                       ? 0
					: page_extent_is_zero(e) ? 1
								 : page_extent_pos(e, page);

			ck_assert_uint_eq(have, want[block][page]);
			content += have > 1;
		}
	ck_assert_uint_eq(ix->content, content);
}

START_TEST(test_layers)
{
	struct memory mem = two_blocks();

	for (unsigned seed = 1; seed <= 300; seed++) {
		uint64_t want[2][64] = {{0}};
		struct page_index *v[LAYERS];
		unsigned random = seed;
		struct err err = {0};

		for (unsigned i = LAYERS; i-- > 0;)
			v[i] = random_layer(&mem, &random, i == LAYERS - 1, want,
					    (uint64_t)i * PLACES);
		for (unsigned i = 0; i + 1 < LAYERS; i++)
			memcpy(v[i]->parent, v[i + 1]->identity, PAGE_INDEX_IDENTITY);
		ck_assert_int_eq(page_index_put_under(v[0], v[2], PLACES, &err), -EINVAL);
		for (unsigned i = 1; i < LAYERS; i++)
			ck_assert_msg(
			    page_index_put_under(v[0], v[i], (uint64_t)i * PLACES, &err) == 0, "%s",
			    err.msg);
		ck_assert(!v[0]->layer);
		assert_index(v[0], want);
		for (unsigned i = 0; i < LAYERS; i++)
			page_index_free(v[i]);
	}
	free(mem.blocks[0]);
	free(mem.blocks[1]);
}
END_TEST

/* Of another machine. */
START_TEST(test_layer_refused)
{
	struct memory mem = two_blocks();
	struct page_index *over = page_index_new(&mem), *under;
	struct err err = {0};

	mem.blocks[1]->bytes += PAGE_BYTES;
	under = page_index_new(&mem);
	over->layer = true;
	memcpy(over->parent, under->identity, PAGE_INDEX_IDENTITY);
	ck_assert_int_eq(page_index_put_under(over, under, 5, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "'block1' has another length"));
	under->stream_bytes = 100;
	ck_assert_int_eq(page_index_put_under(over, under, UINT64_MAX - 50, &err), -EFBIG);
	page_index_free(over);
	page_index_free(under);
	free(mem.blocks[0]);
	free(mem.blocks[1]);
}
END_TEST

CHECK_MAIN("snapshot-scan", test_mark, test_mark_names, test_mark_version, test_scan, test_scan_cut,
	   test_scan_stops, test_scan_refuses, test_layers, test_layer_refused)
