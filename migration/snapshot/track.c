/*
 * track.c - a watch of the dirty tracker, from one snapshot's instant to the next
 *
 * It starts before the instant, while the guest runs, and what was written before the instant is
 * dropped there: no hole, and no work on all of memory in the pause.  A save that fails gives back
 * what it has taken, so that the next one against the same parent has it all.
 */
#include "migration/snapshot/track.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/qcow2.h"
#include "migration/ram/ram.h"
#include "migration/snapshot/chain.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

#define NEAR_PAGES  256U
#define NEAR_ROUNDS 8U

static bool is_same(const struct parent_mark *a, const struct parent_mark *b)
{
	return !strcmp(a->tag, b->tag) && a->date_s == b->date_s && a->date_ns == b->date_ns &&
	       a->vm_clock_ns == b->vm_clock_ns;
}

/* ---- what is known ---- */

static int say_unknown(const struct snapshot_track *t, const char *tag, struct err *err)
{
	if (*t->why && !strcmp(t->since.tag, tag))
		return err_set(
		    err, EINVAL,
		    "what the guest has written since snapshot '%.100s' is not known any "
		    "more: %s; save without x-minivmm-parent",
		    tag, t->why);
	if (t->known)
		return err_set(err, EINVAL,
			       "it is not known what the guest has written since snapshot "
			       "'%.100s': only '%.100s' can be the parent",
			       tag, t->since.tag);
	return err_set(
	    err, EINVAL,
	    "it is not known what the guest has written since snapshot '%.100s': only a "
	    "snapshot that this program has saved with x-minivmm-track can be the parent",
	    tag);
}

int track_check_parent(const struct snapshot_track *t, const struct qcow2 *q, const char *tag,
		       struct err *err)
{
	if (!t->known || strcmp(t->since.tag, tag) != 0)
		return say_unknown(t, tag, err);
	if (snapshot_find_marked(q, &t->since))
		return 0;
	return err_set(err, ENOENT,
		       "snapshot '%.100s' with the guest's memory is not in the image that the VM "
		       "state is to go to",
		       tag);
}

/* ---- its end ---- */

static void free_taken(struct snapshot_track *t)
{
	for (size_t i = 0; i < MEMORY_MAX_BLOCKS; i++) {
		free(t->taken[i]);
		t->taken[i] = NULL;
	}
	t->has_taken = false;
}

/* Something was written that nobody saw.  A save that is under way ends it itself. */
static void track_lost(void *opaque)
{
	struct snapshot_track *t = opaque;

	if (t->known) {
		(void)snprintf(t->why, sizeof(t->why), "%s", t->watch.why);
		log_notice("snapshot '%s' cannot be the parent of another any more: %s",
			   t->since.tag, t->why);
	}
	t->known = false;
	if (!t->in_use)
		dirty_watch_stop(t->m, &t->watch);
}

void track_forget(struct snapshot_track *t, const char *why)
{
	if (t->watch.on)
		dirty_lose(t->m, why);
}

void track_deleted(struct snapshot_track *t, const struct parent_mark *mark)
{
	if (t->known && is_same(&t->since, mark))
		track_forget(t, "it has been deleted");
}

/* ---- a save ---- */

static int alloc_taken(struct snapshot_track *t)
{
	for (size_t i = 0; i < t->m->mem.n_blocks; i++) {
		t->taken[i] = bitmap_new(t->m->mem.blocks[i]->bytes / PAGE_BYTES);
		if (!t->taken[i])
			return -ENOMEM;
	}
	return 0;
}

int track_begin(struct snapshot_track *t, struct err *err)
{
	int ret = 0;

	t->in_use = true;
	t->began = !t->watch.on;
	t->watch.on_lost = track_lost;
	t->watch.opaque = t;
	if (alloc_taken(t) < 0)
		ret = err_set(err, ENOMEM, "no memory for a bitmap of the guest's pages");
	if (ret == 0 && t->began)
		ret = dirty_watch_start(t->m, &t->watch, err);
	return ret;
}

int track_near(struct snapshot_track *t, struct ram_save *ram, struct err *err)
{
	uint64_t found = UINT64_MAX;
	int ret = 0;

	for (unsigned i = 0; ret == 0 && found > NEAR_PAGES && i < NEAR_ROUNDS; i++) {
		ret = dirty_watch_settle(t->m, &found, err);
		if (ret == 0 && ram) {
			dirty_watch_peek(t->m, &t->watch, t->taken);
			ret = ram_save_choose(ram, t->taken, err);
		}
	}
	return ret;
}

int track_instant(struct snapshot_track *t, struct ram_save *ram, uint64_t *pages, struct err *err)
{
	int ret;

	*pages = 0;
	if (ram && (!t->known || t->watch.lost))
		return say_unknown(t, t->since.tag, err);
	if (t->watch.lost)
		return err_set(err, EAGAIN, "tracking has ended before it began: %s", t->watch.why);
	ret = dirty_watch_take(t->m, &t->watch, t->taken, err);
	t->has_taken = ret == 0;
	if (ret == 0 && ram)
		ret = ram_save_choose(ram, t->taken, err);
	if (ret == 0 && ram)
		*pages = ram_save_chosen(ram);
	return ret;
}

void track_end(struct snapshot_track *t, const struct qcow2_snapshot *saved,
	       const uint8_t index[PAGE_INDEX_IDENTITY])
{
	if (!t->in_use)
		return;
	t->in_use = false;
	if (saved)
		memcpy(t->index, index, sizeof(t->index));
	if (t->watch.on && t->watch.lost) {
		if (saved) { /* it was saved, and then the guest became another */
			snapshot_mark_of(saved, &t->since);
			(void)snprintf(t->why, sizeof(t->why), "%s", t->watch.why);
		}
		dirty_watch_stop(t->m, &t->watch);
	} else if (saved) {
		snapshot_mark_of(saved, &t->since);
		t->known = true;
		*t->why = '\0';
	} else if (!t->known) {
		dirty_watch_stop(t->m, &t->watch);
	} else if (t->has_taken) {
		dirty_watch_give_back(t->m, &t->watch, t->taken);
	}
	free_taken(t);
}
