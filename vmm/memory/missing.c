/* missing.c - who fills in the pages of guest memory that are not there yet */
#include "vmm/memory/missing.h"

#include <stddef.h>

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
