/*
 * load.c - the receiving side of RAM: records into guest memory
 *
 * Blocks that exist here must have the length that the source says.  QEMU
 * also sends the fw_cfg blobs that carry ACPI tables ("/rom@etc/..."); a
 * guest that runs has read them long ago, and after a reset our own are used,
 * so those are read and dropped.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migration/ram/encode/compress.h"
#include "migration/ram/encode/page-pool.h"
#include "migration/ram/encode/xbzrle-codec.h"
#include "migration/ram/load-direct.h"
#include "migration/ram/multifd/multifd.h"
#include "migration/ram/ram.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/units.h"
#include "vmm/base/zero.h"
#include "vmm/machine.h"
#include "vmm/memory/populated.h"
#include "vmm/memory/room.h"

#define FLAG_MASK      ((uint64_t)PAGE_BYTES - 1)
#define BLOB_MAX_BYTES (2 * MiB) /* what QEMU lets these grow to */
#define ROW_PAGES      8U        /* plain pages in a row, before more of them are expected */

static const char *const dropped_names[] = {
    "/rom@etc/acpi/tables",
    "/rom@etc/table-loader",
    "/rom@etc/acpi/rsdp",
};

struct load_block {
	char name[RAM_NAME_BYTES];
	struct ram_block *block; /* NULL: content is dropped */
	uint64_t bytes;          /* page offsets are below */
	bool sparse;             /* pages that do not come are zero */
	uint64_t *touched; /* owned; a clear bit: the page is zero and must stay unpopulated */
};

struct ram_load {
	struct machine *m;
	struct load_block blocks[MEMORY_MAX_BLOCKS + ARRAY_LEN(dropped_names)];
	size_t n_blocks;
	bool ignore_shared, take_runs;
	bool listed;                        /* the list of blocks has begun */
	struct load_block *last;            /* named by the last page record */
	const struct load_block *row_block; /* where the last plain page came in ... */
	uint64_t row_next;                  /* ... what would follow it ... */
	uint64_t row_pages;                 /* ... and how many came in a row up to it */
	struct page_pool *unpack;           /* owned; NULL: COMPRESS records are refused */
	struct multifd_recv *multifd;       /* borrowed; NULL: all pages are in the stream */
};

struct ram_load *ram_load_new(struct machine *m)
{
	struct ram_load *l = NEW(struct ram_load);

	l->m = m;
	for (size_t i = 0; i < m->mem.n_blocks; i++) {
		struct ram_block *b = m->mem.blocks[i];
		struct load_block *lb = &l->blocks[l->n_blocks++];

		memcpy(lb->name, b->name, sizeof(lb->name));
		lb->block = b;
		lb->bytes = b->bytes;
	}
	for (size_t i = 0; i < ARRAY_LEN(dropped_names); i++)
		(void)snprintf(l->blocks[l->n_blocks++].name, RAM_NAME_BYTES, "%s",
			       dropped_names[i]);
	return l;
}

void ram_load_free(struct ram_load *l)
{
	if (!l)
		return;
	page_pool_free(l->unpack);
	for (size_t i = 0; i < l->n_blocks; i++)
		free(l->blocks[i].touched);
	free(l);
}

int ram_load_compressed(struct ram_load *l, unsigned threads, struct err *err)
{
	l->unpack = decompress_new(threads, err);
	return l->unpack ? 0 : -ENOMEM;
}

void ram_load_ignore_shared(struct ram_load *l)
{
	l->ignore_shared = true;
}

int ram_load_sparse(struct ram_load *l, const struct ram_block *b, struct err *err)
{
	if (l->listed)
		return err_set(err, EBUSY, "it comes after the list of RAM blocks");
	for (size_t i = 0; i < l->n_blocks; i++)
		if (l->blocks[i].block == b)
			l->blocks[i].sparse = true;
	return 0;
}

void ram_load_take_runs(struct ram_load *l)
{
	l->take_runs = true;
}

static bool ignored(const struct ram_load *l, const struct load_block *lb)
{
	return l->ignore_shared && lb->block && lb->block->share;
}

static struct load_block *find(struct ram_load *l, const char *name)
{
	for (size_t i = 0; i < l->n_blocks; i++)
		if (!strcmp(l->blocks[i].name, name))
			return &l->blocks[i];
	return NULL;
}

static int say_ended(struct src *in, const char *what, struct err *err)
{
	return err_set(err, EIO, "the stream ends at offset 0x%" PRIx64 " in %s", src_offset(in),
		       what);
}

/* ---- the block list ---- */

