/*
 * write-protect-send.c - the sender: copies first, then the sweep (write-protect.c)
 *
 * What next() gives is read until the writer is flushed, so slots of the pool, the
 * buffer of the sweep and pages in place are only given back then: at the end of a
 * record, or as soon as there is no room for the next.
 */
#include <string.h>

#include "migration/ram/write-protect-internal.h"
#include "migration/ram/write-protect.h"

#define GIVEN_MAX   128U                    /* copies given to the sender, before it flushes */
#define LATELY      (64 * MiB / PAGE_BYTES) /* pages that are swept */
#define WRITES_MANY 8U                      /* a write waits for at least one page of so many */

/* What was given has been written: its memory is free, and pages in place are released. */
void wp_flushed(struct ram_save *s)
{
	struct write_protect *wp = s->wp;

	if (!wp)
		return;
	wp->staged = false;
	if (wp->in_place.n)
		wp_release_run(wp, &wp->in_place);
	wp->in_place.n = 0;
	pthread_mutex_lock(&wp->lock);
	page_copies_recycle(&wp->copies);
	pthread_mutex_unlock(&wp->lock);
}

static int flush(struct ram_save *s)
{
	int ret = writer_flush(s->stream.w);

	if (ret == 0)
		wp_flushed(s);
	return ret;
}

bool wp_waited_for(const struct ram_save *s)
{
	return __atomic_load_n(&s->queue.waiting, __ATOMIC_SEQ_CST) ||
	       __atomic_load_n(&s->wp->failed, __ATOMIC_SEQ_CST);
}

/*
 * Pages that a write waits for, into the pool as far as it has room.  True: *run
 * is one that no slot is large enough for.  Lock held; given up meanwhile.
 */
static bool copy_urgent(struct write_protect *wp, struct page_run *run)
{
	while (wp->copies.n_free && page_queue_next_urgent(&wp->s->queue, 1, run)) {
		struct page_copy *first;

		wp_complete_run(wp, run);
		if (run->n * PAGE_BYTES > WP_HUGE_BYTES)
			return true;
		__atomic_fetch_add(&wp->s->copied, run->n, __ATOMIC_SEQ_CST);
		first = wp_reserve_copies(wp, run);
		pthread_mutex_unlock(&wp->lock);
		wp_copy_and_release(wp, run, first);
		pthread_mutex_lock(&wp->lock);
		wp_put_ready(wp, first);
	}
	return false;
}

/* The next run of the sweep, in whole pages of the host.  Lock held. */
static bool next_run(struct write_protect *wp, struct page_run *run)
{
	struct ram_save *s = wp->s;

	if (!page_queue_next(&s->queue, MIN(s->run_limit, WP_STAGE_BYTES / PAGE_BYTES), run))
		return false;
	wp_complete_run(wp, run);
	wp->n_swept += run->n;
	if (wp->n_swept > LATELY) {
		wp->n_swept /= 2;
		wp->n_faulted /= 2;
	}
	return true;
}

/* Lock held. */
static bool guest_writes_many(const struct write_protect *wp)
{
	return wp->n_faulted * WRITES_MANY > wp->n_swept;
}

/*
 * Copy what was touched of a run, and release it.  Where the copy is; NULL: in guest memory.
 * written: it is likely to be written soon.
 */
static uint8_t *stage_run(struct write_protect *wp, const struct page_run *run, bool written)
{
	const struct ram_block *b = wp->mem->blocks[run->block];
	const uint64_t *touched = wp->s->touched[run->block];
	uint64_t end = run->first + run->n, at = run->first;

	if (run->n * PAGE_BYTES > wp->stage_bytes) {
		wp->in_place = *run;
		return NULL;
	}
	while ((at = bitmap_next_set(touched, end, at)) < end) {
		uint64_t stop = bitmap_next_clear(touched, end, at);

		memcpy(wp->stage + (at - run->first) * PAGE_BYTES, b->hva + at * PAGE_BYTES,
		       (stop - at) * PAGE_BYTES);
		at = stop;
	}
	wp_release_run(wp, run);
	for (at = run->first; written && (at = bitmap_next_set(touched, end, at)) < end;) {
		struct page_run part = {.block = run->block, .first = at};

		at = bitmap_next_clear(touched, end, at);
		part.n = at - part.first;
		wp_map_writable(wp, &part);
	}
	wp->staged = true;
	return wp->stage;
}

/* A copy that is ready, or will be soon; NULL: the sweep is to go on.  Lock held. */
static struct page_copy *next_copy(struct write_protect *wp)
{
	struct page_copy *copy;

	while (!(copy = page_copies_next(&wp->copies)) && wp->copying &&
	       !page_set_pages(&wp->s->pages))
		pthread_cond_wait(&wp->cond, &wp->lock);
	return copy;
}

/* Before something is given: is there room for it? */
static bool must_flush(struct write_protect *wp)
{
	bool full;

	pthread_mutex_lock(&wp->lock);
	full = wp->copies.n_given >= GIVEN_MAX ||
	       (wp->copies.n_given && !wp->copies.n_free && !wp->copies.ready);
	pthread_mutex_unlock(&wp->lock);
	return full || wp->staged || wp->in_place.n;
}

int wp_next(struct ram_save *s, struct page_run *run, uint8_t **content)
{
	struct write_protect *wp = s->wp;
	struct page_copy *copy;
	bool any, many;
	int ret = write_protect_check(s, &s->stream.w->err);

	if (ret == 0 && must_flush(wp))
		ret = flush(s);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&wp->lock);
	any = copy_urgent(wp, run);
	copy = any ? NULL : next_copy(wp);
	if (copy) {
		*run = copy->run;
		*content = copy->content;
		__atomic_fetch_sub(&s->copied, run->n, __ATOMIC_SEQ_CST);
	}
	any = any || copy || next_run(wp, run);
	many = guest_writes_many(wp);
	pthread_mutex_unlock(&wp->lock);
	if (any && !copy)
		*content = stage_run(wp, run, many);
	return any;
}
