/*
 * worker.c - two queues of jobs under one mutex
 *
 *     loop --> todo --> worker's thread: run() --> ready --> loop: done()
 *                         \
 *                          sleeps on 'more' while there is nothing to do
 *
 * The loop is woken by an eventfd and takes the whole of 'ready' at a time, so that jobs which
 * end close together cost one wake.
 */
#include "devices/block/worker.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/thread.h"
#include "vmm/base/wake.h"
#include "vmm/loop.h"

struct job_queue {
	struct worker_job *head, **tail;
};

struct worker {
	/* set at creation and then constant */
	int ready_fd; /* eventfd: 'ready' is not empty */
	struct loop_fd *watch;
	struct thread thread;
	/* the loop's thread */
	unsigned left;         /* jobs that were given and not called done() for */
	pthread_mutex_t mutex; /* a leaf (vmm/machine.h) */
	/* under mutex */
	pthread_cond_t more;
	struct job_queue todo, ready;
	bool ending;
};

static void queue_init(struct job_queue *q)
{
	q->head = NULL;
	q->tail = &q->head;
}

static void queue_add(struct job_queue *q, struct worker_job *j)
{
	j->next = NULL;
	*q->tail = j;
	q->tail = &j->next;
}

static struct worker_job *queue_take(struct job_queue *q)
{
	struct worker_job *j = q->head;

	if (!j)
		return NULL;
	q->head = j->next;
	if (!q->head)
		q->tail = &q->head;
	return j;
}

/* The next job; NULL: the worker ends, and all are done. */
static struct worker_job *await_job(struct worker *w, struct worker_job *last)
{
	struct worker_job *j;

	pthread_mutex_lock(&w->mutex);
	if (last) {
		if (!w->ready.head)
			wake_set(w->ready_fd);
		queue_add(&w->ready, last);
	}
	while (!w->todo.head && !w->ending)
		pthread_cond_wait(&w->more, &w->mutex);
	j = queue_take(&w->todo);
	pthread_mutex_unlock(&w->mutex);
	return j;
}

static void *worker_main(void *opaque)
{
	struct worker *w = opaque;

	for (struct worker_job *j = await_job(w, NULL); j; j = await_job(w, j))
		j->run(j);
	return NULL;
}

static void jobs_done(struct worker *w)
{
	struct worker_job *j, *next;

	pthread_mutex_lock(&w->mutex);
	j = w->ready.head;
	queue_init(&w->ready);
	pthread_mutex_unlock(&w->mutex);
	for (; j; j = next) {
		next = j->next;
		w->left--;
		j->done(j);
	}
}

static void jobs_ready(void *opaque, int ready)
{
	struct worker *w = opaque;

	(void)ready;
	wake_clear(w->ready_fd);
	jobs_done(w);
}

/* No job is left, and its thread does not run. */
static void destroy(struct worker *w)
{
	(void)close(w->ready_fd);
	(void)pthread_cond_destroy(&w->more);
	pthread_mutex_destroy(&w->mutex);
	free(w);
}

struct worker *worker_new(struct loop *io, const char *name, struct err *err)
{
	struct worker *w;
	int ready_fd = wake_open();

	if (ready_fd < 0) {
		(void)err_set(err, errno, "cannot make a disk's worker: %s", err_text(errno));
		return NULL;
	}
	w = NEW(struct worker);
	w->ready_fd = ready_fd;
	pthread_mutex_init(&w->mutex, NULL);
	(void)pthread_cond_init(&w->more, NULL);
	queue_init(&w->todo);
	queue_init(&w->ready);
	if (thread_start(&w->thread, name, THREAD_BLOCK, worker_main, w, err) < 0) {
		destroy(w);
		return NULL;
	}
	w->watch = loop_fd_add(io, w->ready_fd, LOOP_READABLE, jobs_ready, w);
	return w;
}

void worker_submit(struct worker *w, struct worker_job *j)
{
	w->left++;
	pthread_mutex_lock(&w->mutex);
	queue_add(&w->todo, j);
	pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->mutex);
}

void worker_answer(struct worker *w, struct worker_job *j)
{
	w->left++;
	pthread_mutex_lock(&w->mutex);
	if (!w->ready.head)
		wake_set(w->ready_fd);
	queue_add(&w->ready, j);
	pthread_mutex_unlock(&w->mutex);
}

void worker_free(struct worker *w)
{
	struct pollfd ready;

	if (!w)
		return;
	ready = (struct pollfd){.fd = w->ready_fd, .events = POLLIN};
	while (w->left) { /* done() may give more */
		(void)poll(&ready, 1, -1);
		jobs_ready(w, 0);
	}
	pthread_mutex_lock(&w->mutex);
	w->ending = true;
	pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->mutex);
	thread_join(&w->thread);
	loop_fd_del(w->watch);
	destroy(w);
}