static int check_length(struct load_block *lb, uint64_t bytes, struct err *err)
{
	if (lb->block && bytes != lb->bytes)
		return err_set(err, EINVAL,
			       "RAM block '%s' has 0x%" PRIx64 " bytes at the source and 0x%" PRIx64
			       " here",
			       lb->name, bytes, lb->bytes);
	if (!lb->block && bytes > BLOB_MAX_BYTES)
		return err_set(err, EINVAL,
			       "RAM block '%s' has 0x%" PRIx64
			       " bytes at the source, at most 0x%llx are possible",
			       lb->name, bytes, BLOB_MAX_BYTES);
	lb->bytes = bytes;
	return 0;
}

/* Where the source's guest sees the block; it matters for one that both ends share. */
static int load_place(const struct ram_load *l, const struct load_block *lb, struct src *in,
		      struct err *err)
{
	uint64_t gpa;

	if (!l->ignore_shared)
		return 0;
	if (src_be64(in, &gpa) < 0)
		return say_ended(in, "the list of RAM blocks", err);
	if (ignored(l, lb) && gpa != lb->block->gpa)
		return err_set(err, EINVAL,
			       "RAM block '%s' is at 0x%" PRIx64 " at the source and at 0x%" PRIx64
			       " here",
			       lb->name, gpa, lb->block->gpa);
	return 0;
}

/* Memory may hold firmware, or what an attempt that failed has left. */
static void clear_touched(const struct load_block *lb)
{
	bitmap_for_each_set (page, lb->touched, lb->bytes / PAGE_BYTES) {
		uint8_t *p = lb->block->hva + page * PAGE_BYTES;

		if (!buffer_is_zero(p, PAGE_BYTES))
			memset(p, 0, PAGE_BYTES);
	}
}

static int load_list_entry(struct ram_load *l, struct src *in, uint64_t *left, struct err *err)
{
	struct load_block *lb;
	char name[256];
	uint64_t bytes;
	int ret = src_str8(in, name);

	if (ret == -EINVAL)
		return err_set(err, EINVAL, "the name of a RAM block contains a NUL byte");
	if (ret < 0 || src_be64(in, &bytes) < 0)
		return say_ended(in, "the list of RAM blocks", err);
	lb = find(l, name);
	if (!lb)
		return err_set(err, EINVAL, "unknown RAM block '%s'", name);
	ret = check_length(lb, bytes, err);
	if (ret < 0)
		return ret;
	if (bytes > *left || bytes == 0)
		return err_set(err, EINVAL,
			       "RAM block '%s' has 0x%" PRIx64 " bytes, of the total 0x%" PRIx64
			       " are left",
			       name, bytes, *left);
	*left -= bytes;
	ret = load_place(l, lb, in, err);
	if (ret < 0)
		return ret;
	if (lb->block && !lb->touched && !ignored(l, lb)) {
		lb->touched = bitmap_new(bytes / PAGE_BYTES);
		if (!lb->touched)
			return err_set(err, ENOMEM, "no memory for the bitmap of '%s'", name);
		ram_populated(lb->block, lb->touched);
		if (lb->sparse)
			clear_touched(lb);
	}
	return 0;
}

static int load_list(struct ram_load *l, struct src *in, uint64_t total, struct err *err)
{
	l->listed = true;
	while (total > 0) {
		int ret = load_list_entry(l, in, &total, err);

		if (ret < 0)
			return ret;
	}
	return 0;
}

