/*
 * server.c - the monitors, and the events that all of them are told
 *
 * A notification is turned into text where it is published, whatever thread
 * that is, and queued for each monitor under the machine lock and the control
 * lock.  So it stands before the reply of the command that caused it.  Writing
 * is the control thread's.
 */
#include "qmp/server.h"

#include <errno.h>
#include <stdlib.h>

#include "devices/microvm.h"
#include "migration/migration.h"
#include "qmp/events.h"
#include "qmp/session.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define LIMIT_NS 1000000000LL

/* A limited event: when it was last told, and what waits for its turn.  Control lock. */
struct limit {
	struct qmp_server *s;
	enum notify_kind kind;
	struct loop_timer *timer;
	int64_t told_ns; /* 0: never */
	bool waiting;
	int64_t number;
	struct timespec when;
};

struct qmp_server {
	/* set at creation and then constant */
	struct qmp_context ctx;
	struct qmp_session **sessions; /* owned */
	size_t n_sessions;
	struct notify_listener listener; /* machine lock */
	struct limit *limits;            /* owned; one for each limited event */
	size_t n_limits;
};

static void broadcast(struct qmp_server *s, const struct qmp_event *ev,
		      const struct notification *n, const struct timespec *when)
{
	struct buf text[2] = {{0}, {0}}; /* plain, pretty */

	for (size_t i = 0; i < s->n_sessions; i++) {
		bool pretty = qmp_session_pretty(s->sessions[i]);

		if (!text[pretty].len)
			qmp_event_write(ev, n, when, pretty, &text[pretty]);
		qmp_session_event(s->sessions[i], &text[pretty]);
	}
	buf_free(&text[0]);
	buf_free(&text[1]);
}

static struct limit *limit_of(struct qmp_server *s, enum notify_kind kind)
{
	for (size_t i = 0; i < s->n_limits; i++)
		if (s->limits[i].kind == kind)
			return &s->limits[i];
	return NULL; /* not limited */
}

/* Told at once, or kept until a second has passed since the last one. */
static bool must_wait(struct limit *l, const struct notification *n, const struct timespec *when)
{
	int64_t now = host_now_ns();

	if (l->told_ns && now - l->told_ns < LIMIT_NS) {
		if (!l->waiting)
			loop_timer_arm_ms(l->timer,
					  (uint64_t)(l->told_ns + LIMIT_NS - now) / 1000000 + 1);
		l->waiting = true;
		l->number = n->number;
		l->when = *when;
		return true;
	}
	l->told_ns = now;
	l->waiting = false;
	return false;
}

static void on_notification(void *opaque, const struct notification *n)
{
	struct qmp_server *s = opaque;
	const struct qmp_event *ev = qmp_event_of(n->kind);
	struct limit *l = limit_of(s, n->kind);
	struct timespec when;

	if (n->kind == NOTIFY_STOP || n->kind == NOTIFY_RESUME)
		fdset_guest_runs(n->kind == NOTIFY_RESUME);
	if (!ev)
		return;
	if ((n->kind == NOTIFY_MIGRATION || n->kind == NOTIFY_MIGRATION_PASS) &&
	    !migration_get_capability(s->ctx.mg, CAP_EVENTS))
		return;
	if (clock_gettime(CLOCK_REALTIME, &when) < 0)
		when = (struct timespec){-1, -1};
	pthread_mutex_lock(&s->ctx.m->control_lock);
	if (!l || !must_wait(l, n, &when))
		broadcast(s, ev, n, &when);
	pthread_mutex_unlock(&s->ctx.m->control_lock);
}

/* The time of an event that waited has come.  Control thread. */
static void tell_waiting(void *opaque)
{
	struct limit *l = opaque;
	struct notification n = {.kind = l->kind, .number = l->number};

	if (!l->waiting)
		return;
	l->waiting = false;
	l->told_ns = host_now_ns();
	broadcast(l->s, qmp_event_of(n.kind), &n, &l->when);
}

static void add_limits(struct qmp_server *s)
{
	const struct qmp_event *ev;

	for (size_t i = 0; (ev = qmp_event_at(i)); i++)
		s->n_limits += ev->limited;
	s->limits = xcalloc(s->n_limits, sizeof(*s->limits));
	for (size_t i = 0, n = 0; (ev = qmp_event_at(i)); i++) {
		struct limit *l = &s->limits[n];

		if (!ev->limited)
			continue;
		*l = (struct limit){.s = s, .kind = ev->kind};
		l->timer = loop_timer_new(s->ctx.m->control, tell_waiting, l);
		n++;
	}
}

static int add_session(struct qmp_server *s, const struct cfg_monitor *cfg, struct err *err)
{
	struct chardev *c = chardevs_find(&s->ctx.be->chardevs, cfg->chardev);
	struct qmp_session *session;

	if (!c)
		return err_set(err, ENOENT, "chardev \"%s\" not found", cfg->chardev);
	session = qmp_session_new(&s->ctx, c, cfg->pretty, err);
	if (!session)
		return -EBUSY;
	s->sessions[s->n_sessions++] = session;
	return 0;
}

struct qmp_server *qmp_server_new(struct machine *m, struct backends *be, struct migration *mg,
				  struct err *err)
{
	struct qmp_server *s = NEW(struct qmp_server);
	const struct config *cfg = m->cfg;

	s->ctx = (struct qmp_context){m, be, mg};
	add_limits(s);
	s->listener = (struct notify_listener){.fn = on_notification, .opaque = s};
	notify_subscribe(&m->notify, &s->listener);
	s->sessions = xcalloc(cfg->n_monitors + 1, sizeof(struct qmp_session *));
	for (size_t i = 0; i < cfg->n_monitors; i++) {
		if (add_session(s, &cfg->monitors[i], err) < 0) {
			qmp_server_free(s);
			return NULL;
		}
	}
	return s;
}

int qmp_server_start(struct qmp_server *s, struct err *err)
{
	return loop_thread_start(s->ctx.m->control, "qmp", THREAD_CONTROL, err);
}

void qmp_server_stop(struct qmp_server *s)
{
	if (!s)
		return;
	loop_thread_join(s->ctx.m->control);
	notify_unsubscribe(&s->listener);
	for (size_t i = 0; i < s->n_sessions; i++)
		qmp_session_stop(s->sessions[i]);
}

void qmp_server_free(struct qmp_server *s)
{
	if (!s)
		return;
	qmp_server_stop(s);
	for (size_t i = 0; i < s->n_limits; i++)
		loop_timer_free(s->limits[i].timer);
	free(s->limits);
	for (size_t i = 0; i < s->n_sessions; i++)
		qmp_session_free(s->sessions[i]);
	free(s->sessions);
	free(s);
}
