/*
 * hmp-migration.c - the human monitor's commands of migration: words into the arguments of the QMP
 * commands of that name, which then judge them
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migration/migration.h"
#include "qmp/command.h"
#include "qmp/hmp.h"
#include "qmp/json.h"
#include "qmp/schema.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"

/* ---- arguments ---- */

/* Carries the QMP command out; takes 'args'. */
static int run_qmp(struct qmp_call *call, const char *name, struct json_object *args,
		   struct err *err)
{
	const struct qmp_command *c = qmp_command_find(name);
	void *arg = c->arg ? qmp_alloc(call->pool, 1, c->arg->size) : NULL;
	void *ret = c->ret ? qmp_alloc(call->pool, 1, c->ret->size) : NULL;
	int r = qmp_parse_arguments(c->arg, args, arg, call->pool, err);

	if (r == 0)
		r = c->run(call, arg, ret, err);
	json_free(args);
	return r;
}

static void set_str(struct json_object *args, const char *key, const char *s)
{
	json_set(args, key, json_new_str(s, strlen(s)));
}

/* A decimal number, as it stands; anything else is left for the command to refuse. */
static void set_number(struct json_object *args, const char *key, const char *s)
{
	size_t digits = strspn(s, "0123456789");

	if (*s && !s[digits] && (digits == 1 || *s != '0') && digits < 19)
		json_set(args, key, json_new_number(s, true));
	else
		set_str(args, key, s);
}

/* ---- starting, ending, leading on ---- */

static int hmp_migrate(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		       struct err *err)
{
	static const char *const flags[] = {NULL, "blk", "inc", "resume"}; /* -d: it always is */
	struct json_object *a = json_new_object();

	(void)out;
	for (size_t i = 1; i < sizeof(flags) / sizeof(*flags); i++)
		if (args->v[i])
			json_set(a, flags[i], json_new_bool(true));
	set_str(a, "uri", args->v[4]);
	return run_qmp(call, "migrate", a, err);
}

/* Those whose only argument is the word. */
static int run_word(struct qmp_call *call, const char *name, const char *key,
		    const struct hmp_args *args, struct err *err)
{
	struct json_object *a = json_new_object();

	if (key)
		set_str(a, key, args->v[0]);
	return run_qmp(call, name, a, err);
}

#define WORD_COMMAND(function, name, key)                                                          \
	static int function(struct qmp_call *call, const struct hmp_args *args, struct buf *out,   \
			    struct err *err)                                                       \
	{                                                                                          \
		(void)out;                                                                         \
		return run_word(call, name, key, args, err);                                       \
	}

WORD_COMMAND(hmp_cancel, "migrate_cancel", NULL)
WORD_COMMAND(hmp_continue, "migrate-continue", "state")
WORD_COMMAND(hmp_incoming, "migrate-incoming", "uri")
WORD_COMMAND(hmp_recover, "migrate-recover", "uri")
WORD_COMMAND(hmp_pause, "migrate-pause", NULL)
WORD_COMMAND(hmp_postcopy, "migrate-start-postcopy", NULL)
WORD_COMMAND(hmp_colo, "x-colo-lost-heartbeat", NULL)

/* ---- settings ---- */

static int hmp_capability(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
			  struct err *err)
{
	int c = capability_parse(args->v[0]);
	enum migration_capability cap = (enum migration_capability)c;
	bool on = !strcmp(args->v[1], "on");

	if (!on && strcmp(args->v[1], "off") != 0) {
		buf_printf(out, "Expected 'on' or 'off'\n"
				"Try \"help migrate_set_capability\" for more information\n");
		return 0;
	}
	if (c < 0)
		return err_set(err, EINVAL, "invalid parameter value: %.100s", args->v[0]);
	return migration_set_capabilities(call->mg, &cap, &on, 1, err);
}

/* A number without a unit is of MiB for max-bandwidth, as in QEMU. */
static const char *with_unit(struct qmp_call *call, const char *name, const char *value)
{
	bool mib = !strcmp(name, "max-bandwidth") || !strcmp(name, "avail-switchover-bandwidth");

	if (!mib || !*value || value[strspn(value, "0123456789")])
		return value;
	return qmp_printf(call->pool, "%sM", value);
}

static int hmp_parameter(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
			 struct err *err)
{
	struct migration_params_set *set = qmp_alloc(call->pool, 1, sizeof(*set));
	const char *name = args->v[0];
	int ret, row = migration_params_find(name);

	(void)out;
	if (!strcmp(name, "block-bitmap-mapping"))
		return err_set(err, EINVAL,
			       "The block-bitmap-mapping parameter can only be set through QMP");
	if (row < 0)
		return err_set(err, EINVAL, "invalid parameter value: %.100s", name);
	ret = migration_params_parse(set, row, with_unit(call, name, args->v[1]), err);
	return ret < 0 ? ret : migration_set_params(call->mg, set, err);
}

