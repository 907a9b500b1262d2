/*
 * write-protect.c - a page that is about to be written is copied first, then released
 *
 * Before the instant (ARMED) a write to a protected page releases it at once, and the page is
 * noted as open.  The instant then costs what it takes to protect the open ones
 * again, not all of memory.  After it (SAVING) every page is protected until its content has
 * been copied:
 *
 *     fault thread   a thread of the guest waits to write: the page, and a few
 *                    behind it, leave the page-set and are copied into the pool, then released
 *     sender         sends copies; else takes the next run, copies it (stage),
 *                    releases it, and sends the copy
 *
 * A page belongs to who takes it out of the page-set, under 'lock', and that one
 * releases it.  So a fault of a page that is in no set needs nothing: it is about
 * to be released, which wakes who waits, or has been.  When the pool is full the page is
 * noted as urgent (page-queue), and the sender copies it once the pool has room: only then
 * a write waits for what is sent before it.
 *
 * A page that was never touched at the instant is zero, and is not read: the
 * guest may write it meanwhile.  It is released at once, and stays in the
 * page-set for the sender.  What was touched is looked up before and after
 * arming, for the page tables show a protected page that is not there as one in
 * swap; a page touched in between is there afterwards, one touched later makes a fault.
 *
 * Huge pages of hugetlbfs are taken, copied and released whole.  Those too
 * large to be copied are sent from where they are, and released then.
 */
#include "migration/ram/write-protect.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "migration/ram/page-copies.h"
#include "migration/ram/ram.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/machine.h"
#include "vmm/memory/fault-thread.h"
#include "vmm/memory/populated.h"
#include "vmm/memory/userfault.h"

#define POOL_BYTES   (4 * MiB)
#define STAGE_BYTES  (512 * KiB) /* stays in a core's cache between the copy and the write */
#define HUGE_BYTES   (2 * MiB)   /* the largest page that is copied */
#define ARM_BYTES    (32 * MiB)  /* at a time: vCPUs may not map memory meanwhile */
#define AROUND_PAGES 16U         /* copied at one fault, for writes often go on */
#define GIVEN_MAX    128U        /* copies given to the sender, before it flushes */
#define OPEN_FEW     256U        /* pages: protected again in a fraction of a millisecond */
#define HELD_RUNS    1024U       /* protected again before a write that waits is looked at */
#define GAP_PAGES    12U         /* protected again for nothing, instead of a call more */
#define RUN_PAGES    8192U
#define REARM_ROUNDS 8U

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

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
	unsigned copying; /* pages being copied by the fault thread */
	struct err why;   /* of 'failed' */
	bool failed;      /* atomic */
};

/* Pages of the guest in one of the host. */
static uint64_t unit_pages(const struct ram_block *b)
{
	return b->page_bytes / PAGE_BYTES;
}

static bool left_out(const struct write_protect *wp, size_t block)
{
	return !wp->s->touched[block];
}

static bool was_touched(const struct write_protect *wp, size_t block, uint64_t page)
{
	return bitmap_test_atomic(wp->s->touched[block], page);
}

static bool in_set(const struct write_protect *wp, size_t block, uint64_t page)
{
	return bitmap_test_atomic(wp->s->pages.map[block], page);
}

static int protect_run(const struct write_protect *wp, const struct page_run *run, bool on)
{
	return userfault_protect(&wp->u, wp->mem->blocks[run->block], run->first * PAGE_BYTES,
				 run->n * PAGE_BYTES, on);
}

static void release_run(const struct write_protect *wp, const struct page_run *run)
{
	(void)protect_run(wp, run, false); /* fails only when nothing is protected any more */
}

/* ---- fault thread ---- */

