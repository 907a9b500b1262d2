/*
 * stream-source.h - an ordinary stream as a source of pages: by an index of where each one is
 *
 * The loader reads the stream once as always, devices and all, and instead of
 * putting a page into memory it notes the page's position (ram_load_index()).  Afterwards pages are
 * read at any time and in any order by a pread-like function, as that of a snapshot in a
 * qcow2 image.  A page that comes twice counts as the last one does.
 *
 * The index can be written and read (stream_index_put, _get), so that a saver may keep it: then
 * the stream in front of its device sections need not be looked at.
 */
#ifndef MINIVMM_MIGRATION_RAM_LAZY_STREAM_SOURCE_H
#define MINIVMM_MIGRATION_RAM_LAZY_STREAM_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "migration/ram/lazy/source.h"

struct buf;
struct err;
struct memory;

struct stream_access {
	/* All n bytes from 'pos' of the stream on; several threads at a time.  0 or -errno. */
	int (*read)(void *opaque, void *buf, size_t n, uint64_t pos, struct err *err);
	void (*close)(void *opaque); /* NULL: nothing to do */
	void *opaque;
	const char *name;                       /* borrowed; for messages */
	const char *notes_path;                 /* borrowed; NULL: no working set */
	uint8_t identity[PAGE_SOURCE_IDENTITY]; /* of the saved guest */
};

/* For a guest with these blocks; nothing is known to be in the stream yet.  NULL: no memory. */
struct page_source *stream_source_new(const struct stream_access *access, const struct memory *mem);

/* ---- while the index is made: one thread, before anything is read ---- */

/* The content of 'n' pages lies at 'pos' and behind it without gaps. */
void stream_source_note(struct page_source *s, size_t block, uint64_t page, uint64_t n,
			uint64_t pos);
void stream_source_note_zero(struct page_source *s, size_t block, uint64_t page);

/*
 * A part of the stream from 'start' to 'end' has pages and nothing else: behind the one before.
 * -ENOMEM.
 */
int stream_source_note_body(struct page_source *s, uint64_t start, uint64_t end, struct err *err);

/* ---- and after it ---- */

/* How long the block was when the source was made. */
uint64_t stream_source_bytes(const struct page_source *s, size_t block);
/* Where the part ends that begins there; 0: none does. */
uint64_t stream_source_body_end(const struct page_source *s, uint64_t start);

/* One bit a page: it has content.  Owned; NULL: no memory. */
uint64_t *stream_source_comes(const struct page_source *s, size_t block);

/*
 * All of it as bytes, and from such bytes:
 *
 *     for each block: number of runs (be32), then for each: first page, pages (be32, be32),
 *     position of the first one's content (be64), bytes from one page's to the next one's (be32)
 *
 * A run that is not in order, beyond its block, or whose content does not end in front of
 * stream_bytes is refused with a sentence; what was noted before is anything then.
 */
void stream_index_put(const struct page_source *s, struct buf *out);
int stream_index_get(struct page_source *s, const uint8_t *p, size_t n, uint64_t stream_bytes,
		     struct err *err);

#endif
