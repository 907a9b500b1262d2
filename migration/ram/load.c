/*
 * load.c - the receiving side of RAM: records to the placer (migration-stream 3)
 *
 * The body of a RAM section is a sequence of records: a word with an offset and
 * flags, the block's name unless it is that of the record before, and the data
 * that the flags announce.  For each record the placer returns where the page goes,
 * the data is read there, and the page is committed; zero pages have a call of
 * their own.  Pages that follow each other in the stream are read together,
 * straight into guest memory, and the words between them are checked afterwards
 * (load-direct.c).
 *
 * Compressed pages are unpacked by threads.  A record for a page that is still
 * being unpacked waits for it, and the end of a body waits for all of them, so
 * that an older copy never overwrites a newer one.
 */
#include "migration/ram/load.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "migration/ram/encode/compress.h"
#include "migration/ram/encode/page-pool.h"
#include "migration/ram/encode/xbzrle-codec.h"
#include "migration/ram/lazy/lazy.h"
#include "migration/ram/lazy/stream-source.h"
#include "migration/ram/load-direct.h"
#include "migration/ram/multifd/multifd.h"
#include "migration/ram/ram.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/memory/room.h"

#define FLAG_MASK ((uint64_t)PAGE_BYTES - 1)
#define ROW_PAGES 8U /* plain pages in a row, before more of them are expected */

int ram_load_compressed(struct ram_load *l, unsigned threads, struct err *err)
{
	l->unpack = decompress_new(threads, err);
	return l->unpack ? 0 : -ENOMEM;
}

void ram_load_ignore_shared(struct ram_load *l)
{
	l->ignore_shared = true;
}

void ram_load_check_only(struct ram_load *l)
{
	l->checks = true;
	l->placer = &placer_none;
}

void ram_load_take_runs(struct ram_load *l)
{
	l->take_runs = true;
}

void ram_load_use(struct ram_load *l, struct multifd_recv *multifd)
{
	l->multifd = multifd;
}

void ram_load_map(struct ram_load *l, struct mapped_load *mapped)
{
	l->mapped = mapped;
}

void ram_load_index(struct ram_load *l, struct page_source *index)
{
	l->index = index;
	l->notes = true;
}

void ram_load_lazily(struct ram_load *l, struct lazy *lazy)
{
	l->lazy = lazy;
	l->index = lazy_source(lazy);
}

/* ---- pages, of which only the place is noted, or was before ---- */

static bool stays_there(const struct ram_load *l, const struct load_block *lb)
{
	return l->notes || lb->late;
}

/* A block whose length the stream changes here has no place in an index that was made before. */
static bool is_indexed(const struct ram_load *l, const struct load_block *lb)
{
	return l->notes && lb->block &&
	       lb->bytes ==
		   stream_source_bytes(l->index, memory_block_index(&l->m->mem, lb->block));
}

/* 'pages' with content, here in the stream; 0: a zero page, all of whose record has been read. */
static int note_pages(const struct ram_load *l, const struct load_block *lb, struct src *in,
		      uint64_t off, uint64_t pages, struct err *err)
{
	bool indexed = is_indexed(l, lb);
	size_t block = indexed ? memory_block_index(&l->m->mem, lb->block) : 0;
	uint64_t page = off / PAGE_BYTES;

	if (indexed && pages)
		stream_source_note(l->index, block, page, pages, src_offset(in));
	else if (indexed)
		stream_source_note_zero(l->index, block, page);
	if (src_skip(in, pages * PAGE_BYTES) < 0)
		return ram_load_say_ended(in, "a page", err);
	return 0;
}

/* What is in the stream is not the page itself. */
static int refuse_coded(const struct load_block *lb, uint64_t off, const char *how, struct err *err)
{
	return err_set(err, ENOTSUP,
		       "the page at offset 0x%" PRIx64
		       " of RAM block '%s' is %s: such a guest cannot be loaded lazily",
		       off, lb->name, how);
}

/* ---- pages ---- */

