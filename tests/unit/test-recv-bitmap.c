/* test-recv-bitmap.c - the bitmap of received pages, written and read, and what is refused */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/outgoing/return-path.h"
#include "migration/stream/recv-bitmap.h"
#include "tests/unit/check-main.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define NAME  "microvm.ram"
#define PAGES 131 /* the last word has three of its bits */
#define WORDS BITMAP_WORDS(PAGES)

/* As it is on the wire. */
static void put(struct buf *b, const char *name, const uint64_t *map, uint64_t pages)
{
	struct recv_bitmap_out out;

	recv_bitmap_out_init(&out, name, map, pages);
	buf_put(b, out.head, out.head_bytes);
	buf_put(b, out.map, out.map_bytes);
	buf_put(b, out.tail, sizeof(out.tail));
}

static struct recv_bitmap_in in_of(uint64_t *map)
{
	return (struct recv_bitmap_in){.name = NAME, .pages = PAGES, .map = map};
}

/* A return path that reads these bytes, 'piece' at a time. */
struct bytes_channel {
	struct channel ch;
	const uint8_t *p;
	size_t left, piece;
};

static ssize_t bytes_read(struct channel *c, void *buf, size_t n)
{
	struct bytes_channel *f = container_of(c, struct bytes_channel, ch);

	n = MIN(MIN(n, f->left), f->piece);
	if (!f->left)
		return -EAGAIN;
	memcpy(buf, f->p, n);
	f->p += n;
	f->left -= n;
	return (ssize_t)n;
}

static const struct channel_ops bytes_ops = {.kind = "memory", .read = bytes_read};

static struct bytes_channel channel_of(const struct buf *b, size_t piece)
{
	return (struct bytes_channel){
	    .ch = {.ops = &bytes_ops, .fd = -1, .cancel_fd = -1, .two_way = true},
	    .p = b->data,
	    .left = b->len,
	    .piece = piece,
	};
}

/* The bytes of QEMU 7.2, as migration-stream 5.8 has them, and our own. */
START_TEST(test_bytes)
{
	static const uint8_t map[8] = {0xff, 0xff, 0x1f, 0xe0, 0xff, 0xff, 0xff, 0xff};
	static const uint8_t wanted[] = {
	    0x00, 0x05, 0x00, 0x0c, 0x0b, 'm',  'i',  'c',  'r',  'o',  'v',  'm',  '.',  'r',
	    'a',  'm',  0,    0,    0,    0,    0,    0,    0,    8,    0xff, 0xff, 0x1f, 0xe0,
	    0xff, 0xff, 0xff, 0xff, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
	};
	uint64_t words[1], got[1] = {0};
	struct recv_bitmap_in in = {.name = NAME, .pages = 64, .map = got};
	struct buf b = {0};

	memcpy(words, map, sizeof(map));
	put(&b, NAME, words, 64);
	ck_assert_uint_eq(b.len, sizeof(wanted));
	ck_assert_mem_eq(b.data, wanted, sizeof(wanted));
	ck_assert_int_eq(recv_bitmap_in_name(&in, b.data + 4, 12, NULL), 0);
	ck_assert_int_eq(recv_bitmap_in_feed(&in, b.data + 16, b.len - 16, NULL), 24);
	ck_assert(in.done);
	ck_assert(bitmap_test(got, 20) && !bitmap_test(got, 21) && !bitmap_test(got, 28) &&
		  bitmap_test(got, 29));
	buf_free(&b);
}
END_TEST

