/*
 * write-protect-internal.h - what the files of the tracker write-protect share
 *
 * write-protect.c has the theory; write-protect-fault.c is the fault thread,
 * write-protect-send.c the sender, write-protect-copy.c what both do.
 */
#ifndef MINIVMM_MIGRATION_WRITE_PROTECT_INTERNAL_H
#define MINIVMM_MIGRATION_WRITE_PROTECT_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/ram/page-copies.h"
#include "migration/ram/ram.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/memory/fault-thread.h"
#include "vmm/memory/userfault.h"

#define WP_STAGE_BYTES (512 * KiB) /* stays in a core's cache between the copy and the write */
#define WP_HUGE_BYTES  (2 * MiB)   /* the largest page that is copied */
#define WP_ARM_BYTES   (32 * MiB)  /* at a time: vCPUs may not map memory meanwhile */

enum wp_phase {
	WP_ARMED,
	WP_SAVING,
	WP_OVER, /* nothing is protected any more, or is about to be */
};

struct write_protect {
	/* set at start and then constant */
	struct ram_save *s; /* borrowed */
	struct memory *mem; /* borrowed */
	struct userfault u;
	int alarm_fd; /* eventfd: page faults cannot be resolved any more */
	int watch_fd; /* epoll: that, or what write_protect_watch() was given; -1 */
	struct fault_thread thread;
	/* the sender's */
	uint8_t *stage; /* owned */
	size_t stage_bytes;
	bool staged;              /* it holds what has been given, and not flushed */
	struct page_run in_place; /* sent from where it is, to be released then; n 0: none */
	/* Protects what follows; page_queue.mutex may be taken under it, nothing else. */
	pthread_mutex_t lock;
	pthread_cond_t cond; /* a copy is ready */
	enum wp_phase phase;
	uint64_t *open[MEMORY_MAX_BLOCKS]; /* owned; pages written since they were protected */
	uint64_t n_open;
	struct page_copies copies;
	unsigned copying; /* runs being copied by the fault thread */
	struct page_run
	    ahead; /* the fault thread's: to be copied before it is written; n 0: none */
	uint64_t window_pages; /* how far ahead, at the next fault behind the last one's */
	/* Pages lately: copied since a write waited for them or was foreseen, and swept. */
	uint64_t n_faulted, n_swept;
	struct err why; /* of 'failed' */
	bool failed;    /* atomic */
};

/* Pages of the guest in one of the host. */
static inline uint64_t wp_unit_pages(const struct ram_block *b)
{
	return b->page_bytes / PAGE_BYTES;
}

static inline bool wp_left_out(const struct write_protect *wp, size_t block)
{
	return !wp->s->touched[block];
}

static inline bool wp_was_touched(const struct write_protect *wp, size_t block, uint64_t page)
{
	return bitmap_test_atomic(wp->s->touched[block], page);
}

static inline bool wp_in_set(const struct write_protect *wp, size_t block, uint64_t page)
{
	return bitmap_test_atomic(wp->s->pages.map[block], page);
}

static inline int wp_protect_run(const struct write_protect *wp, const struct page_run *run,
				 bool on)
{
	return userfault_protect(&wp->u, wp->mem->blocks[run->block], run->first * PAGE_BYTES,
				 run->n * PAGE_BYTES, on);
}

static inline void wp_release_run(const struct write_protect *wp, const struct page_run *run)
{
	(void)wp_protect_run(wp, run, false); /* fails only when nothing is protected any more */
}

extern const struct fault_ops wp_fault_ops; /* of struct write_protect */

/* All blocks, in pieces, so that the guest's own page faults go on in between. */
int wp_protect_all(const struct write_protect *wp, bool on);

/* Take what is missing to whole pages of the host, which is in the page-set too.  Lock held. */
void wp_complete_run(struct write_protect *wp, struct page_run *run);
/*
 * Slots for a run that has left the page-set and counts as copied, linked by 'next'; there are
 * enough.  Lock held.
 */
struct page_copy *wp_reserve_copies(struct write_protect *wp, const struct page_run *run);
/* Fill them and let who waits write.  No lock held: the pages are the caller's. */
void wp_copy_and_release(const struct write_protect *wp, const struct page_run *run,
			 struct page_copy *first);
/*
 * Touched pages that were released just now: a write to one need not enter the kernel again.  No
 * lock held.
 */
void wp_map_writable(const struct write_protect *wp, const struct page_run *run);
/* They may be sent.  Lock held. */
void wp_put_ready(struct write_protect *wp, struct page_copy *first);

/* ---- the row's, on the sender's thread ---- */

int wp_next(struct ram_save *s, struct page_run *run, uint8_t **content);
void wp_flushed(struct ram_save *s);
bool wp_waited_for(const struct ram_save *s);

#endif
