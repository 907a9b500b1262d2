/*
 * dirty-watch.h - all pages written since an instant, however long ago, beside whoever else asks
 *
 * A watch gathers what any sync finds, its own and those of the taker (dirty.h), which it does
 * not disturb.  So it misses nothing as long as it lasts; and pages that were reported and are not
 * protected again are reported once more, so that none is lost when it begins anew.  What it may
 * do is tell of a page that was not written.
 *
 * One at a time.  A bitmap a block, a bit a 4 KiB page, and what KVM needs to track.
 */
#ifndef MINIVMM_DIRTY_WATCH_H
#define MINIVMM_DIRTY_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/memory/memory.h"

struct err;
struct machine;

#define DIRTY_WHY_BYTES 128

/* Zeroed before it starts; all of it is dirty-watch.c's but for what is read under the lock. */
struct dirty_watch {
	/* set at start and then constant */
	uint64_t *map[MEMORY_MAX_BLOCKS]; /* owned; under the tracker's own lock */
	void (*on_lost)(void *opaque);    /* machine lock held; may stop the watch */
	void *opaque;
	/* machine lock */
	bool on;
	bool lost; /* something was written that it cannot know of */
	char why[DIRTY_WHY_BYTES];
};

/* ---- machine lock held ---- */

/* From now on.  w->on_lost is set.  0, or -errno with *err set. */
int dirty_watch_start(struct machine *m, struct dirty_watch *w, struct err *err);
void dirty_watch_stop(struct machine *m, struct dirty_watch *w); /* one that is off is fine */
/* Memory is written in a way that nobody sees: there is no watch that could go on.  'why': a
 * sentence without its end. */
void dirty_lose(struct machine *m, const char *why);
/*
 * This is the instant: nothing writes (vCPUs parked, devices idle).  What was written since the
 * last one is added to 'maps' (one a block), and the watch begins anew.
 */
int dirty_watch_take(struct machine *m, struct dirty_watch *w, uint64_t *const *maps,
		     struct err *err);

/* ---- any thread, no lock; the watch is on until it returns ---- */

/* Bring it up to date, and protect what was found.  *found: pages. */
int dirty_watch_settle(struct machine *m, uint64_t *found, struct err *err);
/* What it has found up to now is added to 'maps', and stays. */
void dirty_watch_peek(struct machine *m, const struct dirty_watch *w, uint64_t *const *maps);
/* What was taken goes back: there has been no instant. */
void dirty_watch_give_back(struct machine *m, struct dirty_watch *w, uint64_t *const *maps);

#endif
