/* tracker-none.c - nobody writes: the guest stands still until all of its pages have gone */
#include "migration/ram/trackers.h"
#include "vmm/machine.h"

static int none_start(struct machine *m, struct err *err)
{
	(void)m;
	(void)err;
	return 0;
}

static int none_sync(struct machine *m, uint64_t *const *maps, struct err *err)
{
	(void)m;
	(void)maps;
	(void)err;
	return 0;
}

static void none_take(struct machine *m, size_t block, uint64_t first, uint64_t n)
{
	(void)m;
	(void)block;
	(void)first;
	(void)n;
}

static void none_stop(struct machine *m)
{
	(void)m;
}

const struct ram_tracker tracker_none = {
    .name = "none",
    .start = none_start,
    .sync = none_sync,
    .take = none_take,
    .stop = none_stop,
};
