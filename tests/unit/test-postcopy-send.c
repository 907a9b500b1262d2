/* what a source sends in postcopy: whole pages of the host, discards, and in which order */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/ram/postcopy/send.h"
#include "migration/ram/ram.h"
#include "tests/unit/check-main.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/thread.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

#define SMALL_PAGES 300U
#define HUGE_PAGES  (4 * UNIT) /* of a block whose backing has pages of 2 MiB */
#define UNIT        512U
#define HUGE        1U
#define ROUNDS      200U

struct rig {
	struct machine m;
	struct ram_save s;
	struct channel *ch;
	int fd; /* where what is written arrives */
};

static struct rig *rig_new(void)
{
	static const struct ram_backend anon = {.kind = RAM_ANONYMOUS, .fd = -1};
	struct rig *r = calloc(1, sizeof(*r));
	int pair[2];

	ck_assert_ptr_nonnull(r);
	memory_init(&r->m.mem, -1);
	ck_assert_ptr_nonnull(
	    memory_add_block(&r->m.mem, "small", SMALL_PAGES * (uint64_t)PAGE_BYTES, &anon, NULL));
	ck_assert_ptr_nonnull(
	    memory_add_block(&r->m.mem, "huge", HUGE_PAGES * (uint64_t)PAGE_BYTES, &anon, NULL));
	r->m.mem.blocks[HUGE]->page_bytes = UNIT * (uint64_t)PAGE_BYTES;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	r->ch = channel_from_socket(pair[0], -1);
	r->fd = pair[1];
	ram_save_init(&r->s, &r->m, writer_new(r->ch), 1);
	ck_assert_int_eq(page_set_init(&r->s.pages, &r->m.mem), 0);
	for (size_t i = 0; i < 2; i++)
		r->s.touched[i] = bitmap_new(page_set_block_pages(&r->s.pages, i));
	return r;
}

static void rig_free(struct rig *r)
{
	writer_free(r->s.stream.w);
	channel_close(r->ch);
	(void)close(r->fd);
	ram_save_fini(&r->s);
	r->m.mem.blocks[HUGE]->page_bytes = PAGE_BYTES;
	memory_fini(&r->m.mem);
	free(r);
}

/* A page of the host of which any part is dirty comes whole; others stay as they are. */
START_TEST(test_whole_host_pages)
{
	struct rig *r = rig_new();
	struct page_run run = {.block = HUGE, .n = HUGE_PAGES};

	(void)page_set_add(&r->s.pages, 0, 7, 1);
	(void)page_set_add(&r->s.pages, HUGE, UNIT + 500, 20); /* in two of them */
	postcopy_send_begin(&r->s);
	ck_assert_uint_eq(page_set_pages(&r->s.pages), 1 + 2 * UNIT);
	ck_assert(page_set_take(&r->s.pages, &run, HUGE_PAGES));
	ck_assert_uint_eq(run.first, UNIT);
	ck_assert_uint_eq(run.n, 2 * UNIT);
	rig_free(r);
}
END_TEST

/* The next DISCARD in 'in', which is for that block: its ranges, up to 12. */
static size_t read_discard(const uint8_t **in, const char *block, uint64_t ranges[24])
{
	size_t name = strlen(block), n;

	ck_assert_int_eq((*in)[0], TAG_COMMAND);
	ck_assert_uint_eq(get_be16(*in + 1), CMD_POSTCOPY_RAM_DISCARD);
	n = get_be16(*in + 3);
	ck_assert_uint_eq((n - 3 - name) % 16, 0);
	*in += 5;
	ck_assert_int_eq((*in)[0], 0);
	ck_assert_uint_eq((*in)[1], name);
	ck_assert_mem_eq(*in + 2, block, name);
	ck_assert_int_eq((*in)[2 + name], 0);
	for (size_t i = 0; i < (n - 3 - name) / 8; i++)
		ranges[i] = get_be64(*in + 3 + name + 8 * i);
	*in += n;
	return (n - 3 - name) / 16;
}

START_TEST(test_discards)
{
	struct rig *r = rig_new();
	static uint8_t got[4096];
	const uint8_t *in = got;
	uint64_t ranges[24];

	for (uint64_t i = 0; i < 15; i++)
		(void)page_set_add(&r->s.pages, 0, 20 * i, 3);
	(void)page_set_add(&r->s.pages, HUGE, HUGE_PAGES - 1, 1);
	postcopy_send_begin(&r->s);
	ck_assert_int_eq(postcopy_send_discards(&r->s, r->s.stream.w), 0);
	ck_assert_int_eq(writer_flush(r->s.stream.w), 0);
	ck_assert_int_eq(recv(r->fd, got, sizeof(got), 0), (ssize_t)r->s.stream.w->bytes);
	ck_assert_uint_eq(read_discard(&in, "small", ranges), 12);
	ck_assert_uint_eq(ranges[22], 20 * 11 * PAGE_BYTES);
	ck_assert_uint_eq(ranges[23], 3 * PAGE_BYTES);
	ck_assert_uint_eq(read_discard(&in, "small", ranges), 3);
	ck_assert_uint_eq(ranges[4], 20 * 14 * PAGE_BYTES);
	ck_assert_uint_eq(read_discard(&in, "huge", ranges), 1);
	ck_assert_uint_eq(ranges[0], (HUGE_PAGES - UNIT) * (uint64_t)PAGE_BYTES);
	ck_assert_uint_eq(ranges[1], UNIT * (uint64_t)PAGE_BYTES);
	ck_assert_ptr_eq(in, got + r->s.stream.w->bytes);
	rig_free(r);
}
END_TEST

