/*
 * job.c - the loop that watches a job, by JOB_STATUS_CHANGE and query-jobs
 *
 * Ctrl-C asks: cancel the job, which undoes what it has done, or leave it to itself.
 */
#include "ctl/job.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/say.h"
#include "ctl/screen.h"
#include "qmp/json.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define TICK_MS     100
#define PATIENCE_MS 1000
#define LINE_BYTES  200
#define QUESTION    "Ctrl-C: (c)ancel the job, (l)eave it running, any other key: go on"

struct job_watch {
	struct ctl *ctl;
	struct client *client;
	const char *id, *what;
	struct screen screen;
	unsigned percent; /* the highest so far */
	char status[32], shown[32];
	uint64_t answered_ms;
	int exit_status;
};

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t number_of(const struct json_object *o, const char *key)
{
	struct json_object *m;

	return json_get(o, key, &m) && json_kind(m) == JSON_INT && json_int(m) > 0
		   ? (uint64_t)json_int(m)
		   : 0;
}

/* The job in the reply of query-jobs; NULL: it is not there. */
static const struct json_object *find_job(const struct json_object *list, const char *id)
{
	for (size_t i = 0; json_kind(list) == JSON_ARRAY && i < json_len(list); i++)
		if (json_kind(json_at(list, i)) == JSON_OBJECT &&
		    !strcmp(json_get_text(json_at(list, i), "id"), id))
			return json_at(list, i);
	return NULL;
}

static void show(struct job_watch *w, const struct json_object *job)
{
	uint64_t done = number_of(job, "current-progress"), all = number_of(job, "total-progress");
	char line[LINE_BYTES], a[SAY_BYTES], b[SAY_BYTES];

	if (all)
		w->percent = MAX(w->percent, (unsigned)(MIN((double)done / (double)all, 1.0) * 99));
	(void)snprintf(w->status, sizeof(w->status), "%.31s", json_get_text(job, "status"));
	(void)snprintf(line, sizeof(line), "%s  %u %%  %s of %s", w->status, w->percent,
		       say_size(a, done), say_size(b, all));
	if (w->screen.terminal)
		screen_draw(&w->screen, w->screen.asking ? QUESTION : line);
	else if (strcmp(w->status, w->shown) != 0 && !w->ctl->json)
		say_text("%s", line);
	else if (strcmp(w->status, w->shown) != 0)
		say_value(w->ctl, job);
	memcpy(w->shown, w->status, sizeof(w->shown));
}

static int command(struct job_watch *w, const char *name, struct err *err)
{
	struct json_object *args = json_new_object();

	json_set(args, "id", json_new_str(w->id, strlen(w->id)));
	return client_call(w->client, name, args, NULL, err);
}

static int concluded(struct job_watch *w, const struct json_object *job)
{
	const char *error = json_get_text(job, "error");
	const struct json_object *figures = NULL;
	struct json_object *m;
	char size[SAY_BYTES], total[SAY_BYTES], pause[SAY_BYTES];

	screen_clear(&w->screen);
	(void)command(w, "job-dismiss", NULL);
	if (*error)
		return say_error(w->ctl, CTL_FAILED, "%s", error);
	if (w->ctl->json)
		return CTL_DONE; /* its last line has it all */
	if (json_get(job, "x-minivmm-snapshot", &m) && json_kind(m) == JSON_OBJECT)
		figures = m;
	if (!figures) {
		say_text("%s", w->what);
		return CTL_DONE;
	}
	say_text("%s: the guest stood still for %s; %s of VM state, %s", w->what,
		 say_ms(pause, number_of(figures, "pause-us") / 1000),
		 say_size(size, number_of(figures, "vm-state-size")),
		 say_ms(total, number_of(figures, "total-us") / 1000));
	return CTL_DONE;
}

/* True: leave it. */
static bool take_key(struct job_watch *w)
{
	enum screen_key key = screen_key(&w->screen);
	struct err err = {0};

	if (key == KEY_ASK) {
		screen_ask(&w->screen);
		screen_draw(&w->screen, QUESTION);
	} else if (key == KEY_CANCEL && command(w, "job-cancel", &err) < 0) {
		screen_clear(&w->screen);
		say_note(w->ctl, "job-cancel: %s", err.msg);
	}
	client_set_interrupt(w->client, screen_fd(&w->screen));
	if (key != KEY_LEAVE)
		return false;
	screen_clear(&w->screen);
	w->exit_status =
	    say_error(w->ctl, CTL_UNKNOWN, "the job '%s' goes on without this program", w->id);
	return true;
}

/* True: it is over, with an exit status. */
static bool look(struct job_watch *w, int ret, const struct json_object *list,
		 const struct err *err)
{
	const struct json_object *job;
	uint64_t silent = now_ms() - w->answered_ms;

	if (ret == -EINTR)
		return take_key(w);
	if (ret < 0) {
		if (!client_gone(w->client) &&
		    !(w->ctl->timeout_ms && silent >= (uint64_t)w->ctl->timeout_ms))
			return false;
		screen_clear(&w->screen);
		w->exit_status = say_error(w->ctl, CTL_UNKNOWN,
					   "%s: it is not known how the job ended", err->msg);
		return true;
	}
	w->answered_ms = now_ms();
	job = find_job(list, w->id);
	if (!job) {
		screen_clear(&w->screen);
		w->exit_status =
		    say_error(w->ctl, CTL_UNKNOWN,
			      "the job is gone: another client has dismissed it, and how it "
			      "ended is not known");
		return true;
	}
	show(w, job);
	if (strcmp(w->status, "concluded") != 0)
		return false;
	w->exit_status = concluded(w, job);
	return true;
}

int job_follow(struct ctl *ctl, struct client *c, const char *id, const char *what)
{
	struct job_watch w = {.ctl = ctl,
			      .client = c,
			      .id = id,
			      .what = what,
			      .answered_ms = now_ms(),
			      .exit_status = CTL_UNKNOWN};
	bool over = false;

	screen_open(&w.screen, !ctl->json);
	client_set_patience(c, PATIENCE_MS);
	client_set_interrupt(c, screen_fd(&w.screen));
	while (!over) {
		CLEANUP(cleanup_json) struct json_object *list = NULL;
		struct err err = {0};
		int ret = client_call(c, "query-jobs", NULL, &list, &err);

		over = look(&w, ret, list, &err);
		if (over)
			break;
		ret = client_wait(c, TICK_MS, &err);
		if (ret == -EINTR)
			over = take_key(&w);
		for (struct json_object *e; (e = client_event(c));)
			json_free(e);
	}
	client_set_interrupt(c, -1);
	client_set_patience(c, ctl->timeout_ms);
	screen_close(&w.screen);
	return w.exit_status;
}
