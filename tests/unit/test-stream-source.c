/*
 * An ordinary stream as a source of pages: RAM of one machine into records, an index of these that
 * is made of it or was saved with it, and every page read by it.
 */
#include <errno.h>
#include <stdlib.h>

#include "migration/ram/lazy/page-index.h"
#include "migration/ram/lazy/stream-source.h"
#include "tests/unit/check-main.h"
#include "tests/unit/ram-rig.h"

/* The stream, read by position. */
static int read_buf(void *opaque, void *to, size_t n, uint64_t pos, struct err *err)
{
	const struct buf *b = opaque;

	if (pos > b->len || n > b->len - pos)
		return err_set(err, EIO, "beyond the stream");
	memcpy(to, b->data + pos, n);
	return 0;
}

static struct page_source *source_of(struct ram_rig *r)
{
	const struct stream_access access = {.read = read_buf, .opaque = &r->out, .name = "a test"};
	struct page_source *s = stream_source_new(&access, &r->to.mem);

	ck_assert_ptr_nonnull(s);
	return s;
}

/* As ram_rig_try_load(), with an index, and the stream stays. */
static int index_stream(struct ram_rig *r, struct page_source *s, struct err *err)
{
	struct src in = src_mem(r->out.data, r->out.len);
	int ret = 0;

	ram_load_index(r->load, s);
	while (ret == 0 && in.at < in.len) {
		uint8_t tag;
		char name[256];

		ck_assert_int_eq(src_u8(&in, &tag), 0);
		ck_assert_int_eq(src_skip(&in, 4), 0);
		if (tag == TAG_START) {
			ck_assert_int_eq(src_str8(&in, name), 0);
			ck_assert_int_eq(src_skip(&in, 8), 0);
		}
		ret = ram_load_body(r->load, &in, err);
		if (ret == 0)
			ck_assert_int_eq(src_skip(&in, 5), 0);
	}
	return ret == 0 ? stream_source_noted(s, err) : ret;
}

static void begin(struct ram_rig *r)
{
	uint64_t added;

	ram_save_init(&r->save, &r->from, r->w, 2);
	ck_assert_int_eq(ram_save_encoders(&r->save, r->caps, &r->params, &r->cache_bytes, NULL),
			 0);
	ck_assert_int_eq(ram_save_start(&r->save, NULL), 0);
	ck_assert_int_eq(ram_save_begin(&r->save, NULL), 0);
	ck_assert_int_eq(ram_save_sync(&r->save, &added, NULL), 0);
}

static void fill(struct ram_rig *r)
{
	for (uint64_t page = 0; page < RAM_PAGES; page += page % 7 == 3 ? 5 : 1)
		ram_rig_noise(ram_rig_page(r, 0, page), (uint32_t)page + 1);
	memset(ram_rig_page(r, 0, 2), 0, PAGE_BYTES);
	ram_rig_noise(ram_rig_page(r, 1, 7), 99);
}

/* All pages that come, in rows of up to 'most' at a time, are those of the machine. */
static void check_pages(struct ram_rig *r, struct page_source *s, uint64_t most)
{
	static uint8_t got[RAM_PAGES * PAGE_BYTES];

	for (size_t b = 0; b < 2; b++) {
		uint64_t pages = r->from.mem.blocks[b]->bytes / PAGE_BYTES, n;
		uint64_t *comes = stream_source_comes(s, b);

		for (uint64_t page = 0; page < pages; page += n) {
			n = 1;
			if (!bitmap_test(comes, page)) {
				ck_assert_uint_eq(*(uint64_t *)(void *)ram_rig_page(r, b, page), 0);
				continue;
			}
			n = MIN(bitmap_next_clear(comes, pages, page) - page, most);
			ck_assert_int_eq(s->ops->read(s, b, page, n, got, NULL), 0);
			ck_assert_mem_eq(got, ram_rig_page(r, b, page), n * PAGE_BYTES);
		}
		free(comes);
	}
}

static void check_all(struct ram_rig *r, struct page_source *s)
{
	for (uint64_t most = 1; most <= RAM_PAGES; most *= 4)
		check_pages(r, s, most);
}