START_TEST(test_nothing_to_discard)
{
	struct rig *r = rig_new();

	postcopy_send_begin(&r->s);
	ck_assert_int_eq(postcopy_send_discards(&r->s, r->s.stream.w), 0);
	ck_assert_uint_eq(r->s.stream.w->bytes, 0);
	rig_free(r);
}
END_TEST

/* What is asked for goes first, whole; the sweep goes on around it; what has gone is not queued. */
START_TEST(test_order)
{
	struct rig *r = rig_new();
	struct page_queue *q = &r->s.queue;
	struct page_run run;
	uint64_t n;

	(void)page_set_add(&r->s.pages, 0, 0, SMALL_PAGES);
	(void)page_set_add(&r->s.pages, HUGE, 0, HUGE_PAGES);
	postcopy_send_begin(&r->s);
	ck_assert(page_queue_sweep(q, 4, &run));
	ck_assert_uint_eq(run.first + run.n, 4);
	ck_assert_int_eq(
	    postcopy_send_request(&r->s, "small", 2 * PAGE_BYTES, PAGE_BYTES, &n, NULL), 0);
	ck_assert_uint_eq(n, 0);
	ck_assert(!page_queue_next_urgent(q, 64, &run));
	ck_assert_int_eq(
	    postcopy_send_request(&r->s, "small", 200 * PAGE_BYTES, PAGE_BYTES, &n, NULL), 0);
	ck_assert_uint_eq(n, 1);
	ck_assert(page_queue_next_urgent(q, 64, &run));
	ck_assert_uint_eq(run.first, 200);
	ck_assert_uint_eq(run.n, 1);
	ck_assert(page_queue_sweep(q, 4, &run));
	ck_assert_uint_eq(run.block, 0);
	ck_assert_uint_eq(run.first, 192);
	/* A part of a huge page is asked for. */
	ck_assert_int_eq(postcopy_send_request(&r->s, "huge", (UNIT + 9) * (uint64_t)PAGE_BYTES,
					       PAGE_BYTES, &n, NULL),
			 0);
	ck_assert_uint_eq(n, UNIT);
	ck_assert(page_queue_next_urgent(q, 64, &run));
	ck_assert_uint_eq(run.block, HUGE);
	ck_assert_uint_eq(run.first, UNIT);
	ck_assert_uint_eq(run.n, UNIT);
	ck_assert(page_queue_sweep(q, 4, &run));
	ck_assert_uint_eq(run.block, HUGE);
	ck_assert_uint_eq(run.first, 2 * UNIT);
	ck_assert_uint_eq(run.n, UNIT);
	rig_free(r);
}
END_TEST

/* The precopy has stopped in the middle of a huge page. */
START_TEST(test_sweep_is_aligned)
{
	struct rig *r = rig_new();
	struct page_run run;

	(void)page_set_add(&r->s.pages, HUGE, 0, HUGE_PAGES);
	ck_assert(page_queue_next(&r->s.queue, 100, &run));
	ck_assert_uint_eq(run.n, 100);
	postcopy_send_begin(&r->s);
	ck_assert(page_queue_sweep(&r->s.queue, 32, &run));
	ck_assert_uint_eq(run.first, 0);
	ck_assert_uint_eq(run.n, UNIT);
	rig_free(r);
}
END_TEST

struct taker {
	struct thread t;
	struct rig *r;
	bool urgent;
	uint64_t pages, broken;
};

static void *take(void *opaque)
{
	struct taker *t = opaque;
	struct page_queue *q = &t->r->s.queue;
	uint64_t at = 0, n;
	struct page_run run;

	while (page_set_pages(&t->r->s.pages)) {
		if (t->urgent) {
			at = (at + 5 * UNIT + 77) % HUGE_PAGES;
			(void)postcopy_send_request(&t->r->s, "huge", at * PAGE_BYTES, PAGE_BYTES,
						    &n, NULL);
		}
		while (t->urgent ? page_queue_next_urgent(q, 64, &run)
				 : page_queue_sweep(q, 64, &run)) {
			t->pages += run.n;
			t->broken += run.first % UNIT || run.n != UNIT;
			if (!t->urgent)
				break;
		}
	}
	thread_set_done(&t->t);
	return NULL;
}

/* Two threads: no huge page is torn, none goes twice. */
START_TEST(test_two_threads)
{
	struct rig *r = rig_new();

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct taker takers[2] = {
		    {.r = r         },
                    { .r = r, .urgent = true}
                };

		(void)page_set_add(&r->s.pages, HUGE, 0, HUGE_PAGES);
		postcopy_send_begin(&r->s);
		for (unsigned i = 0; i < 2; i++)
			ck_assert_int_eq(thread_start(&takers[i].t, "taker", THREAD_HELPER, take,
						      &takers[i], NULL),
					 0);
		for (unsigned i = 0; i < 2; i++)
			thread_join(&takers[i].t);
		ck_assert_uint_eq(takers[0].pages + takers[1].pages, HUGE_PAGES);
		ck_assert_uint_eq(takers[0].broken + takers[1].broken, 0);
	}
	rig_free(r);
}
END_TEST

CHECK_MAIN("postcopy-send", test_whole_host_pages, test_discards, test_nothing_to_discard,
	   test_order, test_sweep_is_aligned, test_two_threads)
