/* missing.c - who fills in the pages of guest memory that are not there yet */
#include "vmm/memory/missing.h"

#include <stddef.h>

#include "vmm/memory/memory.h"

bool memory_set_missing(struct memory *mem, struct missing *x)
{
	struct missing *old = mem->missing;

	if (old && !old->ops->end(old))
		return false;
	for (size_t i = 0; old && i < mem->n_blocks; i++)
		if (mem->blocks[i]->missing == old)
			mem->blocks[i]->missing = NULL;
	mem->missing = x;
	return true;
}

int memory_check_complete(const struct memory *mem, struct err *err)
{
	struct missing *x = mem->missing;

	return x ? x->ops->check(x, err) : 0;
}
