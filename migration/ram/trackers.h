/*
 * trackers.h - which pages were written while a migration runs, and have to go again
 *
 * A row for each way to know.  Precopy lets the guest write, and asks KVM's
 * dirty log or dirty ring (vmm/dirty.h); a guest that stands still writes nothing.
 */
#ifndef MINIVMM_MIGRATION_TRACKERS_H
#define MINIVMM_MIGRATION_TRACKERS_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct machine;

struct ram_tracker {
	const char *name;
	/* From now on each written page is reported.  Machine lock held. */
	int (*start)(struct machine *m, struct err *err);
	/*
	 * Set the bits of pages written since they were taken, a bitmap a block
	 * (NULL: left out), in the order of mem->blocks.  Migration thread.
	 */
	int (*sync)(struct machine *m, uint64_t *const *maps, struct err *err);
	/* Pages [first, first + n) of the block are about to be read.  Migration thread. */
	void (*take)(struct machine *m, size_t block, uint64_t first, uint64_t n);
	/* Machine lock held. */
	void (*stop)(struct machine *m);
};

extern const struct ram_tracker tracker_dirty, tracker_none;

#endif