/* The page of the host at that address.  False: it is in no block that is saved. */
static bool fault_page(const struct write_protect *wp, uint64_t hva, struct page_run *run)
{
	for (size_t i = 0; i < wp->mem->n_blocks; i++) {
		const struct ram_block *b = wp->mem->blocks[i];
		uint64_t off = hva - (uintptr_t)b->hva;

		if (off >= b->bytes || left_out(wp, i))
			continue;
		*run = (struct page_run){
		    .block = i,
		    .first = ALIGN_DOWN(off, b->page_bytes) / PAGE_BYTES,
		    .n = unit_pages(b),
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
	while (next < end && was_touched(wp, run->block, next) && in_set(wp, run->block, next))
		next++;
	run->n = next - run->first;
}

/* Slots for a run that has been taken, linked by 'next'.  Lock held; there are enough. */
static struct page_copy *reserve_copies(struct write_protect *wp, const struct page_run *run)
{
	uint64_t unit = unit_pages(wp->mem->blocks[run->block]);
	struct page_copy *first = NULL, **end = &first;

	for (uint64_t page = run->first; page < run->first + run->n; page += unit) {
		struct page_copy *copy = page_copies_get(&wp->copies);

		copy->run = (struct page_run){.block = run->block, .first = page, .n = unit};
		copy->next = NULL;
		*end = copy;
		end = &copy->next;
	}
	return first;
}

/* No lock held: the pages are the caller's, and nobody can write them. */
static void copy_and_release(const struct write_protect *wp, const struct page_run *run,
			     struct page_copy *first)
{
	const struct ram_block *b = wp->mem->blocks[run->block];

	for (struct page_copy *c = first; c; c = c->next)
		memcpy(c->content, b->hva + c->run.first * PAGE_BYTES, b->page_bytes);
	release_run(wp, run);
}

/* Lock held. */
static void put_ready(struct write_protect *wp, struct page_copy *first)
{
	while (first) {
		struct page_copy *next = first->next;

		page_copies_ready(&wp->copies, first);
		first = next;
	}
	pthread_cond_signal(&wp->cond);
}

/* Take a run that begins in the page-set out of it, to be copied.  Lock held. */
static struct page_copy *take_copies(struct write_protect *wp, struct page_run *run)
{
	__atomic_fetch_add(&wp->s->copied, run->n, __ATOMIC_SEQ_CST);
	(void)page_set_take(&wp->s->pages, run, run->n);
	return reserve_copies(wp, run);
}

/* A write waits for the page.  Lock held; given up while pages are copied. */
static void fault_save(struct write_protect *wp, struct page_run *run)
{
	struct page_copy *first;

	if (!was_touched(wp, run->block, run->first)) {
		release_run(wp, run);
		return;
	}
	if (!in_set(wp, run->block, run->first))
		return; /* who took it releases it */
	if (!wp->copies.n_free || run->n > wp->copies.arena_bytes / PAGE_BYTES) {
		page_queue_add_urgent(&wp->s->queue, run->block, run->first, run->n);
		if (wp->s->wake_fd >= 0)
			wake_set(wp->s->wake_fd);
		return;
	}
	fault_extend(wp, run);
	first = take_copies(wp, run);
	wp->copying++;
	pthread_mutex_unlock(&wp->lock);
	copy_and_release(wp, run, first);
	pthread_mutex_lock(&wp->lock);
	wp->copying--;
	put_ready(wp, first);
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
		ret = protect_run(wp, &run, false);
		ret = wp->phase == WP_OVER ? 0 : ret;
	}
	pthread_mutex_unlock(&wp->lock);
	return ret;
}

/* All blocks, in pieces, so that the guest's own page faults go on in between. */
static int protect_all(const struct write_protect *wp, bool on)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < wp->mem->n_blocks; i++) {
		const struct ram_block *b = wp->mem->blocks[i];
		uint64_t step = MAX(ARM_BYTES, b->page_bytes);

		for (uint64_t off = 0; ret == 0 && off < b->bytes && !left_out(wp, i); off += step)
			ret = userfault_protect(&wp->u, b, off, MIN(step, b->bytes - off), on);
	}
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
	(void)protect_all(wp, false);
	if (wp->s->wake_fd >= 0)
		wake_set(wp->s->wake_fd);
}

static const struct fault_ops wp_ops = {
    .name = "mig-fault", .handle = wp_fault, .failed = wp_failed};

/* ---- start, arming, the instant ---- */

