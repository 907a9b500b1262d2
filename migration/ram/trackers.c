/*
 * trackers.c - the row for precopy: what the dirty log or the dirty ring reports goes again;
 * and the row for a guest that stands still, whose pages go once
 */
#include "migration/ram/trackers.h"

#include "migration/ram/ram.h"
#include "vmm/dirty.h"
#include "vmm/machine.h"
#include "vmm/memory/populated.h"

static int dirty_begin(struct ram_save *s, struct err *err)
{
	return dirty_start(s->m, err);
}

/* After the start: a page touched from now on is reported, or there is none. */
static int touched_now(struct ram_save *s, size_t block, struct err *err)
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

static int queue_next(struct ram_save *s, struct page_run *run, uint8_t **copy)
{
	*copy = NULL;
	return page_queue_next(&s->queue, s->run_limit, run) ? 1 : 0;
}

static int dirty_next(struct ram_save *s, struct page_run *run, uint8_t **copy)
{
	if (!queue_next(s, run, copy))
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
    .touched = touched_now,
    .sync = dirty_collect,
    .next = dirty_next,
    .stop = dirty_end,
};

static int none_begin(struct ram_save *s, struct err *err)
{
	(void)s;
	(void)err;
	return 0;
}

static void none_end(struct ram_save *s)
{
	(void)s;
}

const struct ram_tracker tracker_none = {
    .name = "none",
    .start = none_begin,
    .touched = touched_now,
    .next = queue_next,
    .stop = none_end,
};
