/*
 * write-protect-fault.c - the fault thread: pages that are about to be written (write-protect.c)
 *
 * Writes often go on behind the page that made a fault.  So a few pages behind it are copied with
 * it, and as long as no fault waits more of them, run after run (wp_ahead): the more, the longer
 * the faults follow each other.  It is no work in vain, for each page has to be copied once; it
 * ends when the pool of copies is half full, which the sender empties.
 */
#include <string.h>

#include "migration/ram/write-protect-internal.h"
#include "vmm/base/wake.h"

#define AROUND_PAGES 16U  /* copied at one fault, while who waits does */
#define AHEAD_PAGES  32U  /* copied at once, when nobody waits */
#define AHEAD_MIN    64U  /* how far ahead: behind the first of some faults */
#define AHEAD_MAX    512U /* and at most */
#define OPEN_PAGES   64U  /* before the instant: opened at one fault; a power of two */
#define AGAIN_MS     20

/* The page of the host at that address.  False: it is in no block that is saved. */
static bool fault_page(const struct write_protect *wp, uint64_t hva, struct page_run *run)
{
	for (size_t i = 0; i < wp->mem->n_blocks; i++) {
		const struct ram_block *b = wp->mem->blocks[i];
		uint64_t off = hva - (uintptr_t)b->hva;

		if (off >= b->bytes || wp_left_out(wp, i))
			continue;
		*run = (struct page_run){
		    .block = i,
		    .first = ALIGN_DOWN(off, b->page_bytes) / PAGE_BYTES,
		    .n = wp_unit_pages(b),
		};
		return true;
	}
	return false;
}

/*
 * Not at the instant yet: it may be written, and its neighbours.  *run is what is opened, for they
 * are protected again by one call.  Lock held.
 */
static void fault_note_open(struct write_protect *wp, struct page_run *run)
{
	const uint64_t *open = wp->open[run->block];
	uint64_t pages = wp->mem->blocks[run->block]->bytes / PAGE_BYTES;
	uint64_t end = MIN(pages, ALIGN_DOWN(run->first, OPEN_PAGES) + OPEN_PAGES);

	if (bitmap_test(open, run->first))
		return;
	if (run->n == 1)
		run->n = bitmap_next_set(open, end, run->first) - run->first;
	bitmap_set_range(wp->open[run->block], run->first, run->n);
	wp->n_open += run->n;
}

/* The pool has room for copies of what nobody waits for yet. */
static bool pool_is_empty(const struct write_protect *wp, uint64_t pages)
{
	return wp->copies.n_free >= wp->copies.n / 2 + pages;
}

/* Pages of the host that are no larger than the guest's, in one row that has to be copied anyway.
 */
static void fault_extend(const struct write_protect *wp, struct page_run *run, uint64_t end)
{
	uint64_t next = run->first + 1;

	while (next < end && wp_was_touched(wp, run->block, next) &&
	       wp_in_set(wp, run->block, next))
		next++;
	run->n = next - run->first;
}

/* What is likely to be written next.  Lock held. */
static void fault_foresee(struct write_protect *wp, const struct page_run *run)
{
	struct page_run *ahead = &wp->ahead;
	uint64_t pages = page_set_block_pages(&wp->s->pages, run->block);
	uint64_t from = run->first + run->n;
	bool on = ahead->block == run->block && run->first >= ahead->first &&
		  run->first <= ahead->first + ahead->n + AROUND_PAGES;

	wp->window_pages = on ? MIN(2 * wp->window_pages, AHEAD_MAX) : AHEAD_MIN;
	*ahead = (struct page_run){
	    .block = run->block, .first = from, .n = MIN(wp->window_pages, pages - from)};
}

/* Take a run that begins in the page-set out of it, to be copied.  Lock held. */
static struct page_copy *take_copies(struct write_protect *wp, struct page_run *run)
{
	__atomic_fetch_add(&wp->s->copied, run->n, __ATOMIC_SEQ_CST);
	(void)page_set_take(&wp->s->pages, run, run->n);
	wp->n_faulted += run->n;
	return wp_reserve_copies(wp, run);
}

/* Copy a run that has left the page-set, and release it.  Lock held; given up meanwhile. */
static void fault_copy(struct write_protect *wp, const struct page_run *run,
		       struct page_copy *first)
{
	wp->copying++;
	pthread_mutex_unlock(&wp->lock);
	wp_copy_and_release(wp, run, first);
	pthread_mutex_lock(&wp->lock);
	wp->copying--;
	wp_put_ready(wp, first);
}

/*
 * The machine is to stand still, and a thread waits that has to finish something first: it gets a
 * copy beyond the pool, for it stops behind that.  False: no.  Lock held; given up.
 */
static bool fault_copy_extra(struct write_protect *wp, const struct page_run *run)
{
	struct page_copy *extra =
	    run->n * PAGE_BYTES <= WP_HUGE_BYTES ? page_copies_extra(run->n * PAGE_BYTES) : NULL;

	if (!extra)
		return false;
	extra->run = *run;
	__atomic_fetch_add(&wp->s->copied, run->n, __ATOMIC_SEQ_CST);
	fault_copy(wp, run, extra);
	return true;
}