/* ---- pages ---- */

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
			(void)say_ended(in, "a RAM page's block name", err);
			return NULL;
		}
		l->last = ret < 0 ? NULL : find(l, name);
		if (!l->last) {
			(void)err_set(err, EINVAL, "unknown RAM block '%s'", ret < 0 ? "?" : name);
			return NULL;
		}
	}
	if (ignored(l, l->last)) {
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

static bool is_fresh(const struct load_block *lb, uint64_t off)
{
	return lb->touched && !bitmap_test_atomic(lb->touched, off / PAGE_BYTES);
}

/* The page's place, marked as touched; NULL: drop it. */
static uint8_t *mark_page(struct load_block *lb, uint64_t off)
{
	if (!lb->block)
		return NULL;
	if (lb->touched) /* multifd channels do so at the same time */
		bitmap_set_atomic(lb->touched, off / PAGE_BYTES);
	return lb->block->hva + off;
}

/* The same, and the page can be written: where there may be no room for it, it is there already. */
static int place(struct load_block *lb, uint64_t off, uint8_t **to, struct err *err)
{
	int ret = 0;

	if (lb->block && lb->block->scarce && is_fresh(lb, off))
		ret = room_populate(lb->block, off, PAGE_BYTES, err);
	if (ret == 0)
		*to = mark_page(lb, off);
	return ret;
}

static int fill_page(struct load_block *lb, uint64_t off, uint8_t fill, struct err *err)
{
	uint8_t *to;
	int ret;

	if (!fill && is_fresh(lb, off))
		return 0; /* is zero, and stays unpopulated */
	ret = place(lb, off, &to, err);
	if (ret == 0 && to && (fill || !buffer_is_zero(to, PAGE_BYTES)))
		memset(to, fill, PAGE_BYTES);
	return ret;
}

static int load_zero(struct load_block *lb, struct src *in, uint64_t off, struct err *err)
{
	uint8_t fill;

	if (src_u8(in, &fill) < 0)
		return say_ended(in, "a zero page", err);
	return fill_page(lb, off, fill, err);
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
	    !lb->touched || l->multifd)
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

/* Reading into guest memory failed: for want of a page, or of bytes? */
static int say_not_read(const struct load_block *lb, int ret, struct src *in, const char *what,
			struct err *err)
{
	if (ret == -EFAULT && lb->block && lb->block->scarce)
		return room_say_none(lb->block, err);
	return say_ended(in, what, err);
}

static int load_page(struct ram_load *l, struct load_block *lb, struct src *in, uint64_t off,
		     struct err *err)
{
	size_t done = 1, ahead;
	uint8_t *to;
	int ret;

	if (lb != l->row_block || off != l->row_next)
		l->row_pages = 0;
	ret = place(lb, off, &to, err);
	if (ret < 0)
		return ret;
	ahead = pages_ahead(l, lb, in, off);
	if (ahead > 1)
		ret = direct_read(in, to, ahead,
				  (off + PAGE_BYTES) | RAM_FLAG_PAGE | RAM_FLAG_CONTINUE, &done);
	else
		ret = load_page_here(to, in);
	if (ret < 0)
		return say_not_read(lb, ret, in, "a page", err);
	for (size_t i = 1; i < done; i++)
		(void)mark_page(lb, off + i * PAGE_BYTES);
	l->row_block = lb;
	l->row_next = off + done * PAGE_BYTES;
	l->row_pages += done;
	return 0;
}

/* As mark_page(), for pages of a block that is here: was any of them untouched? */
static bool place_run(struct load_block *lb, uint64_t first, uint32_t pages)
{
	uint64_t end = first + pages;

	if (!lb->touched || bitmap_next_clear(lb->touched, end, first) == end)
		return false;
	bitmap_set_range(lb->touched, first, pages); /* no channels beside the stream: no atomics */
	return true;
}

/*
 * All at once: one by one, while they are written to, takes longer.  Where pages
 * are not scarce that is no failure, and then it is one by one.
 */
static int populate_run(const struct load_block *lb, uint64_t off, uint64_t bytes, struct err *err)
{
	int ret = room_populate(lb->block, off, bytes, lb->block->scarce ? err : NULL);

	return lb->block->scarce ? ret : 0;
}

/* Many consecutive pages. */
static int load_run(struct load_block *lb, struct src *in, uint64_t off, struct err *err)
{
	uint64_t bytes;
	uint32_t pages;
	int ret;

	if (src_be32(in, &pages) < 0)
		return say_ended(in, "a run of pages", err);
	bytes = pages * (uint64_t)PAGE_BYTES;
	if (!pages || bytes > lb->bytes - off)
		return err_set(err, EINVAL,
			       "a run of %u pages from offset 0x%" PRIx64
			       " on does not fit RAM block '%s' of 0x%" PRIx64 " bytes",
			       pages, off, lb->name, lb->bytes);
	if (!lb->block)
		return src_skip(in, bytes) < 0 ? say_ended(in, "a run of pages", err) : 0;
	ret = place_run(lb, off / PAGE_BYTES, pages) ? populate_run(lb, off, bytes, err) : 0;
	if (ret < 0)
		return ret;
	ret = direct_get(in, lb->block->hva + off, bytes);
	return ret < 0 ? say_not_read(lb, ret, in, "a run of pages", err) : 0;
}

static int load_xbzrle(struct load_block *lb, struct src *in, uint64_t off, struct err *err)
{
	const uint8_t *delta;
	uint8_t encoding, *to;
	uint16_t n;
	int ret;

	if (src_u8(in, &encoding) < 0 || src_be16(in, &n) < 0)
		return say_ended(in, "an XBZRLE page", err);
	if (encoding != XBZRLE_ENCODING)
		return err_set(err, EINVAL, "an XBZRLE page has the unknown encoding %u", encoding);
	if (n > PAGE_BYTES)
		return err_set(err, EINVAL, "an XBZRLE page has %u bytes, more than a page", n);
	delta = src_take(in, n);
	if (!delta)
		return say_ended(in, "an XBZRLE page", err);
	ret = place(lb, off, &to, err);
	if (ret < 0)
		return ret;
	if (to && xbzrle_decode(delta, n, to, PAGE_BYTES) < 0)
		return err_set(err, EINVAL,
			       "the XBZRLE page at offset 0x%" PRIx64
			       " of RAM block '%s' is no delta",
			       off, lb->name);
	return 0;
}

static int load_compressed(struct ram_load *l, struct load_block *lb, struct src *in, uint64_t off,
			   struct err *err)
{
	const uint8_t *packed;
	uint8_t *to;
	uint32_t n;
	int ret;

	if (src_be32(in, &n) < 0)
		return say_ended(in, "a compressed page", err);
	if (n == 0 || n > decompress_max_bytes())
		return err_set(err, EINVAL, "a compressed page has %u bytes, 1 to %zu are possible",
			       n, decompress_max_bytes());
	packed = src_take(in, n);
	if (!packed)
		return say_ended(in, "a compressed page", err);
	ret = place(lb, off, &to, err);
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
	    {RAM_FLAG_MULTIFD_FLUSH,
	     "a multifd flush: set multifd-flush-after-each-section=on at the "
	     "source, or switch 'multifd' off"						      },
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

	return l->unpack && lb->block ? decompress_settle(l->unpack, run ? NULL : &p, err) : 0;
}

static int load_page_record(struct ram_load *l, struct load_block *lb, struct src *in,
			    uint64_t word, struct err *err)
{
	uint64_t off = word & ~FLAG_MASK;

	switch (word & FLAG_MASK & ~(uint64_t)RAM_FLAG_CONTINUE) {
	case RAM_FLAG_ZERO:
		return load_zero(lb, in, off, err);
	case RAM_FLAG_PAGE:
		return load_page(l, lb, in, off, err);
	case RAM_FLAG_XBZRLE:
		return load_xbzrle(lb, in, off, err);
	case RAM_FLAG_RUN:
		return load_run(lb, in, off, err);
	default:
		return load_compressed(l, lb, in, off, err);
	}
}

static int load_record(struct ram_load *l, struct src *in, uint64_t word, uint64_t at,
		       struct err *err)
{
	uint64_t off = word & ~FLAG_MASK, flags = word & FLAG_MASK;
	bool again = flags & RAM_FLAG_CONTINUE, run = (flags & RAM_FLAG_RUN) == RAM_FLAG_RUN;
	struct load_block *lb;
	int ret;

	switch (flags & ~(uint64_t)RAM_FLAG_CONTINUE) {
	case RAM_FLAG_MEM_SIZE:
		return again ? refuse_flags(flags, at, err) : load_list(l, in, off, err);
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
		break;
	default:
		return refuse_flags(flags, at, err);
	}
	lb = page_block(l, in, off, again, err);
	ret = lb ? await_page(l, lb, off, run, err) : -EINVAL;
	return ret < 0 ? ret : load_page_record(l, lb, in, word, err);
}

/* What threads are still doing belongs to this body. */
static int end_body(struct ram_load *l, struct err *err)
{
	int ret = l->unpack ? decompress_settle(l->unpack, NULL, err) : 0;

	return ret == 0 && l->multifd ? multifd_recv_sync(l->multifd, l, err) : ret;
}

int ram_load_body(struct ram_load *l, struct src *in, struct err *err)
{
	for (;;) {
		uint64_t at = src_offset(in), word;
		int ret;

		if (src_be64(in, &word) < 0)
			return say_ended(in, "a RAM record", err);
		if ((word & FLAG_MASK) == RAM_FLAG_EOS)
			return end_body(l, err);
		ret = load_record(l, in, word, at, err);
		if (ret < 0)
			return ret;
	}
}

/* ---- for multifd channels ---- */

void ram_load_use(struct ram_load *l, struct multifd_recv *multifd)
{
	l->multifd = multifd;
}

struct load_block *ram_load_find(struct ram_load *l, const char *name)
{
	return find(l, name);
}

int ram_load_place(struct load_block *lb, uint64_t off, uint8_t **to)
{
	bool fresh;

	if (off >= lb->bytes)
		return -EINVAL;
	fresh = is_fresh(lb, off);
	*to = mark_page(lb, off);
	return fresh;
}

int ram_load_populate(const struct load_block *lb, const uint8_t *to, size_t bytes, struct err *err)
{
	return lb->block ? populate_run(lb, (uint64_t)(to - lb->block->hva), bytes, err) : 0;
}

int ram_load_zero(struct load_block *lb, uint64_t off, struct err *err)
{
	if (off >= lb->bytes)
		return -EINVAL;
	return fill_page(lb, off, 0, err);
}
