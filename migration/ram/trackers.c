/* trackers.c - the row for precopy: what the dirty log or the dirty ring reports goes again */
#include "migration/ram/trackers.h"

#include "migration/ram/ram.h"
#include "vmm/dirty.h"
#include "vmm/machine.h"
#include "vmm/memory/populated.h"

static int dirty_begin(struct ram_save *s, struct err *err)
{
	return dirty_start(s->m, err);
}

/* After the start: a page touched from now on is reported. */
static int dirty_touched(struct ram_save *s, size_t block, struct err *err)
{
	(void)err;
	ram_populated(s->m->mem.blocks[block], s->touched[block]);
	return 0;
}

static int dirty_collect(struct ram_save *s, struct err *err)
{
	uint64_t added;

	return dirty_sync(s->m, s->reported, &added, err);
}

static int dirty_next(struct ram_save *s, struct page_run *run, uint8_t **copy)
{
	*copy = NULL;
	if (!page_queue_next(&s->queue, s->run_limit, run))
		return 0;
	dirty_protect(s->m, s->m->mem.blocks[run->block], run->first, run->n);
	return 1;
}

static void dirty_end(struct ram_save *s)
{
	dirty_stop(s->m);
}

const struct ram_tracker tracker_dirty = {
    .name = "dirty",
    .start = dirty_begin,
    .touched = dirty_touched,
    .sync = dirty_collect,
    .next = dirty_next,
    .stop = dirty_end,
};
