/*
 * dirty.c - dirty tracking over whichever provider the machine has
 *
 * With manual protection KVM reports a page again and again until it is told
 * to protect it.  'unprotected' remembers, per slot, which reported pages
 * that still has to be done for; dirty_protect() does it by chunks of CHUNK
 * pages, so that one call serves a long sweep.
 */
#include "vmm/dirty.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/dirty-internal.h"
#include "vmm/dirty-provider.h"
#include "vmm/dirty-ring.h"
#include "vmm/dirty-watch.h"
#include "vmm/machine.h"
#include "vmm/vcpu.h"

#define CHUNK 4096U /* pages: 16 MiB; a multiple of 64 */

static uint64_t slot_pages(const struct mem_slot *s)
{
	return s->bytes / PAGE_BYTES;
}

static void free_bitmaps(struct dirty *d)
{
	for (size_t i = 0; i < MEMORY_MAX_SLOTS; i++) {
		free(d->slot[i].taken);
		free(d->slot[i].unprotected);
		d->slot[i].taken = d->slot[i].unprotected = NULL;
	}
}

static void free_untold(struct dirty *d)
{
	for (size_t i = 0; i < MEMORY_MAX_BLOCKS; i++) {
		free(d->untold[i]);
		d->untold[i] = NULL;
	}
}

int dirty_bitmaps(struct machine *m)
{
	struct dirty *d = m->dirty;

	for (size_t i = 0; i < m->mem.n_slots; i++) {
		uint64_t pages = slot_pages(&m->mem.slots[i]);

		if (!d->slot[i].taken)
			d->slot[i].taken = bitmap_new(pages);
		if (!d->slot[i].unprotected)
			d->slot[i].unprotected = bitmap_new(pages);
		if (!d->slot[i].taken || !d->slot[i].unprotected)
			return -ENOMEM;
	}
	return 0;
}

int dirty_provider_start(struct machine *m, struct err *err)
{
	struct dirty *d;
	int ret;

	if (m->dirty)
		return 0;
	d = NEW(struct dirty);
	d->provider = m->ring ? &dirty_ring : &dirty_log;
	ret = d->provider->start(m, err);
	if (ret < 0) {
		free(d);
		return ret;
	}
	(void)pthread_mutex_init(&d->lock, NULL);
	m->dirty = d;
	return 0;
}

/* The last one ends it. */
void dirty_provider_stop(struct machine *m)
{
	struct dirty *d = m->dirty;

	if (d->taken || d->watch)
		return;
	__atomic_store_n(&m->mem.tracking, false, __ATOMIC_SEQ_CST);
	free_bitmaps(d);
	if (d->counted)
		return;
	d->provider->stop(m);
	(void)pthread_mutex_destroy(&d->lock);
	free(d);
	m->dirty = NULL;
}

/* Pages that were reported before there was a taker are none of its own. */
static int drop_reported(struct machine *m, struct err *err)
{
	uint64_t *const none[MEMORY_MAX_BLOCKS] = {NULL};
	uint64_t added;

	return dirty_collect(m, none, &added, err);
}

/* Which blocks are not logged is for one user to say, before it starts. */
static void log_all_blocks(struct machine *m)
{
	for (size_t i = 0; i < m->mem.n_blocks; i++)
		m->mem.blocks[i]->unlogged = false;
}

static int take_over(struct machine *m, struct err *err)
{
	if (!dirty_taken(m))
		return 0;
	if (!m->dirty->yield)
		return err_set(err, EBUSY, "dirty pages are being tracked already");
	m->dirty->yield(m->dirty->opaque);
	return 0;
}

/* Marks that nobody has asked for. */
static void drop_marks(const struct machine *m)
{
	for (size_t i = 0; i < m->mem.n_blocks; i++)
		bitmap_reset(m->mem.blocks[i]->dma_dirty, m->mem.blocks[i]->bytes / PAGE_BYTES);
}

