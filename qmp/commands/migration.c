/*
 * migration.c - moving the guest (qmp-surface 2.1, 3)
 *
 * Which capabilities and parameters there are stands in migration/'s tables;
 * the types here are made from them row by row.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "migration/migration.h"
#include "qmp/channels.h"
#include "qmp/command.h"
#include "qmp/commands/bitmap-mapping.h"
#include "qmp/session.h"
#include "qmp/types.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

/* ---- capabilities ---- */

struct capability_status {
	bool state;
	int capability;
};

static const char *capability_at(const struct qmp_type *t, size_t i, unsigned *features)
{
	(void)t;
	if (i >= CAP_COUNT)
		return NULL;
	*features = (migration_capabilities[i].unstable ? QMP_UNSTABLE : 0) |
		    (migration_capabilities[i].deprecated ? QMP_DEPRECATED : 0);
	return migration_capabilities[i].name;
}

static const struct qmp_type capability_type = {
    .kind = QMP_KIND_ENUM,
    .name = "MigrationCapability",
    .size = sizeof(int),
    .value_at = capability_at,
};
static const struct qmp_member capability_status_members[] = {
    QMP_REQ(struct capability_status, state, "state"),
    QMP_REQ_T(struct capability_status, capability, "capability", &capability_type),
    {0},
};
static const struct qmp_type capability_status_type = QMP_OBJECT_TYPE(
    struct capability_status, "MigrationCapabilityStatus", capability_status_members);
static const struct qmp_type capability_list = QMP_ARRAY_TYPE(&capability_status_type);

struct set_capabilities {
	struct qmp_array capabilities;
};

static const struct qmp_member set_capabilities_members[] = {
    QMP_REQ_T(struct set_capabilities, capabilities, "capabilities", &capability_list),
    {0},
};
static const struct qmp_type set_capabilities_type = QMP_OBJECT_TYPE(
    struct set_capabilities, "q_obj_migrate-set-capabilities-arg", set_capabilities_members);

static int set_capabilities(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct qmp_array *given = &((const struct set_capabilities *)arg)->capabilities;
	const struct capability_status *in = given->v;
	enum migration_capability *caps = qmp_alloc(call->pool, given->n, sizeof(*caps));
	bool *states = qmp_alloc(call->pool, given->n, sizeof(*states));

	(void)ret;
	for (size_t i = 0; i < given->n; i++) {
		caps[i] = (enum migration_capability)in[i].capability;
		states[i] = in[i].state;
	}
	return migration_set_capabilities(call->mg, caps, states, given->n, err);
}

static int query_capabilities(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	struct capability_status *v = qmp_alloc(call->pool, CAP_COUNT, sizeof(*v));
	size_t n = 0;

	(void)arg;
	(void)err;
	for (int i = 0; i < CAP_COUNT; i++) {
		if (migration_capabilities[i].unlisted)
			continue;
		v[n].capability = i;
		v[n++].state = migration_get_capability(call->mg, (enum migration_capability)i);
	}
	*(struct qmp_array *)ret = (struct qmp_array){v, n};
	return 0;
}

/* ---- parameters ---- */

/* An enum's type has the name of its parameter; the values stand in that row. */
static const char *param_value_at(const struct qmp_type *t, size_t i, unsigned *features)
{
	const struct migration_param_info *p = migration_param_table;

	*features = 0;
	while (strcmp(p->name, t->name) != 0)
		p++;
	return p->values[i];
}

static const struct qmp_type param_enums[] = {
    {.kind = QMP_KIND_ENUM, .name = "multifd-compression",  .size = 1, .value_at = param_value_at},
    {.kind = QMP_KIND_ENUM, .name = "zero-page-detection",  .size = 1, .value_at = param_value_at},
    {.kind = QMP_KIND_ENUM, .name = "mode",                 .size = 1, .value_at = param_value_at},
    {.kind = QMP_KIND_ENUM,
     .name = "x-minivmm-deadline-policy",
     .size = 1,
     .value_at = param_value_at								  },
    {.kind = QMP_KIND_ENUM, .name = "x-minivmm-load-clock", .size = 1, .value_at = param_value_at},
};

static const struct qmp_type *param_enum(const struct migration_param_info *p)
{
	size_t i = 0;

	while (strcmp(param_enums[i].name, p->name) != 0) {
		i++;
		assert(i < ARRAY_LEN(param_enums)); /* every enum parameter has its type there */
	}
	return &param_enums[i];
}

