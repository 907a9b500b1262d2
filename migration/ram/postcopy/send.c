/*
 * send.c - the sending side of RAM in postcopy
 *
 * The guest stands still here and runs there, so a page goes once and nothing is tracked.  The
 * page-set decides who sends it: taking a page out of it is what makes a thread its sender,
 * and a request for a page that is not in it is for one that is on its way.
 *
 * The destination places a page of its host at a time, so all of it has to come over one
 * channel, in one piece: the set holds whole pages of the host only (which is why
 * they have to be of one size at both ends), and the queue takes them whole.
 */
#include "migration/ram/postcopy/send.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "migration/ram/ram.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

#define AHEAD_PAGES    8U  /* whose first bytes are fetched in advance */
#define DISCARD_RANGES 12U /* in a command */
#define MAX_URGENT     4096U

static uint64_t host_pages(const struct ram_save *s, size_t block)
{
	return s->m->mem.blocks[block]->page_bytes / PAGE_BYTES;
}

/* A page of the host of which a part has to go, goes. */
static void round_block(struct ram_save *s, size_t block)
{
	uint64_t unit = host_pages(s, block), pages = page_set_block_pages(&s->pages, block);
	const uint64_t *map = s->pages.map[block];

	if (unit == 1)
		return;
	for (uint64_t at = 0; (at = bitmap_next_set(map, pages, at)) < pages;) {
		at = ALIGN_DOWN(at, unit);
		(void)page_set_add(&s->pages, block, at, MIN(unit, pages - at));
		at += unit;
	}
}

void postcopy_send_begin(struct ram_save *s)
{
	for (size_t i = 0; i < s->m->mem.n_blocks; i++)
		if (page_set_block_pages(&s->pages, i))
			round_block(s, i);
	s->queue.at = ALIGN_DOWN(s->queue.at, host_pages(s, s->queue.block));
	s->queue.postcopy = true;
	ram_stream_plain(&s->stream);
}

void postcopy_send_again(struct ram_save *s, size_t block, uint64_t *received)
{
	uint64_t pages = page_set_block_pages(&s->pages, block);

	for (uint64_t i = 0; i < BITMAP_WORDS(pages); i++)
		received[i] = ~received[i];
	if (pages % BITS_PER_WORD)
		received[pages / BITS_PER_WORD] &= (1ULL << pages % BITS_PER_WORD) - 1;
	page_set_remove(&s->pages, block, 0, pages);
	(void)page_set_add_map(&s->pages, block, received);
	round_block(s, block);
	page_queue_forget(&s->queue);
}

/* ---- discards ---- */

static void begin_discard(struct buf *b, const char *name)
{
	buf_clear(b);
	buf_u8(b, 0); /* version */
	buf_str8(b, name);
	buf_u8(b, 0);
}

static int discard_block(const struct ram_save *s, size_t block, struct buf *b, struct writer *w)
{
	uint64_t pages = page_set_block_pages(&s->pages, block), at = 0, end;
	const uint64_t *map = s->pages.map[block];
	unsigned ranges = 0;
	int ret = 0;

	begin_discard(b, s->m->mem.blocks[block]->name);
	while (ret == 0 && (at = bitmap_next_set(map, pages, at)) < pages) {
		end = bitmap_next_clear(map, pages, at);
		buf_be64(b, at * PAGE_BYTES);
		buf_be64(b, (end - at) * PAGE_BYTES);
		at = end;
		if (++ranges < DISCARD_RANGES)
			continue;
		ret = stream_put_command(w, CMD_POSTCOPY_RAM_DISCARD, b->data, (uint16_t)b->len);
		begin_discard(b, s->m->mem.blocks[block]->name);
		ranges = 0;
	}
	if (ret == 0 && ranges)
		ret = stream_put_command(w, CMD_POSTCOPY_RAM_DISCARD, b->data, (uint16_t)b->len);
	return ret;
}

int postcopy_send_discards(const struct ram_save *s, struct writer *w)
{
	struct buf b = {0};
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < s->m->mem.n_blocks; i++)
		if (page_set_block_pages(&s->pages, i))
			ret = discard_block(s, i, &b, w);
	buf_free(&b);
	return ret;
}

/* ---- requests ---- */

static int find_block(const struct ram_save *s, const char *name)
{
	for (size_t i = 0; i < s->m->mem.n_blocks; i++)
		if (s->pages.map[i] && !strcmp(s->m->mem.blocks[i]->name, name))
			return (int)i;
	return -1;
}

/* Pages of the run that still have to go. */
static uint64_t left_in(const struct ram_save *s, const struct page_run *run)
{
	uint64_t n = 0;

	for (uint64_t i = run->first; i < run->first + run->n; i++)
		n += bitmap_test_atomic(s->pages.map[run->block], i);
	return n;
}

int postcopy_send_request(struct ram_save *s, const char *block, uint64_t off, uint64_t bytes,
			  uint64_t *n, struct err *err)
{
	int index = find_block(s, block);
	struct page_run run;
	uint64_t end, unit;

	if (index < 0)
		return err_set(err, EPROTO,
			       "the destination asks for pages of the RAM block '%.64s', which "
			       "there is none of",
			       block);
	if (off % PAGE_BYTES || bytes % PAGE_BYTES || !bytes ||
	    __builtin_add_overflow(off, bytes, &end) || end > s->m->mem.blocks[index]->bytes)
		return err_set(err, EPROTO,
			       "the destination asks for 0x%" PRIx64 " bytes from 0x%" PRIx64
			       " on of the RAM block '%.64s', which are no pages of it (it has "
			       "0x%" PRIx64 " bytes)",
			       bytes, off, block, s->m->mem.blocks[index]->bytes);
	unit = s->m->mem.blocks[index]->page_bytes;
	off = ALIGN_DOWN(off, unit);
	end = ALIGN_UP(end, unit);
	run = (struct page_run){(size_t)index, off / PAGE_BYTES, (end - off) / PAGE_BYTES};
	*n = left_in(s, &run);
	if (!*n)
		return 0;
	if (page_queue_urgent(&s->queue) >= MAX_URGENT)
		return err_set(err, EPROTO, "the destination asks for more than %u pages at a time",
			       MAX_URGENT);
	page_queue_add_urgent(&s->queue, run.block, run.first, run.n);
	return 0;
}

/* ---- pages ---- */

static int send_run(const struct ram_save *s, struct ram_stream *rs, const struct page_run *run)
{
	struct page p = {.block = s->m->mem.blocks[run->block]};
	const uint64_t *touched = s->touched[run->block];

	for (uint64_t i = run->first; i < run->first + run->n; i++) {
		int ret;

		p.off = i * PAGE_BYTES;
		__builtin_prefetch(page_content(&p) + AHEAD_PAGES * PAGE_BYTES);
		p.untouched = !bitmap_test(touched, i);
		ret = ram_stream_put(rs, &p);
		if (ret < 0)
			return ret;
	}
	return ram_stream_put_run(rs);
}

int postcopy_send_urgent(struct ram_save *s, struct ram_stream *rs, uint64_t max)
{
	struct page_run run;
	int ret;

	if (!page_queue_next_urgent(&s->queue, max, &run))
		return 0;
	ret = send_run(s, rs, &run);
	return ret < 0 ? ret : 1;
}

int postcopy_send_sweep(struct ram_save *s, struct ram_stream *rs, uint64_t max)
{
	struct page_run run;
	int ret;

	if (!page_queue_sweep(&s->queue, max, &run))
		return 0;
	ret = send_run(s, rs, &run);
	return ret < 0 ? ret : 1;
}
