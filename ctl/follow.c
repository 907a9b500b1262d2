/*
 * follow.c - the loop that watches a migration
 *
 * One round: wait for an event or a tick, take what has come, ask query-migrate, show it, and do
 * what is due (postcopy, a deadline that the peer does not know).  A peer that does not answer is
 * asked again until the patience is at its end; one that is gone ends it, and then nobody here
 * knows who has the guest.
 */
#include "ctl/follow.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/live.h"
#include "ctl/report-peer.h"
#include "ctl/say.h"
#include "ctl/screen.h"
#include "qmp/json.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define TICK_MS     100  /* with a live line or a report */
#define CALM_MS     300  /* without, where events say what is new */
#define PATIENCE_MS 1000 /* of one call */
#define LINE_BYTES  400
#define QUESTION    "Ctrl-C: (c)ancel the move, (l)eave it running, any other key: go on"

struct watch {
	struct follow *f;
	struct screen screen;
	struct live live;
	uint64_t begin_ms, answered_ms;
	bool switched, passed_deadline, asked_cancel, was_postcopy;
	int status; /* when it has ended */
};

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- what is shown ---- */

static void draw(struct watch *w)
{
	char line[LINE_BYTES];

	if (!w->screen.terminal)
		return;
	live_line(&w->live, line, sizeof(line), MIN(screen_columns(&w->screen), LINE_BYTES));
	screen_draw(&w->screen, w->screen.asking ? QUESTION : line);
}

/* An event that belongs to the move, as a line where no live line is drawn. */
static void show_event(struct watch *w, const struct json_object *e)
{
	struct json_object *m, *data = NULL, *v;
	char line[LINE_BYTES], text[LINE_BYTES];
	const char *name;

	if (!json_get(e, "event", &m) || json_kind(m) != JSON_STRING)
		return;
	name = json_str(m);
	if (w->f->ctl->json) {
		say_value(w->f->ctl, e);
		return;
	}
	if (w->screen.terminal)
		return;
	text[0] = '\0';
	if (json_get(e, "data", &data) && json_kind(data) == JSON_OBJECT) {
		if (json_get(data, "status", &v) && json_kind(v) == JSON_STRING)
			(void)snprintf(text, sizeof(text), " %.100s", json_str(v));
		else if (json_get(data, "pass", &v) && json_kind(v) == JSON_INT)
			(void)snprintf(text, sizeof(text), " %lld", (long long)json_int(v));
	}
	live_line(&w->live, line, sizeof(line), LINE_BYTES);
	say_text("%.60s%s: %s", name, text, line);
	(void)fflush(stdout);
}

static void take_events(struct watch *w)
{
	struct json_object *e;

	while ((e = client_event(w->f->client))) {
		report_take_event(w->f->report, w->f->incoming ? REPORT_PEER : REPORT_SOURCE,
				  report_now_ns(), e);
		show_event(w, e);
		json_free(e);
	}
}

/* ---- the end ---- */

/* Does the guest belong to this end?  The run state says, after a move that failed. */
static const char *guest_text(struct watch *w, int *status)
{
	CLEANUP(cleanup_json) struct json_object *v = NULL;
	struct json_object *m;

	if (client_call(w->f->client, "query-status", NULL, &v, NULL) < 0 ||
	    json_kind(v) != JSON_OBJECT || !json_get(v, "status", &m) ||
	    json_kind(m) != JSON_STRING) {
		*status = CTL_UNKNOWN;
		return "it is not known who has the guest";
	}
	if (!strcmp(json_str(m), "running"))
		return "the guest runs here";
	if (!strcmp(json_str(m), "postmigrate") || !strcmp(json_str(m), "finish-migrate")) {
		*status = CTL_UNKNOWN;
		return "the guest may have been handed over: look at the other end before it is "
		       "let run here";
	}
	return w->f->incoming ? "no guest has come"
			      : "the guest is here, and stands still as before";
}

