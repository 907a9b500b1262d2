/*
 * snapshot.h - snapshots of a guest: its disks and memory of one instant, in its qcow2 images
 *
 * Saved, loaded and deleted by jobs (snapshot-save and its like), or by a call that waits
 * (savevm and its like, -loadvm).  One at a time, and not beside a migration.
 */
#ifndef MINIVMM_MIGRATION_SNAPSHOT_H
#define MINIVMM_MIGRATION_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/snapshot/track.h"
#include "vmm/job.h"

struct block_nodes;
struct err;
struct globalstate;
struct incoming;
struct job;
struct machine;
struct migration_settings;

struct snapshots {
	/* set at creation and then constant; borrowed */
	struct machine *m;
	struct globalstate *globalstate;
	const struct migration_settings *set; /* what is done to a guest that is loaded */
	struct incoming *in;                  /* whose pages come later, if this guest's do */
	uint32_t ram_section_id;
	bool (*migrating)(void *opaque); /* is a migration under way?  Machine lock held */
	void *opaque;
	/* machine lock */
	struct snapshot_track track;
	bool busy; /* one is being saved, loaded or deleted */
};

/* All borrowed, but by snapshots_start_job(), which copies the strings. */
struct snapshot_request {
	const struct block_nodes *blocks;
	const char *tag;
	/*
	 * Node names: where the VM state lies, and the disks.  Without devices (NULL): all disks of
	 * the guest that can be written, the VM state in the first that can have it.
	 */
	const char *vmstate;
	const char *const *devices;
	size_t n_devices;
	bool complete;      /* save: refuse to leave a writable disk out */
	bool replace;       /* save: instead of one of that name */
	const char *parent; /* save: only what was written since that snapshot; NULL: all */
	bool track;         /* save: what the guest writes from then on is noted, for a later one */
	bool untrack;       /* save: it is not noted any more */
	bool eager;         /* load: all memory is there before the guest runs */
	bool stopped;       /* save: the guest stands still until it is done */
};

/* ---- the thread may wait, machine lock not held; -errno with *err set ---- */

/* 'j': the job whose thread it is, for progress, pauses and its cancel; NULL: none. */
int snapshot_save(struct snapshots *s, const struct snapshot_request *r, struct job *j,
		  struct err *err);
int snapshot_load(struct snapshots *s, const struct snapshot_request *r, struct job *j,
		  struct err *err);
int snapshot_delete(struct snapshots *s, const struct snapshot_request *r, struct job *j,
		    struct err *err);

/* ---- machine lock held, does not wait ---- */

/* No job is under way any more: what it keeps is given up. */
void snapshots_fini(struct snapshots *s);

/* JOB_SNAPSHOT_SAVE, _LOAD or _DELETE.  Fails for the job's id only. */
int snapshots_start_job(struct snapshots *s, enum job_type type, const char *id,
			const struct snapshot_request *r, struct err *err);

#endif
