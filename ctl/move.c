/* move.c - move, watch, cancel */
#include "ctl/move.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/client.h"
#include "ctl/commands.h"
#include "ctl/report-peer.h"
#include "ctl/say.h"
#include "ctl/uri.h"
#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

/* A deadline that this program keeps, because the peer has none. */
static void keep_deadline(struct follow *f, const struct settings *s)
{
	struct json_object *v;

	if (json_get(s->old_params, "x-minivmm-deadline", &v) ||
	    !json_get(s->params, "x-minivmm-deadline", &v))
		return;
	f->deadline_ms = (uint64_t)json_int(v) * 1000;
	(void)json_get(s->params, "x-minivmm-deadline-policy", &v);
	f->policy = !strcmp(json_str(v), "force")      ? POLICY_FORCE
		    : !strcmp(json_str(v), "postcopy") ? POLICY_POSTCOPY
						       : POLICY_CANCEL;
}

/* Once it has ended and the peer is still there; one that is left alone keeps its settings. */
static void put_back(struct follow *f, struct settings *s)
{
	struct err err = {0};

	if (f->left || client_gone(f->client) || !strcmp(f->last.status, "postcopy-paused"))
		return;
	if (settings_restore(s, f->client, &err) < 0)
		say_note(f->ctl, "settings of migration could not be put back: %s", err.msg);
}

int move_run(struct ctl *ctl, struct settings *s, struct follow *f, const char *command,
	     struct json_object *args, const char *what)
{
	struct err err = {0};
	int status = CTL_FAILED, ret = settings_apply(s, f->client, &err);

	f->ctl = ctl;
	if (ret < 0) {
		json_free(args);
		return ret == -ENOTSUP ? say_error(ctl, CTL_FAILED, "%s", err.msg)
				       : say_call_error(ctl, ret, &err);
	}
	keep_deadline(f, s);
	report_describe(f->report, REPORT_SOURCE, f->client);
	ret = client_call(f->client, command, args, NULL, &err);
	if (ret < 0) {
		status = say_call_error(ctl, ret, &err);
		put_back(f, s);
		return status;
	}
	status = follow_run(f);
	if (status == CTL_DONE || ctl->json)
		follow_say_result(f, what, status);
	put_back(f, s);
	return status;
}

/* ---- move ---- */

static const struct ctl_opt move_opts[] = {
    MOVE_COMMON_OPTS,
    {"postcopy",       NULL,
      "let the guest run there after the first pass, and bring the rest behind it"                        },
    {"postcopy-after", "SECONDS",     "the same, after that time"                                        },
    {"preempt",        NULL,          "postcopy: a channel of its own for pages that the guest waits for"},
    {"postcopy-rate",  "BYTES",       "postcopy: at most so many a second of what nobody waits for"      },
    {"release-ram",    NULL,          "postcopy: give memory back as it is sent"                         },
    {"zero-copy",      NULL,          "multifd: without copying (MSG_ZEROCOPY)"                          },
    {"tls-creds",      "ID",          "over TLS, with this object of credentials"                        },
    {"tls-hostname",   "NAME",        "the name in the other end's certificate"                          },
    {"resume",         NULL,          "a postcopy that is paused goes on there"                          },
    {"detach",         NULL,          "start it, and do not wait"                                        },
    {"quit",           NULL,          "end the program here once the guest is there"                     },
    {"peer",           "SOCKET|NAME", "the other end's monitor, for the report"                          },
    {"report",         "FILE",        "how it went, as a page (.html) or a picture (.svg)"               },
    {NULL,	     NULL,          NULL							       },
};

static int read_follow(struct follow *f, const struct ctl_args *args, struct err *err)
{
	uint64_t seconds = 0;
	int ret = ctl_opt_number(args, "postcopy-after", 0, 31536000, &seconds, err);

	if (ret < 0)
		return ret;
	if (ctl_opt(args, "postcopy-after"))
		f->postcopy_ms = seconds ? seconds * 1000 : 1;
	else if (ctl_opt(args, "postcopy"))
		f->postcopy_pass = 1;
	if (ctl_opt(args, "peer") && !ctl_opt(args, "report"))
		return err_set(err, EINVAL,
			       "move: --peer is looked at for a --report, and there is none");
	f->keep = ctl_opt(args, "resume");
	return 0;
}

/* Set it and go: the settings stay, for it needs them to its end. */
static int detached(struct ctl *ctl, struct settings *s, struct client *c, struct json_object *to)
{
	struct err err = {0};
	int ret = settings_apply(s, c, &err);

	if (ret < 0)
		json_free(to);
	else
		ret = client_call(c, "migrate", to, NULL, &err);
	if (ret == -ENOTSUP)
		return say_error(ctl, CTL_FAILED, "%s", err.msg);
	if (ret < 0)
		return say_call_error(ctl, ret, &err);
	say_note(ctl,
		 "it is on its way: 'minivmm-ctl watch' shows it, 'minivmm-ctl cancel' ends it");
	return CTL_DONE;
}