/* In pieces of every size, with messages in front and behind. */
START_TEST(test_through_the_return_path)
{
	uint64_t map[WORDS] = {0x123456789abcdef0, UINT64_MAX, 5};
	struct buf b = {0};

	buf_put(&b, "\0\2\0\4\0\0\0\7", 8); /* PONG */
	put(&b, NAME, map, PAGES);
	buf_put(&b, "\0\6\0\4\0\0\0\1", 8); /* RESUME_ACK */
	for (size_t piece = 1; piece <= b.len; piece++) {
		uint64_t got[WORDS] = {0};
		struct recv_bitmap_in in = in_of(got);
		struct bytes_channel f = channel_of(&b, piece);
		struct return_path rp = {.ch = &f.ch, .bitmap = &in, .resuming = true};

		ck_assert_int_eq(rp_poll(&rp, 0, NULL), 1);
		ck_assert(in.done && rp.ponged && rp.resumed && !rp.resuming);
		ck_assert_mem_eq(got, map, sizeof(map));
		ck_assert_uint_eq(rp.have, 0);
		rp_fini(&rp);
	}
	buf_free(&b);
}
END_TEST

/* Bits of pages that the block does not have are not believed. */
START_TEST(test_bits_beyond)
{
	uint64_t map[WORDS] = {0, 0, UINT64_MAX}, got[WORDS] = {0};
	struct recv_bitmap_in in = in_of(got);
	struct buf b = {0};

	put(&b, NAME, map, PAGES);
	ck_assert_int_eq(recv_bitmap_in_name(&in, b.data + 4, 12, NULL), 0);
	ck_assert_int_gt(recv_bitmap_in_feed(&in, b.data + 16, b.len - 16, NULL), 0);
	ck_assert(in.done);
	ck_assert_uint_eq(got[WORDS - 1], 7);
	buf_free(&b);
}
END_TEST

static void check_refused(const struct buf *b, struct recv_bitmap_in *in, bool resuming,
			  const char *words)
{
	struct bytes_channel f = channel_of(b, b->len);
	struct return_path rp = {.ch = &f.ch, .bitmap = in, .resuming = resuming};
	struct err err = {0};

	ck_assert_int_eq(rp_poll(&rp, 0, &err), -EPROTO);
	ck_assert_msg(strstr(err.msg, words) != NULL, "%s", err.msg);
	ck_assert(!rp.resumed);
	rp_fini(&rp);
}

/* Each in a message of its own, with one thing wrong. */
START_TEST(test_refused)
{
	uint64_t map[WORDS + 1] = {1}, got[WORDS + 1] = {0};
	struct recv_bitmap_in in = in_of(got);
	struct buf b = {0};

	put(&b, NAME, map, PAGES);
	check_refused(&b, NULL, false, "message 5");
	b.data[6]++;
	check_refused(&b, &in, false, "which it was asked for");
	b.data[6]--;
	b.data[4]--; /* the name's length */
	in = in_of(got);
	check_refused(&b, &in, false, "which it was asked for");
	b.data[4]++;
	b.data[b.len - 1]++;
	in = in_of(got);
	check_refused(&b, &in, false, "mark");
	ck_assert(!in.done);
	buf_clear(&b);
	put(&b, NAME, map, PAGES + 64);
	in = in_of(got);
	check_refused(&b, &in, false, "32 bytes instead of 24");
	buf_clear(&b);
	buf_put(&b, "\0\6\0\4\0\0\0\1", 8);
	check_refused(&b, NULL, false, "message 6");
	b.data[7] = 2;
	check_refused(&b, NULL, true, "answered 2 instead of 1");
	buf_free(&b);
}
END_TEST

/* The same bitmap twice: the second one is not asked for. */
START_TEST(test_twice)
{
	uint64_t map[WORDS] = {1}, got[WORDS] = {0};
	struct recv_bitmap_in in = in_of(got);
	struct buf b = {0};

	put(&b, NAME, map, PAGES);
	put(&b, NAME, map, PAGES);
	check_refused(&b, &in, false, "which it was asked for");
	ck_assert(in.done);
	buf_free(&b);
}
END_TEST

CHECK_MAIN("recv-bitmap", test_bytes, test_through_the_return_path, test_bits_beyond, test_refused,
	   test_twice)
