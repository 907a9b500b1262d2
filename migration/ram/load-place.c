/* load-place.c - pages that come on another way than the stream: multifd's threads have them placed
 */
#include <errno.h>

#include "migration/ram/load.h"

void ram_load_end(struct ram_load *l)
{
	__atomic_store_n(&l->over, true, __ATOMIC_SEQ_CST);
}

bool ram_load_is_over(const struct ram_load *l)
{
	return __atomic_load_n(&l->over, __ATOMIC_SEQ_CST);
}

int ram_load_place(const struct ram_load *l, struct load_block *lb, uint64_t off, uint8_t **to)
{
	bool fresh = false;

	if (off >= lb->bytes)
		return -EINVAL;
	*to = l->placer->begin(lb, off, 1, &fresh);
	return fresh;
}

int ram_load_commit(const struct ram_load *l, struct load_block *lb, uint64_t off)
{
	return l->placer->commit(lb, off, 1);
}

int ram_load_zero(const struct ram_load *l, struct load_block *lb, uint64_t off)
{
	return off < lb->bytes ? l->placer->zero(lb, off) : -EINVAL;
}
