/*
 * connection.c - requests on their way from the control thread to the loop that runs them
 *
 *     control thread     reads a request (session.c)
 *         exec-oob       and runs it at once, without the machine lock
 *         execute        and queues it; the first in the queue is posted to
 *     main loop          which runs it, or hands it on to
 *     work loop          if it is one that waits (stop, a reset): other
 *                        monitors are served meanwhile
 *     either             queues the reply behind the events that the command
 *                        has caused, and posts the next request
 *     control thread     writes replies and events
 *
 * So the requests of one client are answered in their order, one after the
 * other, but for out-of-band ones, which overtake.  Without the capability no
 * request is read before the one before it has been answered.
 *
 * A connection outlives its client while requests of it are queued: a script
 * may send "quit" and leave.
 */
#include "qmp/connection.h"

#include <stdlib.h>
#include <unistd.h>

#include "qmp/command.h"
#include "qmp/dispatch.h"
#include "qmp/json.h"
#include "qmp/session.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/list.h"
#include "vmm/loop.h"
#include "vmm/machine.h"

struct qmp_request {
	struct list link;
	struct json_object *value; /* owned */
	int fd;                    /* owned; -1: none came with it */
	bool malformed;            /* no request: answer with 'err' */
	struct err err;
};

struct qmp_connection {
	/* set at creation and then constant */
	struct qmp_session *session;
	const struct qmp_context *ctx;
	/* control lock */
	struct list link;  /* qmp_session_connections() */
	struct list queue; /* struct qmp_request; the first is under way while 'busy' */
	unsigned n_queued;
	bool busy;   /* run_first() is posted or runs */
	bool closed; /* the client has left */
	bool dead;   /* session and ctx have gone */
	/* atomic */
	bool negotiated, oob;
};

static void connection_lock(struct qmp_connection *c)
{
	pthread_mutex_lock(&c->ctx->m->control_lock);
}

static void connection_unlock(struct qmp_connection *c)
{
	pthread_mutex_unlock(&c->ctx->m->control_lock);
}

struct qmp_connection *qmp_connection_new(struct qmp_session *s, const struct qmp_context *ctx)
{
	struct qmp_connection *c = NEW(struct qmp_connection);

	c->session = s;
	c->ctx = ctx;
	list_init(&c->queue);
	list_add_tail(qmp_session_connections(s), &c->link);
	return c;
}

static void request_drop(struct qmp_connection *c, struct qmp_request *rq)
{
	list_del(&rq->link);
	c->n_queued--;
	json_free(rq->value);
	if (rq->fd >= 0)
		(void)close(rq->fd);
	free(rq);
}

static void drop_all(struct qmp_connection *c, bool but_first)
{
	while (c->n_queued > (but_first ? 1 : 0))
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it was taken out of the list */
		request_drop(c, container_of(c->queue.prev, struct qmp_request, link));
}

static void connection_free(struct qmp_connection *c)
{
	drop_all(c, false);
	list_del(&c->link);
	free(c);
}

void qmp_connection_close(struct qmp_connection *c)
{
	if (!c)
		return;
	c->closed = true;
	if (c->oob)
		drop_all(c, c->busy);
	if (!c->busy)
		connection_free(c);
}

void qmp_connections_end(struct qmp_session *s)
{
	list_for_each_safe (c, qmp_session_connections(s), struct qmp_connection, link) {
		c->dead = true;
		if (!c->busy) {
			connection_free(c);
			continue;
		}
		list_del(&c->link); /* what is posted still will free it */
		list_init(&c->link);
	}
}

bool qmp_connection_full(const struct qmp_connection *c)
{
	return c->n_queued >= (qmp_connection_oob(c) ? QMP_IN_FLIGHT_OOB : QMP_IN_FLIGHT);
}

/* ---- running ---- */

static void run_posted(void *opaque);

/* Post the first request, if none is under way.  Control lock held. */
static void post_first(struct qmp_connection *c)
{
	if (c->busy || list_empty(&c->queue))
		return;
	c->busy = true;
	loop_post(c->ctx->m->loop, run_posted, c);
}

/* The first request has been carried out.  Control lock held; may free. */
static void request_finish(struct qmp_connection *c, const struct buf *reply)
{
	request_drop(c, container_of(c->queue.next, struct qmp_request, link));
	c->busy = false;
	post_first(c);
	if (!c->closed)
		qmp_session_answered(c->session, reply);
	else if (!c->busy)
		connection_free(c);
}

/* Machine lock held; main or work loop.  No other thread touches the first request. */
static void run_first(struct qmp_connection *c)
{
	struct qmp_request *rq = container_of(c->queue.next, struct qmp_request, link);
	const struct qmp_context *ctx = c->ctx;
	struct buf reply = {0};

	if (rq->malformed)
		qmp_reply_malformed(&rq->err, qmp_session_pretty(c->session), &reply);
	else
		qmp_dispatch(ctx, c->session, c, rq->value, &rq->fd, &reply);
	connection_lock(c);
	request_finish(c, &reply);
	pthread_mutex_unlock(&ctx->m->control_lock);
	buf_free(&reply);
}

static void run_waiting(void *opaque)
{
	struct qmp_connection *c = opaque;

	if (c->dead)
		connection_free(c);
	else
		run_first(c);
}

/* Main loop. */
static void run_posted(void *opaque)
{
	struct qmp_connection *c = opaque;
	const struct qmp_command *cmd;
	struct json_object *value;

	if (c->dead) { /* then no other thread is left */
		connection_free(c);
		return;
	}
	connection_lock(c);
	value = container_of(c->queue.next, struct qmp_request, link)->value;
	connection_unlock(c);
	cmd = qmp_request_command(value);
	if (cmd && qmp_request_waits(cmd, value))
		loop_post(c->ctx->m->work, run_waiting, c);
	else
		run_first(c);
}

/* ---- coming in ---- */

static void enqueue(struct qmp_connection *c, struct qmp_request *rq)
{
	list_add_tail(&c->queue, &rq->link);
	c->n_queued++;
	post_first(c);
}

void qmp_connection_submit(struct qmp_connection *c, struct json_object *value, int *fd)
{
	const struct qmp_command *cmd = qmp_request_command(value);
	struct qmp_request *rq;

	if (qmp_connection_oob(c) && qmp_request_oob(value)) {
		struct buf reply = {0};

		qmp_dispatch(c->ctx, c->session, c, value, fd, &reply);
		qmp_session_answered(c->session, &reply);
		buf_free(&reply);
		json_free(value);
		return;
	}
	rq = NEW(struct qmp_request);
	rq->value = value;
	rq->fd = -1;
	if (cmd && (cmd->flags & QMP_TAKES_FD)) {
		rq->fd = *fd;
		*fd = -1;
	}
	enqueue(c, rq);
}

void qmp_connection_malformed(struct qmp_connection *c, const struct err *why)
{
	struct qmp_request *rq = NEW(struct qmp_request);

	rq->fd = -1;
	rq->malformed = true;
	rq->err = *why;
	enqueue(c, rq);
}

/* ---- negotiation ---- */

bool qmp_connection_negotiated(const struct qmp_connection *c)
{
	return __atomic_load_n(&c->negotiated, __ATOMIC_SEQ_CST);
}

void qmp_connection_negotiate(struct qmp_connection *c, bool oob)
{
	__atomic_store_n(&c->oob, oob, __ATOMIC_SEQ_CST);
	__atomic_store_n(&c->negotiated, true, __ATOMIC_SEQ_CST);
}

bool qmp_connection_oob(const struct qmp_connection *c)
{
	return __atomic_load_n(&c->oob, __ATOMIC_SEQ_CST);
}
