#include "migration/ram/trackers.h"

#include "vmm/dirty.h"
#include "vmm/machine.h"

static int dirty_collect(struct machine *m, uint64_t *const *maps, struct err *err)
{
	uint64_t added;

	return dirty_sync(m, maps, &added, err);
}

static void dirty_take(struct machine *m, size_t block, uint64_t first, uint64_t n)
{
	dirty_protect(m, m->mem.blocks[block], first, n);
}

const struct ram_tracker tracker_dirty = {
    .name = "dirty",
    .start = dirty_start,
    .sync = dirty_collect,
    .take = dirty_take,
    .stop = dirty_stop,
};
