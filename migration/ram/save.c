/*
 * save.c - the sending side of RAM: bitmaps, the linear sweep, records
 *
 * A page's bit is cleared and the page protected again before its content is
 * looked at: whatever the guest writes from then on sets the bit at the next
 * sync, so the last content sent is never older than the last write before
 * the final sync.  That the bytes leave the host's memory only at the flush
 * does not matter: they can only be newer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/ram/multifd/multifd.h"
#include "migration/ram/ram.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/bytes.h"
#include "vmm/base/units.h"
#include "vmm/dirty.h"
#include "vmm/machine.h"
#include "vmm/memory/populated.h"

static uint64_t block_pages(const struct ram_block *b)
{
	return b->bytes / PAGE_BYTES;
}

void ram_save_init(struct ram_save *s, struct machine *m, struct writer *w, uint32_t section_id)
{
	*s = (struct ram_save){
	    .m = m,
	    .w = w,
	    .section_id = section_id,
	    .pick = pick_linear,
	    .run_limit = RAM_RUN_PAGES,
	    .encoders = precopy_encoders,
	};
}

void ram_save_use(struct ram_save *s, struct multifd_send *multifd)
{
	s->multifd = multifd;
	s->encoders = multifd_encoders;
}

static int alloc_bitmaps(struct ram_save *s)
{
	const struct memory *mem = &s->m->mem;

	for (size_t i = 0; i < mem->n_blocks; i++) {
		mem->blocks[i]->unlogged = s->ignore_shared && mem->blocks[i]->share;
		if (mem->blocks[i]->unlogged)
			continue;
		s->dirty[i] = bitmap_new(block_pages(mem->blocks[i]));
		s->touched[i] = bitmap_new(block_pages(mem->blocks[i]));
		s->reported[i] = bitmap_new(block_pages(mem->blocks[i]));
		if (!s->dirty[i] || !s->touched[i] || !s->reported[i])
			return -ENOMEM;
	}
	return 0;
}

int ram_save_start(struct ram_save *s, struct err *err)
{
	int ret;

	if (alloc_bitmaps(s) < 0)
		return err_set(err, ENOMEM, "no memory for the bitmaps of the guest's pages");
	ret = dirty_start(s->m, err);
	if (ret < 0)
		return ret;
	s->tracking = true;
	return 0;
}

void ram_save_stop(struct ram_save *s)
{
	if (s->tracking)
		dirty_stop(s->m);
	s->tracking = false;
}

void ram_save_fini(struct ram_save *s)
{
	for (const struct page_encoder *const *e = s->encoders; e && *e; e++)
		if ((*e)->fini)
			(*e)->fini(s);
	for (size_t i = 0; i < MEMORY_MAX_BLOCKS; i++) {
		free(s->dirty[i]);
		free(s->touched[i]);
		free(s->reported[i]);
		s->dirty[i] = s->touched[i] = s->reported[i] = NULL;
	}
}

/* The block list (migration-stream 3.2) as a whole START record. */
static int put_start(struct ram_save *s)
{
	const struct memory *mem = &s->m->mem;
	struct buf b = {0};
	int ret;

	buf_u8(&b, TAG_START);
	buf_be32(&b, s->section_id);
	buf_str8(&b, RAM_SECTION);
	buf_be32(&b, 0);
	buf_be32(&b, RAM_SECTION_VERSION);
	buf_be64(&b, memory_total_bytes(mem) | RAM_FLAG_MEM_SIZE);
	for (size_t i = 0; i < mem->n_blocks; i++) {
		buf_str8(&b, mem->blocks[i]->name);
		buf_be64(&b, mem->blocks[i]->bytes);
		if (s->ignore_shared)
			buf_be64(&b, mem->blocks[i]->gpa);
	}
	buf_be64(&b, RAM_FLAG_EOS);
	buf_u8(&b, TAG_FOOTER);
	buf_be32(&b, s->section_id);
	ret = s->multifd ? multifd_send_sync(s->multifd) : 0;
	if (ret == 0)
		ret = writer_put(s->w, b.data, b.len);
	buf_free(&b);
	return ret < 0 ? ret : writer_flush(s->w);
}

/* What has to go: everything, or what was touched; the tracker reports what is touched later. */
static void mark_dirty(struct ram_save *s, size_t block)
{
	uint64_t pages = block_pages(s->m->mem.blocks[block]), n = pages;

	if (s->sparse)
		n = bitmap_or(s->dirty[block], s->touched[block], pages);
	else
		bitmap_set_range(s->dirty[block], 0, pages);
	s->dirty_pages += n;
	s->count.skipped += pages - n;
}

