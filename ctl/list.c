/* list.c - what runs here: a line each, its state asked of its monitor */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl/client.h"
#include "ctl/commands.h"
#include "ctl/runtime.h"
#include "ctl/say.h"
#include "qmp/json.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define STATE_BYTES 32
#define DISKS_BYTES 200

/* Its run state, "busy" where another client holds its monitors, "?" where nothing answers. */
static void ask_state(const struct running *r, char out[STATE_BYTES])
{
	CLEANUP(cleanup_json) struct json_object *value = NULL;
	struct json_object *m;
	struct client *c = NULL;
	struct err err = {0};

	for (size_t i = 0; !c && running_monitor(r, i); i++)
		c = client_open_quiet(running_monitor(r, i), CLIENT_TRY_MS, &err);
	(void)snprintf(out, STATE_BYTES, "%s", c ? "?" : err.errnum == EBUSY ? "busy" : "?");
	if (c && client_call(c, "query-status", NULL, &value, NULL) == 0 &&
	    json_kind(value) == JSON_OBJECT && json_get(value, "status", &m) &&
	    json_kind(m) == JSON_STRING)
		(void)snprintf(out, STATE_BYTES, "%.*s", STATE_BYTES - 1, json_str(m));
	client_close(c);
}

static void disks_text(const struct running *r, char out[DISKS_BYTES])
{
	struct json_object *list;
	size_t at = 0;

	out[0] = '\0';
	if (!json_get(r->text, "disks", &list) || json_kind(list) != JSON_ARRAY)
		return;
	for (size_t i = 0; i < json_len(list) && at < DISKS_BYTES - 1; i++) {
		int n = json_kind(json_at(list, i)) != JSON_STRING
			    ? 0
			    : snprintf(out + at, DISKS_BYTES - at, "%s%s", at ? " " : "",
				       json_str(json_at(list, i)));

		at += n > 0 ? (size_t)n : 0;
	}
}

static void print_line(const struct running *r, const char *state)
{
	char ram[SAY_BYTES], since[32] = "?", disks[DISKS_BYTES];
	time_t when = (time_t)r->started;
	struct tm tm;

	if (localtime_r(&when, &tm))
		(void)strftime(since, sizeof(since), "%Y-%m-%d %H:%M:%S", &tm);
	disks_text(r, disks);
	say_text("%-16s %8" PRId64 "  %-16s %9s  %s  %s%s%s", *r->name ? r->name : "-", r->pid,
		 state, say_size(ram, r->ram_bytes), since, r->monitor, *disks ? "  " : "", disks);
}

static int list_run(struct ctl *ctl, const struct ctl_args *args)
{
	struct json_object *all = json_new_array();
	struct running_list l;

	(void)args;
	running_read(&l);
	if (!ctl->json && l.n)
		say_text("%-16s %8s  %-16s %9s  %-19s  %s", "NAME", "PID", "STATE", "RAM", "SINCE",
			 "MONITOR  DISKS");
	for (size_t i = 0; i < l.n; i++) {
		char state[STATE_BYTES];

		ask_state(&l.v[i], state);
		if (!ctl->json)
			print_line(&l.v[i], state);
		json_set(l.v[i].text, "state", json_new_str(state, strlen(state)));
		json_append(all, json_share(l.v[i].text));
	}
	if (ctl->json)
		say_value(ctl, all);
	else if (!l.n)
		say_note(ctl,
			 "none runs that this user may see: a minivmm with a monitor is listed");
	json_free(all);
	running_free(&l);
	return CTL_DONE;
}

const struct ctl_command ctl_list_command = {
    .name = "list", .arguments = "", .help = "the minivmm that run here", .run = list_run};
