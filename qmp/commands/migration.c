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
#include "qmp/command.h"
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

static const char *capability_at(const struct qmp_type *t, size_t i, bool *unstable)
{
	(void)t;
	if (i >= CAP_COUNT)
		return NULL;
	*unstable = migration_capabilities[i].unstable;
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

	(void)arg;
	(void)err;
	for (int i = 0; i < CAP_COUNT; i++) {
		v[i].capability = i;
		v[i].state = migration_get_capability(call->mg, (enum migration_capability)i);
	}
	*(struct qmp_array *)ret = (struct qmp_array){v, CAP_COUNT};
	return 0;
}

/* ---- parameters ---- */

/* An enum's type has the name of its parameter; the values stand in that row. */
static const char *param_value_at(const struct qmp_type *t, size_t i, bool *unstable)
{
	const struct migration_param_info *p = migration_param_table;

	*unstable = false;
	while (strcmp(p->name, t->name) != 0)
		p++;
	return p->values[i];
}

static const struct qmp_type param_enums[] = {
    {.kind = QMP_KIND_ENUM, .name = "multifd-compression", .size = 1, .value_at = param_value_at},
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

static bool param_member(size_t i, bool set, struct qmp_member *out)
{
	const struct migration_param_info *p = migration_param_table;

	for (size_t k = 0; k < i && p->name; k++)
		p++;
	if (!p->name)
		return false;
	*out = (struct qmp_member){
	    .name = p->name,
	    .type = param_type(p, set),
	    .offset = p->offset,
	    .has = QMP_ALWAYS,
	    .unstable = p->unstable,
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
    .size = sizeof(struct migration_params),
    .member_at = query_member_at,
};
static const struct qmp_type set_params_type = {
    .kind = QMP_KIND_OBJECT,
    .name = "MigrateSetParameters",
    .size = sizeof(struct migration_params_set),
    .member_at = set_member_at,
};

static int set_params(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)ret;
	return migration_set_params(call->mg, arg, err);
}

static int query_params(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)arg;
	(void)err;
	*(struct migration_params *)ret = *migration_get_params(call->mg);
	return 0;
}

/* ---- migrate, migrate-incoming, migrate_cancel, migrate-continue ---- */

struct migrate {
	const char *uri;
	bool has_blk, blk, has_inc, inc, has_detach, detach, has_resume, resume;
};

static const struct qmp_member migrate_members[] = {
    QMP_REQ(struct migrate, uri, "uri"),
    QMP_OPT(struct migrate, blk, "blk"),
    QMP_OPT(struct migrate, inc, "inc"),
    QMP_OPT(struct migrate, detach, "detach"), /* it always is */
    QMP_OPT(struct migrate, resume, "resume"),
    {0},
};
static const struct qmp_type migrate_type =
    QMP_OBJECT_TYPE(struct migrate, "q_obj_migrate-arg", migrate_members);

/* The name in "fd:NAME", or NULL. */
static const char *fd_name(const char *uri)
{
	return strncmp(uri, "fd:", 3) == 0 ? uri + 3 : NULL;
}

