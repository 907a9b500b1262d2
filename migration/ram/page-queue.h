/*
 * page-queue.h - which pages go next
 *
 * Pages that a vCPU waits for go first (postcopy: the destination's vCPUs; a
 * background snapshot: a vCPU that is about to write), then the sweep over
 * all blocks goes on.  "None" is an answer.
 */
#ifndef MINIVMM_MIGRATION_PAGE_QUEUE_H
#define MINIVMM_MIGRATION_PAGE_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/ram/page-set.h"

struct page_queue {
	struct page_set *pages; /* borrowed: those that still have to go */
	/*
	 * Postcopy; set while one thread uses the queue.  All pages of a page of the host are taken
	 * at once, by any number of threads ('pages' has them all or none), and the sweep goes on
	 * around the page that was waited for last.
	 */
	bool postcopy;
	/* the sweeping thread's: where it is */
	size_t block;
	uint64_t at;
	/* atomic: 'urgent' is not empty */
	bool waiting;
	/* 'mutex', which nothing is taken under: oldest first */
	pthread_mutex_t mutex;
	struct page_run *urgent; /* owned */
	size_t n, room;
	bool moved;           /* where pages were waited for: ... */
	struct page_run last; /* ... at the last of them */
};

void page_queue_init(struct page_queue *q, struct page_set *pages);
void page_queue_fini(struct page_queue *q);

/*
 * Pages [first, first + n) of a block, which exist, are waited for; those that
 * have gone already are left out when their turn comes.  Any thread.
 */
void page_queue_add_urgent(struct page_queue *q, size_t block, uint64_t first, uint64_t n);

/* How many such runs there are.  Any thread. */
size_t page_queue_urgent(struct page_queue *q);

/* Nothing is waited for any more. */
void page_queue_forget(struct page_queue *q);

/* Take the oldest pages that are waited for, at most 'max'; false: none.  Any thread. */
bool page_queue_next_urgent(struct page_queue *q, uint64_t max, struct page_run *run);
/* The sweep's next in postcopy: around what was waited for; false: none is left. */
bool page_queue_sweep(struct page_queue *q, uint64_t max, struct page_run *run);
/* Those first, else the sweep's next; false: none is left.  The sweeping thread. */
bool page_queue_next(struct page_queue *q, uint64_t max, struct page_run *run);

#endif
