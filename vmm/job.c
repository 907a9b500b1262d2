/*
 * job.c - the states of a job, and which thread changes them
 *
 *   created --> running --> waiting --> pending --> concluded --> null
 *                 |  ^         |           |            ^
 *              paused, ready   +-----------+-> aborting +
 *
 * While the work runs only the job's thread changes the state: a client sets
 * 'paused', 'completing' or 'cancelled', and the thread follows at its next
 * pause point.  When the work has ended the thread takes the job through
 * 'waiting' to 'pending' and further; a job to be finalized by a client stays
 * pending, its thread ends, and the client's command does the rest.  All of it
 * is done under the machine lock, so no state between is seen.
 *
 * A thread cannot join itself: a job that dismisses itself stays in the list
 * as 'null', where no look-up finds it, until the next one is made or the
 * machine ends.
 */
#include "vmm/job.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/identifier.h"
#include "vmm/base/log.h"
#include "vmm/base/probes.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/machine.h"

#define END_MS 2000U /* that a cancelled job may take to end, once the program does */

#define TO(s) (1u << JOB_##s)

static const struct {
	const char *name;
	unsigned next; /* the states that may follow */
} states[JOB_STATUSES] = {
    [JOB_UNDEFINED] = {"undefined", TO(CREATED)                                        },
    [JOB_CREATED] = {"created",   TO(RUNNING) | TO(ABORTING) | TO(NULL)              },
    [JOB_RUNNING] = {"running",   TO(PAUSED) | TO(READY) | TO(WAITING) | TO(ABORTING)},
    [JOB_PAUSED] = {"paused",    TO(RUNNING)                                        },
    [JOB_READY] = {"ready",     TO(STANDBY) | TO(WAITING) | TO(ABORTING)           },
    [JOB_STANDBY] = {"standby",   TO(READY)					  },
    [JOB_WAITING] = {"waiting",   TO(PENDING) | TO(ABORTING)                         },
    [JOB_PENDING] = {"pending",   TO(ABORTING) | TO(CONCLUDED)                       },
    [JOB_ABORTING] = {"aborting",  TO(ABORTING) | TO(CONCLUDED)                       },
    [JOB_CONCLUDED] = {"concluded", TO(NULL)                                           },
    [JOB_NULL] = {"null",      0						  },
};

#define WORKING (TO(CREATED) | TO(RUNNING) | TO(PAUSED) | TO(READY) | TO(STANDBY))

static const struct {
	const char *name;
	unsigned in; /* the states that accept it */
} verbs[JOB_VERBS] = {
    [JOB_CANCEL] = {"cancel",    WORKING | TO(WAITING) | TO(PENDING)},
    [JOB_PAUSE] = {"pause",     WORKING                            },
    [JOB_RESUME] = {"resume",    WORKING                            },
    [JOB_SET_SPEED] = {"set-speed", WORKING                            },
    [JOB_COMPLETE] = {"complete",  TO(READY) | TO(STANDBY)            },
    [JOB_DISMISS] = {"dismiss",   TO(CONCLUDED)                      },
    [JOB_FINALIZE] = {"finalize",  TO(PENDING)                        },
};

const char *job_status_name(enum job_status s)
{
	return states[s].name;
}

const char *job_type_name(enum job_type t)
{
	static const char *const names[JOB_TYPES] = {
	    [JOB_COMMIT] = "commit",
	    [JOB_STREAM] = "stream",
	    [JOB_MIRROR] = "mirror",
	    [JOB_BACKUP] = "backup",
	    [JOB_CREATE] = "create",
	    [JOB_AMEND] = "amend",
	    [JOB_SNAPSHOT_LOAD] = "snapshot-load",
	    [JOB_SNAPSHOT_SAVE] = "snapshot-save",
	    [JOB_SNAPSHOT_DELETE] = "snapshot-delete",
	};

	return names[t];
}

const char *job_verb_name(enum job_verb v)
{
	return verbs[v].name;
}

bool job_may_move(enum job_status from, enum job_status to)
{
	return states[from].next >> to & 1;
}

bool job_accepts(enum job_verb v, enum job_status s)
{
	return verbs[v].in >> s & 1;
}

/* ---- states: machine lock held ---- */

static void job_move(struct job *j, enum job_status to)
{
	struct notification n = {.kind = NOTIFY_JOB_STATUS, .text = j->id};

	assert(job_may_move(j->status, to));
	j->status = to;
	n.text2 = job_status_name(to);
	PROBE(job_status, n.text, n.text2);
	notify_publish(&j->m->notify, &n);
	pthread_cond_broadcast(&j->changed);
}