static int ended(struct watch *w)
{
	const struct figures *f = &w->f->last;
	int status = CTL_FAILED;
	const char *who;

	screen_clear(&w->screen);
	if (!strcmp(f->status, "completed"))
		return CTL_DONE;
	who = guest_text(w, &status);
	if (w->was_postcopy) {
		status = CTL_UNKNOWN;
		who = "the guest had gone to the other end: look there";
	}
	if (!strcmp(f->status, "cancelled"))
		return say_error(w->f->ctl, status, "cancelled: %s", who);
	return say_error(w->f->ctl, status, "%s%s; %s", *f->error ? "" : "it failed", f->error,
			 who);
}

static int paused(struct watch *w)
{
	screen_clear(&w->screen);
	return say_error(
	    w->f->ctl, CTL_UNKNOWN,
	    "the connection is lost, and postcopy is paused at both ends%s%s: 'migrate-recover' at "
	    "the destination and 'minivmm-ctl move --resume URI' here let it go on",
	    *w->f->last.error ? ": " : "", w->f->last.error);
}

/* Is it over?  w->status then. */
static bool is_over(struct watch *w)
{
	const char *s = w->f->last.status;

	if (figures_ended(&w->f->last)) {
		w->status = ended(w);
		return true;
	}
	if (!strcmp(s, "postcopy-active") || !strcmp(s, "postcopy-recover"))
		w->f->keep = false;
	if (!strcmp(s, "postcopy-paused") && !w->f->keep) {
		w->status = paused(w);
		return true;
	}
	return false;
}

/* ---- what is due ---- */

static void command(struct watch *w, const char *name)
{
	struct err err = {0};
	int ret = client_call(w->f->client, name, NULL, NULL, &err);

	if (ret < 0) {
		screen_clear(&w->screen);
		say_note(w->f->ctl, "%s: %s", name, err.msg);
	}
}

/* The guest is stopped at the end of this pass, whatever is left. */
static void force(struct watch *w)
{
	struct json_object *args = json_new_object();

	json_set(args, "downtime-limit", json_new_int(2000000));
	(void)client_call(w->f->client, "migrate-set-parameters", args, NULL, NULL);
}

static void do_due(struct watch *w, uint64_t now)
{
	struct follow *f = w->f;
	bool active = !strcmp(f->last.status, "active");
	uint64_t since = now - w->begin_ms;

	if (active && !w->switched &&
	    ((f->postcopy_pass && f->last.passes > f->postcopy_pass) ||
	     (f->postcopy_ms && since >= f->postcopy_ms))) {
		w->switched = true;
		command(w, "migrate-start-postcopy");
	}
	if (!active || !f->deadline_ms || w->passed_deadline || since < f->deadline_ms)
		return;
	w->passed_deadline = true;
	screen_clear(&w->screen);
	say_note(f->ctl, "the deadline has passed");
	if (f->policy == POLICY_POSTCOPY)
		command(w, "migrate-start-postcopy");
	else if (f->policy == POLICY_FORCE)
		force(w);
	else
		command(w, "migrate_cancel");
}

static void cancel(struct watch *w)
{
	if (w->was_postcopy) {
		screen_clear(&w->screen);
		say_note(w->f->ctl,
			 "the guest is at the other end already: it cannot be cancelled any more");
		return;
	}
	w->asked_cancel = true;
	command(w, "migrate_cancel");
}

/* True: leave it running. */
static bool take_key(struct watch *w)
{
	enum screen_key key = screen_key(&w->screen);

	if (key == KEY_ASK)
		screen_ask(&w->screen);
	else if (key == KEY_CANCEL)
		cancel(w);
	client_set_interrupt(w->f->client, screen_fd(&w->screen));
	draw(w);
	return key == KEY_LEAVE;
}

/* ---- the loop ---- */

static bool lost(struct watch *w, const struct err *err)
{
	screen_clear(&w->screen);
	w->status =
	    say_error(w->f->ctl, CTL_UNKNOWN, "%s: it is not known who has the guest", err->msg);
	return true;
}

static bool leave(struct watch *w)
{
	screen_clear(&w->screen);
	w->f->left = true;
	w->status =
	    say_error(w->f->ctl, CTL_UNKNOWN,
		      "it goes on without this program: 'minivmm-ctl watch' shows it, 'minivmm-ctl "
		      "cancel' ends it");
	return true;
}

