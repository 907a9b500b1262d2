/* load-place.c - pages that come on another way than the stream: multifd's threads have them placed
 */
#include <errno.h>

#include "migration/ram/load.h"

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
