/*
 * load.c - pages from their places in a file into guest memory (mapped.h)
 *
 * Everything happens where the list of blocks is read: a block's header, its
 * bitmap, then runs of pages, given to the threads, and the stream goes on behind
 * them.  Pages without a bit are zero; one that memory holds something in is
 * cleared meanwhile.
 *
 * A block that can be loaded lazily ends with its bitmap: the session reads the pages (lazy/).
 *
 * Pages are read, not mapped.  Truncating a file takes pages out of private mappings
 * even where they are copies already, so a guest in such a mapping would never be rid of its
 * file; nor would populated.c see the pages that it has not touched yet.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/channel/checksum.h"
#include "migration/ram/lazy/lazy.h"
#include "migration/ram/load.h"
#include "migration/ram/mapped/layout.h"
#include "migration/ram/mapped/mapped.h"
#include "migration/ram/mapped/page-io.h"
#include "migration/ram/mapped/source.h"
#include "migration/stream/reader.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/buf.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"

#define RUN_PAGES (PAGE_IO_BYTES / PAGE_BYTES)

struct mapped_load {
	struct reader *reader; /* borrowed */
	struct channel *ch;    /* its own */
	uint64_t start;        /* of the stream, in the file */
	uint64_t file_bytes;   /* when the load began */
	struct page_io *io;    /* owned */
	struct lazy *lazy;     /* borrowed; NULL: all pages come now */
	bool wants_sums;
	uint64_t sum; /* of the pages loaded */
};

/* A block that is being loaded. */
struct job {
	struct load_block *lb;
	const struct page_placer *placer;
	struct mapped_place place;
	uint64_t pages;
	uint64_t *in_file; /* owned */
	uint64_t *sums;    /* owned; NULL: not asked for */
};

struct mapped_load *mapped_load_new(struct reader *r, const struct mapped_config *cfg,
				    struct err *err)
{
	const struct page_io_config io = {.threads = cfg->threads, .direct = cfg->direct};
	off_t at = channel_tell(r->ch);
	struct mapped_load *l;

	if (at < 0) {
		(void)err_set(err, EINVAL, "Migration requires seekable transport (e.g. file)");
		return NULL;
	}
	l = NEW(struct mapped_load);
	l->ch = r->ch;
	l->start = (uint64_t)at;
	l->file_bytes = (uint64_t)MAX(lseek(channel_fd(r->ch), 0, SEEK_END), 0);
	l->io = page_io_new(r->ch, &io, err);
	l->reader = r;
	r->exact = true;
	channel_checksum_pages(l->ch, 0);
	if (l->io)
		return l;
	mapped_load_free(l);
	return NULL;
}

void mapped_load_free(struct mapped_load *l)
{
	if (!l)
		return;
	page_io_free(l->io);
	free(l);
}

void mapped_load_sums(struct mapped_load *l, bool wanted)
{
	l->wants_sums = wanted;
}

void mapped_load_lazily(struct mapped_load *l, struct lazy *lazy)
{
	l->lazy = lazy;
}

void mapped_load_listed(struct mapped_load *l)
{
	l->reader->exact = false;
}

/* ---- pages ---- */

static int load_bitmap(const struct mapped_load *l, struct job *j, struct err *err)
{
	uint64_t bytes = mapped_bitmap_bytes(j->lb->bytes);
	uint64_t beyond = j->pages % BITS_PER_WORD;
	int ret;

	j->in_file = bitmap_new(j->pages);
	j->sums = l->wants_sums ? calloc(j->pages, sizeof(uint64_t)) : NULL;
	if (!j->in_file || (l->wants_sums && !j->sums))
		return err_set(err, ENOMEM, "no memory for the bitmap of '%s'", j->lb->name);
	ret =
	    page_io_read_at(l->ch, j->in_file, bytes, j->place.bitmap_off, "a block's bitmap", err);
	if (ret == 0 && beyond && j->in_file[j->pages / BITS_PER_WORD] >> beyond)
		return err_set(err, EINVAL,
			       "the bitmap of RAM block '%s' at file offset 0x%" PRIx64
			       " has bits beyond the block's %" PRIu64 " pages",
			       j->lb->name, j->place.bitmap_off, j->pages);
	return ret;
}

/* What memory holds in pages that are zero: firmware, or what an attempt that failed has left. */
static int clear_rest(const struct job *j, struct err *err)
{
	bitmap_for_each_set (page, j->lb->touched, j->pages) {
		int ret = 0;

		if (!bitmap_test(j->in_file, page))
			ret = j->placer->zero(j->lb, page * PAGE_BYTES);
		if (ret < 0)
			return err_set(err, -ret, "cannot clear a page of RAM block '%s': %s",
				       j->lb->name, err_text(-ret));
	}
	return 0;
}

