/* Pages in runs, pages read straight into guest memory, pages that are spliced: all arrive, none
 * elsewhere. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migration/incoming/commands.h"
#include "tests/fuzz/piecewise.h"
#include "tests/unit/check-main.h"
#include "tests/unit/ram-rig.h"
#include "vmm/base/bytes.h"

#define RUN_HEAD (8 + 4) /* word and count */

static const size_t pieces[] = {1, 7, 4096, 4104, 5000, 65536, 300000};

/* All of the first block but page 9, which is zero, and page 20, never touched. */
static struct ram_rig *filled_rig(bool runs)
{
	struct ram_rig *r = ram_rig_new();

	for (uint32_t page = 0; page < RAM_PAGES; page++)
		if (page != 9 && page != 20)
			ram_rig_noise(ram_rig_page(r, 0, page), page);
	memset(ram_rig_page(r, 0, 9), 0, PAGE_BYTES);
	ram_rig_begin(r);
	r->save.stream.runs = runs;
	return r;
}

START_TEST(test_runs_arrive)
{
	struct ram_rig *r = filled_rig(true);
	size_t zeros = (8 + 1) * (2 + BIOS_PAGES), names = 1 + 11 + 1 + 7;

	ram_load_take_runs(r->load);
	/* three runs: 0 to 8, 10 to 19, 21 to the end */
	ck_assert_uint_eq(ram_rig_move(r, TAG_PART), NO_RECORD + zeros + names + 3 * RUN_HEAD +
							 (RAM_PAGES - 2) * (size_t)PAGE_BYTES);
	ck_assert_uint_eq(r->save.stream.count.normal, RAM_PAGES - 2);
	ck_assert_uint_eq(r->save.stream.count.duplicate, 2 + BIOS_PAGES);
	/* A page alone is an ordinary record. */
	ram_rig_page(r, 0, 30)[5] ^= 1;
	ram_rig_dirty(r, 0, 30);
	ram_rig_sync(r);
	ck_assert_uint_eq(ram_rig_move(r, TAG_END), NO_RECORD + 8 + 1 + 11 + PAGE_BYTES);
	ram_rig_free(r);
}
END_TEST

START_TEST(test_run_limit)
{
	struct ram_rig *r = filled_rig(true);

	ram_load_take_runs(r->load);
	r->save.run_limit = 1;
	ck_assert_uint_eq(ram_rig_move(r, TAG_PART),
			  NO_RECORD + (8 + 1) * (2 + BIOS_PAGES) + 1 + 11 + 1 + 7 +
			      (RAM_PAGES - 2) * (size_t)(8 + PAGE_BYTES));
	ram_rig_free(r);
}
END_TEST

/* Only a source that has said that it is minivmm may send them. */
START_TEST(test_run_from_stranger)
{
	struct ram_rig *r = filled_rig(true);
	struct err err = {0};

	ram_rig_send(r, TAG_PART);
	ck_assert_int_eq(ram_rig_try_load(r, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "unknown combination of flags 0x9"));
	ram_rig_free(r);
}
END_TEST

static const struct {
	uint64_t off;
	uint32_t pages;
	size_t bytes;
	const char *refused;
} bad_runs[] = {
    {0,		      0,          PAGE_BYTES,
     "a run of 0 pages from offset 0x0 on does not fit RAM block 'microvm.ram' of 0x40000 bytes"                    },
    {PAGE_BYTES,             RAM_PAGES,  PAGE_BYTES,     "a run of 64 pages from offset 0x1000 on does not fit"     },
    {0,		      UINT32_MAX, PAGE_BYTES,     "a run of 4294967295 pages from offset 0x0 on does not fit"},
    {RAM_PAGES * PAGE_BYTES, 1,          PAGE_BYTES,     "page offset 0x40000 is beyond RAM block"                  },
    {0,		      3,          2 * PAGE_BYTES, "the stream ends at offset 0x"                             },
};

