/*
 * page-queue.c - urgent runs of pages first, then the sweep
 *
 * Any thread may add an urgent run; the channel's thread takes from the oldest
 * entry as many pages as it asked for and leaves the rest in front.  Whether a
 * page still has to go is decided by taking it out of the page set, so an urgent
 * page that the sweep has taken already is dropped here, and the sweep later passes
 * over what went urgently.  The flag 'waiting' keeps the mutex out of the common
 * case.  The sweep goes on from its last place, once around all blocks.
 *
 * In postcopy two threads take whole pages of the host, which may be huge: under the mutex,
 * so that each of them goes over one channel.  A guest that has waited for a page is likely
 * to want its neighbours: the sweep goes there.
 */
#include "migration/ram/page-queue.h"

#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

#define AROUND_PAGES 16U /* the sweep begins at a multiple of so many */

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

/* How many pages of the block are taken at a time. */
static uint64_t at_once(const struct page_queue *q, size_t block, uint64_t max)
{
	uint64_t unit = q->pages->mem->blocks[block]->page_bytes / PAGE_BYTES;

	return q->postcopy ? MAX(ALIGN_DOWN(max, unit), unit) : max;
}

size_t page_queue_urgent(struct page_queue *q)
{
	size_t n;

	pthread_mutex_lock(&q->mutex);
	n = q->n;
	pthread_mutex_unlock(&q->mutex);
	return n;
}

void page_queue_add_urgent(struct page_queue *q, size_t block, uint64_t first, uint64_t n)
{
	pthread_mutex_lock(&q->mutex);
	if (q->n == q->room) {
		q->room = MAX(2 * q->room, (size_t)64);
		q->urgent = xrealloc(q->urgent, q->room * sizeof(*q->urgent));
	}
	q->urgent[q->n++] = (struct page_run){.block = block, .first = first, .n = n};
	q->last = q->urgent[q->n - 1];
	q->moved = true;
	__atomic_store_n(&q->waiting, true, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&q->mutex);
}

void page_queue_forget(struct page_queue *q)
{
	pthread_mutex_lock(&q->mutex);
	q->n = 0;
	__atomic_store_n(&q->waiting, false, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&q->mutex);
}

/* Take from the oldest entry; what remains of it stays the oldest. */
static bool take_oldest(struct page_queue *q, uint64_t max, struct page_run *run)
{
	struct page_run *oldest = &q->urgent[0];
	uint64_t end = oldest->first + oldest->n;
	bool any;

	*run = *oldest;
	any = page_set_take(q->pages, run, at_once(q, run->block, max));
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
		if (page_set_take(q->pages, run, at_once(q, q->block, max))) {
			q->at = run->first + run->n;
			return true;
		}
		q->block = (q->block + 1) % n_blocks;
		q->at = 0;
	}
	return false;
}

/* Around the page that was waited for last. */
static void follow(struct page_queue *q)
{
	uint64_t unit = q->pages->mem->blocks[q->last.block]->page_bytes / PAGE_BYTES;

	q->block = q->last.block;
	q->at = ALIGN_DOWN(q->last.first, MAX(unit, (uint64_t)AROUND_PAGES));
	q->moved = false;
}

bool page_queue_sweep(struct page_queue *q, uint64_t max, struct page_run *run)
{
	bool any;

	pthread_mutex_lock(&q->mutex);
	if (q->moved)
		follow(q);
	any = sweep(q, max, run);
	pthread_mutex_unlock(&q->mutex);
	return any;
}

bool page_queue_next(struct page_queue *q, uint64_t max, struct page_run *run)
{
	return page_queue_next_urgent(q, max, run) || sweep(q, max, run);
}
