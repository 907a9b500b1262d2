/*
 * eager.c - the thread that brings what nobody has touched yet
 *
 * The working set first, block by block; then all blocks in order, with reads of up to 2 MiB.  A
 * limit (lazy_set_rate) is kept over pieces of a tenth of a second.
 *
 * What the owner is told is told from here, for this thread may take the machine lock and the
 * fault thread may not: so it also sleeps with an eye on 'stalled'.
 */
#include <errno.h>
#include <inttypes.h>

#include "migration/ram/lazy/internal.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/log.h"
#include "vmm/vclock.h"

#define PIECES_S 10U /* in a second, where there is a limit */

static bool stopping(struct lazy *l)
{
	bool stop;

	pthread_mutex_lock(&l->lock);
	stop = l->stop;
	pthread_mutex_unlock(&l->lock);
	return stop;
}

/* ---- telling the owner ---- */

static void tell_stalled(struct lazy *l, const struct err *why)
{
	pthread_mutex_lock(&l->owner_lock);
	if (l->owner.stalled)
		l->owner.stalled(l->owner.opaque, why);
	pthread_mutex_unlock(&l->owner_lock);
}

static void tell_recovered(struct lazy *l)
{
	pthread_mutex_lock(&l->owner_lock);
	if (l->owner.recovered)
		l->owner.recovered(l->owner.opaque);
	pthread_mutex_unlock(&l->owner_lock);
}

static void tell_resident(struct lazy *l)
{
	pthread_mutex_lock(&l->owner_lock);
	if (l->owner.resident)
		l->owner.resident(l->owner.opaque);
	pthread_mutex_unlock(&l->owner_lock);
}

/* ---- bringing ---- */

/* One piece, which may be here by now. */
static int bring(struct lazy *l, int block, uint64_t page, uint64_t n, struct err *err)
{
	const struct ram_block *b = l->placer.blocks[block].block;
	int ret = lazy_read(l, block, page, n, l->eager_buf, err);

	if (ret < 0)
		return ret;
	ret = uffd_placer_put(&l->placer, block, page, n, l->eager_buf);
	if (ret < 0)
		return err_set(err, -ret, "pages of RAM block '%s' cannot be put into memory: %s",
			       b->name, err_text(-ret));
	return 0;
}

/* A page that is still to come can be read and put in; there is none: 0, too. */
static int try_again(struct lazy *l, struct err *err)
{
	for (size_t i = 0; i < l->placer.n; i++) {
		uint64_t page = 0, n = uffd_placer_next(&l->placer, (int)i, &page, 1);

		if (n)
			return bring(l, (int)i, page, n, err);
	}
	return 0;
}

/* Who waits touches its page again, and so asks again. */
static void recover(struct lazy *l)
{
	pthread_mutex_lock(&l->lock);
	l->stalled = false;
	pthread_mutex_unlock(&l->lock);
	for (size_t i = 0; i < l->placer.n; i++) {
		const struct ram_block *b = l->placer.blocks[i].block;

		(void)userfault_wake(&l->placer.uffd, b, 0, b->bytes);
	}
	tell_recovered(l);
}

/* Until pages come again; false: the session ends. */
static bool wait_recovered(struct lazy *l)
{
	struct err why, err;
	bool lost;

	pthread_mutex_lock(&l->lock);
	why = l->why;
	lost = l->lost;
	l->stalled &= !lost;
	pthread_mutex_unlock(&l->lock);
	tell_stalled(l, &why);
	if (lost) /* what this thread brings still comes, and wakes who waits for it */
		return true;
	for (;;) {
		int64_t until = host_now_ns() + LAZY_RETRY_NS;

		pthread_mutex_lock(&l->lock);
		while (!l->stop && host_now_ns() < until)
			thread_cond_wait_until(&l->changed, &l->lock, until);
		pthread_mutex_unlock(&l->lock);
		if (stopping(l))
			return false;
		if (try_again(l, &err) == 0)
			break;
	}
	recover(l);
	return true;
}

/*
 * Before each piece: keep to the limit, and to what the fault thread says.  *max: how many
 * pages it may have.  False: the session ends.
 */