START_TEST(test_bad_run)
{
	struct ram_rig *r = filled_rig(true);
	struct err err = {0};
	struct buf b = {0};
	struct src in;

	buf_be64(&b, bad_runs[_i].off | RAM_FLAG_RUN);
	buf_str8(&b, "microvm.ram");
	buf_be32(&b, bad_runs[_i].pages);
	buf_zero(&b, bad_runs[_i].bytes);
	in = src_mem(b.data, b.len);
	ram_load_take_runs(r->load);
	ck_assert_int_lt(ram_load_body(r->load, &in, &err), 0);
	ck_assert_msg(strstr(err.msg, bad_runs[_i].refused) != NULL, "%s", err.msg);
	buf_free(&b);
	ram_rig_free(r);
}
END_TEST

/* The body of the record in r->out, as if it came over a socket in such pieces. */
static int load_in_pieces(struct ram_rig *r, size_t piece, struct err *err)
{
	struct piecewise *in = piecewise_new(r->out.data + 5, r->out.len - 10, piece);
	int ret = ram_load_body(r->load, &in->src, err);

	if (ret == 0)
		ck_assert_uint_eq(src_offset(&in->src), r->out.len - 10);
	buf_clear(&r->out);
	free(in);
	return ret;
}

static void check_pieces(bool runs)
{
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		struct ram_rig *r = filled_rig(runs);
		struct err err = {0};

		ram_load_take_runs(r->load);
		ram_rig_send(r, TAG_PART);
		ck_assert_msg(load_in_pieces(r, pieces[i], &err) == 0, "%zu: %s", pieces[i],
			      err.msg);
		ram_rig_check_same(r);
		ram_rig_free(r);
	}
}

START_TEST(test_runs_in_pieces)
{
	check_pieces(true);
}
END_TEST

/* Words are guessed here; at pages 9 and 20 wrongly. */
START_TEST(test_pages_in_pieces)
{
	check_pieces(false);
}
END_TEST

/* PAGE records for these pages, in this order; each page's content tells its number. */
static void put_pages(struct buf *b, const uint32_t *pages, size_t n)
{
	uint8_t content[PAGE_BYTES];

	for (size_t i = 0; i < n; i++) {
		buf_be64(b, pages[i] * (uint64_t)PAGE_BYTES | RAM_FLAG_PAGE |
				(i ? RAM_FLAG_CONTINUE : 0));
		if (!i)
			buf_str8(b, "microvm.ram");
		ram_rig_noise(content, pages[i]);
		buf_put(b, content, sizeof(content));
	}
	buf_be64(b, RAM_FLAG_EOS);
}

/* A guess that fails must not leave anything in the pages that did not come. */
START_TEST(test_wrong_guesses)
{
	static const uint32_t order[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  30, 31, 32,
					 33, 34, 35, 36, 37, 38, 39, 12, 11, 10, 40, 41, 42,
					 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 62, 63};

	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		struct ram_rig *r = ram_rig_new();
		struct piecewise *in;
		struct err err = {0};
		struct buf b = {0};
		uint8_t want[PAGE_BYTES];

		ram_rig_begin(r);
		put_pages(&b, order, ARRAY_LEN(order));
		in = piecewise_new(b.data, b.len, pieces[i]);
		ck_assert_msg(ram_load_body(r->load, &in->src, &err) == 0, "%s", err.msg);
		for (uint32_t page = 0; page < RAM_PAGES; page++) {
			memset(want, 0, sizeof(want));
			for (size_t k = 0; k < ARRAY_LEN(order); k++)
				if (order[k] == page)
					ram_rig_noise(want, page);
			ck_assert_msg(memcmp(want, r->to.mem.blocks[0]->hva + page * PAGE_BYTES,
					     PAGE_BYTES) == 0,
				      "page %u, in pieces of %zu", page, pieces[i]);
		}
		free(in);
		buf_free(&b);
		ram_rig_free(r);
	}
}
END_TEST

