/* merge-watch.c - a timer of the main loop; it ends when merging has been seen to be on */
#include "vmm/merge-watch.h"

#include <stdlib.h>

#include "vmm/base/alloc.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/memory/merge.h"
#include "vmm/options/config.h"

#define LOOK_MS 30000U

struct merge_watch {
	struct machine *m;
	struct loop_timer *timer; /* owned */
};

static void look(void *opaque)
{
	struct merge_watch *w = opaque;

	if (memory_merging_is_on())
		memory_follow_merging(&w->m->mem);
	else
		loop_timer_arm_ms(w->timer, LOOK_MS);
}

struct merge_watch *merge_watch_new(struct machine *m)
{
	struct merge_watch *w;

	if (!m->cfg->mem_merge)
		return NULL;
	w = NEW(struct merge_watch);
	w->m = m;
	w->timer = loop_timer_new(m->loop, look, w);
	look(w);
	return w;
}

void merge_watch_free(struct merge_watch *w)
{
	if (!w)
		return;
	loop_timer_free(w->timer);
	free(w);
}