static int begin_taking(struct machine *m, struct err *err)
{
	bool counted = m->dirty, watched = m->dirty && m->dirty->watch;
	int ret;

	if (!watched)
		drop_marks(m);
	__atomic_store_n(&m->mem.tracking, true, __ATOMIC_SEQ_CST);
	ret = dirty_provider_start(m, err);
	if (ret < 0) {
		__atomic_store_n(&m->mem.tracking, false, __ATOMIC_SEQ_CST);
		return ret;
	}
	(void)pthread_mutex_lock(&m->dirty->lock);
	m->dirty->taken = true;
	if (dirty_bitmaps(m) < 0)
		ret = err_set(err, ENOMEM, "no memory for the dirty bitmaps");
	else if (counted)
		ret = drop_reported(m, err);
	(void)pthread_mutex_unlock(&m->dirty->lock);
	if (ret < 0)
		dirty_stop(m);
	return ret;
}

int dirty_start(struct machine *m, struct err *err)
{
	bool unlogged[MEMORY_MAX_BLOCKS] = {false};
	int ret;

	/* A taker that yields stops tracking, which resets the flags of the blocks. */
	for (size_t i = 0; i < m->mem.n_blocks; i++)
		unlogged[i] = m->mem.blocks[i]->unlogged;
	ret = take_over(m, err);
	for (size_t i = 0; ret == 0 && i < m->mem.n_blocks; i++)
		m->mem.blocks[i]->unlogged = unlogged[i];
	if (ret == 0)
		ret = begin_taking(m, err);
	if (ret < 0)
		log_all_blocks(m);
	return ret;
}

int dirty_start_yielding(struct machine *m, void (*yield)(void *opaque), void *opaque,
			 struct err *err)
{
	int ret = dirty_start(m, err);

	if (ret < 0)
		return ret;
	m->dirty->yield = yield;
	m->dirty->opaque = opaque;
	return 0;
}

void dirty_stop(struct machine *m)
{
	if (!dirty_taken(m))
		return;
	(void)pthread_mutex_lock(&m->dirty->lock);
	m->dirty->taken = false;
	m->dirty->yield = NULL;
	free_untold(m->dirty);
	(void)pthread_mutex_unlock(&m->dirty->lock);
	dirty_provider_stop(m);
	log_all_blocks(m);
}

bool dirty_taken(const struct machine *m)
{
	return m->dirty && m->dirty->taken;
}

int dirty_count_start(struct machine *m, struct err *err)
{
	int ret;

	if (!m->ring)
		return err_set(err, ENOTSUP,
			       "there is no dirty ring (-accel kvm,dirty-ring-size=N)");
	ret = dirty_provider_start(m, err);
	if (ret == 0)
		m->dirty->counted++;
	return ret;
}

void dirty_count_stop(struct machine *m)
{
	m->dirty->counted--;
	dirty_provider_stop(m);
}

void dirty_count_update(struct machine *m)
{
	for (unsigned i = 0; i < m->n_vcpus; i++) /* what the processor holds back comes out */
		vcpu_flush(m->vcpus[i]);
	dirty_ring_reap(m);
}

/* Bits of src (a slot's) into the block's map at the slot's offset; returns how many are new. */
static uint64_t merge_slot(const struct mem_slot *s, const uint64_t *src, uint64_t *map)
{
	uint64_t first = s->off / PAGE_BYTES, pages = slot_pages(s), added = 0;

	if (first % BITS_PER_WORD == 0)
		return bitmap_or(map + first / BITS_PER_WORD, src, pages);
	bitmap_for_each_set (page, src, pages) {
		added += !bitmap_test(map, first + page);
		bitmap_set(map, first + page);
	}
	return added;
}

/* Marks of devices, into one map or two (NULL: not into it); returns how many are new in 'map'. */
static uint64_t merge_dma(struct ram_block *b, uint64_t *map, uint64_t *watched)
{
	size_t words = BITMAP_WORDS(b->bytes / PAGE_BYTES);
	uint64_t added = 0;

	for (size_t w = 0; w < words; w++) {
		uint64_t word = __atomic_load_n(&b->dma_dirty[w], __ATOMIC_RELAXED);

		if (!word)
			continue;
		word = __atomic_exchange_n(&b->dma_dirty[w], 0, __ATOMIC_SEQ_CST);
		if (watched)
			watched[w] |= word;
		if (!map)
			continue;
		added += (uint64_t)__builtin_popcountll(word & ~map[w]);
		map[w] |= word;
	}
	return added;
}