START_TEST(test_cut_in_a_guess)
{
	uint32_t order[RAM_PAGES];

	for (uint32_t i = 0; i < RAM_PAGES; i++)
		order[i] = i;
	for (size_t cut = 1; cut < 3 * PAGE_BYTES; cut += 511) {
		struct ram_rig *r = ram_rig_new();
		struct piecewise *in;
		struct err err = {0};
		struct buf b = {0};

		ram_rig_begin(r);
		put_pages(&b, order, ARRAY_LEN(order));
		in = piecewise_new(b.data, b.len - 8 - cut, 20000);
		ck_assert_int_eq(ram_load_body(r->load, &in->src, &err), -EIO);
		ck_assert_ptr_nonnull(strstr(err.msg, "the stream ends at offset 0x"));
		free(in);
		buf_free(&b);
		ram_rig_free(r);
	}
}
END_TEST

/* ---- splice ---- */

static struct channel *ends[2];

static void open_ends(int cancel_fd)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	ends[0] = channel_from_socket(pair[0], cancel_fd);
	ends[1] = channel_from_socket(pair[1], -1);
	channel_use_splice(ends[0], false);
	ck_assert(channel_splices(ends[0]));
}

static void close_ends(void)
{
	channel_close(ends[0]);
	channel_close(ends[1]);
}

#define SPLICED (5 * MiB)

static void *read_all(void *opaque)
{
	uint8_t *to = opaque;
	struct err err = {0};

	for (size_t at = 0; at < SPLICED + 6;) {
		ssize_t n = channel_read(ends[1], to + at, SPLICED + 6 - at, &err);

		ck_assert_int_gt(n, 0);
		at += (size_t)n;
	}
	return NULL;
}

/* Small things before and behind them, and more than pipe and socket hold at once. */
START_TEST(test_splice)
{
	CLEANUP(cleanup_free) uint8_t *to = xcalloc(1, SPLICED + 6);
	uint8_t *from = aligned_alloc(PAGE_BYTES, SPLICED);
	struct writer *w;
	pthread_t t;

	open_ends(-1);
	w = writer_new(ends[0]);
	for (size_t i = 0; i < SPLICED; i++)
		from[i] = (uint8_t)(i * 7 + i / 4096);
	ck_assert_int_eq(pthread_create(&t, NULL, read_all, to), 0);
	ck_assert_int_eq(writer_put(w, "abc", 3), 0);
	ck_assert_int_eq(writer_pages(w, from, SPLICED), 0);
	ck_assert_int_eq(writer_put(w, "def", 3), 0);
	ck_assert_int_eq(writer_flush(w), 0);
	ck_assert_uint_eq(w->bytes, SPLICED + 6);
	ck_assert_int_eq(pthread_join(t, NULL), 0);
	ck_assert_mem_eq(to, "abc", 3);
	ck_assert(memcmp(to + 3, from, SPLICED) == 0);
	ck_assert_mem_eq(to + 3 + SPLICED, "def", 3);
	writer_free(w);
	close_ends();
	free(from);
}
END_TEST

START_TEST(test_splice_to_nobody)
{
	uint8_t *from = aligned_alloc(PAGE_BYTES, SPLICED);
	struct err err = {0};
	size_t done;

	(void)signal(SIGPIPE, SIG_IGN); /* as the program does */
	memset(from, 1, SPLICED);
	open_ends(-1);
	channel_close(ends[1]);
	ck_assert_int_eq(channel_splice(ends[0], from, SPLICED, &done, &err), -EPIPE);
	ck_assert_str_eq(err.msg, "Unable to write to socket: Broken pipe");
	channel_close(ends[0]);
	free(from);
}
END_TEST

