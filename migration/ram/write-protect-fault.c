/*
 * write-protect-fault.c - the fault thread: pages that are about to be written (write-protect.c)
 */
#include <string.h>

#include "migration/ram/write-protect-internal.h"
#include "vmm/base/wake.h"

#define AROUND_PAGES 16U /* copied at one fault, for writes often go on */
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

/* Not at the instant yet: it may be written.  Lock held. */
static void fault_note_open(struct write_protect *wp, const struct page_run *run)
{
	if (bitmap_test(wp->open[run->block], run->first))
		return;
	bitmap_set_range(wp->open[run->block], run->first, run->n);
	wp->n_open += run->n;
}

/* More pages behind it that have to be copied anyway, as long as the pool is rather empty. */
static void fault_extend(const struct write_protect *wp, struct page_run *run)
{
	uint64_t pages = page_set_block_pages(&wp->s->pages, run->block), next = run->first + 1;
	uint64_t end = MIN(pages, run->first + AROUND_PAGES);

	if (run->n > 1 || wp->copies.n_free < wp->copies.n / 2 + AROUND_PAGES)
		return;
	while (next < end && wp_was_touched(wp, run->block, next) &&
	       wp_in_set(wp, run->block, next))
		next++;
	run->n = next - run->first;
}

/* Take a run that begins in the page-set out of it, to be copied.  Lock held. */
static struct page_copy *take_copies(struct write_protect *wp, struct page_run *run)
{
	__atomic_fetch_add(&wp->s->copied, run->n, __ATOMIC_SEQ_CST);
	(void)page_set_take(&wp->s->pages, run, run->n);
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
	if (!wp->copies.n_free || run->n > wp->copies.arena_bytes / PAGE_BYTES) {
		page_queue_add_urgent(&wp->s->queue, run->block, run->first, run->n);
		if (wp->s->wake_fd >= 0)
			wake_set(wp->s->wake_fd);
		return;
	}
	fault_extend(wp, run);
	first = take_copies(wp, run);
	fault_copy(wp, run, first);
}

static int wp_fault(void *opaque, uint64_t hva, unsigned flags)
{
	struct write_protect *wp = opaque;
	struct page_run run;
	int ret = 0;

	(void)flags;
	if (!fault_page(wp, hva, &run))
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
				       .woken = wp_woken,
				       .again_ms = wp_again_ms,
				       .failed = wp_failed};
