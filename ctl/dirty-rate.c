/*
 * dirty-rate.c - how fast the guest writes: minivmm-ctl dirty-rate [--watch]
 *
 * calc-dirty-rate measures for some seconds, and query-dirty-rate says what came of it. While a
 * migration goes on that is refused, or would disturb it, and what the migration itself has counted
 * is said instead.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctl/client.h"
#include "ctl/commands.h"
#include "ctl/figures.h"
#include "ctl/report-peer.h"
#include "ctl/say.h"
#include "qmp/json.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define STEP_MS     20 /* between looks for the result */
#define SECONDS_MAX 60 /* what calc-dirty-rate takes */

struct measure {
	struct ctl *ctl;
	struct client *client;
	uint64_t seconds;
	const char *mode; /* or NULL: the peer's */
};

/* -1: it has none. */
/* Events are nobody's business here. False: the peer is gone. */
static bool pass_time(struct client *c, uint64_t until_ns)
{
	uint64_t now;

	while (!client_gone(c) && (now = report_now_ns()) < until_ns) {
		(void)client_wait(c, (int)((until_ns - now) / 1000000 + 1), NULL);
		for (struct json_object *e; (e = client_event(c)) != NULL;)
			json_free(e);
	}
	return !client_gone(c);
}

static int calculate(const struct measure *m, struct err *err)
{
	struct json_object *args = json_new_object();
	char number[24];

	(void)snprintf(number, sizeof(number), "%llu", (unsigned long long)m->seconds);
	json_set(args, "calc-time", json_new_number(number, true));
	if (m->mode)
		json_set(args, "mode", json_new_str(m->mode, strlen(m->mode)));
	return client_call(m->client, "calc-dirty-rate", args, NULL, err);
}

static void print_rate(const struct measure *m, const struct json_object *v)
{
	int64_t rate = json_get_int(v, "dirty-rate", -1);
	struct json_object *list;
	char size[SAY_BYTES];

	if (m->ctl->json) {
		say_value(m->ctl, v);
		return;
	}
	if (rate < 0)
		say_text("no rate was measured (%s)", json_get_text(v, "status"));
	else
		say_text("%s (%s, %llu s)", say_rate(size, (uint64_t)rate * MiB),
			 json_get_text(v, "mode"), (unsigned long long)m->seconds);
	if (!json_get(v, "vcpu-dirty-rate", &list) || json_kind(list) != JSON_ARRAY)
		return;
	for (size_t i = 0; i < json_len(list); i++) {
		rate = json_get_int(json_at(list, i), "dirty-rate", -1);
		if (rate >= 0)
			say_text("  vCPU %lld: %s",
				 (long long)json_get_int(json_at(list, i), "id", -1),
				 say_rate(size, (uint64_t)rate * MiB));
	}
}

/* Ask until it has been measured. */
static int wait_rate(const struct measure *m, struct err *err)
{
	uint64_t next = report_now_ns() + m->seconds * 1000000000ULL;

	for (;;) {
		CLEANUP(cleanup_json) struct json_object *v = NULL;
		int ret;

		if (!pass_time(m->client, next))
			return err_set(err, EPIPE, "the peer has ended while it measured");
		ret = client_call(m->client, "query-dirty-rate", NULL, &v, err);
		if (ret < 0)
			return ret;
		if (strcmp(json_get_text(v, "status"), "measuring") != 0) {
			print_rate(m, v);
			(void)fflush(stdout);
			return 0;
		}
		next = report_now_ns() + STEP_MS * 1000000ULL;
	}
}

/* Does one go on? Then what it has counted; *said. */
static int of_migration(const struct measure *m, bool *said, struct err *err)
{
	CLEANUP(cleanup_json) struct json_object *v = NULL;
	struct figures f;
	char size[SAY_BYTES];
	int ret = client_call(m->client, "query-migrate", NULL, &v, err);

	if (ret < 0)
		return ret;
	figures_read(&f, v);
	*said = f.has_ram && !figures_ended(&f) && strcmp(f.status, "none") != 0;
	if (!*said)
		return 0;
	if (m->ctl->json)
		say_value(m->ctl, v);
	else
		say_text("%s (as the migration that goes on counted it, pass %llu)",
			 say_rate(size, f.dirty_pages_rate * f.page_bytes),
			 (unsigned long long)f.passes);
	(void)fflush(stdout);
	if (!pass_time(m->client, report_now_ns() + m->seconds * 1000000000ULL))
		return err_set(err, EPIPE, "the peer has ended the connection");
	return 0;
}

static int once(const struct measure *m, struct err *err)
{
	bool said = false;
	int ret = of_migration(m, &said, err);

	if (ret == 0 && !said)
		ret = calculate(m, err);
	return ret == 0 && !said ? wait_rate(m, err) : ret;
}

static int dirty_rate_run(struct ctl *ctl, const struct ctl_args *args)
{
	struct measure m = {.ctl = ctl, .seconds = 1, .mode = ctl_opt(args, "mode")};
	struct err err = {0};
	int status = CTL_DONE, ret;

	if (ctl_opt_number(args, "seconds", 1, SECONDS_MAX, &m.seconds, &err) < 0)
		return say_error(ctl, CTL_USAGE, "%s", err.msg);
	m.client = ctl_client(ctl, &status);
	if (!m.client)
		return status;
	do {
		ret = once(&m, &err);
	} while (ret == 0 && ctl_opt(args, "watch") && !ferror(stdout));
	return ret < 0 ? say_call_error(ctl, ret, &err) : CTL_DONE;
}

static const struct ctl_opt dirty_rate_opts[] = {
    {"seconds", "N",				     "measure for so long: 1"       },
    {"mode",    "page-sampling|dirty-bitmap|dirty-ring",
     "how; what the peer does without it: page-sampling"                                },
    {"watch",   NULL,				    "again and again, until Ctrl-C"},
    {NULL,      NULL,				    NULL			   },
};

const struct ctl_command ctl_dirty_rate_command = {.name = "dirty-rate",
						   .arguments = "",
						   .help =
						       "how fast the guest writes to its memory",
						   .opts = dirty_rate_opts,
						   .run = dirty_rate_run};
