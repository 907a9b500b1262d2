/*
 * The monitors, and the events that all of them are told.
 *
 * A notification is turned into text where it is published, whatever thread
 * that is, and queued for each monitor under the machine lock.  So it stands
 * before the reply of the command that caused it.  Writing is the main
 * loop's: one posted call serves all that was queued until it runs.
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
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define LIMIT_NS 1000000000LL

/* A limited event: when it was last told, and what waits for its turn. */
struct limit {
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
	struct loop_timer *timer;
	/* under the machine lock */
	struct notify_listener listener;
	bool posted;             /* turn() will run */
	bool dead;               /* freed as soon as it has */
	struct limit rtc_change; /* the only limited event there is */
};

static void turn(void *opaque);

static void post_turn(struct qmp_server *s)
{
	if (s->posted)
		return;
	s->posted = true;
	loop_post(s->ctx.m->loop, turn, s);
}

static void broadcast(struct qmp_server *s, const struct qmp_event *ev,
		      const struct notification *n, const struct timespec *when)
{
	struct buf text[2] = {{0}, {0}}; /* plain, pretty */
	bool waiting = false;

	for (size_t i = 0; i < s->n_sessions; i++) {
		bool pretty = qmp_session_pretty(s->sessions[i]);

		if (!text[pretty].len)
			qmp_event_write(ev, n, when, pretty, &text[pretty]);
		qmp_session_event(s->sessions[i], &text[pretty]);
		waiting = waiting || !qmp_session_idle(s->sessions[i]);
	}
	buf_free(&text[0]);
	buf_free(&text[1]);
	if (waiting)
		post_turn(s);
}

/* Told at once, or kept until a second has passed since the last one. */
static bool must_wait(struct qmp_server *s, const struct notification *n,
		      const struct timespec *when)
{
	struct limit *l = &s->rtc_change;
	int64_t now = host_now_ns();

	if (l->told_ns && now - l->told_ns < LIMIT_NS) {
		*l = (struct limit){l->told_ns, true, n->number, *when};
		post_turn(s); /* arms the timer: it belongs to the main loop */
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
	struct timespec when;

	if (!ev)
		return;
	if ((n->kind == NOTIFY_MIGRATION || n->kind == NOTIFY_MIGRATION_PASS) &&
	    !migration_get_capability(s->ctx.mg, CAP_EVENTS))
		return;
	if (clock_gettime(CLOCK_REALTIME, &when) < 0)
		when = (struct timespec){-1, -1};
	if (ev->limited && must_wait(s, n, &when))
		return;
	broadcast(s, ev, n, &when);
}

static void tell_waiting(struct qmp_server *s)
{
	struct limit *l = &s->rtc_change;
	int64_t wait = l->told_ns + LIMIT_NS - host_now_ns();
	struct notification n = {.kind = NOTIFY_RTC_CHANGE, .number = l->number};

	if (!l->waiting)
		return;
	if (wait > 0) {
		loop_timer_arm_ms(s->timer, (uint64_t)wait / 1000000 + 1);
		return;
	}
	l->waiting = false;
	l->told_ns = host_now_ns();
	broadcast(s, qmp_event_of(n.kind), &n, &l->when);
}

static void serve(struct qmp_server *s)
{
	tell_waiting(s);
	for (size_t i = 0; i < s->n_sessions; i++)
		if (!qmp_session_idle(s->sessions[i]))
			qmp_session_service(s->sessions[i]);
}

static void turn(void *opaque)
{
	struct qmp_server *s = opaque;

	s->posted = false;
	if (s->dead)
		free(s);
	else
		serve(s);
}

static void on_timer(void *opaque)
{
	serve(opaque);
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
	s->timer = loop_timer_new(m->loop, on_timer, s);
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

void qmp_server_free(struct qmp_server *s)
{
	if (!s)
		return;
	notify_unsubscribe(&s->listener);
	loop_timer_free(s->timer);
	for (size_t i = 0; i < s->n_sessions; i++)
		qmp_session_free(s->sessions[i]);
	free(s->sessions);
	s->dead = true;
	if (!s->posted)
		free(s);
}