/* Pages come twice, become zero, come to life. */
START_TEST(test_index)
{
	struct ram_rig *r = ram_rig_new();
	struct page_source *s = source_of(r);
	struct err err = {0};

	fill(r);
	begin(r);
	(void)ram_rig_send(r, TAG_PART);
	for (unsigned i = 0; i < 6; i++) {
		ram_rig_noise(ram_rig_page(r, 0, 2 * i), i + 1000);
		ram_rig_dirty(r, 0, 2 * i);
	}
	memset(ram_rig_page(r, 0, 20), 0, PAGE_BYTES);
	ram_rig_dirty(r, 0, 20);
	ram_rig_sync(r);
	(void)ram_rig_send(r, TAG_END);
	ck_assert_msg(index_stream(r, s, &err) == 0, "%s", err.msg);
	check_all(r, s);
	/* nothing was put into memory */
	for (uint64_t i = 0; i < RAM_PAGES * PAGE_BYTES; i++)
		ck_assert_uint_eq(r->to.mem.blocks[0]->hva[i], 0);
	s->ops->close(s);
	ram_rig_free(r);
}
END_TEST

static int put_buf(void *opaque, const void *p, size_t n)
{
	buf_put(opaque, p, n);
	return 0;
}

/* An index that the saver has put behind the stream. */
START_TEST(test_index_kept)
{
	struct ram_rig *r = ram_rig_new();
	struct page_index *ix = page_index_new(&r->from.mem), *again;
	struct page_source *s = source_of(r);
	struct err err = {0};
	uint64_t added;

	fill(r);
	ram_save_init(&r->save, &r->from, r->w, 2);
	ram_save_note(&r->save, ix);
	ck_assert_int_eq(ram_save_start(&r->save, NULL), 0);
	ck_assert_int_eq(ram_save_begin(&r->save, NULL), 0);
	ck_assert_int_eq(ram_save_sync(&r->save, &added, NULL), 0);
	(void)ram_rig_send(r, TAG_END);
	ck_assert_int_eq(page_index_complete(ix, r->out.len), 0);
	ck_assert_int_eq(page_index_write(ix, put_buf, &r->out), 0);
	page_index_free(ix);
	ck_assert_msg(page_index_read(&again,
				      &(struct page_index_file){
					  .read = read_buf, .opaque = &r->out, .bytes = r->out.len},
				      &err) == 0,
		      "%s", err.msg);
	ck_assert_msg(stream_source_use(s, again, &err) == 0, "%s", err.msg);
	check_all(r, s);
	s->ops->close(s);
	ram_rig_free(r);
}
END_TEST

/* Of a machine with other blocks, or other lengths of them. */
START_TEST(test_foreign_index)
{
	struct ram_rig *r = ram_rig_new();
	struct page_source *s = source_of(r);
	struct page_index *ix = page_index_new(&r->from.mem);
	struct err err = {0};

	ix->blocks[1].pages++;
	ck_assert_int_eq(stream_source_use(s, ix, &err), -EINVAL);
	ck_assert_msg(strstr(err.msg, "has another length in it") != NULL, "%s", err.msg);
	ix = page_index_new(&r->from.mem);
	ix->blocks[0].name[0] = 'x';
	ck_assert_int_eq(stream_source_use(s, ix, &err), -EINVAL);
	ck_assert_msg(strstr(err.msg, "is not in it") != NULL, "%s", err.msg);
	ix = page_index_new(&r->from.mem);
	(void)snprintf(ix->blocks[ix->n++].name, RAM_NAME_BYTES, "another");
	ck_assert_int_eq(stream_source_use(s, ix, &err), -EINVAL);
	ck_assert_msg(strstr(err.msg, "RAM blocks, this machine") != NULL, "%s", err.msg);
	s->ops->close(s);
	ram_rig_free(r);
}
END_TEST

/* A delta is no page. */
START_TEST(test_coded)
{
	struct ram_rig *r = ram_rig_new();
	struct page_source *s = source_of(r);
	struct err err = {0};

	r->caps[CAP_XBZRLE] = true;
	fill(r);
	begin(r);
	(void)ram_rig_send(r, TAG_PART);
	ram_rig_page(r, 0, 1)[5] ^= 1;
	ram_rig_dirty(r, 0, 1);
	ram_rig_sync(r);
	(void)ram_rig_send(r, TAG_PART);
	ram_rig_page(r, 0, 1)[5] ^= 1;
	ram_rig_dirty(r, 0, 1);
	ram_rig_sync(r);
	(void)ram_rig_send(r, TAG_END);
	ck_assert_int_eq(index_stream(r, s, &err), -ENOTSUP);
	ck_assert_msg(strstr(err.msg, "is an XBZRLE delta: such a guest cannot") != NULL, "%s",
		      err.msg);
	s->ops->close(s);
	ram_rig_free(r);
}
END_TEST

CHECK_MAIN("stream-source", test_index, test_index_kept, test_foreign_index, test_coded)