/* Joins the thread, which no longer holds a lock. */
static void job_free(struct job *j)
{
	thread_join(&j->thread);
	list_del(&j->link);
	if (j->ops->free)
		j->ops->free(j->opaque);
	(void)close(j->cancel_fd);
	pthread_cond_destroy(&j->changed);
	free(j->id);
	free(j);
}

static void job_conclude(struct job *j)
{
	job_move(j, JOB_CONCLUDED);
	if (!j->manual_dismiss)
		job_move(j, JOB_NULL);
}

static void job_abort(struct job *j)
{
	if (!j->err.errnum)
		(void)err_set(&j->err, ECANCELED, "Operation canceled");
	job_move(j, JOB_ABORTING);
	if (j->ops->abort)
		j->ops->abort(j);
	job_conclude(j);
}

static void job_finalize(struct job *j)
{
	if (j->ops->commit && j->ops->commit(j, &j->err) < 0)
		job_abort(j);
	else
		job_conclude(j);
}

/* The work has ended, with j->err when it failed. */
static void job_finish(struct job *j)
{
	if (j->cancelled || j->err.errnum) {
		job_abort(j);
		return;
	}
	job_move(j, JOB_WAITING); /* for the other jobs of its transaction: there are none */
	job_move(j, JOB_PENDING);
	if (!j->manual_finalize)
		job_finalize(j);
}

static void job_free_ended(struct machine *m)
{
	list_for_each_safe (j, &m->jobs, struct job, link)
		if (j->status == JOB_NULL)
			job_free(j);
}

/* ---- the job's thread ---- */

static void *job_thread(void *opaque)
{
	struct job *j = opaque;
	struct machine *m = j->m;
	struct err err = {0};
	int ret = job_pause_point(j);

	if (ret == 0)
		ret = j->ops->run(j, &err);
	machine_lock(m);
	if (ret < 0 && !err.errnum && ret != -ECANCELED)
		(void)err_set(&err, -ret, "%s", err_text(-ret));
	j->err = err;
	if (ret == -ECANCELED && !err.errnum)
		j->cancelled = true;
	job_finish(j);
	machine_unlock(m);
	return NULL;
}

static void pause_point_locked(struct job *j)
{
	bool ready = j->status == JOB_READY;

	if (!j->paused || j->cancelled)
		return;
	job_move(j, ready ? JOB_STANDBY : JOB_PAUSED);
	while (j->paused && !j->cancelled)
		pthread_cond_wait(&j->changed, &j->m->lock);
	job_move(j, ready ? JOB_READY : JOB_RUNNING);
}

int job_pause_point(struct job *j)
{
	int ret;

	machine_lock(j->m);
	pause_point_locked(j);
	ret = j->cancelled ? -ECANCELED : 0;
	machine_unlock(j->m);
	return ret;
}

int job_commit_point(struct job *j)
{
	int ret;

	machine_lock(j->m);
	pause_point_locked(j);
	ret = j->cancelled ? -ECANCELED : 0;
	j->committed = ret == 0;
	machine_unlock(j->m);
	return ret;
}

int job_wait_complete(struct job *j)
{
	int ret;

	machine_lock(j->m);
	if (!j->cancelled)
		job_move(j, JOB_READY);
	while (!j->completing && !j->cancelled) {
		pause_point_locked(j);
		if (!j->completing && !j->cancelled && !j->paused)
			pthread_cond_wait(&j->changed, &j->m->lock);
	}
	ret = j->cancelled ? -ECANCELED : 0;
	machine_unlock(j->m);
	return ret;
}

void job_set_figures(struct job *j, const struct job_figures *f)
{
	j->figures = *f;
	j->measured = true;
}

void jobs_set_resident(struct machine *m, uint64_t load, uint64_t us)
{
	list_for_each (j, &m->jobs, struct job, link)
		if (j->measured && j->figures.load == load) {
			j->figures.has_resident_us = true;
			j->figures.resident_us = us;
		}
}

void job_set_total(struct job *j, uint64_t bytes)
{
	__atomic_store_n(&j->total_bytes, bytes, __ATOMIC_RELAXED);
}

void job_add_done(struct job *j, uint64_t bytes)
{
	(void)__atomic_fetch_add(&j->done_bytes, bytes, __ATOMIC_RELAXED);
}

/* ---- clients ---- */

struct job *job_find(struct machine *m, const char *id)
{
	list_for_each (j, &m->jobs, struct job, link)
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): a freed one is in no list */
		if (j->status != JOB_NULL && !strcmp(j->id, id))
			return j;
	return NULL;
}