static const struct qmp_type *param_type(const struct migration_param_info *p, bool set)
{
	switch (p->kind) {
	case PARAM_BOOL:
		return &qmp_bool;
	case PARAM_U8:
		return &qmp_u8;
	case PARAM_U32:
		return &qmp_u32;
	case PARAM_STR_OR_NULL:
		return set ? &qmp_str_or_null : &qmp_chars;
	case PARAM_ENUM:
		return param_enum(p);
	case PARAM_U64:
	case PARAM_SIZE:
	default:
		return &qmp_u64;
	}
}

/* The table's values, and behind them what is no single value. */
struct params {
	struct migration_params value;
	bool has_mapping;
	struct qmp_array mapping;
};

struct set_params {
	struct migration_params_set set;
	bool has_mapping;
	struct qmp_array mapping;
};

static const struct qmp_member params_mapping =
    QMP_OPT_T(struct params, mapping, "block-bitmap-mapping", &qmp_bitmap_mapping_type);
static const struct qmp_member set_params_mapping =
    QMP_OPT_T(struct set_params, mapping, "block-bitmap-mapping", &qmp_bitmap_mapping_type);

static bool param_member(size_t i, bool set, struct qmp_member *out)
{
	const struct migration_param_info *p = migration_param_table;
	size_t k;

	for (k = 0; k < i && p->name; k++)
		p++;
	if (!p->name) {
		*out = set ? set_params_mapping : params_mapping;
		return k == i;
	}
	*out = (struct qmp_member){
	    .name = p->name,
	    .type = param_type(p, set),
	    .offset = p->offset,
	    .has = QMP_ALWAYS,
	    .features = (p->unstable ? QMP_UNSTABLE : 0) | (p->deprecated ? QMP_DEPRECATED : 0),
	};
	out->size = out->type->size;
	if (set) {
		out->offset += offsetof(struct migration_params_set, value);
		out->has = offsetof(struct migration_params_set, given) + i * sizeof(bool);
	}
	return true;
}

static bool query_member_at(const struct qmp_type *t, size_t i, struct qmp_member *out)
{
	(void)t;
	return param_member(i, false, out);
}

static bool set_member_at(const struct qmp_type *t, size_t i, struct qmp_member *out)
{
	(void)t;
	return param_member(i, true, out);
}

static const struct qmp_type params_type = {
    .kind = QMP_KIND_OBJECT,
    .name = "MigrationParameters",
    .size = sizeof(struct params),
    .member_at = query_member_at,
};
static const struct qmp_type set_params_type = {
    .kind = QMP_KIND_OBJECT,
    .name = "MigrateSetParameters",
    .size = sizeof(struct set_params),
    .member_at = set_member_at,
};

static int set_params(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct set_params *a = arg;
	struct bitmap_mapping map = {0};
	int r = 0;

	(void)ret;
	if (a->has_mapping) {
		qmp_bitmap_mapping_take(call->pool, &a->mapping, &map);
		r = bitmap_mapping_check(&map, err);
	}
	if (r == 0)
		r = migration_set_params(call->mg, &a->set, err);
	return r == 0 && a->has_mapping ? migration_set_bitmap_mapping(call->mg, &map, err) : r;
}

static int query_params(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct bitmap_mapping *map = migration_bitmap_mapping(call->mg);
	struct params *p = ret;

	(void)arg;
	(void)err;
	p->value = *migration_get_params(call->mg);
	p->has_mapping = map->given;
	if (map->given)
		qmp_bitmap_mapping_show(call->pool, map, &p->mapping);
	return 0;
}

/* ---- migrate, migrate-incoming, migrate_cancel, migrate-continue ---- */

struct migrate {
	const char *uri;
	struct qmp_array channels;
	bool has_blk, blk, has_inc, inc, has_detach, detach, has_resume, resume;
};

static const struct qmp_member migrate_members[] = {
    QMP_SET(struct migrate, uri, "uri"),
    QMP_SET_T(struct migrate, channels, "channels", &qmp_channels_type),
    QMP_OLD(struct migrate, blk, "blk", offsetof(struct migrate, has_blk)),
    QMP_OLD(struct migrate, inc, "inc", offsetof(struct migrate, has_inc)),
    QMP_OLD(struct migrate, detach, "detach",
	    offsetof(struct migrate, has_detach)), /* it always is */
    QMP_OPT(struct migrate, resume, "resume"),
    {0},
};
static const struct qmp_type migrate_type =
    QMP_OBJECT_TYPE(struct migrate, "q_obj_migrate-arg", migrate_members);