int ram_save_begin(struct ram_save *s, struct err *err)
{
	/* After dirty_start: a page touched from now on is reported by the tracker. */
	for (size_t i = 0; i < s->m->mem.n_blocks; i++) {
		if (!s->touched[i])
			continue;
		ram_populated(s->m->mem.blocks[i], s->touched[i]);
		mark_dirty(s, i);
	}
	return writer_explain(s->w, put_start(s), err);
}

/*
 * A page that was never touched when we looked may have been touched since:
 * what the tracker reports has to be read from now on, also if it is to go
 * for the first time and so was dirty in our books already.
 */
int ram_save_sync(struct ram_save *s, uint64_t *added, struct err *err)
{
	uint64_t reported;
	int ret = dirty_sync(s->m, s->reported, &reported, err);

	if (ret < 0)
		return ret;
	*added = 0;
	for (size_t i = 0; i < s->m->mem.n_blocks; i++) {
		uint64_t pages = block_pages(s->m->mem.blocks[i]);

		if (!s->reported[i])
			continue;
		*added += bitmap_or(s->dirty[i], s->reported[i], pages);
		(void)bitmap_or(s->touched[i], s->reported[i], pages);
		bitmap_reset(s->reported[i], pages);
	}
	s->dirty_pages += *added;
	s->passes++;
	return 0;
}

void pick_linear(struct ram_save *s, struct page_run *run)
{
	const struct memory *mem = &s->m->mem;
	uint64_t pages, end;

	for (;;) {
		pages = s->dirty[s->at_block] ? block_pages(mem->blocks[s->at_block]) : 0;
		s->at_page = bitmap_next_set(s->dirty[s->at_block], pages, s->at_page);
		if (s->at_page < pages)
			break;
		s->at_block = (s->at_block + 1) % mem->n_blocks;
		s->at_page = 0;
	}
	end = MIN(pages, s->at_page + s->run_limit);
	end = bitmap_next_clear(s->dirty[s->at_block], end, s->at_page);
	*run = (struct page_run){s->at_block, s->at_page, end - s->at_page};
	s->at_page = end;
}

static int send_page(struct ram_save *s, const struct page *p)
{
	for (const struct page_encoder *const *e = s->encoders; *e; e++) {
		int ret = (*e)->encode(s, p);

		if (ret)
			return ret;
	}
	return 0;
}

static int send_run(struct ram_save *s, const struct page_run *run)
{
	struct ram_block *b = s->m->mem.blocks[run->block];

	bitmap_clear_range(s->dirty[run->block], run->first, run->n);
	s->dirty_pages -= run->n;
	dirty_protect(s->m, b, run->first, run->n);
	for (uint64_t i = run->first; i < run->first + run->n; i++) {
		struct page p = {
		    .block = b,
		    .off = i * PAGE_BYTES,
		    .untouched = !bitmap_test(s->touched[run->block], i),
		};
		int ret = send_page(s, &p);

		if (ret < 0)
			return ret;
		/* If it is dirty once more, somebody has written it. */
		bitmap_set(s->touched[run->block], i);
	}
	return ram_put_run(s);
}

static int drain_encoders(struct ram_save *s)
{
	int ret = 0;

	for (const struct page_encoder *const *e = s->encoders; ret == 0 && *e; e++)
		if ((*e)->drain)
			ret = (*e)->drain(s);
	return ret;
}

int ram_save_record(struct ram_save *s, enum stream_tag tag, bool (*more)(void *opaque),
		    void *opaque)
{
	uint8_t head[5], tail[8 + 5];
	struct page_run run;
	int ret;

	s->final = tag == TAG_END;
	head[0] = (uint8_t)tag;
	put_be32(head + 1, s->section_id);
	ret = writer_put(s->w, head, sizeof(head));
	while (ret >= 0 && s->dirty_pages > 0 && (!more || more(opaque))) {
		s->pick(s, &run);
		ret = send_run(s, &run);
	}
	if (ret >= 0)
		ret = drain_encoders(s);
	if (ret < 0)
		return ret;
	put_be64(tail, RAM_FLAG_EOS);
	tail[8] = TAG_FOOTER;
	put_be32(tail + 9, s->section_id);
	ret = writer_put(s->w, tail, sizeof(tail));
	return ret < 0 ? ret : writer_flush(s->w);
}
