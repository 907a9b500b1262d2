/* Writer and reader: order, batching, large pieces, look-ahead across refills, ends and errors. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/stream/reader.h"
#include "migration/stream/writer.h"
#include "tests/unit/check-main.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

static struct channel *ends[2]; /* of one socket pair: written, read */

static void open_ends(int cancel_fd)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ends[0] = channel_from_socket(pair[0], -1);
	ends[1] = channel_from_socket(pair[1], cancel_fd);
}

static uint8_t byte_at(uint64_t off)
{
	return (uint8_t)(off * 31 + off / 251);
}

#define TOTAL (3 * MiB)

/* Small pieces, references and one piece larger than the writer's buffer, as one known sequence. */
static void *write_pattern(void *opaque)
{
	CLEANUP(cleanup_free) uint8_t *all = xcalloc(1, TOTAL);
	struct writer *w = opaque;
	uint64_t at = 0;
	unsigned step = 0;

	for (uint64_t i = 0; i < TOTAL; i++)
		all[i] = byte_at(i);
	while (at < TOTAL) {
		size_t n = step % 97 == 96 ? 200 * KiB : step % 3 ? step % 40 + 1 : PAGE_BYTES;

		n = MIN(n, TOTAL - at);
		if (step % 3)
			ck_assert_int_eq(writer_put(w, all + at, n), 0);
		else
			ck_assert_int_eq(writer_ref(w, all + at, n), 0);
		at += n;
		step++;
	}
	ck_assert_int_eq(writer_flush(w), 0);
	ck_assert_uint_eq(w->bytes, TOTAL);
	channel_end_writing(ends[0]);
	return NULL;
}

START_TEST(test_everything_arrives_in_order)
{
	struct writer *w;
	struct reader *r;
	pthread_t t;
	uint64_t at = 0;
	unsigned step = 0;

	open_ends(-1);
	w = writer_new(ends[0]);
	r = reader_new(ends[1], NULL);
	ck_assert_int_eq(pthread_create(&t, NULL, write_pattern, w), 0);
	while (at < TOTAL) {
		size_t n = MIN(step % 5 == 4 ? 64 * KiB : step * 7 % 5000 + 1, TOTAL - at);
		const uint8_t *p = src_peek(&r->src, n);

		ck_assert_ptr_nonnull(p);
		ck_assert_uint_eq(src_offset(&r->src), at);
		ck_assert_ptr_eq(src_take(&r->src, n), p);
		for (size_t i = 0; i < n; i++)
			ck_assert_uint_eq(p[i], byte_at(at + i));
		at += n;
		step++;
	}
	ck_assert_ptr_null(src_peek(&r->src, 1));
	ck_assert_int_eq(r->failed, 0);
	ck_assert_int_eq(pthread_join(t, NULL), 0);
	writer_free(w);
	reader_free(r);
	channel_close(ends[0]);
	channel_close(ends[1]);
}
END_TEST

START_TEST(test_peer_gone)
{
	static uint8_t piece[1 * MiB];
	struct writer *w;
	int ret;

	open_ends(-1);
	w = writer_new(ends[0]);
	channel_close(ends[1]);
	ret = writer_ref(w, piece, sizeof(piece));
	if (ret == 0)
		ret = writer_flush(w);
	ck_assert_int_eq(ret, -EPIPE);
	ck_assert_str_eq(w->err.msg, "Unable to write to socket: Broken pipe");
	writer_free(w);
	channel_close(ends[0]);
}
END_TEST

static void *cancel_soon(void *opaque)
{
	ck_assert_int_eq(eventfd_write(*(int *)opaque, 1), 0);
	return NULL;
}

START_TEST(test_cancel_wakes_reader)
{
	int cancel = eventfd(0, EFD_CLOEXEC);
	struct reader *r;
	pthread_t t;

	open_ends(cancel);
	r = reader_new(ends[1], NULL);
	ck_assert_int_eq(pthread_create(&t, NULL, cancel_soon, &cancel), 0);
	ck_assert_ptr_null(src_take(&r->src, 1));
	ck_assert_int_eq(r->failed, -ECANCELED);
	ck_assert_int_eq(pthread_join(t, NULL), 0);
	reader_free(r);
	channel_close(ends[0]);
	channel_close(ends[1]);
	(void)close(cancel);
}
END_TEST

START_TEST(test_more_than_fits)
{
	struct reader *r;

	open_ends(-1);
	r = reader_new(ends[1], NULL);
	ck_assert_ptr_null(src_peek(&r->src, 2 * MiB)); /* refused, not waited for */
	reader_free(r);
	channel_close(ends[0]);
	channel_close(ends[1]);
}
END_TEST

CHECK_MAIN("stream-buffer", test_everything_arrives_in_order, test_peer_gone,
	   test_cancel_wakes_reader, test_more_than_fits)