/* What a placer returned, in words. */
static int err_not_placed(const struct load_block *lb, uint64_t off, int ret, struct err *err)
{
	if (ret == 0)
		return 0;
	return err_set(err, -ret,
		       "cannot put the page at offset 0x%" PRIx64
		       " of RAM block '%s' into memory: %s",
		       off, lb->name, err_text(-ret));
}

/* The block that a page record is about; NULL with *err set. */
static struct load_block *page_block(struct ram_load *l, struct src *in, uint64_t off, bool again,
				     struct err *err)
{
	char name[256];
	int ret;

	if (again && !l->last) {
		(void)err_set(err, EINVAL,
			      "the first RAM page at stream offset 0x%" PRIx64
			      " refers to a block named before",
			      src_offset(in));
		return NULL;
	}
	if (!again) {
		ret = src_str8(in, name);
		if (ret == -EIO) {
			(void)ram_load_say_ended(in, "a RAM page's block name", err);
			return NULL;
		}
		l->last = ret < 0 ? NULL : ram_load_find(l, name);
		if (!l->last) {
			(void)err_set(err, EINVAL, "unknown RAM block '%s'", ret < 0 ? "?" : name);
			return NULL;
		}
	}
	if (ram_load_ignores(l, l->last)) {
		(void)err_set(err, EINVAL,
			      "a page of RAM block '%s' came, which both ends share and the "
			      "source should have left out",
			      l->last->name);
		return NULL;
	}
	if (off >= l->last->bytes) {
		(void)err_set(err, EINVAL,
			      "page offset 0x%" PRIx64 " is beyond RAM block '%s' of 0x%" PRIx64
			      " bytes",
			      off, l->last->name, l->last->bytes);
		return NULL;
	}
	return l->last;
}

/* One page's place; NULL: it is dropped.  Where there may be no room for it, it is there already.
 */
static int begin_page(const struct ram_load *l, struct load_block *lb, uint64_t off, uint8_t **to,
		      struct err *err)
{
	bool fresh = false;

	*to = l->placer->begin(lb, off, 1, &fresh);
	return fresh && lb->block->scarce ? placer_make_room(lb, off, PAGE_BYTES, err) : 0;
}

/* Reading into guest memory failed: for want of a page, or of bytes? */
static int say_not_read(const struct load_block *lb, int ret, struct src *in, const char *what,
			struct err *err)
{
	if (ret == -EFAULT && lb->block && lb->block->scarce)
		return room_say_none(lb->block, err);
	return ram_load_say_ended(in, what, err);
}

/* A zero page; or one that is full of another byte. */
static int load_zero(const struct ram_load *l, struct load_block *lb, struct src *in, uint64_t off,
		     struct err *err)
{
	uint8_t fill, *to;
	int ret;

	if (src_u8(in, &fill) < 0)
		return ram_load_say_ended(in, "a zero page", err);
	if (stays_there(l, lb))
		return fill ? refuse_coded(lb, off, "one byte, repeated", err)
			    : note_pages(l, lb, in, off, 0, err);
	if (!fill)
		return err_not_placed(lb, off, l->placer->zero(lb, off), err);
	ret = begin_page(l, lb, off, &to, err);
	if (ret < 0 || !to)
		return ret;
	memset(to, fill, PAGE_BYTES);
	return err_not_placed(lb, off, l->placer->commit(lb, off, 1), err);
}

/*
 * How many pages from this one on may be read in one go: more than 1 when many
 * have come in a row, and nothing has been loaded into those yet.
 */
static size_t pages_ahead(const struct ram_load *l, const struct load_block *lb,
			  const struct src *in, uint64_t off)
{
	uint64_t first = off / PAGE_BYTES + 1, end;

	if (!in->scatter || in->len - in->at >= PAGE_BYTES || l->row_pages < ROW_PAGES ||
	    !lb->touched || l->multifd || l->placer != &placer_copy)
		return 1;
	end = MIN(first + MIN(l->row_pages, DIRECT_PAGES - 1), lb->bytes / PAGE_BYTES);
	return (size_t)(bitmap_next_set(lb->touched, end, first) - first) + 1;
}

static int load_page_here(uint8_t *to, struct src *in)
{
	const uint8_t *from = src_take(in, PAGE_BYTES);

	if (!from)
		return -EIO;
	if (to)
		memcpy(to, from, PAGE_BYTES);
	return 0;
}

