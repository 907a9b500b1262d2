/*
 * save.c - the sending side of RAM: from the tracker to the records
 *
 * A page is taken from the page-set and protected again before its content is
 * looked at: whatever the guest writes from then on sets the bit at the next
 * sync, so the last content sent is never older than the last write before
 * the final sync.  That the bytes leave the host's memory only at the flush
 * does not matter: they can only be newer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/ram/mapped/mapped.h"
#include "migration/ram/multifd/multifd.h"
#include "migration/ram/ram.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/memory/room.h"

#define AHEAD_PAGES 8U /* whose first bytes are fetched in advance */

void ram_save_init(struct ram_save *s, struct machine *m, struct writer *w, uint32_t section_id)
{
	*s = (struct ram_save){
	    .m = m, .tracker = &tracker_dirty, .run_limit = RAM_RUN_PAGES, .wake_fd = -1};
	ram_stream_init(&s->stream, w, section_id, precopy_encoders);
	page_queue_init(&s->queue, &s->pages);
}

void ram_save_use(struct ram_save *s, struct multifd_send *multifd, bool flush_pass,
		  bool zero_pages)
{
	s->stream.multifd = multifd;
	s->stream.sink = &sink_multifd;
	s->stream.flush_pass = flush_pass;
	if (!zero_pages)
		return;
	s->stream.zero_pages = ZERO_IN_CHANNELS;
	multifd_send_zero_pages(multifd);
}

void ram_save_note(struct ram_save *s, struct page_index *index)
{
	s->stream.index = index;
	s->stream.mem = &s->m->mem;
}

void ram_save_map(struct ram_save *s, struct mapped_save *mapped)
{
	s->stream.mapped = mapped;
	s->stream.sink = &sink_mapped;
}

static int alloc_bitmaps(struct ram_save *s)
{
	const struct memory *mem = &s->m->mem;

	for (size_t i = 0; i < mem->n_blocks; i++)
		mem->blocks[i]->unlogged = s->ignore_shared && mem->blocks[i]->share;
	if (page_set_init(&s->pages, mem) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < mem->n_blocks; i++) {
		uint64_t pages = page_set_block_pages(&s->pages, i);

		if (!pages)
			continue;
		s->touched[i] = bitmap_new(pages);
		s->reported[i] = bitmap_new(pages);
		s->chosen[i] = s->partial ? bitmap_new(pages) : NULL;
		if (!s->touched[i] || !s->reported[i] || (s->partial && !s->chosen[i]))
			return -ENOMEM;
	}
	return 0;
}

int ram_save_start(struct ram_save *s, struct err *err)
{
	int ret;

	if (alloc_bitmaps(s) < 0)
		return err_set(err, ENOMEM, "no memory for the bitmaps of the guest's pages");
	ret = s->tracker->start(s, err);
	if (ret < 0)
		return ret;
	s->tracking = true;
	return 0;
}

void ram_save_stop(struct ram_save *s)
{
	if (s->tracking)
		s->tracker->stop(s);
	s->tracking = false;
	for (size_t i = 0; s->m && i < s->m->mem.n_blocks; i++)
		s->m->mem.blocks[i]->unlogged = false;
}

void ram_save_fini(struct ram_save *s)
{
	if (!s->m)
		return;
	ram_stream_fini(&s->stream);
	page_queue_fini(&s->queue);
	page_set_fini(&s->pages);
	for (size_t i = 0; i < MEMORY_MAX_BLOCKS; i++) {
		free(s->touched[i]);
		free(s->reported[i]);
		free(s->chosen[i]);
	}
	*s = (struct ram_save){.stream.count = s->stream.count};
}

static int put_block(struct ram_save *s, struct ram_block *b)
{
	const struct page_sink *sink = s->stream.sink;
	struct buf entry = {0};
	int ret;

	buf_str8(&entry, b->name);
	buf_be64(&entry, b->bytes);
	if (s->ignore_shared)
		buf_be64(&entry, b->gpa);
	ret = writer_put(s->stream.w, entry.data, entry.len);
	buf_free(&entry);
	return ret == 0 && sink->list_block ? sink->list_block(&s->stream, b, b->unlogged) : ret;
}

/* The START record: the list of blocks (migration-stream 3.2). */
static int put_start(struct ram_save *s)
{
	const struct memory *mem = &s->m->mem;
	struct buf head = {0};
	int ret;

	buf_u8(&head, TAG_START);
	buf_be32(&head, s->stream.section_id);
	buf_str8(&head, RAM_SECTION);
	buf_be32(&head, 0);
	buf_be32(&head, RAM_SECTION_VERSION);
	buf_be64(&head, memory_total_bytes(mem) | RAM_FLAG_MEM_SIZE);
	ret = writer_put(s->stream.w, head.data, head.len);
	for (size_t i = 0; ret == 0 && i < mem->n_blocks; i++)
		ret = put_block(s, mem->blocks[i]);
	buf_free(&head);
	return ret < 0 ? ret : ram_stream_end(&s->stream, true);
}

/* What has to go: everything, or what was touched; the tracker reports what is touched later. */
static void mark_dirty(struct ram_save *s, size_t block)
{
	uint64_t pages = page_set_block_pages(&s->pages, block);
	uint64_t n = s->sparse ? page_set_add_map(&s->pages, block, s->touched[block])
			       : page_set_add(&s->pages, block, 0, pages);

	s->stream.count.skipped += pages - n;
}