START_TEST(test_splice_cancelled)
{
	uint8_t *from = aligned_alloc(PAGE_BYTES, SPLICED);
	int cancel = eventfd(1, EFD_CLOEXEC);
	struct err err = {0};
	size_t done;

	memset(from, 1, SPLICED);
	open_ends(cancel);
	/* Without a reader it would wait for ever. */
	ck_assert_int_eq(channel_splice(ends[0], from, SPLICED, &done, &err), -ECANCELED);
	close_ends();
	(void)close(cancel);
	free(from);
}
END_TEST

/* A kernel that refuses: the rest, and everything later, is copied. */
START_TEST(test_splice_refused)
{
	static uint8_t to[256 * KiB];
	uint8_t *from = aligned_alloc(PAGE_BYTES, sizeof(to));
	struct err err = {0};
	struct writer *w;
	size_t done;

	open_ends(-1);
	ck_assert_int_eq(channel_splice(ends[0], NULL, PAGE_BYTES, &done, &err), 0);
	ck_assert_uint_eq(done, 0);
	ck_assert(!channel_splices(ends[0]));
	channel_send_buffer(ends[0], MiB);
	memset(from, 3, sizeof(to));
	w = writer_new(ends[0]);
	ck_assert_int_eq(writer_pages(w, from, 64 * KiB), 0);
	ck_assert_int_eq(writer_flush(w), 0);
	for (size_t at = 0; at < 64 * KiB;) {
		ssize_t n = channel_read(ends[1], to + at, 64 * KiB - at, &err);

		ck_assert_int_gt(n, 0);
		at += (size_t)n;
	}
	ck_assert(memcmp(to, from, 64 * KiB) == 0);
	writer_free(w);
	close_ends();
	free(from);
}
END_TEST

/* A socket that blocks, a pipe: not used there. */
START_TEST(test_splice_not_everywhere)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ends[0] = channel_from_socket(pair[0], -1);
	ends[1] = channel_from_fd(open("/dev/null", O_RDWR | O_NONBLOCK), -1, NULL);
	for (int i = 0; i < 2; i++) {
		channel_use_splice(ends[i], false);
		ck_assert(!channel_splices(ends[i]));
	}
	close_ends();
	(void)close(pair[1]);
}
END_TEST

static ssize_t always_more(struct channel *c, struct iovec *iov, int n_iov)
{
	(void)c;
	(void)n_iov;
	return (ssize_t)iov[0].iov_len < 65536 ? (ssize_t)iov[0].iov_len : 65536;
}

/* The end of the program does not wait for the end of a long run that never makes its reader wait.
 */
START_TEST(test_cancel_while_more_comes)
{
	static const struct channel_ops ops = {.kind = "socket", .readv = always_more};
	struct channel c = {.ops = &ops, .fd = -1, .cancel_fd = eventfd(1, EFD_CLOEXEC)};
	struct iovec iov = {.iov_base = &c, .iov_len = (size_t)GiB}; /* nothing is stored */
	struct err err = {0};
	size_t got;

	ck_assert_int_eq(channel_readv(&c, &iov, 1, (size_t)GiB, &got, &err), -ECANCELED);
	ck_assert_str_eq(err.msg, "the migration was cancelled");
	(void)close(c.cancel_fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("page-runs");
	TCase *tc = tcase_create("page-runs");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_runs_arrive);
	tcase_add_test(tc, test_run_limit);
	tcase_add_test(tc, test_run_from_stranger);
	tcase_add_loop_test(tc, test_bad_run, 0, (int)ARRAY_LEN(bad_runs));
	tcase_add_test(tc, test_runs_in_pieces);
	tcase_add_test(tc, test_pages_in_pieces);
	tcase_add_test(tc, test_wrong_guesses);
	tcase_add_test(tc, test_cut_in_a_guess);
	tcase_add_test(tc, test_splice);
	tcase_add_test(tc, test_splice_to_nobody);
	tcase_add_test(tc, test_splice_cancelled);
	tcase_add_test(tc, test_splice_refused);
	tcase_add_test(tc, test_splice_not_everywhere);
	tcase_add_test(tc, test_cancel_while_more_comes);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
