/*
 * job.h - work that goes on after the command that asked for it (qmp-surface 2.6)
 *
 * A job has a name, a state that clients see change, a progress, and an error
 * in the end.  Its work runs on a thread of its own; every change of state is
 * made under the machine lock and published as NOTIFY_JOB_STATUS.
 */
#ifndef MINIVMM_JOB_H
#define MINIVMM_JOB_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/error.h"
#include "vmm/base/list.h"
#include "vmm/base/thread.h"

struct job;
struct machine;

/* JobStatus, JobType and JobVerb, in their order. */
enum job_status {
	JOB_UNDEFINED,
	JOB_CREATED,
	JOB_RUNNING,
	JOB_PAUSED,
	JOB_READY,   /* the work can be completed when the client asks for it */
	JOB_STANDBY, /* ready, and paused */
	JOB_WAITING,
	JOB_PENDING, /* done but for the last step, finalize */
	JOB_ABORTING,
	JOB_CONCLUDED,
	JOB_NULL, /* dismissed */
	JOB_STATUSES
};

enum job_type {
	JOB_COMMIT,
	JOB_STREAM,
	JOB_MIRROR,
	JOB_BACKUP,
	JOB_CREATE,
	JOB_AMEND,
	JOB_SNAPSHOT_LOAD,
	JOB_SNAPSHOT_SAVE,
	JOB_SNAPSHOT_DELETE,
	JOB_TYPES
};

enum job_verb {
	JOB_CANCEL,
	JOB_PAUSE,
	JOB_RESUME,
	JOB_SET_SPEED,
	JOB_COMPLETE,
	JOB_DISMISS,
	JOB_FINALIZE,
	JOB_VERBS
};

struct job_ops {
	enum job_type type;
	bool completes; /* run() waits in job_wait_complete() once it is ready */
	/* The work: the job's thread, lock not held.  Calls job_pause_point() often.  -errno, *err.
	 */
	int (*run)(struct job *j, struct err *err);
	/* Machine lock held, any thread, must not wait; each may be NULL. */
	int (*commit)(struct job *j, struct err *err); /* the last step */
	void (*abort)(struct job *j);                  /* undo: it failed or was cancelled */
	void (*free)(void *opaque);                    /* the job is gone */
};

/* What the job of a snapshot has measured, when it has succeeded. */
struct job_figures {
	uint64_t vmstate_bytes;
	uint64_t memory_bytes; /* of the guest, that are in it, or (loaded) in it and its parents */
	uint64_t pause_us;     /* for which the guest stood still, 0 if it did not run */
	uint64_t total_us;
	/* of a load, since it began: the guest could run, and all of its memory was there */
	bool has_resume_us, has_resident_us;
	uint64_t resume_us, resident_us;
	uint64_t load; /* which of those whose memory comes later; 0: none */
};

struct job {
	/* set at creation and then constant */
	struct machine *m;
	const struct job_ops *ops;
	void *opaque;
	char *id; /* owned */
	bool manual_finalize, manual_dismiss;
	int cancel_fd; /* eventfd: readable once the job is cancelled */
	/* any thread */
	uint64_t done_bytes, total_bytes; /* atomic */
	/* under the machine lock */
	struct list link;
	enum job_status status;
	bool paused;     /* a client wants it to be */
	bool completing; /* a client has asked for it */
	bool cancelled;
	bool measured; /* figures are there */
	struct job_figures figures;
	bool committed; /* too late to cancel it */
	struct err err; /* errnum 0: none */
	pthread_cond_t changed;
	struct thread thread;
};

const char *job_status_name(enum job_status s);
const char *job_type_name(enum job_type t);
const char *job_verb_name(enum job_verb v);
/* The two tables of qmp-surface 2.6. */
bool job_may_move(enum job_status from, enum job_status to);
bool job_accepts(enum job_verb v, enum job_status s);

/* ---- machine lock held; any thread but the job's ---- */

struct job_config {
	const char *id; /* borrowed */
	const struct job_ops *ops;
	void *opaque; /* the job's once job_new() has succeeded */
	bool manual_finalize, manual_dismiss;
};

/* A job that is 'created'; the machine's.  NULL with *err set: a bad id, or one in use. */
struct job *job_new(struct machine *m, const struct job_config *cfg, struct err *err);
/* Run it: 'running' before this returns.  A thread that cannot be made is an error of the job. */
void job_start(struct job *j);
/* NULL: there is none. */
struct job *job_find(struct machine *m, const char *id);
/* The i-th, NULL behind the last. */
struct job *job_at(struct machine *m, size_t i);
/* What a client asks for; refused in words when the job's state does not allow it.  After
 * JOB_DISMISS, JOB_CANCEL and JOB_FINALIZE the job may be gone. */
int job_apply(struct job *j, enum job_verb v, struct err *err);

/* ---- lock not held ---- */

/*
 * Cancel all and wait for their threads: the machine ends.  One that it is too late to cancel is
 * waited for until it ends, another for two seconds.  False: it still runs, and the process has to
 * end with _exit().
 */
bool jobs_end(struct machine *m);

/* ---- the job's thread, lock not held ---- */

/* Waits while the job is paused; -ECANCELED once it is cancelled. */
int job_pause_point(struct job *j);
/* What cannot be taken back is about to be done: -ECANCELED, or from here on cancels are refused.
 */
int job_commit_point(struct job *j);
/* 'ready', until a client completes the job: 0, or -ECANCELED. */
int job_wait_complete(struct job *j);

/* ---- any thread, machine lock held ---- */

void job_set_figures(struct job *j, const struct job_figures *f);
/* All memory of that load is there: whichever job it was learns when. */
void jobs_set_resident(struct machine *m, uint64_t load, uint64_t us);

/* Any thread. */
void job_set_total(struct job *j, uint64_t bytes);
void job_add_done(struct job *j, uint64_t bytes);

#endif
