/*
 * dirty-watch.c - a user of the dirty tracker that stays while others come and go
 *
 * At the instant, pages that KVM has reported and that are not protected yet would not be reported
 * for a write that follows: KVM says so again until it is told to protect them (manual protection),
 * or has protected them already (without it, and with a ring).  So what was reported is forgotten,
 * not protected: it comes once more, and the next instant has a few pages too many.  How few,
 * the caller decides, with rounds of dirty_watch_settle() before it.
 */
#include "vmm/dirty-watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/dirty-internal.h"
#include "vmm/machine.h"

static uint64_t block_pages(const struct machine *m, size_t i)
{
	return m->mem.blocks[i]->bytes / PAGE_BYTES;
}

static void free_maps(struct dirty_watch *w)
{
	for (size_t i = 0; i < MEMORY_MAX_BLOCKS; i++) {
		free(w->map[i]);
		w->map[i] = NULL;
	}
}

static int alloc_maps(const struct machine *m, struct dirty_watch *w)
{
	for (size_t i = 0; i < m->mem.n_blocks; i++) {
		w->map[i] = bitmap_new(block_pages(m, i));
		if (!w->map[i])
			return -ENOMEM;
	}
	return 0;
}

int dirty_watch_start(struct machine *m, struct dirty_watch *w, struct err *err)
{
	bool tracking = __atomic_exchange_n(&m->mem.tracking, true, __ATOMIC_SEQ_CST);
	int ret = alloc_maps(m, w) < 0
		      ? err_set(err, ENOMEM, "no memory for a bitmap of the guest's pages")
		      : 0;

	w->lost = false;
	if (ret == 0)
		ret = dirty_provider_start(m, err);
	if (ret < 0) {
		__atomic_store_n(&m->mem.tracking, tracking, __ATOMIC_SEQ_CST);
		free_maps(w);
		return ret;
	}
	(void)pthread_mutex_lock(&m->dirty->lock);
	m->dirty->watch = w;
	ret = dirty_bitmaps(m);
	(void)pthread_mutex_unlock(&m->dirty->lock);
	w->on = true;
	if (ret == 0)
		return 0;
	dirty_watch_stop(m, w);
	return err_set(err, -ret, "no memory for the dirty bitmaps");
}

void dirty_watch_stop(struct machine *m, struct dirty_watch *w)
{
	if (!w->on)
		return;
	w->on = false;
	(void)pthread_mutex_lock(&m->dirty->lock);
	m->dirty->watch = NULL;
	(void)pthread_mutex_unlock(&m->dirty->lock);
	free_maps(w);
	dirty_provider_stop(m);
}

void dirty_lose(struct machine *m, const char *why)
{
	struct dirty_watch *w = m->dirty ? m->dirty->watch : NULL;

	if (!w || w->lost)
		return;
	(void)snprintf(w->why, sizeof(w->why), "%s", why);
	w->lost = true;
	w->on_lost(w->opaque);
}

/* Pages that the watch finds while there is a taker are told to it as well.  Lock held. */
static int prepare_untold(struct machine *m)
{
	struct dirty *d = m->dirty;

	for (size_t i = 0; d->taken && i < m->mem.n_blocks; i++) {
		if (!d->untold[i])
			d->untold[i] = bitmap_new(block_pages(m, i));
		if (!d->untold[i])
			return -ENOMEM;
	}
	return 0;
}

static int watch_sync(struct machine *m, struct err *err)
{
	uint64_t added;

	if (prepare_untold(m) < 0)
		return err_set(err, ENOMEM, "no memory for a bitmap of the guest's pages");
	return dirty_collect(m, m->dirty->untold, &added, err);
}

/* Pages that were reported and can be written without being reported again.  Lock held. */
static uint64_t count_unprotected(const struct machine *m)
{
	uint64_t n = 0;

	for (size_t i = 0; i < m->mem.n_slots; i++)
		n +=
		    bitmap_count(m->dirty->slot[i].unprotected, m->mem.slots[i].bytes / PAGE_BYTES);
	return n;
}

int dirty_watch_settle(struct machine *m, uint64_t *found, struct err *err)
{
	struct dirty *d = m->dirty;
	int ret;

	(void)pthread_mutex_lock(&d->lock);
	ret = watch_sync(m, err);
	*found = count_unprotected(m);
	for (size_t i = 0; ret == 0 && i < m->mem.n_blocks; i++)
		dirty_protect_locked(m, m->mem.blocks[i], 0, block_pages(m, i));
	(void)pthread_mutex_unlock(&d->lock);
	return ret;
}

int dirty_watch_take(struct machine *m, struct dirty_watch *w, uint64_t *const *maps,
		     struct err *err)
{
	struct dirty *d = m->dirty;
	int ret;

	(void)pthread_mutex_lock(&d->lock);
	ret = watch_sync(m, err);
	for (size_t i = 0; ret == 0 && i < m->mem.n_blocks; i++) {
		(void)bitmap_or(maps[i], w->map[i], block_pages(m, i));
		bitmap_reset(w->map[i], block_pages(m, i));
	}
	for (size_t i = 0; ret == 0 && i < m->mem.n_slots; i++)
		bitmap_reset(d->slot[i].unprotected, m->mem.slots[i].bytes / PAGE_BYTES);
	(void)pthread_mutex_unlock(&d->lock);
	return ret;
}

void dirty_watch_peek(struct machine *m, const struct dirty_watch *w, uint64_t *const *maps)
{
	(void)pthread_mutex_lock(&m->dirty->lock);
	for (size_t i = 0; i < m->mem.n_blocks; i++)
		(void)bitmap_or(maps[i], w->map[i], block_pages(m, i));
	(void)pthread_mutex_unlock(&m->dirty->lock);
}

void dirty_watch_give_back(struct machine *m, struct dirty_watch *w, uint64_t *const *maps)
{
	(void)pthread_mutex_lock(&m->dirty->lock);
	for (size_t i = 0; i < m->mem.n_blocks; i++)
		(void)bitmap_or(w->map[i], maps[i], block_pages(m, i));
	(void)pthread_mutex_unlock(&m->dirty->lock);
}