/* ---- what is measured, limited, announced ---- */

static int hmp_calc(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		    struct err *err)
{
	struct json_object *a = json_new_object();
	int ret;

	if (args->v[0] || args->v[1])
		set_str(a, "mode", args->v[0] ? "dirty-ring" : "dirty-bitmap");
	set_number(a, "calc-time", args->v[2]);
	if (args->v[3])
		set_number(a, "sample-pages", args->v[3]);
	ret = run_qmp(call, "calc-dirty-rate", a, err);
	if (ret == 0)
		buf_printf(out,
			   "Starting dirty rate measurement with period %s seconds\n"
			   "[Please use 'info dirty_rate' to check results]\n",
			   args->v[2]);
	return ret;
}

static int hmp_limit(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		     struct err *err)
{
	struct json_object *a = json_new_object();

	(void)out;
	set_number(a, "dirty-rate", args->v[0]);
	if (args->v[1])
		set_number(a, "cpu-index", args->v[1]);
	return run_qmp(call, "set-vcpu-dirty-limit", a, err);
}

static int hmp_unlimit(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		       struct err *err)
{
	struct json_object *a = json_new_object();

	(void)out;
	if (args->v[0])
		set_number(a, "cpu-index", args->v[0]);
	return run_qmp(call, "cancel-vcpu-dirty-limit", a, err);
}

/* With the parameters of migration. */
static int hmp_announce(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
			struct err *err)
{
	const struct migration_params *p = migration_get_params(call->mg);
	struct announce_args a = {
	    .initial_ms = p->announce_initial,
	    .max_ms = p->announce_max,
	    .rounds = p->announce_rounds,
	    .step_ms = p->announce_step,
	    .interfaces = args->v[0] ? args->v : NULL,
	    .n_interfaces = args->v[0] ? 1 : 0,
	    .id = args->v[1],
	};

	(void)out;
	return migration_announce(call->mg, &a, err);
}

static int hmp_spice(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		     struct err *err)
{
	struct json_object *a = json_new_object();

	(void)out;
	set_str(a, "protocol", args->v[0]);
	set_str(a, "hostname", args->v[1]);
	if (args->v[2])
		set_number(a, "port", args->v[2]);
	if (args->v[3])
		set_number(a, "tls-port", args->v[3]);
	if (args->v[4])
		set_str(a, "cert-subject", args->v[4]);
	return run_qmp(call, "client_migrate_info", a, err);
}

/* MiB, or with a unit. */
static int hmp_balloon(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		       struct err *err)
{
	struct json_object *a = json_new_object();
	const char *s = args->v[0];

	(void)out;
	if (*s && !s[strspn(s, "0123456789")] && strlen(s) < 10) {
		char bytes[32];

		(void)snprintf(bytes, sizeof(bytes), "%llu", strtoull(s, NULL, 10) << 20);
		s = qmp_printf(call->pool, "%s", bytes);
	}
	set_number(a, "value", s);
	return run_qmp(call, "balloon", a, err);
}

const struct hmp_command hmp_migration_commands[] = {
    {"migrate",				  "[-d] [-b] [-i] [-r] uri", "migrate to URI", hmp_migrate, false},
    {"migrate_cancel",			  NULL, "cancel the current VM migration", hmp_cancel, false},
    {"migrate_continue",				     "state", "leave the given migration state", hmp_continue, false},
    {"migrate_incoming",			   "uri", "wait for a guest, after -incoming defer", hmp_incoming, false},
    {"migrate_recover",         "uri", "continue a paused incoming postcopy", hmp_recover, false},
    {"migrate_pause",				     NULL, "pause an ongoing postcopy", hmp_pause, false},
    {"migrate_start_postcopy",                         NULL, "the guest goes over now", hmp_postcopy, false},
    {"migrate_set_capability",         "capability state", "switch a capability on or off", hmp_capability,
     false},
    {"migrate_set_parameter",				     "parameter value", "set a parameter", hmp_parameter, false},
    {"x_colo_lost_heartbeat",                         NULL, "ask for a failover of COLO", hmp_colo, false},
    {"client_migrate_info", "protocol hostname [port] [tls-port] [cert-subject]",
     "tell SPICE clients where the guest goes", hmp_spice, false},
    {"calc_dirty_rate",				     "[-r] [-b] second [sample_pages]",
     "measure how fast the guest dirties memory", hmp_calc, false},
    {"set_vcpu_dirty_limit",                          "dirty_rate [cpu_index]", "limit how fast vCPUs dirty memory (MB/s)",
     hmp_limit, false},
    {"cancel_vcpu_dirty_limit",     "[cpu_index]", "lift that limit", hmp_unlimit, false},
    {"announce_self",				     "[interfaces] [id]", "tell the network where the guest is", hmp_announce,
     false},
    {"balloon",			    "target", "ask the guest to change its memory to so many MiB", hmp_balloon, false},
    {0	      },
};
