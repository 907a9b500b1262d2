/*
 * placer.h - where pages that arrive are put
 *
 * A row for each way.  "copy" writes into guest memory, which no vCPU runs on
 * yet.  Any loading thread; a block's bitmap is shared by them.
 */
#ifndef MINIVMM_MIGRATION_PLACER_H
#define MINIVMM_MIGRATION_PLACER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/memory/memory.h"

struct err;

/* A RAM block of the source, and what it is here. */
struct load_block {
	char name[RAM_NAME_BYTES];
	struct ram_block *block; /* NULL: content is dropped */
	uint64_t bytes;          /* page offsets are below */
	bool sparse;             /* pages that do not come are zero */
	bool late; /* its pages come while the guest runs: what the stream has is passed over */
	uint64_t *touched; /* owned; a clear bit: the page is zero and must stay unpopulated */
};

struct page_placer {
	const char *name;
	/*
	 * Pages [off, off + pages * PAGE_BYTES) of the block come: where their
	 * content is to be written; NULL: it is dropped.  *fresh (may be NULL):
	 * one of them was never touched.
	 */
	uint8_t *(*begin)(struct load_block *lb, uint64_t off, uint64_t pages, bool *fresh);
	/* It has been written there.  0 or -errno. */
	int (*commit)(struct load_block *lb, uint64_t off, uint64_t pages);
	/* A page is zero.  0 or -errno. */
	int (*zero)(struct load_block *lb, uint64_t off);
};

extern const struct page_placer placer_copy, placer_none; /* none: what comes is dropped */

/*
 * placer_copy has said that some of these bytes are fresh: have their pages
 * there before they are written, all at once, for one by one takes longer.  A
 * failure (-ENOSPC) only where pages are scarce (vmm/memory/room.h).
 */
int placer_make_room(const struct load_block *lb, uint64_t off, uint64_t bytes, struct err *err);

#endif
