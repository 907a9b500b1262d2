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
 * Of a part of memory (ram_save.partial) only what goes is protected, as it becomes known before
 * the instant, the last few pages at it; the rest is not touched, so that KVM keeps its mappings of
 * it.
 *
 * Where the host merges equal pages (KSM), it is kept from that: a page that is merged loses its
 * protection, and the next write makes no fault.
 *
 * Huge pages of hugetlbfs are taken, copied and released whole.  Those too
 * large to be copied are sent from where they are, and released then.
 */
#include "migration/ram/write-protect.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "migration/ram/write-protect-internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/wake.h"
#include "vmm/memory/merge.h"
#include "vmm/memory/populated.h"

#define POOL_BYTES   (4 * MiB)
#define OPEN_FEW     256U /* pages: protected again in a fraction of a millisecond */
#define REARM_ROUNDS 8U
#define HELD_RUNS    1024U /* protected again before a write that waits is looked at */
#define GAP_PAGES    12U   /* protected again for nothing, instead of a call more */
#define RUN_PAGES    8192U

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/* ---- start and stop ---- */

void wp_complete_run(struct write_protect *wp, struct page_run *run)
{
	uint64_t unit = wp_unit_pages(wp->mem->blocks[run->block]);

	while (run->n % unit) {
		struct page_run rest = {
		    .block = run->block, .first = run->first + run->n, .n = unit - run->n % unit};

		if (!page_set_take(&wp->s->pages, &rest, rest.n))
			break; /* not reached: pages are taken whole */
		run->n += rest.n;
	}
}

int wp_protect_all(const struct write_protect *wp, bool on)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < wp->mem->n_blocks; i++) {
		const struct ram_block *b = wp->mem->blocks[i];
		uint64_t step = MAX(WP_ARM_BYTES, b->page_bytes);

		for (uint64_t off = 0; ret == 0 && off < b->bytes && !wp_left_out(wp, i);
		     off += step)
			ret = userfault_protect(&wp->u, b, off, MIN(step, b->bytes - off), on);
	}
	return ret;
}