static size_t block_index(const struct memory *mem, const struct ram_block *b)
{
	size_t i = 0;

	while (mem->blocks[i] != b)
		i++;
	return i;
}

int dirty_collect(struct machine *m, uint64_t *const *maps, uint64_t *added, struct err *err)
{
	struct dirty *d = m->dirty;
	uint64_t sum = 0;

	d->provider->sync(m);
	for (size_t i = 0; i < m->mem.n_slots; i++) {
		const struct mem_slot *s = &m->mem.slots[i];
		size_t block = block_index(&m->mem, s->block);
		int ret;

		if (!maps[block] && !d->watch && !m->ring)
			continue; /* it is not logged */
		ret = d->provider->take(m, s, d->slot[i].taken, err);
		if (ret < 0)
			return ret;
		if (d->watch)
			(void)merge_slot(s, d->slot[i].taken, d->watch->map[block]);
		if (maps[block])
			sum += merge_slot(s, d->slot[i].taken, maps[block]);
		if (maps[block] || d->watch)
			(void)bitmap_or(d->slot[i].unprotected, d->slot[i].taken, slot_pages(s));
		bitmap_reset(d->slot[i].taken, slot_pages(s));
	}
	for (size_t i = 0; i < m->mem.n_blocks; i++)
		if (maps[i] || d->watch)
			sum += merge_dma(m->mem.blocks[i], maps[i],
					 d->watch ? d->watch->map[i] : NULL);
	*added = sum;
	return 0;
}

int dirty_sync(struct machine *m, uint64_t *const *maps, uint64_t *added, struct err *err)
{
	struct dirty *d = m->dirty;
	int ret;

	(void)pthread_mutex_lock(&d->lock);
	ret = dirty_collect(m, maps, added, err);
	for (size_t i = 0; ret == 0 && i < m->mem.n_blocks; i++) {
		uint64_t pages = m->mem.blocks[i]->bytes / PAGE_BYTES;

		if (!maps[i] || !d->untold[i])
			continue;
		*added += bitmap_or(maps[i], d->untold[i], pages);
		bitmap_reset(d->untold[i], pages);
	}
	(void)pthread_mutex_unlock(&d->lock);
	return ret;
}

static void protect_slot(struct machine *m, size_t i, uint64_t first, uint64_t end)
{
	const struct mem_slot *s = &m->mem.slots[i];
	uint64_t *map = m->dirty->slot[i].unprotected;
	uint64_t pages = slot_pages(s);

	first = ALIGN_DOWN(first, CHUNK);
	for (; first < end; first += CHUNK) {
		uint64_t n = MIN(CHUNK, pages - first);

		if (bitmap_next_set(map, first + n, first) == first + n)
			continue;
		if (m->dirty->provider->protect(m, s, first, n, map + first / BITS_PER_WORD) == 0)
			bitmap_clear_range(map, first, n);
	}
}

void dirty_protect_locked(struct machine *m, const struct ram_block *b, uint64_t first, uint64_t n)
{
	for (size_t i = 0; i < m->mem.n_slots; i++) {
		const struct mem_slot *s = &m->mem.slots[i];
		uint64_t from = s->off / PAGE_BYTES, to = from + slot_pages(s);

		if (s->block != b || first >= to || first + n <= from)
			continue;
		protect_slot(m, i, MAX(first, from) - from, MIN(first + n, to) - from);
	}
}

void dirty_protect(struct machine *m, struct ram_block *b, uint64_t first, uint64_t n)
{
	if (!m->dirty)
		return;
	(void)pthread_mutex_lock(&m->dirty->lock);
	dirty_protect_locked(m, b, first, n);
	(void)pthread_mutex_unlock(&m->dirty->lock);
}
