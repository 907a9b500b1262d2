/*
 * placer-uffd.h - where pages are put while a guest runs already: whole pages of the host, by
 * UFFDIO_COPY
 *
 * Knows of each block which pages come (all others are zero) and which are here.  A page is
 * put in once: later content for it is dropped, for the guest may have written it since.
 *
 * Any thread but for uffd_placer_init(), _add() and _fini().  The lock is a leaf, and not held
 * while anything is read or waited for.
 */
#ifndef MINIVMM_MIGRATION_RAM_PLACER_UFFD_H
#define MINIVMM_MIGRATION_RAM_PLACER_UFFD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/memory/aside.h"
#include "vmm/memory/memory.h"
#include "vmm/memory/userfault.h"

struct err;

#define UFFD_PLACER_MAX_PAGE_BYTES 0x200000ULL /* huge pages above are not offered */

struct uffd_block {
	const struct ram_block *block;
	uint64_t pages;        /* of 4 KiB */
	uint64_t unit;         /* of these, in a page of the host */
	const uint64_t *comes; /* borrowed; pages with content, which are still to come or have */
	uint64_t *here;        /* owned; set atomically, under the lock */
	struct memory_aside aside; /* what it held before, until uffd_placer_drop_old() */
};

struct uffd_placer {
	struct userfault uffd;
	struct uffd_block blocks[MEMORY_MAX_BLOCKS];
	size_t n;
	uint64_t left_pages;  /* atomic; that come and are not here */
	pthread_mutex_t lock; /* a page is here from the moment on in which it is copied */
};

/* Open userfaultfd.  0, or -errno with a sentence; then there is nothing to undo. */
int uffd_placer_init(struct uffd_placer *p, struct err *err);
/* All blocks are unregistered: whoever waits goes on, with zeroes where nothing has come. */
void uffd_placer_fini(struct uffd_placer *p);
/* Could all blocks be taken?  Nothing is changed.  0, or -errno: the first that cannot, and why. */
int uffd_placer_check(const struct memory *mem, struct err *err);
/*
 * Take a block that no guest runs on: what it holds is given back, at the latest by
 * uffd_placer_drop_old(), and pages are missing from now on.  Its number in 'blocks', or -errno:
 * memory of that kind cannot (the block is unchanged, or at worst all zero).  'comes': one bit a
 * page of 4 KiB, borrowed.
 */
int uffd_placer_add(struct uffd_placer *p, const struct ram_block *b, const uint64_t *comes,
		    struct err *err);

/* Give back to the host what the blocks held; 'stop' (atomic) has it end at once.  One thread. */
void uffd_placer_drop_old(struct uffd_placer *p, const bool *stop);

/* Which of 'blocks'; -1: none. */
int uffd_placer_find(const struct uffd_placer *p, const struct ram_block *b);
bool uffd_placer_is_here(const struct uffd_placer *p, int block, uint64_t page);
/*
 * The next pages to come, from *page on: how many in a row, at most 'max', whole pages of the
 * host (of a huge one, some of its small pages may be zero); 0: none.
 */
uint64_t uffd_placer_next(const struct uffd_placer *p, int block, uint64_t *page, uint64_t max);
/* 'n' pages, whole ones of the host; those that are here already stay as they are.  0 or -errno. */
int uffd_placer_put(struct uffd_placer *p, int block, uint64_t page, uint64_t n,
		    const uint8_t *from);
/* The same with zeroes: pages that do not come, or that were discarded. */
int uffd_placer_put_zero(struct uffd_placer *p, int block, uint64_t page, uint64_t n);
/* See struct missing_ops. */
void uffd_placer_mark(struct uffd_placer *p, int block, uint64_t *map);
int uffd_placer_discard(struct uffd_placer *p, int block, uint64_t off, uint64_t bytes,
			int (*give_back)(const struct ram_block *b, uint64_t off, uint64_t bytes));

#endif