/* Pages that are waited for, while the machine is being paused. */
static void wp_woken(void *opaque)
{
	struct write_protect *wp = opaque;
	struct page_run run;

	pthread_mutex_lock(&wp->lock);
	while (wp->phase == WP_SAVING && machine_pausing(wp->s->m) &&
	       page_queue_next_urgent(&wp->s->queue, 1, &run)) {
		wp_complete_run(wp, &run);
		if (fault_copy_extra(wp, &run))
			continue;
		(void)page_set_add(&wp->s->pages, run.block, run.first, run.n);
		page_queue_add_urgent(&wp->s->queue, run.block, run.first, run.n);
		break;
	}
	pthread_mutex_unlock(&wp->lock);
}

/* A pause is looked for as long as a write waits for the address. */
static int wp_again_ms(void *opaque)
{
	const struct write_protect *wp = opaque;

	return __atomic_load_n(&wp->s->queue.waiting, __ATOMIC_SEQ_CST) ? AGAIN_MS : -1;
}

/* A write waits for the page.  Lock held; given up while pages are copied. */
static void fault_save(struct write_protect *wp, struct page_run *run)
{
	struct page_copy *first;

	if (!wp_was_touched(wp, run->block, run->first)) {
		wp_release_run(wp, run);
		return;
	}
	if (!wp_in_set(wp, run->block, run->first))
		return; /* who took it releases it */
	if (!wp->copies.n_free || wp->mem->blocks[run->block]->page_bytes > wp->copies.slot_bytes) {
		page_queue_add_urgent(&wp->s->queue, run->block, run->first, run->n);
		if (wp->s->wake_fd >= 0)
			wake_set(wp->s->wake_fd);
		return;
	}
	if (run->n == 1 && pool_is_empty(wp, AROUND_PAGES)) {
		uint64_t pages = page_set_block_pages(&wp->s->pages, run->block);

		fault_extend(wp, run, MIN(pages, run->first + AROUND_PAGES));
		fault_foresee(wp, run);
	}
	first = take_copies(wp, run);
	fault_copy(wp, run, first);
}

/* The next run of what is foreseen that has to be copied.  False: there is none.  Lock held. */
static bool ahead_next(struct write_protect *wp, struct page_run *run)
{
	struct page_run *ahead = &wp->ahead;
	uint64_t end = ahead->first + ahead->n, at = ahead->first;

	if (wp->phase != WP_SAVING || !pool_is_empty(wp, AHEAD_PAGES))
		return false;
	while (at < end &&
	       !(wp_in_set(wp, ahead->block, at) && wp_was_touched(wp, ahead->block, at)))
		at++;
	if (at == end)
		return false;
	*run = (struct page_run){.block = ahead->block, .first = at, .n = 1};
	fault_extend(wp, run, MIN(end, at + AHEAD_PAGES));
	ahead->first = at + run->n;
	ahead->n = end - ahead->first;
	return true;
}

static bool wp_ahead(void *opaque)
{
	struct write_protect *wp = opaque;
	struct page_run run;
	bool any;

	pthread_mutex_lock(&wp->lock);
	any = ahead_next(wp, &run);
	if (any)
		fault_copy(wp, &run, take_copies(wp, &run));
	pthread_mutex_unlock(&wp->lock);
	return any;
}

static int wp_fault(void *opaque, const struct userfault_msg *msg)
{
	struct write_protect *wp = opaque;
	struct page_run run;
	int ret = 0;

	if (!fault_page(wp, msg->hva, &run))
		return 0;
	pthread_mutex_lock(&wp->lock);
	if (wp->phase == WP_SAVING) {
		fault_save(wp, &run);
	} else {
		if (wp->phase == WP_ARMED)
			fault_note_open(wp, &run);
		ret = wp_protect_run(wp, &run, false);
		ret = wp->phase == WP_OVER ? 0 : ret;
	}
	pthread_mutex_unlock(&wp->lock);
	return ret;
}

/* The snapshot is lost, and the guest is not: it need not wait for anything any more. */
static void wp_failed(void *opaque, const struct err *why)
{
	struct write_protect *wp = opaque;

	pthread_mutex_lock(&wp->lock);
	wp->phase = WP_OVER;
	wp->why = *why;
	__atomic_store_n(&wp->failed, true, __ATOMIC_SEQ_CST);
	pthread_cond_signal(&wp->cond);
	pthread_mutex_unlock(&wp->lock);
	(void)wp_protect_all(wp, false);
	wake_set(wp->alarm_fd);
	if (wp->s->wake_fd >= 0)
		wake_set(wp->s->wake_fd);
}

const struct fault_ops wp_fault_ops = {.name = "mig-fault",
				       .handle = wp_fault,
				       .ahead = wp_ahead,
				       .woken = wp_woken,
				       .again_ms = wp_again_ms,
				       .failed = wp_failed};
