/* missing.c - who fills in the pages of guest memory that are not there yet */
#include "vmm/memory/missing.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "vmm/base/bitmap.h"
#include "vmm/base/units.h"
#include "vmm/memory/memory.h"

void missing_set_block(struct ram_block *b, struct missing *x)
{
	pthread_rwlock_wrlock(b->missing_lock);
	b->missing = x;
	pthread_rwlock_unlock(b->missing_lock);
}

static bool replace(struct memory *mem, struct missing *x, bool wait)
{
	struct missing *old = mem->missing;

	for (size_t i = 0; old && i < mem->n_blocks; i++)
		missing_set_block(mem->blocks[i], NULL);
	pthread_rwlock_wrlock(&mem->missing_lock);
	mem->missing = x;
	pthread_rwlock_unlock(&mem->missing_lock);
	return !old || old->ops->end(old, wait);
}

void memory_set_missing(struct memory *mem, struct missing *x)
{
	(void)replace(mem, x, true);
}

bool memory_end_missing(struct memory *mem)
{
	return replace(mem, NULL, false);
}

int memory_check_complete(struct memory *mem, struct err *err)
{
	int ret;

	pthread_rwlock_rdlock(&mem->missing_lock);
	ret = mem->missing ? mem->missing->ops->check(mem->missing, err) : 0;
	pthread_rwlock_unlock(&mem->missing_lock);
	return ret;
}

static void mark_missing(const struct ram_block *b, uint64_t *map)
{
	pthread_rwlock_rdlock(b->missing_lock);
	if (b->missing)
		b->missing->ops->mark(b->missing, b, map);
	pthread_rwlock_unlock(b->missing_lock);
}

static int bring_block(const struct ram_block *b, bool (*stop)(void *opaque), void *opaque)
{
	uint64_t pages = b->bytes / PAGE_BYTES, *map = bitmap_new(pages);
	int ret = 0;

	if (!map)
		return -ENOMEM;
	mark_missing(b, map);
	for (uint64_t page = bitmap_next_set(map, pages, 0); page < pages && ret == 0;
	     page = bitmap_next_set(map, pages, page + 1)) {
		if (stop(opaque))
			ret = -ECANCELED;
		else
			(void)*(const volatile uint8_t *)(b->hva + page * PAGE_BYTES);
	}
	free(map);
	return ret;
}

int memory_bring_missing(struct memory *mem, bool (*stop)(void *opaque), void *opaque)
{
	int ret = 0;

	if (memory_check_complete(mem, NULL) == 0)
		return 0;
	for (size_t i = 0; i < mem->n_blocks && ret == 0; i++)
		ret = bring_block(mem->blocks[i], stop, opaque);
	return ret;
}
