/*
 * page-queue.c - urgent runs of pages first, then the sweep
 *
 * Any thread may add an urgent run; the channel's thread takes from the oldest
 * entry as many pages as it asked for and leaves the rest in front.  Whether a
 * page still has to go is decided by taking it out of the page set, so an urgent
 * page that the sweep has taken already is dropped here, and the sweep later passes
 * over what went urgently.  The flag 'waiting' keeps the mutex out of the common
 * case.  The sweep goes on from its last place, once around all blocks.
 */
#include "migration/ram/page-queue.h"

#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

void page_queue_init(struct page_queue *q, struct page_set *pages)
{
	*q = (struct page_queue){.pages = pages};
	pthread_mutex_init(&q->mutex, NULL);
}

void page_queue_fini(struct page_queue *q)
{
	free(q->urgent);
	pthread_mutex_destroy(&q->mutex);
}

void page_queue_add_urgent(struct page_queue *q, size_t block, uint64_t first, uint64_t n)
{
	pthread_mutex_lock(&q->mutex);
	if (q->n == q->room) {
		q->room = MAX(2 * q->room, (size_t)64);
		q->urgent = xrealloc(q->urgent, q->room * sizeof(*q->urgent));
	}
	q->urgent[q->n++] = (struct page_run){.block = block, .first = first, .n = n};
	__atomic_store_n(&q->waiting, true, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&q->mutex);
}

/* Take from the oldest entry; what remains of it stays the oldest. */
static bool take_oldest(struct page_queue *q, uint64_t max, struct page_run *run)
{
	struct page_run *oldest = &q->urgent[0];
	uint64_t end = oldest->first + oldest->n;
	bool any;

	*run = *oldest;
	any = page_set_take(q->pages, run, max);
	if (any) {
		oldest->first = run->first + run->n;
		oldest->n = end - oldest->first;
	}
	if (!any || !oldest->n)
		memmove(q->urgent, q->urgent + 1, --q->n * sizeof(*q->urgent));
	return any;
}

bool page_queue_next_urgent(struct page_queue *q, uint64_t max, struct page_run *run)
{
	bool any = false;

	if (!__atomic_load_n(&q->waiting, __ATOMIC_SEQ_CST))
		return false;
	pthread_mutex_lock(&q->mutex);
	while (!any && q->n)
		any = take_oldest(q, max, run);
	__atomic_store_n(&q->waiting, q->n > 0, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&q->mutex);
	return any;
}

/* From where it is to the end of the last block, and once round from the first. */
static bool sweep(struct page_queue *q, uint64_t max, struct page_run *run)
{
	size_t n_blocks = q->pages->mem->n_blocks;

	for (size_t i = 0; i <= n_blocks && page_set_pages(q->pages); i++) {
		*run =
		    (struct page_run){.block = q->block, .first = q->at, .n = UINT64_MAX - q->at};
		if (page_set_take(q->pages, run, max)) {
			q->at = run->first + run->n;
			return true;
		}
		q->block = (q->block + 1) % n_blocks;
		q->at = 0;
	}
	return false;
}

bool page_queue_next(struct page_queue *q, uint64_t max, struct page_run *run)
{
	return page_queue_next_urgent(q, max, run) || sweep(q, max, run);
}