/* An answer, or none yet; true: it is over. */
static bool look(struct watch *w, int ret, const struct json_object *v, const struct err *err)
{
	uint64_t now = now_ms();

	if (ret == -EINTR)
		return take_key(w) && leave(w);
	if (client_gone(w->f->client))
		return lost(w, err);
	if (ret < 0) {
		w->live.silent_ms = now - w->answered_ms;
		draw(w);
		return w->f->ctl->timeout_ms &&
		       w->live.silent_ms >= (uint64_t)w->f->ctl->timeout_ms && lost(w, err);
	}
	w->answered_ms = now;
	figures_read(&w->f->last, v);
	w->was_postcopy =
	    w->was_postcopy || (!w->f->incoming && !strncmp(w->f->last.status, "postcopy", 8));
	live_take(&w->live, &w->f->last, now);
	report_sample(w->f->report, w->f->incoming ? REPORT_PEER : REPORT_SOURCE, report_now_ns(),
		      &w->f->last);
	report_peer_look(w->f->peer);
	take_events(w);
	if (is_over(w))
		return true;
	draw(w);
	do_due(w, now);
	return false;
}

int follow_run(struct follow *f)
{
	struct watch w = {
	    .f = f, .begin_ms = now_ms(), .answered_ms = now_ms(), .status = CTL_UNKNOWN};
	bool over = false;

	screen_open(&w.screen, !f->ctl->json);
	client_set_patience(f->client, PATIENCE_MS);
	client_set_interrupt(f->client, screen_fd(&w.screen));
	while (!over) {
		CLEANUP(cleanup_json) struct json_object *v = NULL;
		struct err err = {0};
		int ret = client_call(f->client, "query-migrate", NULL, &v, &err);

		over = look(&w, ret, v, &err);
		if (over)
			break;
		ret = client_wait(f->client, w.screen.terminal || f->report ? TICK_MS : CALM_MS,
				  &err);
		if (ret == -EINTR)
			over = look(&w, ret, NULL, &err);
	}
	take_events(&w);
	client_set_interrupt(f->client, -1);
	client_set_patience(f->client, f->ctl->timeout_ms);
	screen_close(&w.screen);
	return w.status;
}

/* ---- the result ---- */

static void say_json_result(const struct follow *f, int status)
{
	const struct figures *l = &f->last;
	struct json_object *o = json_new_object();

	json_set(o, "result", json_new_str(l->status, strlen(l->status)));
	json_set(o, "status", json_new_int(status));
	if (l->has_downtime)
		json_set(o, "pause-ms", json_new_int((int64_t)l->downtime_ms));
	if (l->has_total_time)
		json_set(o, "total-ms", json_new_int((int64_t)l->total_ms));
	json_set(o, "bytes", json_new_int((int64_t)l->transferred));
	json_set(o, "passes", json_new_int((int64_t)l->passes));
	if (l->has_total_time && l->total_ms)
		json_set(o, "rate", json_new_int((int64_t)(l->transferred * 1000 / l->total_ms)));
	say_value(f->ctl, o);
	json_free(o);
}

void follow_say_result(const struct follow *f, const char *what, int status)
{
	const struct figures *l = &f->last;
	char pause[SAY_BYTES], size[SAY_BYTES], total[SAY_BYTES], rate[SAY_BYTES];

	if (f->ctl->json) {
		say_json_result(f, status);
		return;
	}
	if (!l->has_total_time) {
		say_text("%s", what);
		return;
	}
	if (l->total_ms)
		(void)say_rate(rate, l->transferred * 1000 / l->total_ms);
	say_text("%s: the guest stood still for %s; %s in %u pass%s, %s%s%s", what,
		 say_ms(pause, l->downtime_ms), say_size(size, l->transferred), (unsigned)l->passes,
		 l->passes == 1 ? "" : "es", say_ms(total, l->total_ms), l->total_ms ? ", " : "",
		 l->total_ms ? rate : "");
}