static int alloc_pool(struct write_protect *wp)
{
	uint64_t slot = PAGE_BYTES;

	wp->stage_bytes = WP_STAGE_BYTES;
	for (size_t i = 0; i < wp->mem->n_blocks; i++) {
		const struct ram_block *b = wp->mem->blocks[i];

		if (wp_left_out(wp, i))
			continue;
		if (b->page_bytes <= WP_HUGE_BYTES) {
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
	cleanup_close(&wp->alarm_fd);
	cleanup_close(&wp->watch_fd);
	pthread_cond_destroy(&wp->cond);
	pthread_mutex_destroy(&wp->lock);
	free(wp);
}

static int wp_register(struct write_protect *wp, struct err *err)
{
	int ret = userfault_open(&wp->u, USERFAULT_WP, err);

	for (size_t i = 0; ret == 0 && i < wp->mem->n_blocks; i++)
		if (!wp_left_out(wp, i))
			ret = userfault_register(&wp->u, wp->mem->blocks[i], USERFAULT_WP, err);
	if (ret == 0)
		ret = fault_thread_start(&wp->thread, &wp->u, &wp_fault_ops, wp, err);
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
	for (size_t i = 0; i < wp->mem->n_blocks; i++)
		(void)memory_allow_merging(wp->mem->blocks[i], true); /* advice */
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
	wp->u.fd = wp->watch_fd = -1;
	wp->alarm_fd = wake_open();
	pthread_mutex_init(&wp->lock, NULL);
	pthread_cond_init(&wp->cond, NULL);
	s->wp = wp;
	memory_hold(wp->mem);
	ret = wp->alarm_fd < 0 ? -errno : alloc_pool(wp);
	if (ret < 0)
		(void)err_set(err, -ret, "copies of the guest's pages: %s", err_text(-ret));
	else
		ret = wp_register(wp, err);
	if (ret < 0)
		wp_stop(s);
	return ret;
}

/* ---- arming, the instant ---- */

/* Where protection would skip what is not there, have the zero page there. */
static int populate(const struct ram_block *b, uint64_t from, uint64_t end)
{
	if (madvise(b->hva + from, end - from, MADV_POPULATE_READ) == 0)
		return 0;
	if (errno != EINVAL) /* before Linux 5.14: one by one */
		return -errno;
	for (uint64_t off = from; off < end; off += PAGE_BYTES)
		(void)*(volatile const uint8_t *)(b->hva + off);
	return 0;
}

/* Whole pages of the host, from 'from' to 'end'. */
static int arm(struct write_protect *wp, const struct ram_block *b, uint64_t from, uint64_t end)
{
	uint64_t step = MAX(WP_ARM_BYTES, b->page_bytes);
	int ret = 0;

	if (!wp->u.wp_unpopulated && !b->share && b->fd < 0)
		ret = populate(b, from, end);
	for (uint64_t off = from; ret == 0 && off < end; off += step)
		ret = userfault_protect(&wp->u, b, off, MIN(step, end - off), true);
	return ret;
}

static int say_not_protected(const struct ram_block *b, int ret, struct err *err)
{
	return err_set(err, -ret, "RAM block '%s' cannot be protected against writes: %s", b->name,
		       err_text(-ret));
}

/* Pages go that were not known to go. */
static int wp_choose(struct ram_save *s, const struct page_run *run, struct err *err)
{
	const struct ram_block *b = s->m->mem.blocks[run->block];
	int ret = arm(s->wp, b, run->first * PAGE_BYTES, (run->first + run->n) * PAGE_BYTES);

	return ret < 0 ? say_not_protected(b, ret, err) : 0;
}

static int wp_touched(struct ram_save *s, size_t block, struct err *err)
{
	struct ram_block *b = s->m->mem.blocks[block];
	/* Shared pages are in the file, also those that our page tables do not have. */
	bool in_file = b->page_bytes == PAGE_BYTES && b->share;
	uint64_t *map = s->touched[block];
	int ret;

	ret = memory_allow_merging(b, false);
	if (s->partial) {
		bitmap_set_range(map, 0, b->bytes / PAGE_BYTES);
		return ret < 0 ? say_not_protected(b, ret, err) : 0;
	}
	if (!in_file)
		ram_populated(b, map);
	if (ret == 0)
		ret = arm(s->wp, b, 0, b->bytes);
	if (ret < 0)
		return say_not_protected(b, ret, err);
	if (!in_file && !ram_present(b, map))
		bitmap_set_range(map, 0, b->bytes / PAGE_BYTES);
	if (in_file || (b->page_bytes == PAGE_BYTES && ram_may_be_swapped()))
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
	return wp_protect_run(wp, run, true);
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

/*
 * What another process could have too is in the file, whatever our page tables say.  A page that is
 * not there now was not there at the instant, for what was given back since waits.
 */
void write_protect_look_again(struct ram_save *s)
{
	const struct memory *mem = &s->m->mem;

	for (size_t i = 0; i < mem->n_blocks; i++) {
		const struct ram_block *b = mem->blocks[i];
		size_t words = BITMAP_WORDS(b->bytes / PAGE_BYTES);
		CLEANUP(cleanup_free) uint64_t *there = NULL;

		if (!s->chosen[i] || !b->share || b->page_bytes != PAGE_BYTES)
			continue;
		there = bitmap_new(b->bytes / PAGE_BYTES);
		if (!there)
			continue; /* then they are read */
		ram_populated(b, there);
		for (size_t w = 0; w < words; w++)
			__atomic_fetch_and(&s->touched[i][w], there[w], __ATOMIC_SEQ_CST);
	}
}

int write_protect_watch(struct ram_save *s, int stop_fd)
{
	s->wp->watch_fd = wake_either(stop_fd, s->wp->alarm_fd);
	return s->wp->watch_fd < 0 ? -errno : s->wp->watch_fd;
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

const struct ram_tracker tracker_write_protect = {
    .name = "write-protect",
    .start = wp_start,
    .touched = wp_touched,
    .choose = wp_choose,
    .next = wp_next,
    .flushed = wp_flushed,
    .waited_for = wp_waited_for,
    .stop = wp_stop,
};
