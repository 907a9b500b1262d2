/*
 * save.c - the sink "mapped": pages to their places in a file (mapped.h)
 *
 * Neighbours wait for each other and become one write.  Pages are written from guest
 * memory, which may change meanwhile: what the guest writes is dirty, and comes
 * again in a later record, whose write begins only when those of this one are done
 * (sync).  So the last content written is the last content.
 */
#include <errno.h>
#include <stdlib.h>

#include "migration/channel/channel.h"
#include "migration/channel/checksum.h"
#include "migration/ram/mapped/layout.h"
#include "migration/ram/mapped/mapped.h"
#include "migration/ram/mapped/page-io.h"
#include "migration/ram/ram-stream.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/units.h"
#include "vmm/base/zero.h"

struct mapped_block {
	struct ram_block *block; /* borrowed; NULL: not listed, or left out */
	struct mapped_place place;
	uint64_t *in_file; /* owned; a bit a page whose content is in the file */
	uint64_t *sums;    /* owned; the checksum of each of these; NULL: none is asked for */
};

struct mapped_save {
	/* set at creation and then constant */
	struct channel *ch;       /* borrowed */
	const struct memory *mem; /* borrowed */
	struct page_io *io;       /* owned */
	bool wants_sums, threads;
	/* the migration thread's */
	struct mapped_block blocks[MEMORY_MAX_BLOCKS];
	struct mapped_block *last;   /* that of the last page */
	struct mapped_block *run_of; /* pages that wait for a neighbour: whose, ... */
	uint64_t run_off, run_bytes; /* ... and which; 0 bytes: none */
	uint8_t *run_at;             /* ... and where their content is */
	uint64_t thread_bytes;       /* given to threads */
};

struct mapped_save *mapped_save_new(struct channel *ch, const struct memory *mem,
				    const struct mapped_config *cfg, struct err *err)
{
	const struct page_io_config io = {
	    .writing = true, .threads = cfg->threads, .direct = cfg->direct};
	struct mapped_save *s;

	if (channel_tell(ch) < 0) {
		(void)err_set(err, EINVAL, "Migration requires seekable transport (e.g. file)");
		return NULL;
	}
	s = NEW(struct mapped_save);
	s->ch = ch;
	s->mem = mem;
	s->wants_sums = cfg->sums;
	s->threads = cfg->threads > 0;
	s->io = page_io_new(ch, &io, err);
	if (s->io)
		return s;
	mapped_save_free(s);
	return NULL;
}

void mapped_save_free(struct mapped_save *s)
{
	if (!s)
		return;
	page_io_free(s->io);
	for (size_t i = 0; i < MEMORY_MAX_BLOCKS; i++) {
		free(s->blocks[i].in_file);
		free(s->blocks[i].sums);
	}
	free(s);
}

uint64_t mapped_save_thread_bytes(const struct mapped_save *s)
{
	return s->thread_bytes;
}

/* ---- pages ---- */

static struct mapped_block *block_of(struct mapped_save *s, const struct ram_block *b)
{
	if (!s->last || s->last->block != b)
		s->last = &s->blocks[memory_block_index(s->mem, b)];
	return s->last;
}

static int explain(struct ram_stream *rs, int ret)
{
	return ret < 0 ? page_io_failure(rs->mapped->io, &rs->w->err) : 0;
}

/* What waits goes to the threads. */
static int mapped_put_run(struct ram_stream *rs)
{
	struct mapped_save *s = rs->mapped;
	const struct mapped_block *mb = s->run_of;
	struct page_io_piece piece;

	if (!s->run_bytes)
		return 0;
	piece = (struct page_io_piece){
	    .at = s->run_at,
	    .bytes = s->run_bytes,
	    .file_off = mb->place.pages_off + s->run_off,
	    .block = mb->block->name,
	    .sums = mb->sums ? mb->sums + s->run_off / PAGE_BYTES : NULL,
	};
	s->run_bytes = 0;
	*(s->threads ? &s->thread_bytes : &rs->w->bytes) += piece.bytes;
	return explain(rs, page_io_put(s->io, &piece));
}