static int alloc_pool(struct write_protect *wp)
{
	uint64_t slot = PAGE_BYTES;

	wp->stage_bytes = STAGE_BYTES;
	for (size_t i = 0; i < wp->mem->n_blocks; i++) {
		const struct ram_block *b = wp->mem->blocks[i];

		if (left_out(wp, i))
			continue;
		if (b->page_bytes <= HUGE_BYTES) {
			slot = MAX(slot, b->page_bytes);
			wp->stage_bytes = MAX(wp->stage_bytes, b->page_bytes);
		}
		wp->open[i] = bitmap_new(b->bytes / PAGE_BYTES);
		if (!wp->open[i])
			return -ENOMEM;
	}
	wp->stage = malloc(wp->stage_bytes);
	return wp->stage ? page_copies_init(&wp->copies, POOL_BYTES, slot) : -ENOMEM;
}

static void wp_free(struct write_protect *wp)
{
	page_copies_fini(&wp->copies);
	for (size_t i = 0; i < MEMORY_MAX_BLOCKS; i++)
		free(wp->open[i]);
	free(wp->stage);
	pthread_cond_destroy(&wp->cond);
	pthread_mutex_destroy(&wp->lock);
	free(wp);
}

static int wp_register(struct write_protect *wp, struct err *err)
{
	int ret = userfault_open(&wp->u, USERFAULT_WP, err);

	for (size_t i = 0; ret == 0 && i < wp->mem->n_blocks; i++)
		if (!left_out(wp, i))
			ret = userfault_register(&wp->u, wp->mem->blocks[i], USERFAULT_WP, err);
	if (ret == 0)
		ret = fault_thread_start(&wp->thread, &wp->u, &wp_ops, wp, err);
	return ret;
}

static void wp_stop(struct ram_save *s)
{
	struct write_protect *wp = s->wp;

	if (!wp)
		return;
	pthread_mutex_lock(&wp->lock);
	wp->phase = WP_OVER;
	pthread_mutex_unlock(&wp->lock);
	/* The fault thread goes on meanwhile: what is not reached yet need not wait for it. */
	for (size_t i = 0; i < wp->mem->n_blocks; i++)
		userfault_unregister(&wp->u, wp->mem->blocks[i]);
	fault_thread_stop(&wp->thread);
	userfault_close(&wp->u);
	memory_unhold(wp->mem);
	s->wp = NULL;
	__atomic_store_n(&s->copied, 0, __ATOMIC_SEQ_CST);
	wp_free(wp);
}

void write_protect_end(struct ram_save *s)
{
	wp_stop(s);
}

static int wp_start(struct ram_save *s, struct err *err)
{
	struct write_protect *wp = NEW(struct write_protect);
	int ret;

	wp->s = s;
	wp->mem = &s->m->mem;
	wp->u.fd = -1;
	pthread_mutex_init(&wp->lock, NULL);
	pthread_cond_init(&wp->cond, NULL);
	s->wp = wp;
	memory_hold(wp->mem);
	ret = alloc_pool(wp);
	if (ret < 0)
		(void)err_set(err, ENOMEM, "no memory for copies of the guest's pages");
	else
		ret = wp_register(wp, err);
	if (ret < 0)
		wp_stop(s);
	return ret;
}

/* Where protection would skip what is not there, have the zero page there. */
static int populate(const struct ram_block *b)
{
	if (madvise(b->hva, b->bytes, MADV_POPULATE_READ) == 0)
		return 0;
	if (errno != EINVAL) /* before Linux 5.14: one by one */
		return -errno;
	for (uint64_t off = 0; off < b->bytes; off += PAGE_BYTES)
		(void)*(volatile const uint8_t *)(b->hva + off);
	return 0;
}

static int arm(struct write_protect *wp, const struct ram_block *b)
{
	uint64_t step = MAX(ARM_BYTES, b->page_bytes);
	int ret = 0;

	if (!wp->u.wp_unpopulated && !b->share && b->fd < 0)
		ret = populate(b);
	for (uint64_t off = 0; ret == 0 && off < b->bytes; off += step)
		ret = userfault_protect(&wp->u, b, off, MIN(step, b->bytes - off), true);
	return ret;
}

