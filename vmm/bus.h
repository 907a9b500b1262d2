/*
 * bus.h - which device answers a port or a guest-physical address
 *
 * Regions are added before vCPUs run and then constant.  Access comes from
 * vCPU threads under the machine lock.
 */
#ifndef MINIVMM_BUS_H
#define MINIVMM_BUS_H

#include <stddef.h>
#include <stdint.h>

struct err;

#define BUS_MAX_REGIONS 64

struct bus_ops {
	/* off is from the region's start; len is 1, 2, 4 or 8 and does not leave the region. */
	uint64_t (*read)(void *dev, uint64_t off, unsigned len);
	void (*write)(void *dev, uint64_t off, unsigned len, uint64_t val);
};

struct bus_region {
	uint64_t base, bytes;
	const struct bus_ops *ops;
	void *dev;
};

struct bus {
	struct bus_region regions[BUS_MAX_REGIONS]; /* sorted by base */
	size_t n;
};

/* -EEXIST when it overlaps another region, -ENOSPC when the table is full. */
int bus_add(struct bus *b, uint64_t base, uint64_t bytes, const struct bus_ops *ops, void *dev,
	    struct err *err);
/* Without a region at the address reads are all ones and writes are dropped. */
uint64_t bus_read(const struct bus *b, uint64_t addr, unsigned len);
void bus_write(const struct bus *b, uint64_t addr, unsigned len, uint64_t val);

#endif