/* Pages in a row, read together with the words that are expected before them. */
static int load_pages_ahead(const struct ram_load *l, struct load_block *lb, struct src *in,
			    uint64_t off, uint8_t *to, size_t ahead, size_t *done)
{
	int ret = direct_read(in, to, ahead, (off + PAGE_BYTES) | RAM_FLAG_PAGE | RAM_FLAG_CONTINUE,
			      done);

	if (ret == 0 && *done > 1)
		(void)l->placer->begin(lb, off + PAGE_BYTES, *done - 1, NULL);
	return ret;
}

static int load_page(struct ram_load *l, struct load_block *lb, struct src *in, uint64_t off,
		     struct err *err)
{
	size_t done = 1, ahead;
	uint8_t *to;
	int ret;

	if (stays_there(l, lb))
		return note_pages(l, lb, in, off, 1, err);
	if (lb != l->row_block || off != l->row_next)
		l->row_pages = 0;
	ahead = pages_ahead(l, lb, in, off);
	ret = begin_page(l, lb, off, &to, err);
	if (ret < 0)
		return ret;
	ret =
	    ahead > 1 ? load_pages_ahead(l, lb, in, off, to, ahead, &done) : load_page_here(to, in);
	if (ret < 0)
		return say_not_read(lb, ret, in, "a page", err);
	l->row_block = lb;
	l->row_next = off + done * PAGE_BYTES;
	l->row_pages += done;
	return err_not_placed(lb, off, l->placer->commit(lb, off, done), err);
}

/* Many consecutive pages. */
static int load_run(const struct ram_load *l, struct load_block *lb, struct src *in, uint64_t off,
		    struct err *err)
{
	uint64_t bytes;
	uint32_t pages;
	bool fresh = false;
	uint8_t *to;
	int ret;

	if (src_be32(in, &pages) < 0)
		return ram_load_say_ended(in, "a run of pages", err);
	bytes = pages * (uint64_t)PAGE_BYTES;
	if (!pages || bytes > lb->bytes - off)
		return err_set(err, EINVAL,
			       "a run of %u pages from offset 0x%" PRIx64
			       " on does not fit RAM block '%s' of 0x%" PRIx64 " bytes",
			       pages, off, lb->name, lb->bytes);
	if (stays_there(l, lb))
		return note_pages(l, lb, in, off, pages, err);
	to = l->placer->begin(lb, off, pages, &fresh);
	if (!to)
		return src_skip(in, bytes) < 0 ? ram_load_say_ended(in, "a run of pages", err) : 0;
	ret = fresh ? placer_make_room(lb, off, bytes, err) : 0;
	if (ret < 0)
		return ret;
	ret = direct_get(in, to, bytes);
	if (ret < 0)
		return say_not_read(lb, ret, in, "a run of pages", err);
	return err_not_placed(lb, off, l->placer->commit(lb, off, pages), err);
}

static int load_xbzrle(const struct ram_load *l, struct load_block *lb, struct src *in,
		       uint64_t off, struct err *err)
{
	const uint8_t *delta;
	uint8_t encoding, *to;
	uint16_t n;
	int ret;

	if (stays_there(l, lb))
		return refuse_coded(lb, off, "an XBZRLE delta", err);
	if (src_u8(in, &encoding) < 0 || src_be16(in, &n) < 0)
		return ram_load_say_ended(in, "an XBZRLE page", err);
	if (encoding != XBZRLE_ENCODING)
		return err_set(err, EINVAL, "an XBZRLE page has the unknown encoding %u", encoding);
	if (n > PAGE_BYTES)
		return err_set(err, EINVAL, "an XBZRLE page has %u bytes, more than a page", n);
	delta = src_take(in, n);
	if (!delta)
		return ram_load_say_ended(in, "an XBZRLE page", err);
	ret = begin_page(l, lb, off, &to, err);
	if (ret < 0)
		return ret;
	if (to && xbzrle_decode(delta, n, to, PAGE_BYTES) < 0)
		return err_set(err, EINVAL,
			       "the XBZRLE page at offset 0x%" PRIx64
			       " of RAM block '%s' is no delta",
			       off, lb->name);
	return err_not_placed(lb, off, l->placer->commit(lb, off, 1), err);
}