int ram_save_begin(struct ram_save *s, struct err *err)
{
	for (size_t i = 0; i < s->m->mem.n_blocks; i++) {
		int ret;

		if (!s->touched[i])
			continue;
		ret = s->tracker->touched(s, i, err);
		if (ret < 0)
			return ret;
		if (!s->partial)
			mark_dirty(s, i);
	}
	/* Behind the look: pages of a file that was cut look untouched. */
	if (room_check_files(&s->m->mem, err) < 0)
		return -ENODATA;
	return writer_explain(s->stream.w, put_start(s), err);
}

/* A page of the host is copied and released whole. */
static struct page_run whole_run(const struct ram_save *s, size_t block, uint64_t at,
				 const uint64_t *map)
{
	const struct ram_block *b = s->m->mem.blocks[block];
	uint64_t unit = b->page_bytes / PAGE_BYTES, pages = b->bytes / PAGE_BYTES;
	uint64_t first = ALIGN_DOWN(at, unit), end = bitmap_next_clear(map, pages, at);

	end = MIN(bitmap_next_set(s->chosen[block], pages, at), end);
	return (struct page_run){block, first, MIN(ALIGN_UP(end, unit), pages) - first};
}

static int choose_block(struct ram_save *s, size_t block, const uint64_t *map, struct err *err)
{
	uint64_t pages = page_set_block_pages(&s->pages, block), at = 0;
	int ret = 0;

	while (ret == 0 && (at = bitmap_next_set(map, pages, at)) < pages) {
		uint64_t next = bitmap_next_clear(s->chosen[block], pages, at);
		struct page_run run;

		if (next > at) {
			at = next;
			continue;
		}
		run = whole_run(s, block, at, map);
		bitmap_set_range(s->chosen[block], run.first, run.n);
		if (s->tracker->choose)
			ret = s->tracker->choose(s, &run, err);
		at = run.first + run.n;
	}
	return ret;
}

int ram_save_choose(struct ram_save *s, uint64_t *const *maps, struct err *err)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < s->m->mem.n_blocks; i++)
		if (s->chosen[i])
			ret = choose_block(s, i, maps[i], err);
	return ret;
}

uint64_t ram_save_chosen(struct ram_save *s)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s->m->mem.n_blocks; i++)
		if (s->chosen[i])
			n += page_set_add_map(&s->pages, i, s->chosen[i]);
	return n;
}

/*
 * A file that was cut holds nothing that could still be read, and memory that is
 * not sent at all is only there.  Pages that have gone before were whole.
 */
static int check_files(const struct ram_save *s, struct err *err)
{
	if (!s->ignore_shared && ram_save_left_pages(s) == 0)
		return 0;
	return room_check_files(&s->m->mem, err);
}

/*
 * A page that was never touched when we looked may have been touched since:
 * what the tracker reports has to be read from now on, also if it is to go
 * for the first time and so was dirty in our books already.
 */
int ram_save_sync(struct ram_save *s, uint64_t *added, struct err *err)
{
	int ret = s->tracker->sync(s, err);

	if (ret < 0)
		return ret;
	*added = 0;
	for (size_t i = 0; i < s->m->mem.n_blocks; i++) {
		uint64_t pages = page_set_block_pages(&s->pages, i);

		if (!s->reported[i])
			continue;
		*added += page_set_add_map(&s->pages, i, s->reported[i]);
		(void)bitmap_or(s->touched[i], s->reported[i], pages);
		bitmap_reset(s->reported[i], pages);
	}
	s->stream.passes++;
	return check_files(s, err);
}

static int send_run(struct ram_save *s, const struct page_run *run, uint8_t *copy)
{
	struct page p = {.block = s->m->mem.blocks[run->block]};

	for (uint64_t i = run->first; i < run->first + run->n; i++) {
		int ret;

		p.off = i * PAGE_BYTES;
		p.copy = copy ? copy + (i - run->first) * PAGE_BYTES : NULL;
		/* Its first bytes decide whether it is zero; the processor does not look so far
		 * ahead. */
		__builtin_prefetch(page_content(&p) + AHEAD_PAGES * PAGE_BYTES);
		p.untouched = !bitmap_test(s->touched[run->block], i);
		ret = ram_stream_put(&s->stream, &p);
		if (ret < 0)
			return ret;
		/* If it is dirty once more, it has been written meanwhile. */
		if (s->tracker->sync)
			bitmap_set(s->touched[run->block], i);
	}
	return ram_stream_put_run(&s->stream);
}

int ram_save_record(struct ram_save *s, enum stream_tag tag, bool (*more)(void *opaque),
		    void *opaque)
{
	int ret = ram_stream_begin(&s->stream, tag);
	struct page_run run;
	uint8_t *copy;

	while (ret >= 0 && (!more || more(opaque))) {
		ret = s->tracker->next(s, &run, &copy);
		if (ret <= 0)
			break;
		ret = send_run(s, &run, copy);
	}
	if (ret >= 0)
		ret = ram_stream_end(&s->stream, tag == TAG_END);
	if (ret >= 0 && s->tracker->flushed)
		s->tracker->flushed(s);
	return ret;
}

int ram_save_release(struct ram_save *s)
{
	s->stream.held = false;
	return multifd_send_sync(s->stream.multifd);
}

int ram_save_flush(struct ram_save *s)
{
	int ret;

	if (!s->stream.flush_pass || !s->stream.unflushed)
		return 0;
	ret = ram_stream_begin(&s->stream, TAG_PART);
	return ret < 0 ? ret : ram_stream_end(&s->stream, true);
}

int ram_save_last(struct ram_save *s)
{
	int ret = ram_stream_begin(&s->stream, TAG_PART);

	s->stream.final = true;
	return ret < 0 ? ret : ram_stream_end(&s->stream, true);
}
