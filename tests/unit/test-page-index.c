/*
 * The index behind a stream: what a saver notes of the pages that it writes, as bytes, read again
 * and asked; and bytes that are damaged, cut or lie.
 */
#include <errno.h>
#include <stdlib.h>

#include "migration/ram/lazy/page-index.h"
#include "tests/unit/check-main.h"
#include "tests/unit/ram-rig.h"
#include "vmm/base/bytes.h"
#include "vmm/base/xxh64.h"

static int read_buf(void *opaque, void *to, size_t n, uint64_t pos, struct err *err)
{
	const struct buf *b = opaque;

	if (pos > b->len || n > b->len - pos)
		return err_set(err, EIO, "beyond the file");
	memcpy(to, b->data + pos, n);
	return 0;
}

static int put_buf(void *opaque, const void *p, size_t n)
{
	buf_put(opaque, p, n);
	return 0;
}

static int read_index(struct page_index **ix, struct buf *b, struct err *err)
{
	const struct page_index_file f = {.read = read_buf, .opaque = b, .bytes = b->len};

	return page_index_read(ix, &f, err);
}

/* The rig's machine into r->out, and its index behind it. */
static struct page_index *save(struct ram_rig *r)
{
	struct page_index *ix = page_index_new(&r->from.mem);
	uint64_t added;

	ram_save_init(&r->save, &r->from, r->w, 2);
	ram_save_note(&r->save, ix);
	ck_assert_int_eq(ram_save_encoders(&r->save, r->caps, &r->params, &r->cache_bytes, NULL),
			 0);
	ck_assert_int_eq(ram_save_start(&r->save, NULL), 0);
	ck_assert_int_eq(ram_save_begin(&r->save, NULL), 0);
	ck_assert_int_eq(ram_save_sync(&r->save, &added, NULL), 0);
	(void)ram_rig_send(r, TAG_PART);
	(void)ram_rig_send(r, TAG_END);
	ck_assert_uint_eq(r->w->bytes, r->out.len);
	ck_assert_int_eq(page_index_complete(ix, r->out.len), 0);
	ck_assert_int_eq(page_index_write(ix, put_buf, &r->out), 0);
	return ix;
}

static void fill(struct ram_rig *r)
{
	for (uint64_t page = 0; page < RAM_PAGES; page += page % 7 == 3 ? 5 : 1)
		ram_rig_noise(ram_rig_page(r, 0, page), (uint32_t)page + 1);
	memset(ram_rig_page(r, 0, 2), 0, PAGE_BYTES);
	ram_rig_noise(ram_rig_page(r, 1, 7), 99);
}

static void check_block(struct ram_rig *r, const struct page_index *ix, size_t b)
{
	static const uint8_t zeroes[PAGE_BYTES];
	uint64_t pages = r->from.mem.blocks[b]->bytes / PAGE_BYTES;

	for (uint64_t page = 0; page < pages; page++) {
		uint64_t next = 0, pos;
		const struct page_extent *e = page_index_at(ix, b, page, &next);

		if (!e) {
			ck_assert_mem_eq(ram_rig_page(r, b, page), zeroes, PAGE_BYTES);
			ck_assert_uint_gt(next, page);
			ck_assert(next == pages || page_index_at(ix, b, next, NULL) != NULL);
			continue;
		}
		pos = page_extent_pos(e, page);
		ck_assert(pos >= ix->start && pos + PAGE_BYTES <= ix->end);
		ck_assert_mem_eq(r->out.data + pos, ram_rig_page(r, b, page), PAGE_BYTES);
	}
}