/* Inflated by another thread into guest memory: never with a placer that commits. */
static int load_compressed(struct ram_load *l, struct load_block *lb, struct src *in, uint64_t off,
			   struct err *err)
{
	const uint8_t *packed;
	uint8_t *to;
	uint32_t n;
	int ret;

	if (stays_there(l, lb))
		return refuse_coded(lb, off, "compressed", err);
	if (src_be32(in, &n) < 0)
		return ram_load_say_ended(in, "a compressed page", err);
	if (n == 0 || n > decompress_max_bytes())
		return err_set(err, EINVAL, "a compressed page has %u bytes, 1 to %zu are possible",
			       n, decompress_max_bytes());
	packed = src_take(in, n);
	if (!packed)
		return ram_load_say_ended(in, "a compressed page", err);
	ret = begin_page(l, lb, off, &to, err);
	if (ret < 0 || !to)
		return ret;
	return decompress_page(l->unpack, &(struct page){.block = lb->block, .off = off}, packed, n,
			       err);
}

static int refuse_flags(uint64_t flags, uint64_t at, struct err *err)
{
	static const struct {
		uint64_t flag;
		const char *what;
	} known[] = {
	    {RAM_FLAG_COMPRESS,      "an unexpected compressed page: switch 'compress' on here, too"},
	    {RAM_FLAG_HOOK,          "an RDMA record"					       },
	    {RAM_FLAG_MULTIFD_FLUSH, "a multifd flush: 'multifd' must be the same on both sides"    },
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if ((flags & ~(uint64_t)RAM_FLAG_CONTINUE) == known[i].flag)
			return err_set(err, EINVAL,
				       "Received %s (RAM record at stream offset 0x%" PRIx64 ")",
				       known[i].what, at);
	return err_set(err, EINVAL,
		       "unknown combination of flags 0x%" PRIx64
		       " in the RAM record at stream offset 0x%" PRIx64,
		       flags, at);
}

/* A page that is still being unpacked must not come out later than what follows it. */
static int await_page(struct ram_load *l, const struct load_block *lb, uint64_t off, bool run,
		      struct err *err)
{
	struct page p = {.block = lb->block, .off = off};

	return l->unpack && lb->block ? decompress_sync(l->unpack, run ? NULL : &p, err) : 0;
}

static int load_page_record(struct ram_load *l, struct load_block *lb, struct src *in,
			    uint64_t word, struct err *err)
{
	uint64_t off = word & ~FLAG_MASK;

	switch (word & FLAG_MASK & ~(uint64_t)RAM_FLAG_CONTINUE) {
	case RAM_FLAG_ZERO:
		return load_zero(l, lb, in, off, err);
	case RAM_FLAG_PAGE:
		return load_page(l, lb, in, off, err);
	case RAM_FLAG_XBZRLE:
		return load_xbzrle(l, lb, in, off, err);
	case RAM_FLAG_RUN:
		return load_run(l, lb, in, off, err);
	default:
		return load_compressed(l, lb, in, off, err);
	}
}

/*
 * All pages up to here, in the stream and on the channels, are placed before any that follows.  A
 * source that says so by this word does it in its first body already.
 */
static int load_flush(struct ram_load *l, uint64_t word, uint64_t at, struct err *err)
{
	if (!l->multifd || word != RAM_FLAG_MULTIFD_FLUSH)
		return refuse_flags(word & FLAG_MASK, at, err);
	if (l->flush == FLUSH_SECTION)
		return err_set(err, EINVAL,
			       "Received a multifd flush at stream offset 0x%" PRIx64
			       ", and the source had begun without: it would have to flush after "
			       "each section",
			       at);
	if (l->flush == FLUSH_UNKNOWN)
		multifd_recv_expect(l->multifd);
	l->flush = FLUSH_PASS;
	return multifd_recv_sync(l->multifd, l, err);
}

static int load_record(struct ram_load *l, struct src *in, uint64_t word, uint64_t at,
		       struct err *err)
{
	uint64_t off = word & ~FLAG_MASK, flags = word & FLAG_MASK;
	bool again = flags & RAM_FLAG_CONTINUE, run = (flags & RAM_FLAG_RUN) == RAM_FLAG_RUN;
	struct load_block *lb;
	int ret;

	if (l->mapped && flags != RAM_FLAG_MEM_SIZE)
		return err_set(err, EINVAL,
			       "Received a page among the records, but with mapped-ram all pages "
			       "have places of their own (RAM record at stream offset 0x%" PRIx64
			       ")",
			       at);
	switch (flags & ~(uint64_t)RAM_FLAG_CONTINUE) {
	case RAM_FLAG_MULTIFD_FLUSH:
		return load_flush(l, word, at, err);
	case RAM_FLAG_MEM_SIZE:
		return again ? refuse_flags(flags, at, err) : ram_load_list(l, in, off, err);
	case RAM_FLAG_ZERO:
	case RAM_FLAG_PAGE:
	case RAM_FLAG_XBZRLE:
		break;
	case RAM_FLAG_COMPRESS:
		if (!l->unpack)
			return refuse_flags(flags, at, err);
		break;
	case RAM_FLAG_RUN:
		if (!l->take_runs)
			return refuse_flags(flags, at, err);
		if (l->multifd && multifd_recv_used(l->multifd))
			return err_set(
			    err, EINVAL,
			    "Received a run of pages beside multifd channels: a source sends "
			    "one or the other (RAM record at stream offset 0x%" PRIx64 ")",
			    at);
		break;
	default:
		return refuse_flags(flags, at, err);
	}
	lb = page_block(l, in, off, again, err);
	ret = lb ? await_page(l, lb, off, run, err) : -EINVAL;
	return ret < 0 ? ret : load_page_record(l, lb, in, word, err);
}

int ram_load_sync(struct ram_load *l, struct err *err)
{
	int ret = l->unpack ? decompress_sync(l->unpack, NULL, err) : 0;

	if (ret < 0 || !l->multifd)
		return ret;
	if (l->flush == FLUSH_UNKNOWN)
		l->flush = FLUSH_SECTION;
	return l->flush == FLUSH_SECTION ? multifd_recv_sync(l->multifd, l, err) : 0;
}

/* ---- bodies ---- */

/* Where the body that begins at 'start' ends, if nothing of it is needed; 0: it has to be read. */
static uint64_t end_of_late(const struct ram_load *l, uint64_t start)
{
	return l->lazy && l->listed && !l->n_now ? stream_source_body_end(l->index, start) : 0;
}

bool ram_load_passes(const struct ram_load *l)
{
	return l->listed && (l->checks || (l->lazy && !l->n_now));
}

int ram_load_pass(struct src *in, uint64_t end, struct err *err)
{
	uint64_t bytes = end - src_offset(in);

	if (in->seek && bytes > in->len - in->at)
		src_seek(in, end);
	else if (src_skip(in, bytes) < 0)
		return ram_load_say_ended(in, "a RAM record", err);
	return 0;
}

/* 'listed': the list of blocks had ended in front of it. */
static int end_noted(struct ram_load *l, struct src *in, uint64_t start, bool listed,
		     struct err *err)
{
	int ret = ram_load_sync(l, err);

	if (ret == 0 && l->notes && listed)
		ret = stream_source_note_body(l->index, start, src_offset(in), err);
	return ret;
}

int ram_load_body(struct ram_load *l, struct src *in, struct err *err)
{
	uint64_t start = src_offset(in), end = end_of_late(l, start);
	bool listed = l->listed;

	if (end)
		return ram_load_pass(in, end, err);
	for (;;) {
		uint64_t at = src_offset(in), word;
		int ret;

		if (src_be64(in, &word) < 0)
			return ram_load_say_ended(in, "a RAM record", err);
		if ((word & FLAG_MASK) == RAM_FLAG_EOS)
			return end_noted(l, in, start, listed, err);
		ret = load_record(l, in, word, at, err);
		if (ret < 0)
			return ret;
	}
}