static bool may_bring(struct lazy *l, uint64_t *max)
{
	bool stop, stalled;

	pthread_mutex_lock(&l->lock);
	for (;;) {
		uint64_t rate = __atomic_load_n(&l->rate, __ATOMIC_RELAXED);

		*max = rate ? MAX(MIN(rate / PIECES_S / PAGE_BYTES, LAZY_READ_PAGES), 1)
			    : LAZY_READ_PAGES;
		stop = l->stop;
		stalled = l->stalled;
		if (stop || stalled || !rate || host_now_ns() >= l->paced_ns)
			break;
		thread_cond_wait_until(&l->changed, &l->lock, l->paced_ns);
	}
	pthread_mutex_unlock(&l->lock);
	return !stop && (!stalled || wait_recovered(l));
}

static void pace(struct lazy *l, uint64_t pages)
{
	uint64_t rate = __atomic_load_n(&l->rate, __ATOMIC_RELAXED);

	if (rate)
		l->paced_ns = MAX(l->paced_ns, host_now_ns()) +
			      (int64_t)(pages * PAGE_BYTES * 1000000000ULL / rate);
}

/* Others may have brought them meanwhile, and then the source may be gone. */
static bool is_still_to_come(const struct lazy *l, int block, uint64_t page, uint64_t n)
{
	uint64_t next = page;

	return uffd_placer_next(&l->placer, block, &next, 1) && next < page + n;
}

/* Pages [page, end) of a block, as far as they are to come.  False: the session ends. */
static bool bring_range(struct lazy *l, int block, uint64_t page, uint64_t end)
{
	struct err err = {0};
	uint64_t max, n;

	for (;;) {
		if (!may_bring(l, &max))
			return false;
		n = page < end ? uffd_placer_next(&l->placer, block, &page, MIN(max, end - page))
			       : 0;
		if (!n || page >= end)
			return true;
		if (bring(l, block, page, n, &err) < 0) {
			if (is_still_to_come(l, block, page, n))
				lazy_set_stalled(l, &err, false);
			continue;
		}
		pace(l, n);
		page += n;
	}
}

/* ---- the working set ---- */

static void load_working_set(struct lazy *l)
{
	uint8_t identity[PAGE_SOURCE_IDENTITY];
	struct err err = {0};
	int ret;

	if (!l->notes)
		return;
	l->source->ops->identity(l->source, identity);
	ret = working_set_load(&l->first, identity, l->notes, &err);
	if (ret < 0 && ret != -ENOENT)
		log_info("the working set in '%s' is ignored: %s", l->notes, err.msg);
	__atomic_store_n(&l->first_pages, working_set_pages(&l->first), __ATOMIC_RELAXED);
}

static bool bring_working_set(struct lazy *l)
{
	for (size_t i = 0; i < l->placer.n; i++) {
		const struct working_set_block *w = &l->first.blocks[l->index[i]];
		uint64_t page = 0, end;

		for (; (page = bitmap_next_set(w->map, w->pages, page)) < w->pages; page = end) {
			end = bitmap_next_clear(w->map, w->pages, page);
			if (!bring_range(l, (int)i, page, end))
				return false;
		}
	}
	return true;
}

/* What was touched now, and what was brought before it could be. */
static void save_working_set(struct lazy *l, struct working_set *faulted)
{
	uint8_t identity[PAGE_SOURCE_IDENTITY];
	struct err err = {0};
	uint64_t fresh = 0;

	if (!l->notes)
		return;
	for (size_t i = 0; i < faulted->n; i++)
		fresh += bitmap_or(l->first.blocks[i].map, faulted->blocks[i].map,
				   faulted->blocks[i].pages);
	if (!fresh)
		return;
	l->source->ops->identity(l->source, identity);
	if (working_set_save(&l->first, identity, l->notes, &err) < 0)
		log_info("the working set cannot be kept in '%s': %s", l->notes, err.msg);
}

/* ---- the thread ---- */

void *lazy_eager(void *opaque)
{
	struct lazy *l = opaque;
	bool all;

	load_working_set(l);
	all = bring_working_set(l);
	for (size_t i = 0; all && i < l->placer.n; i++)
		all = bring_range(l, (int)i, 0, l->placer.blocks[i].pages);
	if (all) {
		fault_thread_stop(&l->fault_thread);
		save_working_set(l, &l->faulted);
		lazy_finish(l);
		tell_resident(l);
	}
	thread_set_done(&l->eager);
	return NULL;
}