struct job *job_at(struct machine *m, size_t i)
{
	list_for_each (j, &m->jobs, struct job, link)
		if (j->status != JOB_NULL && i-- == 0)
			return j;
	return NULL;
}

struct job *job_new(struct machine *m, const struct job_config *cfg, struct err *err)
{
	struct job *j;
	int fd;

	job_free_ended(m);
	if (!identifier_well_formed(cfg->id)) {
		(void)err_set(err, EINVAL, "Invalid job ID '%s'", cfg->id);
		return NULL;
	}
	if (job_find(m, cfg->id)) {
		(void)err_set(err, EEXIST, "Job ID '%s' already in use", cfg->id);
		return NULL;
	}
	fd = wake_open();
	if (fd < 0) {
		(void)err_set(err, errno, "cannot make an eventfd for job '%s': %s", cfg->id,
			      err_text(errno));
		return NULL;
	}
	j = NEW(struct job);
	j->m = m;
	j->ops = cfg->ops;
	j->opaque = cfg->opaque;
	j->id = xstrdup(cfg->id);
	j->manual_finalize = cfg->manual_finalize;
	j->manual_dismiss = cfg->manual_dismiss;
	j->cancel_fd = fd;
	pthread_cond_init(&j->changed, NULL);
	list_add_tail(&m->jobs, &j->link);
	job_move(j, JOB_CREATED);
	return j;
}

void job_start(struct job *j)
{
	job_move(j, JOB_RUNNING);
	if (thread_start(&j->thread, "job", THREAD_MIGRATION, job_thread, j, &j->err) < 0)
		job_finish(j);
}

/* Its thread may wait for either. */
static void job_wake(struct job *j)
{
	pthread_cond_broadcast(&j->changed);
	pthread_cond_broadcast(&j->m->cond);
}

static void job_cancel(struct job *j)
{
	j->cancelled = true;
	wake_set(j->cancel_fd);
	job_wake(j);
	/* elsewhere the thread does it */
	if (j->status == JOB_CREATED || j->status == JOB_PENDING)
		job_abort(j);
}

static int job_set_paused(struct job *j, bool on, struct err *err)
{
	if (on && j->paused)
		return err_set(err, EINVAL, "Job is already paused");
	if (!on && !j->paused)
		return err_set(err, EINVAL, "Can't resume a job that was not paused");
	j->paused = on;
	job_wake(j);
	return 0;
}

static int job_complete(struct job *j, struct err *err)
{
	if (j->cancelled || !j->ops->completes)
		return err_set(err, EINVAL, "The active block job '%s' cannot be completed", j->id);
	j->completing = true;
	job_wake(j);
	return 0;
}

int job_apply(struct job *j, enum job_verb v, struct err *err)
{
	if (!job_accepts(v, j->status))
		return err_set(err, EPERM, "Job '%s' in state '%s' cannot accept command verb '%s'",
			       j->id, job_status_name(j->status), job_verb_name(v));
	if (v == JOB_CANCEL && j->committed)
		return err_set(err, EBUSY, "Job '%s' is about to end: it is too late to cancel it",
			       j->id);
	switch (v) {
	case JOB_PAUSE:
	case JOB_RESUME:
		return job_set_paused(j, v == JOB_PAUSE, err);
	case JOB_COMPLETE:
		return job_complete(j, err);
	case JOB_CANCEL:
		job_cancel(j);
		return 0;
	case JOB_FINALIZE:
		job_finalize(j);
		return 0;
	case JOB_DISMISS:
		job_move(j, JOB_NULL);
		job_free(j);
		return 0;
	default:
		return err_set(err, EOPNOTSUPP, "Job '%s' has no speed to set", j->id);
	}
}

/* Its thread has ended; one that can be cancelled does so soon, unless a disk does not answer. */
static bool job_await_end(struct job *j)
{
	bool ended = true;

	if (j->committed)
		thread_join(&j->thread);
	else
		ended = thread_join_ms(&j->thread, END_MS);
	if (!ended)
		log_warn("job '%s' has not ended for %u ms: it is given up", j->id, END_MS);
	return ended;
}

bool jobs_end(struct machine *m)
{
	bool all = true;

	machine_lock(m);
	list_for_each (j, &m->jobs, struct job, link)
		if (job_accepts(JOB_CANCEL, j->status) && !j->committed)
			job_cancel(j);
	machine_unlock(m);
	list_for_each_safe (j, &m->jobs, struct job, link) {
		bool ended = job_await_end(j);

		all = all && ended;
		if (ended)
			job_free(j);
	}
	return all;
}
