/* tracker-none.c - nobody writes: the guest stands still until all of its pages have gone */
#include "migration/ram/ram.h"
#include "migration/ram/trackers.h"
#include "vmm/machine.h"
#include "vmm/memory/populated.h"

static int none_start(struct ram_save *s, struct err *err)
{
	(void)s;
	(void)err;
	return 0;
}

static int none_touched(struct ram_save *s, size_t block, struct err *err)
{
	(void)err;
	ram_populated(s->m->mem.blocks[block], s->touched[block]);
	return 0;
}

static int none_next(struct ram_save *s, struct page_run *run, uint8_t **copy)
{
	*copy = NULL;
	return page_queue_next(&s->queue, s->run_limit, run);
}

static void none_stop(struct ram_save *s)
{
	(void)s;
}

const struct ram_tracker tracker_none = {
    .name = "none",
    .start = none_start,
    .touched = none_touched,
    .next = none_next,
    .stop = none_stop,
};