/* The name in "fd:NAME", or NULL. */
static const char *fd_name(const struct migration_where *where)
{
	if (where->members)
		return where->members->kind == URI_FD ? where->members->path : NULL;
	return strncmp(where->uri, "fd:", 3) == 0 ? where->uri + 3 : NULL;
}

/* A copy of the monitor's descriptor of that name, for migration/ to keep; -1: there is none. */
static int copy_named_fd(const struct qmp_call *call, const struct migration_where *where, int *fd,
			 struct err *err)
{
	const char *name = fd_name(where);
	int own = name ? qmp_session_fd(call->session, name) : -1;

	*fd = -1;
	if (own < 0)
		return 0;
	*fd = fcntl(own, F_DUPFD_CLOEXEC, 0);
	if (*fd < 0)
		return err_set(err, errno, "file descriptor '%.200s' cannot be used: %s", name,
			       err_text(errno));
	return 0;
}

/* It belongs to the migration now, and the name is free again. */
static void forget_named_fd(struct qmp_call *call, const struct migration_where *where)
{
	const char *name = fd_name(where);

	if (name)
		(void)qmp_session_close_fd(call->session, name);
}

static int migrate(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct migrate *a = arg;
	struct migrate_args args = {
	    .blk = a->blk,
	    .inc = a->inc,
	    .resume = a->resume,
	};
	int r = qmp_channels_where(call->pool, a->uri, &a->channels, false, &args.where, err);

	(void)ret;
	if (r == 0)
		r = copy_named_fd(call, &args.where, &args.fd, err);
	if (r == 0)
		r = migration_start(call->mg, &args, err);
	if (r == 0)
		forget_named_fd(call, &args.where);
	return r;
}

struct incoming {
	const char *uri;
	struct qmp_array channels;
	bool has_exit_on_error, exit_on_error;
};

static const struct qmp_member incoming_members[] = {
    QMP_SET(struct incoming, uri, "uri"),
    QMP_SET_T(struct incoming, channels, "channels", &qmp_channels_type),
    QMP_OPT(struct incoming, exit_on_error, "exit-on-error"),
    {0},
};
static const struct qmp_type incoming_type =
    QMP_OBJECT_TYPE(struct incoming, "q_obj_migrate-incoming-arg", incoming_members);

static int migrate_incoming(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct incoming *a = arg;
	struct migration_where where;
	int fd, r = qmp_channels_where(call->pool, a->uri, &a->channels, true, &where, err);

	(void)ret;
	if (r == 0)
		r = copy_named_fd(call, &where, &fd, err);
	if (r == 0)
		r = migration_incoming(call->mg, &where, fd, true, err);
	if (r == 0 && a->has_exit_on_error)
		migration_set_exit_on_error(call->mg, a->exit_on_error, true);
	if (r == 0)
		forget_named_fd(call, &where);
	return r;
}

static int migrate_cancel(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)arg;
	(void)ret;
	return migration_cancel(call->mg, err);
}

static int start_postcopy(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)arg;
	(void)ret;
	return migration_start_postcopy(call->mg, err);
}

struct continue_args {
	int state;
};

static const struct qmp_member continue_members[] = {
    QMP_REQ_T(struct continue_args, state, "state", &qmp_migration_status_type),
    {0},
};
static const struct qmp_type continue_type =
    QMP_OBJECT_TYPE(struct continue_args, "q_obj_migrate-continue-arg", continue_members);

static int migrate_continue(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)ret;
	return migration_continue(
	    call->mg, (enum migration_status)((const struct continue_args *)arg)->state, err);
}

const struct qmp_command qmp_migration_commands[] = {
    {"migrate",          &migrate_type, NULL, migrate, QMP_GUEST},
    {"migrate-incoming",              &incoming_type, NULL, migrate_incoming, QMP_GUEST},
    {"migrate_cancel",         NULL, NULL, migrate_cancel, 0},
    {"migrate-continue", &continue_type, NULL, migrate_continue, 0},
    {"migrate-start-postcopy",              NULL, NULL, start_postcopy, 0},
    {"migrate-set-capabilities",         &set_capabilities_type, NULL, set_capabilities, 0},
    {"query-migrate-capabilities",   NULL, &capability_list, query_capabilities, 0},
    {"migrate-set-parameters",              &set_params_type, NULL, set_params, 0},
    {"query-migrate-parameters",                 NULL, &params_type, query_params, 0},
    {0},
};
