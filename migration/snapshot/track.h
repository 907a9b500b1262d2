/*
 * track.h - what the guest writes between two snapshots, and who may be the parent of the next
 *
 * Tracking begins with a save that asks for it (x-minivmm-track) and goes on with each one that
 * uses it (x-minivmm-parent): then only that snapshot can be a parent, for only of it is known what
 * has been written since.  It ends when the guest's memory is changed by other means than its own
 * writes and its devices', and says why to who asks for a parent later.
 */
#ifndef MINIVMM_MIGRATION_SNAPSHOT_TRACK_H
#define MINIVMM_MIGRATION_SNAPSHOT_TRACK_H

#include <stdbool.h>
#include <stdint.h>

#include "migration/ram/lazy/page-index.h"
#include "migration/stream/parent-mark.h"
#include "vmm/dirty-watch.h"

struct err;
struct machine;
struct qcow2;
struct qcow2_snapshot;
struct ram_save;

struct snapshot_track {
	struct machine *m; /* borrowed; set before its first use and then constant */
	struct dirty_watch watch;
	/* machine lock */
	bool known; /* 'since' is a snapshot's, and what was written since is known */
	struct parent_mark since;
	uint8_t index[PAGE_INDEX_IDENTITY]; /* what its index of pages is known by */
	bool in_use;                        /* a save is under way that asks for tracking */
	bool began;                         /* ... and has begun it */
	char why[DIRTY_WHY_BYTES]; /* why 'since' can be a parent no more; empty: never any could */
	/* that save's thread */
	uint64_t *taken[MEMORY_MAX_BLOCKS]; /* owned; what was written up to its instant */
	bool has_taken;
};

/* ---- machine lock held ---- */

/* Can the snapshot of that name in the image be the parent?  -ENOENT, -EINVAL with a sentence. */
int track_check_parent(const struct snapshot_track *t, const struct qcow2 *q, const char *tag,
		       struct err *err);
/* A save begins that asks for tracking; the guest may run.  0, or -errno with *err set. */
int track_begin(struct snapshot_track *t, struct err *err);
/*
 * This is the instant: tracking begins anew.  'ram' (NULL: not) has to save what was written since
 * the parent's; *pages: how many.
 */
int track_instant(struct snapshot_track *t, struct ram_save *ram, uint64_t *pages, struct err *err);
/*
 * The save has ended, if there was a track_begin(): as 'saved', which may be a parent now, or
 * (NULL) in vain, and what was known before is still known.  'index': its identity.
 */
void track_end(struct snapshot_track *t, const struct qcow2_snapshot *saved,
	       const uint8_t index[PAGE_INDEX_IDENTITY]);
/* The parent goes away, or the guest becomes another: no snapshot can be a parent. */
void track_forget(struct snapshot_track *t, const char *why);
/* It is deleted: has what was written since it no use any more? */
void track_deleted(struct snapshot_track *t, const struct parent_mark *mark);

/* ---- that save's thread, no lock ---- */

/*
 * The instant is near: few pages are to be told again at the next one, and 'ram' (NULL: not) knows
 * of most of those that go.
 */
int track_near(struct snapshot_track *t, struct ram_save *ram, struct err *err);

#endif
