/*
 * status.c - what one is doing, in a few lines
 *
 *     db1: running, minivmm 0.1.0, 2 vCPUs, 512 MiB
 *     disk0: qcow2, /srv/db1.qcow2
 *     migration: active, pass 3  62 %  1.2 GiB/s  dirtied 300 MiB/s  pause 12 ms
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctl/client.h"
#include "ctl/commands.h"
#include "ctl/figures.h"
#include "ctl/live.h"
#include "ctl/say.h"
#include "ctl/settings.h"
#include "qmp/json.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define LINE_BYTES 300

/* What is asked; each is a member of the answer for machines. */
enum { ASK_STATUS, ASK_NAME, ASK_CPUS, ASK_MEMORY, ASK_BLOCK, ASK_MIGRATE, ASKED };
static const char *const questions[ASKED] = {"query-status",    "query-name",
					     "query-cpus-fast", "query-memory-size-summary",
					     "query-block",     "query-migrate"};

static void print_machine(const struct client *c, struct json_object *const *a)
{
	char peer[PEER_NAME_BYTES], size[SAY_BYTES];
	const char *name = json_get_text(a[ASK_NAME], "name");
	struct json_object *m;
	uint64_t ram = 0;
	size_t cpus = json_kind(a[ASK_CPUS]) == JSON_ARRAY ? json_len(a[ASK_CPUS]) : 0;

	if (json_kind(a[ASK_MEMORY]) == JSON_OBJECT && json_get(a[ASK_MEMORY], "base-memory", &m) &&
	    json_kind(m) == JSON_INT)
		ram = json_uint(m);
	say_text("%s: %s, %s, %zu vCPU%s, %s", *name ? name : client_where(c),
		 json_get_text(a[ASK_STATUS], "status"), peer_name(c, peer), cpus,
		 cpus == 1 ? "" : "s", say_size(size, ram));
}

static void print_disks(const struct json_object *list)
{
	for (size_t i = 0; json_kind(list) == JSON_ARRAY && i < json_len(list); i++) {
		struct json_object *in;

		if (json_kind(json_at(list, i)) == JSON_OBJECT &&
		    json_get(json_at(list, i), "inserted", &in) && json_kind(in) == JSON_OBJECT)
			say_text("%s: %s, %s", json_get_text(in, "node-name"),
				 json_get_text(in, "drv"), json_get_text(in, "file"));
	}
}

static void print_migration(const struct json_object *info)
{
	struct live live = {0};
	struct figures f;
	char line[LINE_BYTES], size[SAY_BYTES], pause[SAY_BYTES];

	figures_read(&f, info);
	if (!strcmp(f.status, "none"))
		return;
	if (!figures_ended(&f)) {
		live_take(&live, &f, 1);
		live_line(&live, line, sizeof(line), LINE_BYTES);
		say_text("migration: %s, %s", f.status, line);
	} else if (f.has_downtime) {
		say_text("migration: %s, %s, the guest stood still for %s", f.status,
			 say_size(size, f.transferred), say_ms(pause, f.downtime_ms));
	} else {
		say_text("migration: %s%s%s", f.status, *f.error ? ": " : "", f.error);
	}
}

static int status_run(struct ctl *ctl, const struct ctl_args *args)
{
	struct json_object *answer[ASKED] = {0}, *all = NULL;
	int status = CTL_DONE, ret = 0;
	struct client *c = ctl_client(ctl, &status);
	struct err err = {0};

	(void)args;
	if (!c)
		return status;
	for (size_t i = 0; (ret == 0 || ret == -EREMOTEIO) && i < ASKED; i++)
		ret = client_call(c, questions[i], NULL, &answer[i], &err);
	if (ret < 0 && ret != -EREMOTEIO) {
		status = say_call_error(ctl, ret, &err);
	} else if (ctl->json) {
		all = json_new_object();
		for (size_t i = 0; i < ASKED; i++)
			json_set(all, questions[i] + 6, json_share(answer[i]));
		json_set(all, "where", json_new_str(client_where(c), strlen(client_where(c))));
		say_value(ctl, all);
	} else {
		print_machine(c, answer);
		print_disks(answer[ASK_BLOCK]);
		print_migration(answer[ASK_MIGRATE]);
	}
	for (size_t i = 0; i < ASKED; i++)
		json_free(answer[i]);
	json_free(all);
	return status;
}

const struct ctl_command ctl_status_command = {.name = "status",
					       .arguments = "",
					       .help = "what the guest and its moves are doing",
					       .run = status_run};
