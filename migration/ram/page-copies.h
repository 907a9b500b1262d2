/*
 * page-copies.h - a bounded pool of copies of pages, from the copier to the sender
 *
 *     free -> page_copies_get -> (filled) -> page_copies_ready -> page_copies_next -> recycle
 *
 * A slot holds one page of the host, huge or not; a copy has one slot or several neighbours, so
 * that pages that lie side by side are sent as one run.  No lock of its own: the owner's.
 */
#ifndef MINIVMM_MIGRATION_PAGE_COPIES_H
#define MINIVMM_MIGRATION_PAGE_COPIES_H

#include <stddef.h>
#include <stdint.h>

#include "migration/ram/page-set.h"

struct page_copy {
	struct page_run run; /* what it is a copy of */
	uint8_t *content;
	unsigned slots; /* 0: none of the pool's (page_copies_extra) */
	struct page_copy *next;
};

struct page_copies {
	uint8_t *arena; /* owned; untouched until it is used */
	size_t slot_bytes;
	struct page_copy *copies; /* owned; each where its first slot is */
	uint64_t *used;           /* owned; a bit a slot */
	unsigned n, n_free;
	unsigned at;                          /* where the next one is looked for */
	struct page_copy *ready, **ready_end; /* oldest first */
	struct page_copy *given;
	unsigned n_given; /* slots */
};

/* As many slots as 'bytes' have room for, perhaps none.  0 or -ENOMEM. */
int page_copies_init(struct page_copies *c, size_t bytes, size_t slot_bytes);
void page_copies_fini(struct page_copies *c); /* zeroed is fine */

/* A copy to fill, and set 'run' of, with one slot or more, at most 'slots'; NULL: there is none. */
struct page_copy *page_copies_get(struct page_copies *c, unsigned slots);
/* One more, beyond the pool, for what cannot wait; page_copies_recycle() frees it. */
struct page_copy *page_copies_extra(size_t slot_bytes);
void page_copies_ready(struct page_copies *c, struct page_copy *copy);
/* The oldest that is ready, until page_copies_recycle(); NULL: there is none. */
struct page_copy *page_copies_next(struct page_copies *c);
/* All that page_copies_next() has given are free. */
void page_copies_recycle(struct page_copies *c);

#endif