static int wp_touched(struct ram_save *s, size_t block, struct err *err)
{
	const struct ram_block *b = s->m->mem.blocks[block];
	uint64_t *map = s->touched[block];
	int ret;

	ram_populated(b, map);
	ret = arm(s->wp, b);
	if (ret < 0)
		return err_set(err, -ret, "RAM block '%s' cannot be protected against writes: %s",
			       b->name, err_text(-ret));
	if (!ram_present(b, map))
		bitmap_set_range(map, 0, b->bytes / PAGE_BYTES);
	/* Shared pages are in the file, also those that our page tables do not have. */
	if (b->page_bytes == PAGE_BYTES && (b->share || ram_may_be_swapped()))
		ram_populated(b, map);
	return 0;
}

/*
 * The next open pages of a block from *at on, across gaps that cost less than another
 * call would.  False: there is none.  Lock held.
 */
static bool next_open(const struct write_protect *wp, uint64_t at, struct page_run *run)
{
	const uint64_t *open = wp->open[run->block];
	uint64_t pages = wp->mem->blocks[run->block]->bytes / PAGE_BYTES, end, next;

	run->first = bitmap_next_set(open, pages, at);
	if (run->first == pages)
		return false;
	next = run->first;
	do {
		end = bitmap_next_clear(open, pages, next);
		next = bitmap_next_set(open, pages, end);
	} while (next < pages && next - end <= GAP_PAGES && next - run->first < RUN_PAGES);
	run->n = end - run->first;
	return true;
}

/* Protect a run again.  Lock held. */
static int close_run(struct write_protect *wp, const struct page_run *run)
{
	uint64_t *open = wp->open[run->block], *touched = wp->s->touched[run->block];
	uint64_t end = run->first + run->n, at = run->first;

	while ((at = bitmap_next_set(open, end, at)) < end) {
		bitmap_set(touched, at); /* if it was never touched before, the write has */
		bitmap_clear(open, at);
		wp->n_open--;
	}
	return protect_run(wp, run, true);
}

/*
 * Protect the open pages again; those of one block.  Lock held, and given up rarely: while it is
 * held no page is opened, so that they become fewer.
 */
static int close_block(struct write_protect *wp, size_t block)
{
	struct page_run run = {.block = block};
	uint64_t at = 0, since = 0;
	int ret = 0;

	while (ret == 0 && next_open(wp, at, &run)) {
		ret = close_run(wp, &run);
		at = run.first + run.n;
		if (++since < HELD_RUNS)
			continue;
		since = 0;
		pthread_mutex_unlock(&wp->lock);
		pthread_mutex_lock(&wp->lock);
	}
	return ret;
}

static int close_open(struct write_protect *wp, struct err *err)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < wp->mem->n_blocks; i++)
		if (wp->open[i])
			ret = close_block(wp, i);
	if (ret < 0)
		return err_set(err, -ret, "guest memory cannot be protected against writes: %s",
			       err_text(-ret));
	return 0;
}

int write_protect_rearm(struct ram_save *s, struct err *err)
{
	struct write_protect *wp = s->wp;
	int ret = 0;

	pthread_mutex_lock(&wp->lock);
	for (unsigned i = 0; ret == 0 && wp->n_open > OPEN_FEW && i < REARM_ROUNDS; i++)
		ret = close_open(wp, err);
	pthread_mutex_unlock(&wp->lock);
	return ret == 0 ? write_protect_check(s, err) : ret;
}

int write_protect_instant(struct ram_save *s, struct err *err)
{
	struct write_protect *wp = s->wp;
	int ret;

	pthread_mutex_lock(&wp->lock);
	ret = close_open(wp, err);
	if (ret == 0 && wp->phase == WP_ARMED)
		wp->phase = WP_SAVING;
	pthread_mutex_unlock(&wp->lock);
	return ret == 0 ? write_protect_check(s, err) : ret;
}

int write_protect_check(const struct ram_save *s, struct err *err)
{
	const struct write_protect *wp = s->wp;

	if (!wp || !__atomic_load_n(&wp->failed, __ATOMIC_SEQ_CST))
		return 0;
	if (err)
		*err = wp->why;
	return -wp->why.errnum;
}

