/*
 * resolve.c - one thread a look-up
 *
 * getaddrinfo() cannot be interrupted and may take minutes, so the thread is
 * detached and never joined; it shares the struct with the loop.  The thread
 * posts the answer.  A look-up that was abandoned is freed by the last of the
 * two, and the thread does not touch the loop after that.
 */
#include "migration/channel/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/thread.h"
#include "vmm/loop.h"
#include "vmm/vclock.h"

struct resolve {
	/* set at creation and then constant */
	struct loop *loop;
	char *host; /* owned */
	char port[8];
	int family, flags;
	struct thread thread;
	/* the thread's until 'answered' */
	struct sockaddr_list list;
	struct err err;
	int ret;
	/* under 'mutex', a leaf (vmm/machine.h) but for the loop's */
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool answered;         /* ... and posted, unless abandoned before */
	resolve_done_fn *done; /* NULL: abandoned, or answered by resolve_wait() */
	void *opaque;
};

static void resolve_free(struct resolve *r)
{
	pthread_cond_destroy(&r->cond);
	pthread_mutex_destroy(&r->mutex);
	free(r->host);
	free(r);
}

/* Loop's thread. */
static void deliver(void *opaque)
{
	struct resolve *r = opaque;

	pthread_mutex_lock(&r->mutex); /* the thread has left it */
	pthread_mutex_unlock(&r->mutex);
	/* 'done' changes on this thread only */
	if (r->done)
		r->done(r->opaque, r->ret < 0 ? NULL : &r->list, &r->err);
	resolve_free(r);
}

static void *resolve_thread(void *opaque)
{
	struct resolve *r = opaque;
	bool abandoned;

	r->ret = inet_lookup(&r->list, r->host, r->port, r->family, r->flags, &r->err);
	pthread_mutex_lock(&r->mutex);
	abandoned = !r->done;
	r->answered = true;
	if (!abandoned)
		loop_post(r->loop, deliver, r);
	pthread_cond_signal(&r->cond);
	pthread_mutex_unlock(&r->mutex);
	if (abandoned)
		resolve_free(r);
	return NULL;
}

static int flags_for(bool passive)
{
	return AI_NUMERICSERV | (passive ? AI_PASSIVE : 0);
}

static struct resolve *resolve_new(struct loop *l, const struct migration_uri *uri, bool passive)
{
	struct resolve *r = NEW(struct resolve);

	r->loop = l;
	r->host = xstrdup(uri->host);
	(void)snprintf(r->port, sizeof(r->port), "%u", uri->port);
	r->family = uri->family;
	r->flags = flags_for(passive);
	pthread_mutex_init(&r->mutex, NULL);
	thread_cond_init(&r->cond);
	return r;
}

struct resolve *resolve_start(struct loop *l, const struct migration_uri *uri, bool passive,
			      resolve_done_fn *done, void *opaque, struct err *err)
{
	struct resolve *r = resolve_new(l, uri, passive);
	int ret;

	r->done = done;
	r->opaque = opaque;
	/* Detached before it can end and free everything. */
	pthread_mutex_lock(&r->mutex);
	ret = thread_start(&r->thread, "mig-resolve", THREAD_HELPER, resolve_thread, r, err);
	if (ret == 0)
		(void)pthread_detach(r->thread.id);
	pthread_mutex_unlock(&r->mutex);
	if (ret == 0)
		return r;
	resolve_free(r);
	return NULL;
}

int resolve_wait(struct resolve *r, unsigned timeout_ms, struct sockaddr_list *list,
		 struct err *err)
{
	int64_t until = host_now_ns() + (int64_t)timeout_ms * 1000000;
	bool answered;

	pthread_mutex_lock(&r->mutex);
	while (!r->answered && host_now_ns() < until)
		thread_cond_wait_until(&r->cond, &r->mutex, until);
	answered = r->answered;
	if (answered)
		r->done = NULL; /* deliver() only frees it */
	pthread_mutex_unlock(&r->mutex);
	if (!answered)
		return 0;
	if (r->ret < 0) {
		if (err)
			*err = r->err;
		return r->ret;
	}
	*list = r->list;
	return 1;
}

void resolve_abandon(struct resolve *r)
{
	struct loop *l;

	if (!r)
		return;
	l = r->loop;
	pthread_mutex_lock(&r->mutex);
	r->done = NULL;
	if (!r->answered) /* it may take minutes */
		loop_leave_behind(l);
	pthread_mutex_unlock(&r->mutex);
}

int resolve_now(const struct migration_uri *uri, bool passive, struct sockaddr_list *list,
		struct err *err)
{
	char port[8];

	(void)snprintf(port, sizeof(port), "%u", uri->port);
	return inet_lookup(list, uri->host, port, uri->family, flags_for(passive) | AI_NUMERICHOST,
			   err);
}