static int mapped_put_page(struct ram_stream *rs, const struct page *p)
{
	struct mapped_save *s = rs->mapped;
	struct mapped_block *mb = block_of(s, p->block);
	uint8_t *at = page_content(p);
	bool next = mb == s->run_of && p->off == s->run_off + s->run_bytes &&
		    at == s->run_at + s->run_bytes && s->run_bytes < PAGE_IO_BYTES;
	int ret = s->run_bytes && !next ? mapped_put_run(rs) : 0;

	bitmap_set(mb->in_file, p->off / PAGE_BYTES);
	rs->count.normal++;
	if (!s->run_bytes) {
		s->run_of = mb;
		s->run_off = p->off;
		s->run_at = at;
	}
	s->run_bytes += PAGE_BYTES;
	return ret;
}

static int mapped_zero_encode(struct ram_stream *rs, const struct page *p)
{
	if (!p->untouched && !buffer_is_zero(page_content(p), PAGE_BYTES))
		return 0;
	bitmap_clear(block_of(rs->mapped, p->block)->in_file, p->off / PAGE_BYTES);
	rs->count.duplicate++;
	return 1;
}

static const struct page_encoder encode_zero_mapped = {.name = "zero",
						       .encode = mapped_zero_encode};

const struct page_encoder *const mapped_encoders[] = {&encode_zero_mapped, &encode_plain, NULL};

/* ---- the list of blocks, and the end ---- */

static int list_block(struct ram_stream *rs, struct ram_block *b, bool left_out)
{
	struct mapped_save *s = rs->mapped;
	uint8_t header[MAPPED_HEADER_BYTES];
	struct mapped_block *mb = block_of(s, b);
	uint64_t pages = b->bytes / PAGE_BYTES;
	int ret = writer_flush(rs->w);

	if (ret == 0 && !left_out) {
		mb->block = b;
		mb->place =
		    mapped_place_at((uint64_t)channel_tell(s->ch) + sizeof(header), b->bytes);
		mb->in_file = bitmap_new(pages);
		mb->sums = s->wants_sums ? calloc(pages, sizeof(uint64_t)) : NULL;
		if (!mb->in_file || (s->wants_sums && !mb->sums))
			ret = err_set(&rs->w->err, ENOMEM, "no memory for the bitmap of '%s'",
				      b->name);
	}
	mapped_put_header(header, &mb->place);
	if (ret == 0)
		ret = writer_put(rs->w, header, sizeof(header));
	if (ret == 0)
		ret = writer_flush(rs->w);
	if (ret == 0 && !left_out)
		channel_seek(s->ch, (off_t)(mb->place.pages_off + b->bytes));
	return ret;
}

/* Whatever the order in which pages were written, and how often. */
static uint64_t sum_of(const struct mapped_block *mb)
{
	uint64_t sum = 0;

	bitmap_for_each_set (page, mb->in_file, mb->block->bytes / PAGE_BYTES)
		sum += mb->sums[page];
	return sum;
}

static int put_bitmaps(struct mapped_save *s, struct err *err)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->mem->n_blocks; i++) {
		const struct mapped_block *mb = &s->blocks[i];
		int ret;

		if (!mb->block)
			continue;
		ret = page_io_write_at(s->ch, mb->in_file, mapped_bitmap_bytes(mb->block->bytes),
				       mb->place.bitmap_off, err);
		if (ret < 0)
			return ret;
		sum += mb->sums ? sum_of(mb) : 0;
	}
	if (s->wants_sums)
		channel_checksum_pages(s->ch, sum);
	return 0;
}

/* Each record's pages are in the file at its end, not only each pass's. */
static int mapped_end(struct ram_stream *rs, bool flush)
{
	int ret = mapped_put_run(rs);

	(void)flush;
	if (ret == 0)
		ret = explain(rs, page_io_sync(rs->mapped->io));
	return ret == 0 && rs->final ? put_bitmaps(rs->mapped, &rs->w->err) : ret;
}

const struct page_sink sink_mapped = {
    .name = "mapped",
    .list_block = list_block,
    .put_page = mapped_put_page,
    .put_run = mapped_put_run,
    .end = mapped_end,
};