/* ---- the sender ---- */

/* What was given has been written: its memory is free, and pages in place are released. */
static void wp_flushed(struct ram_save *s)
{
	struct write_protect *wp = s->wp;

	if (!wp)
		return;
	wp->staged = false;
	if (wp->in_place.n)
		release_run(wp, &wp->in_place);
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

static bool wp_waited_for(const struct ram_save *s)
{
	return __atomic_load_n(&s->queue.waiting, __ATOMIC_SEQ_CST) ||
	       __atomic_load_n(&s->wp->failed, __ATOMIC_SEQ_CST);
}

/* Take what is missing to whole pages of the host, which is in the page-set too.  Lock held. */
static void complete_run(struct write_protect *wp, struct page_run *run)
{
	uint64_t unit = unit_pages(wp->mem->blocks[run->block]);

	while (run->n % unit) {
		struct page_run rest = {
		    .block = run->block, .first = run->first + run->n, .n = unit - run->n % unit};

		if (!page_set_take(&wp->s->pages, &rest, rest.n))
			break; /* not reached: pages are taken whole */
		run->n += rest.n;
	}
}

/*
 * Pages that a write waits for, into the pool as far as it has room.  True: *run
 * is one that no slot is large enough for.  Lock held; given up meanwhile.
 */
static bool copy_urgent(struct write_protect *wp, struct page_run *run)
{
	while (wp->copies.n_free && page_queue_next_urgent(&wp->s->queue, 1, run)) {
		struct page_copy *first;

		complete_run(wp, run);
		if (run->n * PAGE_BYTES > HUGE_BYTES)
			return true;
		__atomic_fetch_add(&wp->s->copied, run->n, __ATOMIC_SEQ_CST);
		first = reserve_copies(wp, run);
		pthread_mutex_unlock(&wp->lock);
		copy_and_release(wp, run, first);
		pthread_mutex_lock(&wp->lock);
		put_ready(wp, first);
	}
	return false;
}

/* The next run of the sweep, in whole pages of the host.  Lock held. */
static bool next_run(struct write_protect *wp, struct page_run *run)
{
	struct ram_save *s = wp->s;

	if (!page_queue_next(&s->queue, MIN(s->run_limit, STAGE_BYTES / PAGE_BYTES), run))
		return false;
	complete_run(wp, run);
	return true;
}

/* Copy what was touched of a run, and release it.  Where the copy is; NULL: in guest memory. */
static uint8_t *stage_run(struct write_protect *wp, const struct page_run *run)
{
	const struct ram_block *b = wp->mem->blocks[run->block];
	uint64_t end = run->first + run->n, at = run->first;

	if (run->n * PAGE_BYTES > wp->stage_bytes) {
		wp->in_place = *run;
		return NULL;
	}
	while ((at = bitmap_next_set(wp->s->touched[run->block], end, at)) < end) {
		uint64_t stop = bitmap_next_clear(wp->s->touched[run->block], end, at);

		memcpy(wp->stage + (at - run->first) * PAGE_BYTES, b->hva + at * PAGE_BYTES,
		       (stop - at) * PAGE_BYTES);
		at = stop;
	}
	release_run(wp, run);
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
static bool must_flush(const struct write_protect *wp)
{
	return wp->staged || wp->in_place.n || wp->copies.n_given >= GIVEN_MAX ||
	       (wp->copies.n_given && !wp->copies.n_free && !wp->copies.ready);
}

static int wp_next(struct ram_save *s, struct page_run *run, uint8_t **content)
{
	struct write_protect *wp = s->wp;
	struct page_copy *copy;
	bool any;
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
	pthread_mutex_unlock(&wp->lock);
	if (any && !copy)
		*content = stage_run(wp, run);
	return any;
}

const struct ram_tracker tracker_write_protect = {
    .name = "write-protect",
    .start = wp_start,
    .touched = wp_touched,
    .next = wp_next,
    .flushed = wp_flushed,
    .waited_for = wp_waited_for,
    .stop = wp_stop,
};
