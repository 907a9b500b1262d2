/*
 * stats.c - counters of a guest: minivmm-ctl stats
 *
 * query-status, query-migrate, query-blockstats, and query-stats where the peer has it. With --json
 * it is one object of what they returned; for people the counters that are not zero.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctl/client.h"
#include "ctl/commands.h"
#include "ctl/figures.h"
#include "ctl/say.h"
#include "qmp/json.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static const struct json_object *member(const struct json_object *o, const char *key)
{
	struct json_object *m;

	return json_kind(o) == JSON_OBJECT && json_get(o, key, &m) ? m : NULL;
}

static uint64_t count_of(const struct json_object *o, const char *key)
{
	const struct json_object *m = member(o, key);

	return json_kind(m) == JSON_UINT || (json_kind(m) == JSON_INT && json_int(m) > 0)
		   ? json_uint(m)
		   : 0;
}

static size_t list_len(const struct json_object *list)
{
	return json_kind(list) == JSON_ARRAY ? json_len(list) : 0;
}

/* ---- for people ---- */

static void print_migration(const struct json_object *info)
{
	char sent[SAY_BYTES], took[SAY_BYTES], pause[SAY_BYTES];
	struct figures f;

	figures_read(&f, info);
	if (strcmp(f.status, "none") == 0)
		return;
	if (!f.has_ram)
		say_text("migration  %s", f.status);
	else
		say_text("migration  %s, %s in %s, %llu passes%s%s", f.status,
			 say_size(sent, f.transferred), say_ms(took, f.total_ms),
			 (unsigned long long)f.passes, f.has_downtime ? ", pause " : "",
			 f.has_downtime ? say_ms(pause, f.downtime_ms) : "");
}

static void print_disk(const struct json_object *disk)
{
	const struct json_object *s = member(disk, "stats");
	const char *name = *json_get_text(disk, "device")      ? json_get_text(disk, "device")
			   : *json_get_text(disk, "node-name") ? json_get_text(disk, "node-name")
							       : json_get_text(disk, "qdev");
	char in[SAY_BYTES], out[SAY_BYTES];

	say_text("disk %s", name);
	say_text("  read %s in %llu requests, wrote %s in %llu, flushed %llu times, failed %llu",
		 say_size(in, count_of(s, "rd_bytes")),
		 (unsigned long long)count_of(s, "rd_operations"),
		 say_size(out, count_of(s, "wr_bytes")),
		 (unsigned long long)count_of(s, "wr_operations"),
		 (unsigned long long)count_of(s, "flush_operations"),
		 (unsigned long long)(count_of(s, "failed_rd_operations") +
				      count_of(s, "failed_wr_operations") +
				      count_of(s, "failed_flush_operations")));
}

/* The counters of one object of one provider, those that are not zero, and those that are true. */
static void print_counters(const char *what, size_t number, const struct json_object *result)
{
	const struct json_object *stats = member(result, "stats"), *v;
	const char *path = json_get_text(result, "qom-path");

	if (*path)
		say_text("%s %s (%s)", what, path, json_get_text(result, "provider"));
	else
		say_text("%s %zu (%s)", what, number, json_get_text(result, "provider"));
	for (size_t i = 0; i < list_len(stats); i++) {
		v = member(json_at(stats, i), "value");
		if (json_kind(v) == JSON_UINT || (json_kind(v) == JSON_INT && json_int(v)))
			say_text("  %-32s %20llu", json_get_text(json_at(stats, i), "name"),
				 (unsigned long long)json_uint(v));
		else if (json_kind(v) == JSON_BOOL && json_is_true(v))
			say_text("  %-32s %20s", json_get_text(json_at(stats, i), "name"), "true");
	}
}

/* ---- what is asked ---- */

struct question {
	const char *key, *command, *target; /* target of query-stats, or NULL */
};

static const struct question questions[] = {
    {"status",     "query-status",     NULL  },
    {"migration",  "query-migrate",    NULL  },
    {"blockstats", "query-blockstats", NULL  },
    {"vm",         "query-stats",      "vm"  },
    {"vcpu",       "query-stats",      "vcpu"},
};

static int ask(struct client *c, const struct question *q, struct json_object **v, struct err *err)
{
	struct json_object *args = NULL;

	if (q->target) {
		args = json_new_object();
		json_set(args, "target", json_new_str(q->target, strlen(q->target)));
	}
	return client_call(c, q->command, args, v, err);
}

static void print_all(const struct json_object *all)
{
	static const char *const targets[][2] = {
	    {"vm",   "machine"},
            {"vcpu", "vCPU"   }
        };
	const struct json_object *disks = member(all, "blockstats"), *list;

	say_text("guest      %s", json_get_text(member(all, "status"), "status"));
	print_migration(member(all, "migration"));
	for (size_t i = 0; i < list_len(disks); i++)
		print_disk(json_at(disks, i));
	for (size_t t = 0; t < ARRAY_LEN(targets); t++) {
		list = member(all, targets[t][0]);
		for (size_t i = 0; i < list_len(list); i++)
			print_counters(targets[t][1], i, json_at(list, i));
	}
}

static int stats_run(struct ctl *ctl, const struct ctl_args *args)
{
	CLEANUP(cleanup_json) struct json_object *all = json_new_object();
	struct err err = {0};
	int status = CTL_DONE;
	struct client *c = ctl_client(ctl, &status);

	(void)args;
	if (!c)
		return status;
	for (size_t i = 0; i < ARRAY_LEN(questions); i++) {
		struct json_object *v = NULL;
		int ret;

		if (questions[i].target && !client_has_command(c, questions[i].command))
			continue;
		ret = ask(c, &questions[i], &v, &err);
		/* a host may refuse counters; what else there is is still said */
		if (ret == -EREMOTEIO && questions[i].target) {
			say_note(ctl, "%s of %s: " ERR_WITHIN, questions[i].command,
				 questions[i].target, err.msg);
			continue;
		}
		if (ret < 0)
			return say_call_error(ctl, ret, &err);
		json_set(all, questions[i].key, v);
	}
	if (ctl->json)
		say_value(ctl, all);
	else
		print_all(all);
	return CTL_DONE;
}

const struct ctl_command ctl_stats_command = {
    .name = "stats",
    .arguments = "",
    .help = "counters of the guest, its disks, its vCPUs and its migration",
    .run = stats_run};