/* The next run of pages that are in the file, from *page on; 0: none. */
static uint64_t next_run(const struct job *j, uint64_t *page)
{
	uint64_t end;

	*page = bitmap_next_set(j->in_file, j->pages, *page);
	end = bitmap_next_clear(j->in_file, j->pages, *page);
	return MIN(end - *page, RUN_PAGES);
}

static int read_run(const struct mapped_load *l, const struct job *j, uint64_t page, uint64_t n,
		    struct err *err)
{
	struct load_block *lb = j->lb;
	bool fresh = false;
	struct page_io_piece piece = {
	    .at = j->placer->begin(lb, page * PAGE_BYTES, n, &fresh),
	    .bytes = n * PAGE_BYTES,
	    .file_off = j->place.pages_off + page * PAGE_BYTES,
	    .block = lb->name,
	    .sums = j->sums ? j->sums + page : NULL,
	};
	int ret = 0;

	if (fresh && lb->block->scarce)
		ret = placer_make_room(lb, page * PAGE_BYTES, piece.bytes, err);
	if (ret < 0)
		return ret;
	ret = page_io_put(l->io, &piece);
	return ret < 0 ? page_io_failure(l->io, err) : 0;
}

static int load_pages(struct mapped_load *l, const struct job *j, struct err *err)
{
	uint64_t page = 0, n;
	int ret = 0, done;

	for (; ret == 0 && (n = next_run(j, &page)); page += n)
		ret = read_run(l, j, page, n, err);
	if (ret == 0)
		ret = clear_rest(j, err);
	done = page_io_sync(l->io); /* the threads write into the block until then */
	if (ret == 0 && done < 0)
		ret = page_io_failure(l->io, err);
	for (page = 0; ret == 0 && (n = next_run(j, &page)); page += n)
		ret = j->placer->commit(j->lb, page * PAGE_BYTES, n);
	bitmap_for_each_set (i, j->in_file, j->sums ? j->pages : 0)
		l->sum += j->sums[i];
	return ret;
}

/* ---- one block ---- */

/* 1: its pages come later.  0: it has to be loaded now. */
static int take_lazily(struct mapped_load *l, struct job *j, const struct memory *mem)
{
	const struct ram_block *b = j->lb->block;
	uint64_t *comes = j->in_file;
	struct err why = {0};

	if (!l->lazy)
		return 0;
	if (l->wants_sums) {
		log_info(
		    "RAM block '%s' is loaded before the guest runs, not lazily: the file has a "
		    "checksum of all of it",
		    b->name);
		return 0;
	}
	mapped_source_add(lazy_source(l->lazy), memory_block_index(mem, b), j->place.pages_off,
			  comes, j->pages);
	comes = bitmap_new(j->pages);
	if (!comes)
		return 0;
	(void)bitmap_or(comes, j->in_file, j->pages);
	if (lazy_take(l->lazy, b, comes, &why) == 0)
		return 1;
	log_info("RAM block '%s' is loaded before the guest runs, not lazily: %s", b->name,
		 why.msg);
	return 0;
}

static int load_placed(struct mapped_load *l, struct job *j, const struct memory *mem,
		       struct err *err)
{
	int ret = load_bitmap(l, j, err);

	if (ret == 0 && !take_lazily(l, j, mem))
		ret = load_pages(l, j, err);
	if (ret == 0 && l->wants_sums)
		channel_checksum_pages(l->ch, l->sum);
	free(j->in_file);
	free(j->sums);
	return ret;
}

int mapped_load_block(struct mapped_load *l, struct load_block *lb, bool ignored,
		      const struct page_placer *placer, const struct memory *mem, struct src *in,
		      struct err *err)
{
	struct job j = {.lb = lb, .placer = placer, .pages = lb->bytes / PAGE_BYTES};
	uint8_t header[MAPPED_HEADER_BYTES];
	int ret;

	if (src_get(in, header, sizeof(header)) < 0)
		return ram_load_say_ended(in, "a mapped-ram header", err);
	if (ignored)
		return mapped_get_empty(header, lb->name, err);
	ret = mapped_get_header(&j.place, header, lb->name, lb->bytes, l->start + src_offset(in),
				l->file_bytes, err);
	if (ret == 0 && lb->block)
		ret = load_placed(l, &j, mem, err);
	if (ret == 0)
		src_seek(in, j.place.pages_off + lb->bytes - l->start);
	return ret;
}
