/*
 * stream-source.h - an ordinary stream as a source of pages: by an index of where each one is
 *
 * The index stands behind the stream (page-index.h).  A stream that has none is read whole once,
 * and the loader notes the position of each page instead of putting it into memory
 * (ram_load_index()).  Afterwards pages are read at any time and in any order by a pread-like
 * function, as that of a snapshot in a qcow2 image.
 */
#ifndef MINIVMM_MIGRATION_RAM_LAZY_STREAM_SOURCE_H
#define MINIVMM_MIGRATION_RAM_LAZY_STREAM_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "migration/ram/lazy/source.h"

struct err;
struct memory;
struct page_index;

struct stream_access {
	/* All n bytes from 'pos' of the stream on; several threads at a time.  0 or -errno. */
	int (*read)(void *opaque, void *buf, size_t n, uint64_t pos, struct err *err);
	void (*close)(void *opaque); /* NULL: nothing to do */
	void *opaque;
	const char *name; /* borrowed; for messages */
	const char
	    *notes_path; /* borrowed; NULL: no working set, as where no index tells who it is */
};

/* For a guest with these blocks; nothing is known to be in the stream yet.  Returns owned. */
struct page_source *stream_source_new(const struct stream_access *access, const struct memory *mem);

/*
 * That index (taken, also on failure) tells where the pages are.  -EINVAL with a sentence: it is
 * of a machine with other blocks.
 */
int stream_source_use(struct page_source *s, struct page_index *index, struct err *err);

/* ---- while the index is made of a stream that has none: one thread, before anything is read ----
 */

/* The content of 'n' pages lies at 'pos' and behind it without gaps.  The last word counts. */
void stream_source_note(struct page_source *s, size_t block, uint64_t page, uint64_t n,
			uint64_t pos);
void stream_source_note_zero(struct page_source *s, size_t block, uint64_t page);
/*
 * A part of the stream from 'start' to 'end' has pages and nothing else: behind the one before.
 * -ENOMEM.
 */
int stream_source_note_body(struct page_source *s, uint64_t start, uint64_t end, struct err *err);
/* All of it has been noted.  -ENOMEM. */
int stream_source_noted(struct page_source *s, struct err *err);

/* ---- and after it ---- */

/* How long the block was when the source was made. */
uint64_t stream_source_bytes(const struct page_source *s, size_t block);
/* Where the part ends that begins there, of those that were noted; 0: none does. */
uint64_t stream_source_body_end(const struct page_source *s, uint64_t start);
/* One bit a page: it has content.  Owned; NULL: no memory. */
uint64_t *stream_source_comes(const struct page_source *s, size_t block);

#endif