START_TEST(test_kept)
{
	struct ram_rig *r = ram_rig_new();
	struct page_index *ix, *again;
	struct err err = {0};

	fill(r);
	ix = save(r);
	ck_assert_msg(read_index(&again, &r->out, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(again->n, r->from.mem.n_blocks);
	ck_assert_uint_eq(again->content, ix->content);
	ck_assert_uint_eq(again->stream_bytes, ix->stream_bytes);
	ck_assert_mem_eq(again->identity, ix->identity, PAGE_INDEX_IDENTITY);
	ck_assert(!again->layer);
	for (size_t b = 0; b < again->n; b++)
		check_block(r, again, b);
	page_index_free(ix);
	page_index_free(again);
	ram_rig_free(r);
}
END_TEST

/* An index over another says of zero pages that they are. */
START_TEST(test_layer)
{
	static const uint8_t parent[PAGE_INDEX_IDENTITY] = {7};
	struct ram_rig *r = ram_rig_new();
	struct page_index *ix, *again;
	struct buf out = {0};
	struct err err = {0};

	ix = page_index_new(&r->from.mem);
	ix->layer = true;
	memcpy(ix->parent, parent, sizeof(parent));
	page_index_begin_record(ix, 10);
	page_index_add(ix, 0, 9, 1, 100);
	page_index_add_zero(ix, 0, 3);
	page_index_add_zero(ix, 0, 4);
	page_index_add(ix, 0, 5, 1, 5000);
	page_index_end_record(ix, 10000);
	buf_zero(&out, 20000);
	ck_assert_int_eq(page_index_complete(ix, out.len), 0);
	ck_assert_int_eq(page_index_write(ix, put_buf, &out), 0);
	ck_assert_msg(read_index(&again, &out, &err) == 0, "%s", err.msg);
	ck_assert(again->layer);
	ck_assert_mem_eq(again->parent, parent, sizeof(parent));
	ck_assert_ptr_null(page_index_at(again, 0, 2, NULL));
	ck_assert(page_extent_is_zero(page_index_at(again, 0, 3, NULL)));
	ck_assert(page_extent_is_zero(page_index_at(again, 0, 4, NULL)));
	ck_assert_uint_eq(page_extent_pos(page_index_at(again, 0, 5, NULL), 5), 5000);
	ck_assert_ptr_null(page_index_at(again, 0, 6, NULL));
	ck_assert_uint_eq(page_extent_pos(page_index_at(again, 0, 9, NULL), 9), 100);
	page_index_free(ix);
	page_index_free(again);
	buf_free(&out);
	ram_rig_free(r);
}
END_TEST

/* Too scattered, or twice: there is no index. */
START_TEST(test_lost)
{
	struct ram_rig *r = ram_rig_new();
	struct page_index *ix;

	ix = page_index_new(&r->from.mem);
	ix->max_extents = 3;
	for (uint64_t page = 0; page < 8; page += 2)
		page_index_add(ix, 0, page, 1, 10000 * page);
	ck_assert_int_eq(page_index_complete(ix, 1 << 20), -ENOSPC);
	ck_assert_ptr_null(ix->blocks[0].v);
	page_index_free(ix);

	ix = page_index_new(&r->from.mem);
	page_index_add(ix, 0, 1, 2, 10000);
	page_index_add(ix, 0, 2, 1, 50000);
	ck_assert_int_eq(page_index_complete(ix, 1 << 20), -EINVAL);
	page_index_free(ix);
	ram_rig_free(r);
}
END_TEST

START_TEST(test_no_index)
{
	struct buf out = {0};
	struct page_index *ix;
	struct err err = {0};

	ck_assert_int_eq(read_index(&ix, &out, &err), -ENOENT);
	buf_zero(&out, 100000);
	ck_assert_int_eq(read_index(&ix, &out, &err), -ENOENT);
	buf_free(&out);
}
END_TEST

/* Whatever is cut off or changed, it is noticed. */
START_TEST(test_damaged)
{
	struct ram_rig *r = ram_rig_new();
	struct page_index *ix, *again;
	struct err err = {0};
	size_t from;

	fill(r);
	ix = save(r);
	from = ix->stream_bytes;
	for (size_t at = from; at < r->out.len; at++) {
		r->out.data[at] ^= 1;
		ck_assert_int_lt(read_index(&again, &r->out, &err), 0);
		r->out.data[at] ^= 1;
	}
	for (size_t len = from; len < r->out.len; len++) {
		struct buf cut = {.data = r->out.data, .len = len};

		ck_assert_int_lt(read_index(&again, &cut, &err), 0);
	}
	page_index_free(ix);
	ram_rig_free(r);
}
END_TEST

static uint64_t hash(const void *p, size_t n)
{
	struct xxh64 h;

	xxh64_init(&h);
	xxh64_add(&h, p, n);
	return xxh64_value(&h);
}

/* Offsets: in the index, whose first block is "microvm.ram" ("in"); in the trailer. */
START_TEST(test_hostile)
{
	static const struct {
		bool trailer;
		size_t at;
		uint64_t value;
		unsigned bytes;
		const char *words;
	} rows[] = {
	    {true,  0,   2,              4, "it has version 2"          },
	    {true,  4,   2,              4, "with flags 0x2"            },
	    {true,  8,   UINT64_MAX,     8, "it says that the stream"   },
	    {true,  16,  UINT64_MAX,     8, "it says that the stream"   },
	    {true,  24,  UINT64_MAX,     8, "it says that the stream"   },
	    {true,  32,  UINT64_MAX,     8, "it says that the stream"   },
	    {true,  32,  80,             8, "does not lie in the pages'"},
	    {true,  112, 9,              4, "it says that the stream"   },
	    {true,  112, 3,              4, "it ends in front of a RAM" },
	    {true,  112, 1,              4, "bytes follow"              },
	    {false, 8,   0,              1, "it ends in RAM block"      },
	    {false, 20,  3,              4, "beyond the block"          },
	    {false, 24,  UINT32_MAX,     4, "it ends in RAM block"      },
	    {false, 28,  RAM_PAGES,      4, "beyond the block"          },
	    {false, 32,  0,              4, "is empty"                  },
	    {false, 32,  UINT32_MAX,     4, "beyond the block"          },
	    {false, 36,  0,              8, "does not lie in the pages'"},
	    {false, 36,  UINT64_MAX - 1, 8, "does not lie in the pages'"},
	    {false, 44,  3,              4, "not in order"              },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ram_rig *r = ram_rig_new();
		struct page_index *ix, *again;
		struct err err = {0};
		uint8_t *index, *trailer, *at;

		ram_rig_noise(ram_rig_page(r, 0, 3), 1); /* two extents in the first block */
		ram_rig_noise(ram_rig_page(r, 0, 4), 1);
		ram_rig_noise(ram_rig_page(r, 0, 9), 1);
		ix = save(r);
		index = r->out.data + ix->stream_bytes;
		trailer = r->out.data + r->out.len - PAGE_INDEX_TRAILER;
		at = (rows[i].trailer ? trailer : index) + rows[i].at;
		if (rows[i].bytes == 1)
			*at = (uint8_t)rows[i].value;
		else if (rows[i].bytes == 4)
			put_be32(at, (uint32_t)rows[i].value);
		else
			put_be64(at, rows[i].value);
		put_be64(trailer + 120, hash(index, (size_t)(trailer - index)));
		put_be64(trailer + 128, hash(trailer, 128));
		ck_assert_msg(read_index(&again, &r->out, &err) == -EINVAL, "row %zu: taken", i);
		ck_assert_msg(strstr(err.msg, rows[i].words) != NULL, "row %zu: '%s'", i, err.msg);
		page_index_free(ix);
		ram_rig_free(r);
	}
}
END_TEST

CHECK_MAIN("page-index", test_kept, test_layer, test_lost, test_no_index, test_damaged,
	   test_hostile)