/* A copy of the monitor's descriptor of that name, for migration/ to keep; -1: there is none. */
static int copy_named_fd(const struct qmp_call *call, const char *uri, int *fd, struct err *err)
{
	const char *name = fd_name(uri);
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
static void forget_named_fd(struct qmp_call *call, const char *uri)
{
	const char *name = fd_name(uri);

	if (name)
		(void)qmp_session_close_fd(call->session, name);
}

static int migrate(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct migrate *a = arg;
	struct migrate_args args = {
	    .uri = a->uri,
	    .blk = a->blk,
	    .inc = a->inc,
	    .resume = a->resume,
	};
	int r = copy_named_fd(call, a->uri, &args.fd, err);

	(void)ret;
	if (r == 0)
		r = migration_start(call->mg, &args, err);
	if (r == 0)
		forget_named_fd(call, a->uri);
	return r;
}

struct incoming {
	const char *uri;
};

static const struct qmp_member incoming_members[] = {
    QMP_REQ(struct incoming, uri, "uri"),
    {0},
};
static const struct qmp_type incoming_type =
    QMP_OBJECT_TYPE(struct incoming, "q_obj_migrate-incoming-arg", incoming_members);

static int migrate_incoming(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const char *uri = ((const struct incoming *)arg)->uri;
	int fd, r = copy_named_fd(call, uri, &fd, err);

	(void)ret;
	if (r == 0)
		r = migration_incoming(call->mg, uri, fd, true, err);
	if (r == 0)
		forget_named_fd(call, uri);
	return r;
}

static int migrate_cancel(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)arg;
	(void)ret;
	(void)err;
	migration_cancel(call->mg);
	return 0;
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

/* ---- query-migrate ---- */

static const struct qmp_member ram_members[] = {
    QMP_REQ(struct migration_ram_stats, transferred, "transferred"),
    QMP_REQ(struct migration_ram_stats, remaining, "remaining"),
    QMP_REQ(struct migration_ram_stats, total, "total"),
    QMP_REQ(struct migration_ram_stats, duplicate, "duplicate"),
    QMP_REQ(struct migration_ram_stats, skipped, "skipped"),
    QMP_REQ(struct migration_ram_stats, normal, "normal"),
    QMP_REQ(struct migration_ram_stats, normal_bytes, "normal-bytes"),
    QMP_REQ(struct migration_ram_stats, dirty_pages_rate, "dirty-pages-rate"),
    QMP_REQ(struct migration_ram_stats, mbps, "mbps"),
    QMP_REQ(struct migration_ram_stats, dirty_sync_count, "dirty-sync-count"),
    QMP_REQ(struct migration_ram_stats, postcopy_requests, "postcopy-requests"),
    QMP_REQ(struct migration_ram_stats, page_size, "page-size"),
    QMP_REQ(struct migration_ram_stats, multifd_bytes, "multifd-bytes"),
    QMP_REQ(struct migration_ram_stats, pages_per_second, "pages-per-second"),
    QMP_REQ(struct migration_ram_stats, precopy_bytes, "precopy-bytes"),
    QMP_REQ(struct migration_ram_stats, downtime_bytes, "downtime-bytes"),
    QMP_REQ(struct migration_ram_stats, postcopy_bytes, "postcopy-bytes"),
    QMP_REQ(struct migration_ram_stats, dirty_sync_missed_zero_copy, "dirty-sync-missed-zero-copy"),
    {0},
};
static const struct qmp_type ram_type =
    QMP_OBJECT_TYPE(struct migration_ram_stats, "MigrationStats", ram_members);

static const struct qmp_member xbzrle_members[] = {
    QMP_REQ(struct migration_xbzrle_stats, cache_size, "cache-size"),
    QMP_REQ(struct migration_xbzrle_stats, bytes, "bytes"),
    QMP_REQ(struct migration_xbzrle_stats, pages, "pages"),
    QMP_REQ(struct migration_xbzrle_stats, cache_miss, "cache-miss"),
    QMP_REQ(struct migration_xbzrle_stats, cache_miss_rate, "cache-miss-rate"),
    QMP_REQ(struct migration_xbzrle_stats, encoding_rate, "encoding-rate"),
    QMP_REQ(struct migration_xbzrle_stats, overflow, "overflow"),
    {0},
};
static const struct qmp_type xbzrle_type =
    QMP_OBJECT_TYPE(struct migration_xbzrle_stats, "XBZRLECacheStats", xbzrle_members);

static const struct qmp_member compression_members[] = {
    QMP_REQ(struct migration_compression_stats, pages, "pages"),
    QMP_REQ(struct migration_compression_stats, busy, "busy"),
    QMP_REQ(struct migration_compression_stats, busy_rate, "busy-rate"),
    QMP_REQ(struct migration_compression_stats, compressed_size, "compressed-size"),
    QMP_REQ(struct migration_compression_stats, compression_rate, "compression-rate"),
    {0},
};
static const struct qmp_type compression_type =
    QMP_OBJECT_TYPE(struct migration_compression_stats, "CompressionStats", compression_members);

/* Beyond QEMU: where the migration stands and what would help. */
enum phase { PHASE_SETUP, PHASE_PRECOPY, PHASE_SWITCHOVER, PHASE_POSTCOPY, PHASE_ENDED };

struct progress {
	int phase;
	uint8_t percent;
	bool converges;
	uint64_t eta, predicted_downtime; /* ms */
	const char *advice;
};

static const char *const phase_names[] = {"setup",    "precopy", "switchover",
					  "postcopy", "ended",   NULL};
static const struct qmp_type phase_type = QMP_ENUM_TYPE("MinivmmMigrationPhase", phase_names);
static const struct qmp_member progress_members[] = {
    QMP_REQ_T(struct progress, phase, "phase", &phase_type),
    QMP_REQ(struct progress, percent, "percent"),
    QMP_REQ(struct progress, eta, "eta"),
    QMP_REQ(struct progress, converges, "converges"),
    QMP_REQ(struct progress, predicted_downtime, "predicted-downtime"),
    QMP_SET(struct progress, advice, "advice"),
    {0},
};
static const struct qmp_type progress_type =
    QMP_OBJECT_TYPE(struct progress, "MinivmmMigrationProgress", progress_members);

struct migrate_info {
	bool has_status, has_ram, has_total, has_setup, has_expected, has_downtime, has_progress;
	bool has_throttle;
	int64_t throttle;
	int status;
	bool has_xbzrle, has_compression;
	struct migration_ram_stats ram;
	struct migration_xbzrle_stats xbzrle;
	struct migration_compression_stats compression;
	uint64_t total, setup, expected, downtime;
	const char *error_desc;
	struct qmp_array blocked, address;
	struct progress progress;
};

static const struct qmp_type address_list = QMP_ARRAY_TYPE(&qmp_socket_address_type);
static const struct qmp_member info_members[] = {
    QMP_OPT_T(struct migrate_info, status, "status", &qmp_migration_status_type),
    QMP_OPT_T(struct migrate_info, ram, "ram", &ram_type),
    QMP_OPT_T(struct migrate_info, xbzrle, "xbzrle-cache", &xbzrle_type),
    QMP_OPT(struct migrate_info, total, "total-time"),
    QMP_OPT(struct migrate_info, expected, "expected-downtime"),
    QMP_OPT(struct migrate_info, downtime, "downtime"),
    QMP_OPT(struct migrate_info, setup, "setup-time"),
    QMP_OPT(struct migrate_info, throttle, "cpu-throttle-percentage"),
    QMP_SET(struct migrate_info, error_desc, "error-desc"),
    QMP_SET_T(struct migrate_info, blocked, "blocked-reasons", &qmp_str_array),
    QMP_OPT_T(struct migrate_info, compression, "compression", &compression_type),
    QMP_SET_T(struct migrate_info, address, "socket-address", &address_list),
    {.name = "x-minivmm",
								     .type = &progress_type,
								     .offset = offsetof(struct migrate_info, progress),
								     .has = offsetof(struct migrate_info, has_progress),
								     .size = sizeof(struct progress),
								     .unstable = true},
    {0},
};
static const struct qmp_type info_type =
    QMP_OBJECT_TYPE(struct migrate_info, "MigrationInfo", info_members);

static int phase_of(enum migration_status s)
{
	switch (s) {
	case MIG_NONE:
	case MIG_SETUP:
	case MIG_WAIT_UNPLUG:
		return PHASE_SETUP;
	case MIG_ACTIVE:
	case MIG_COLO:
		return PHASE_PRECOPY;
	case MIG_PRE_SWITCHOVER:
	case MIG_DEVICE:
		return PHASE_SWITCHOVER;
	case MIG_POSTCOPY_ACTIVE:
	case MIG_POSTCOPY_PAUSED:
	case MIG_POSTCOPY_RECOVER:
		return PHASE_POSTCOPY;
	default:
		return PHASE_ENDED;
	}
}

static struct progress progress_of(struct qmp_pool *pool, const struct migration_info *i)
{
	return (struct progress){
	    .phase = phase_of(i->status),
	    .percent = (uint8_t)MIN(i->percent, 100u),
	    .converges = i->converges,
	    .eta = i->eta_ms,
	    .predicted_downtime = i->predicted_downtime_ms,
	    .advice = *i->advice ? qmp_printf(pool, "%s", i->advice) : NULL,
	};
}

static struct qmp_array address_of(struct qmp_pool *pool, const struct migration_address *from)
{
	struct qmp_socket_address *a;

	a = qmp_alloc(pool, 1, sizeof(*a));
	*a = (struct qmp_socket_address){
	    .type = (int)from->type,
	    .host = qmp_printf(pool, "%s", from->host),
	    .port = qmp_printf(pool, "%s", from->port),
	    .path = qmp_printf(pool, "%s", from->path),
	    .has_ipv4 = from->ipv4,
	    .ipv4 = from->ipv4,
	    .has_ipv6 = from->ipv6,
	    .ipv6 = from->ipv6,
	};
	return (struct qmp_array){a, 1};
}

static int query_migrate(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	struct migration_info *i = qmp_alloc(call->pool, 1, sizeof(*i));
	struct migrate_info *o = ret;

	(void)arg;
	(void)err;
	migration_query(call->mg, i);
	*o = (struct migrate_info){
	    .has_status = i->status != MIG_NONE,
	    .status = (int)i->status,
	    .has_ram = i->has_ram,
	    .ram = i->ram,
	    .has_xbzrle = i->has_xbzrle,
	    .xbzrle = i->xbzrle,
	    .has_compression = i->has_compression,
	    .compression = i->compression,
	    .has_total = i->has_times,
	    .total = i->total_time_ms,
	    .has_setup = i->has_setup,
	    .setup = i->setup_time_ms,
	    .has_expected = i->has_expected,
	    .expected = i->expected_downtime_ms,
	    .has_downtime = i->has_downtime,
	    .downtime = i->downtime_ms,
	    .has_throttle = i->throttle_percent > 0,
	    .throttle = i->throttle_percent,
	    .error_desc = *i->error_desc ? i->error_desc : NULL,
	    .has_progress = i->has_progress,
	};
	if (i->has_progress)
		o->progress = progress_of(call->pool, i);
	if (i->has_address)
		o->address = address_of(call->pool, &i->address);
	/* only read by the writer, so the strings' constness is kept */
	o->blocked.v = (void *)migration_blockers(call->mg, &o->blocked.n);
	return 0;
}

const struct qmp_command qmp_migration_commands[] = {
    {"migrate",          &migrate_type, NULL, migrate, false},
    {"migrate-incoming",              &incoming_type, NULL, migrate_incoming, false},
    {"migrate_cancel",             NULL, NULL, migrate_cancel, false},
    {"migrate-continue", &continue_type, NULL, migrate_continue, false},
    {"query-migrate",              NULL, &info_type, query_migrate, false},
    {"migrate-set-capabilities",             &set_capabilities_type, NULL, set_capabilities, false},
    {"query-migrate-capabilities",   NULL, &capability_list, query_capabilities, false},
    {"migrate-set-parameters",              &set_params_type, NULL, set_params, false},
    {"query-migrate-parameters",             NULL, &params_type, query_params, false},
    {0},
};
