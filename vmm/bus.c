/*
 * bus.c - regions sorted by base, found by binary search
 *
 * An access must lie in one region as a whole; any other reads all ones.
 */
#include "vmm/bus.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/base/error.h"

int bus_add(struct bus *b, uint64_t base, uint64_t bytes, const struct bus_ops *ops, void *dev,
	    struct err *err)
{
	size_t at = 0;

	if (b->n == BUS_MAX_REGIONS)
		return err_set(err, ENOSPC, "more than %d I/O regions", BUS_MAX_REGIONS);
	while (at < b->n && b->regions[at].base < base)
		at++;
	if ((at > 0 && b->regions[at - 1].base + b->regions[at - 1].bytes > base) ||
	    (at < b->n && base + bytes > b->regions[at].base))
		return err_set(err, EEXIST,
			       "I/O region 0x%" PRIx64 "+0x%" PRIx64 " overlaps another one", base,
			       bytes);
	memmove(&b->regions[at + 1], &b->regions[at], (b->n - at) * sizeof(b->regions[0]));
	b->regions[at] = (struct bus_region){.base = base, .bytes = bytes, .ops = ops, .dev = dev};
	b->n++;
	return 0;
}

/* The region that holds all of [addr, addr + len), or NULL. */
static const struct bus_region *bus_find(const struct bus *b, uint64_t addr, unsigned len)
{
	size_t lo = 0, hi = b->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		const struct bus_region *r = &b->regions[mid];

		if (addr < r->base)
			hi = mid;
		else if (addr - r->base >= r->bytes)
			lo = mid + 1;
		else
			return r->bytes - (addr - r->base) >= len ? r : NULL;
	}
	return NULL;
}

uint64_t bus_read(const struct bus *b, uint64_t addr, unsigned len)
{
	const struct bus_region *r = bus_find(b, addr, len);

	return r ? r->ops->read(r->dev, addr - r->base, len) : UINT64_MAX;
}

void bus_write(const struct bus *b, uint64_t addr, unsigned len, uint64_t val)
{
	const struct bus_region *r = bus_find(b, addr, len);

	if (r)
		r->ops->write(r->dev, addr - r->base, len, val);
}
