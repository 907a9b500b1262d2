/*
 * worker.h - a thread that does a disk's blocking work, one job after the other
 *
 * Jobs are given and come back on the loop that the worker was made for.
 */
#ifndef MINIVMM_DEVICES_BLOCK_WORKER_H
#define MINIVMM_DEVICES_BLOCK_WORKER_H

struct err;
struct loop;
struct worker;

struct worker_job {
	void (*run)(struct worker_job *j);  /* the worker's thread; may wait */
	void (*done)(struct worker_job *j); /* the loop's thread; *j may be freed */
	struct worker_job *next;            /* the worker's */
};

/* All on the loop's thread, which is 'io' (borrowed). */
struct worker *worker_new(struct loop *io, const char *name, struct err *err);
/* In order; done() is never called from within. */
void worker_submit(struct worker *w, struct worker_job *j);
/* run() has been done already, or there is none: done() is called soon. */
void worker_answer(struct worker *w, struct worker_job *j);
/* Waits until every job has been run, and calls done() for each; NULL is fine. */
void worker_free(struct worker *w);

#endif
