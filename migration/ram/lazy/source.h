/*
 * source.h - where the pages of a guest that is loaded lazily are read from
 *
 * A row for each kind: a mapped-ram file (mapped/source.c), the VM state of a snapshot by an
 * index of its stream (stream-source.c).  Reads block; several threads read at a time, and none
 * of them holds a lock or touches guest memory.
 */
#ifndef MINIVMM_MIGRATION_RAM_LAZY_SOURCE_H
#define MINIVMM_MIGRATION_RAM_LAZY_SOURCE_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct page_source;

#define PAGE_SOURCE_IDENTITY 32U
#define PAGE_SOURCE_ALIGN    4096U /* of what is read into */

struct page_source_ops {
	/*
	 * Pages [page, page + n), 4 KiB each, of the block with this number (of struct memory's
	 * blocks); all of them are there.  0, or -errno with a sentence: *to is anything then.
	 * A source that is not what it was when it was opened has no pages (-ESTALE).
	 */
	int (*read)(struct page_source *s, size_t block, uint64_t page, uint64_t n, uint8_t *to,
		    struct err *err);
	/* Bytes that are another's when what the source holds is another guest. */
	void (*identity)(const struct page_source *s, uint8_t out[PAGE_SOURCE_IDENTITY]);
	/* The path of a file to keep notes in beside it; owned; NULL: none. */
	char *(*notes_path)(const struct page_source *s);
	void (*close)(struct page_source *s);
};

struct page_source {
	const struct page_source_ops *ops;
	const char *name; /* for messages, in quotes where it is a path; the source's */
};

#endif
