/*
 * page-index.h - where in a saved stream the content of each page is
 *
 * A saver notes the position of every page that it writes, and puts the index behind the end of
 * the stream (docs/snapshots.md): whoever loads it reads the last bytes first, and need not look
 * at the pages.  QEMU does not read that far.
 *
 *     stream         to the end of its description
 *     index          "mvmpages", then for each RAM block:
 *                      name              u8 length, bytes
 *                      pages, extents    be32, be32
 *                        first, pages    be32, be32; ascending, apart, within the block
 *                        place           be64: the lower 48 bits are the position of the first
 *                                        page's content in the stream, all ones: the pages are
 *                                        zero; the upper 16 are the bytes between the content
 *                                        of one page and that of the next
 *     trailer        PAGE_INDEX_TRAILER bytes, the last of the VM state:
 *                      version, flags    be32 (1), be32
 *                      bytes             be64, be64: of the stream, of the index
 *                      start, end        be64, be64: a part of the stream that is nothing but
 *                                        whole records of pages; all pages are in it
 *                      identity          32 bytes, random: of this stream
 *                      parent            32 bytes: identity of the stream whose pages hold where
 *                                        this one has none; zero: they are zero
 *                      content           be64: pages that are not zero
 *                      blocks, 0         be32, be32
 *                      xxh64             be64 of the index, be64 of the trailer so far
 *                      "mvmtrail"
 *
 * One thread at a time while it is made or read; constant after that.
 */
#ifndef MINIVMM_MIGRATION_RAM_LAZY_PAGE_INDEX_H
#define MINIVMM_MIGRATION_RAM_LAZY_PAGE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/units.h"
#include "vmm/memory/memory.h"

struct buf;
struct err;

#define PAGE_INDEX_TRAILER     144U
#define PAGE_INDEX_IDENTITY    32U
#define PAGE_INDEX_MAX_BYTES   0x1000000UL /* of an index that is read */
#define PAGE_INDEX_MAX_EXTENTS 0x20000UL   /* that a saver keeps: 2 MiB */
#define PAGE_INDEX_LAYER       1U          /* flag: there is a parent */

/* Pages in a row whose contents lie at equal distances in the stream. */
struct page_extent {
	uint32_t first, pages;
	uint64_t place;
};

#define PAGE_EXTENT_ZERO ((UINT64_C(1) << 48) - 1)

static inline bool page_extent_is_zero(const struct page_extent *e)
{
	return (e->place & PAGE_EXTENT_ZERO) == PAGE_EXTENT_ZERO;
}

/* From one page's content to the next one's. */
static inline uint64_t page_extent_stride(const struct page_extent *e)
{
	return PAGE_BYTES + (e->place >> 48);
}

/* Where the content of a page of it lies.  Not of zero pages. */
static inline uint64_t page_extent_pos(const struct page_extent *e, uint64_t page)
{
	return (e->place & PAGE_EXTENT_ZERO) + (page - e->first) * page_extent_stride(e);
}

struct page_index_block {
	char name[RAM_NAME_BYTES];
	uint64_t pages;
	struct page_extent *v; /* owned; in order, but while it is being made */
	size_t n, cap;
};

struct page_index {
	uint8_t identity[PAGE_INDEX_IDENTITY], parent[PAGE_INDEX_IDENTITY];
	bool layer;            /* pages without an extent are the parent's, not zero */
	uint64_t stream_bytes; /* in front of the index */
	uint64_t start, end;   /* of the part that is records of pages */
	uint64_t content;      /* pages that are not zero */
	struct page_index_block blocks[MEMORY_MAX_BLOCKS];
	size_t n;
	/* while it is made */
	size_t extents, max_extents;
	size_t last; /* the block of the last page */
	bool lost;   /* there were too many, or no memory: there is no index */
};

/* ---- made by a saver ---- */

/* Of a guest with these blocks, empty, with an identity of its own.  Returns owned. */
struct page_index *page_index_new(const struct memory *mem);
void page_index_free(struct page_index *ix); /* NULL is fine */

/* The content of 'n' pages is written at 'pos', without gaps.  'block': its number in the memory.
 */
void page_index_add(struct page_index *ix, size_t block, uint64_t page, uint64_t n, uint64_t pos);
/* A zero page; only noted where there is a parent. */
void page_index_add_zero(struct page_index *ix, size_t block, uint64_t page);
/* A record of pages begins, one ends there. */
void page_index_begin_record(struct page_index *ix, uint64_t pos);
void page_index_end_record(struct page_index *ix, uint64_t pos);

/*
 * All pages are noted and the stream has that many bytes: put the extents in order.  0; -ENOSPC:
 * they were too many; -EINVAL: a page came twice.  There is no index then.
 */
int page_index_complete(struct page_index *ix, uint64_t stream_bytes);
/* Index and trailer, piece by piece.  'put': 0 or -errno, which is returned. */
int page_index_write(const struct page_index *ix, int (*put)(void *opaque, const void *p, size_t n),
		     void *opaque);

/* ---- read ---- */

struct page_index_file {
	int (*read)(void *opaque, void *buf, size_t n, uint64_t pos, struct err *err);
	void *opaque;
	uint64_t bytes; /* of stream, index and trailer */
};

/*
 * The index at the end of that.  0: *ix is it, owned; -ENOENT: there is none; -EINVAL with a
 * sentence: it is damaged; or the errno of a failed read.
 */
int page_index_read(struct page_index **ix, const struct page_index_file *f, struct err *err);

/*
 * Pages that this one, which has a parent, has not are those of 'below', which is the parent. The
 * stream of that counts as lying 'base' bytes behind the beginning of this one's. 0, or -errno with
 * a sentence: *ix is anything then. (page-index-layer.c)
 */
int page_index_put_under(struct page_index *ix, const struct page_index *below, uint64_t base,
			 struct err *err);
/* Only the identity, by the trailer alone.  0 or -errno. */
int page_index_identity(const struct page_index_file *f, uint8_t identity[PAGE_INDEX_IDENTITY]);

/* The number of that block; -1: none. */
int page_index_find_block(const struct page_index *ix, const char *name);
/* The extent that has the page; NULL: none has, and *next is the first page behind it that one
 * has, or the block's end.  'next' may be NULL. */
const struct page_extent *page_index_at(const struct page_index *ix, size_t block, uint64_t page,
					uint64_t *next);

#endif