static int open_report(struct ctl *ctl, struct follow *f, const struct ctl_args *args,
		       const struct settings *s, const char *uri)
{
	CLEANUP(cleanup_free) char *words = settings_words(s);
	const char *file = ctl_opt(args, "report"), *peer = ctl_opt(args, "peer");
	struct err err = {0};

	if (!file)
		return CTL_DONE;
	f->report = report_new(file, &err);
	if (!f->report)
		return say_error(ctl, CTL_USAGE, "%s", err.msg);
	report_move(f->report, uri, words);
	if (peer) {
		f->peer = report_peer_new(f->report, peer, ctl->timeout_ms, &err);
		if (!f->peer)
			return say_error(ctl, CTL_FAILED, "%s", err.msg);
	}
	return CTL_DONE;
}

/* Whether it came or not, the report is written. */
static void close_report(struct ctl *ctl, struct follow *f, int status)
{
	struct err err = {0};

	if (f->report && *f->last.status) {
		if (status == CTL_DONE)
			report_peer_end(f->peer);
		if (report_finish(f->report, &err) < 0)
			say_note(ctl, "no report: %s", err.msg);
	}
	report_peer_free(f->peer);
	report_free(f->report);
}

static int move_to(struct ctl *ctl, const struct ctl_args *args, struct settings *s,
		   struct follow *f)
{
	CLEANUP(cleanup_free) char *uri = uri_absolute(args->word[0]);
	CLEANUP(cleanup_free) char *what = xasprintf("moved to %s", uri);
	struct json_object *to;
	int status = CTL_DONE;

	f->client = ctl_client(ctl, &status);
	if (!f->client)
		return status;
	status = open_report(ctl, f, args, s, uri);
	if (status == CTL_DONE) {
		to = json_new_object();
		json_set(to, "uri", json_new_str(uri, strlen(uri)));
		if (ctl_opt(args, "resume"))
			json_set(to, "resume", json_new_bool(true));
		status = ctl_opt(args, "detach") ? detached(ctl, s, f->client, to)
						 : move_run(ctl, s, f, "migrate", to, what);
	}
	close_report(ctl, f, status);
	if (status == CTL_DONE && ctl_opt(args, "quit") && !ctl_opt(args, "detach"))
		(void)client_call(f->client, "quit", NULL, NULL, NULL);
	return status;
}

static int move_command(struct ctl *ctl, const struct ctl_args *args)
{
	struct settings s;
	struct follow f = {0};
	struct err err = {0};
	int status;

	ctl_settings_init(&s);
	/* One that is resumed has the capabilities that it began with. */
	if (!ctl_opt(args, "detach") && !ctl_opt(args, "resume"))
		settings_cap(&s, "events", true, NULL);
	if (settings_read(&s, args, &err) < 0 || read_follow(&f, args, &err) < 0)
		status = say_error(ctl, CTL_USAGE, "%s", err.msg);
	else
		status = move_to(ctl, args, &s, &f);
	settings_fini(&s);
	return status;
}

/* ---- watch, cancel ---- */

static int watch_command(struct ctl *ctl, const struct ctl_args *args)
{
	CLEANUP(cleanup_json) struct json_object *v = NULL;
	int status = CTL_DONE, ret;
	struct follow f = {.ctl = ctl, .client = ctl_client(ctl, &status)};
	struct err err = {0};

	(void)args;
	if (!f.client)
		return status;
	ret = client_call(f.client, "query-migrate", NULL, &v, &err);
	if (ret < 0)
		return say_call_error(ctl, ret, &err);
	figures_read(&f.last, v);
	if (!strcmp(f.last.status, "none"))
		return say_error(ctl, CTL_FAILED, "no migration is under way");
	status = follow_run(&f);
	if (status == CTL_DONE || ctl->json)
		follow_say_result(&f, "completed", status);
	return status;
}

static int cancel_command(struct ctl *ctl, const struct ctl_args *args)
{
	CLEANUP(cleanup_json) struct json_object *v = NULL;
	int status = CTL_DONE, ret;
	struct client *c = ctl_client(ctl, &status);
	struct err err = {0};
	struct figures f;

	(void)args;
	if (!c)
		return status;
	ret = client_call(c, "query-migrate", NULL, &v, &err);
	if (ret < 0)
		return say_call_error(ctl, ret, &err);
	figures_read(&f, v);
	if (!strcmp(f.status, "none") || figures_ended(&f))
		return say_error(ctl, CTL_FAILED, "no migration is under way");
	if (!strncmp(f.status, "postcopy", 8))
		return say_error(
		    ctl, CTL_FAILED,
		    "the guest is at the other end already: a postcopy cannot be cancelled");
	ret = client_call(c, "migrate_cancel", NULL, NULL, &err);
	if (ret < 0)
		return say_call_error(ctl, ret, &err);
	if (ctl->json)
		say_value(ctl, v);
	return CTL_DONE;
}

const struct ctl_command ctl_move_command = {
    .name = "move",
    .arguments = "URI",
    .help = "move the guest: tcp:HOST:PORT, unix:PATH, exec:COMMAND, fd:NAME, file:PATH",
    .opts = move_opts,
    .min_words = 1,
    .max_words = 1,
    .run = move_command};
const struct ctl_command ctl_watch_command = {.name = "watch",
					      .arguments = "",
					      .help = "watch the move that is under way",
					      .run = watch_command};
const struct ctl_command ctl_cancel_command = {.name = "cancel",
					       .arguments = "",
					       .help = "cancel the move that is under way",
					       .run = cancel_command};
