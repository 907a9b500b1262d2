/* query-migrate.c - how a migration goes (qmp-surface 3.3) */
#include "migration/migration.h"
#include "qmp/command.h"
#include "qmp/types.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

static const struct qmp_member ram_members[] = {
    QMP_REQ(struct migration_ram_stats, transferred, "transferred"),
    QMP_REQ(struct migration_ram_stats, remaining, "remaining"),
    QMP_REQ(struct migration_ram_stats, total, "total"),
    QMP_REQ(struct migration_ram_stats, duplicate, "duplicate"),
    QMP_OLD(struct migration_ram_stats, skipped, "skipped", QMP_REQUIRED),
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

struct vfio_stats {
	int64_t transferred;
};
static const struct qmp_member vfio_members[] = {
    QMP_REQ(struct vfio_stats, transferred, "transferred"),
    {0},
};
static const struct qmp_type vfio_type =
    QMP_OBJECT_TYPE(struct vfio_stats, "VfioStats", vfio_members);

/* Beyond QEMU: where the migration stands and what would help. */
static const char *const phase_names[] = {
    [MIG_PHASE_CONNECT] = "connect",
    [MIG_PHASE_SETUP] = "setup",
    [MIG_PHASE_PASS] = "pass",
    [MIG_PHASE_PAUSE] = "pause",
    [MIG_PHASE_SWITCHOVER] = "switchover",
    [MIG_PHASE_DEVICES] = "devices",
    [MIG_PHASE_POSTCOPY] = "postcopy",
    [MIG_PHASE_HAND_OVER] = "hand-over",
    [MIG_PHASE_ENDED] = "ended",
    [MIG_PHASE_SILENT] = "peer-silent",
    [MIG_PHASE_SILENT + 1] = NULL,
};
static const char *const action_names[] = {
    [MIG_ACT_WAIT] = "wait",
    [MIG_ACT_MAX_BANDWIDTH] = "max-bandwidth",
    [MIG_ACT_DOWNTIME_LIMIT] = "downtime-limit",
    [MIG_ACT_DIRTY_LIMIT] = "set-vcpu-dirty-limit",
    [MIG_ACT_AUTO_CONVERGE] = "auto-converge",
    [MIG_ACT_COMPRESS] = "compress",
    [MIG_ACT_MULTIFD] = "multifd",
    [MIG_ACT_MULTIFD_COMPRESSION] = "multifd-compression",
    [MIG_ACT_POSTCOPY] = "migrate-start-postcopy",
    [MIG_ACT_POSTCOPY_RAM] = "postcopy-ram",
    [MIG_ACT_STOP] = "stop",
    [MIG_ACT_STOP + 1] = NULL,
};
static const struct qmp_type phase_type = QMP_ENUM_TYPE("MinivmmMigrationPhase", phase_names);
static const struct qmp_type action_type = QMP_ENUM_TYPE("MinivmmMigrationAction", action_names);

struct step {
	int action;
	bool has_value;
	uint64_t value, cost; /* cost: ms */
	const char *text;
};

struct progress {
	int phase;
	uint64_t pass;
	uint8_t percent;
	bool converges;
	bool has_eta, has_deadline, has_step;
	uint64_t eta, predicted_downtime, deadline; /* ms */
	struct step step;
};

static const struct qmp_member step_members[] = {
    QMP_REQ_T(struct step, action, "action", &action_type),
    QMP_OPT(struct step, value, "value"),
    QMP_REQ(struct step, cost, "cost"),
    QMP_SET(struct step, text, "text"),
    {0},
};
static const struct qmp_type step_type =
    QMP_OBJECT_TYPE(struct step, "MinivmmMigrationStep", step_members);
static const struct qmp_member progress_members[] = {
    QMP_REQ_T(struct progress, phase, "phase", &phase_type),
    QMP_REQ(struct progress, pass, "pass"),
    QMP_REQ(struct progress, percent, "percent"),
    QMP_OPT(struct progress, eta, "eta"),
    QMP_REQ(struct progress, converges, "converges"),
    QMP_REQ(struct progress, predicted_downtime, "predicted-downtime"),
    QMP_OPT(struct progress, deadline, "deadline"),
    QMP_OPT_T(struct progress, step, "cheapest-step", &step_type),
    {0},
};
static const struct qmp_type progress_type =
    QMP_OBJECT_TYPE(struct progress, "MinivmmMigrationProgress", progress_members);

static const struct qmp_member lazy_members[] = {
    QMP_REQ(struct migration_lazy_stats, resume_us, "resume-us"),
    QMP_OPT(struct migration_lazy_stats, resident_us, "resident-us"),
    QMP_REQ(struct migration_lazy_stats, total, "total"),
    QMP_REQ(struct migration_lazy_stats, remaining, "remaining"),
    QMP_REQ(struct migration_lazy_stats, faults, "faults"),
    QMP_REQ(struct migration_lazy_stats, working_set, "working-set"),
    QMP_REQ(struct migration_lazy_stats, stalled, "stalled"),
    {0},
};
static const struct qmp_type lazy_type =
    QMP_OBJECT_TYPE(struct migration_lazy_stats, "MinivmmLazyLoad", lazy_members);

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
	bool has_blocktime, has_latency, has_other_latency;
	uint32_t blocktime;
	uint64_t latency, other_latency; /* ns */
	struct qmp_array vcpu_blocktime, vcpu_latency, latency_dist;
	struct progress progress;
	bool has_lazy;
	struct migration_lazy_stats lazy;
};

static const struct qmp_type address_list = QMP_ARRAY_TYPE(&qmp_socket_address_type);
static const struct qmp_type u32_list = QMP_ARRAY_TYPE(&qmp_u32);
static const struct qmp_type u64_list = QMP_ARRAY_TYPE(&qmp_u64);
#define OPT_UNSTABLE(m, wire, t, h)                                                                \
	{                                                                                          \
		.name = (wire), .type = (t), .offset = offsetof(struct migrate_info, m),           \
		.has = (h), .size = sizeof(((struct migrate_info *)0)->m),                         \
		.features = QMP_UNSTABLE                                                           \
	}
static const struct qmp_member info_members[] = {
    QMP_OPT_T(struct migrate_info, status, "status", &qmp_migration_status_type),
    QMP_OPT_T(struct migrate_info, ram, "ram", &ram_type),
 /* neither block migration nor VFIO here */
    {.name = "disk",    .type = &ram_type, .has = QMP_NEVER, .features = QMP_DEPRECATED},
    QMP_NONE("vfio", &vfio_type),
    QMP_OPT_T(struct migrate_info, xbzrle, "xbzrle-cache", &xbzrle_type),
    QMP_OPT(struct migrate_info, total, "total-time"),
    QMP_OPT(struct migrate_info, expected, "expected-downtime"),
    QMP_OPT(struct migrate_info, downtime, "downtime"),
    QMP_OPT(struct migrate_info, setup, "setup-time"),
    QMP_OPT(struct migrate_info, throttle, "cpu-throttle-percentage"),
    QMP_SET(struct migrate_info, error_desc, "error-desc"),
    QMP_SET_T(struct migrate_info, blocked, "blocked-reasons", &qmp_str_array),
    QMP_OPT(struct migrate_info, blocktime, "postcopy-blocktime"),
    QMP_SET_T(struct migrate_info, vcpu_blocktime, "postcopy-vcpu-blocktime", &u32_list),
    OPT_UNSTABLE(latency, "postcopy-latency", &qmp_u64, offsetof(struct migrate_info, has_latency)),
    OPT_UNSTABLE(latency_dist, "postcopy-latency-dist", &u64_list, QMP_IF_SET),
    OPT_UNSTABLE(vcpu_latency, "postcopy-vcpu-latency", &u64_list, QMP_IF_SET),
    OPT_UNSTABLE(other_latency, "postcopy-non-vcpu-latency", &qmp_u64,
		 offsetof(struct migrate_info, has_other_latency)),
    QMP_OLD_T(struct migrate_info, compression, "compression", &compression_type,
	      offsetof(struct migrate_info, has_compression)),
    QMP_SET_T(struct migrate_info, address, "socket-address", &address_list),
    OPT_UNSTABLE(progress, "x-minivmm", &progress_type,
		 offsetof(struct migrate_info, has_progress)),
    OPT_UNSTABLE(lazy, "x-minivmm-lazy", &lazy_type, offsetof(struct migrate_info, has_lazy)),
    {0},
};
static const struct qmp_type info_type =
    QMP_OBJECT_TYPE(struct migrate_info, "MigrationInfo", info_members);

static struct progress progress_of(struct qmp_pool *pool, const struct migration_info *i)
{
	return (struct progress){
	    .phase = (int)i->phase,
	    .pass = i->ram.dirty_sync_count,
	    .percent = (uint8_t)MIN(i->percent, 100u),
	    .converges = i->converges,
	    .has_eta = i->has_eta,
	    .eta = i->eta_ms,
	    .predicted_downtime = i->predicted_downtime_ms,
	    .has_deadline = i->has_deadline,
	    .deadline = i->deadline_ms,
	    .has_step = i->has_step,
	    .step =
		{
		       .action = (int)i->step.action,
		       .has_value = i->step.has_value,
		       .value = i->step.value,
		       .cost = i->step.cost_ms,
		       .text = qmp_printf(pool, "%s", i->step.text),
		       },
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

/* The arrays are only read by the writer, so their constness is kept. */
static void put_blocktime(struct migrate_info *o, const struct migration_info *i)
{
	const struct migration_blocktime *b = i->blocktime;

	if (!b)
		return;
	o->has_latency = true;
	o->latency = b->latency_ns;
	o->latency_dist = (struct qmp_array){(void *)b->latency_dist, ARRAY_LEN(b->latency_dist)};
	if (!i->has_blocktime)
		return;
	o->has_blocktime = o->has_other_latency = true;
	o->blocktime = b->blocktime_ms;
	o->vcpu_blocktime = (struct qmp_array){(void *)b->vcpu_blocktime_ms, b->vcpus};
	o->vcpu_latency = (struct qmp_array){(void *)b->vcpu_latency_ns, b->vcpus};
	o->other_latency = b->other_latency_ns;
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
	    .has_lazy = i->has_lazy,
	    .lazy = i->lazy,
	};
	put_blocktime(o, i);
	if (i->has_progress)
		o->progress = progress_of(call->pool, i);
	if (i->has_address)
		o->address = address_of(call->pool, &i->address);
	/* only read by the writer, so the strings' constness is kept */
	o->blocked.v = (void *)migration_blockers(call->mg, &o->blocked.n);
	return 0;
}

const struct qmp_command qmp_query_migrate_commands[] = {
    {"query-migrate", NULL, &info_type, query_migrate, 0},
    {0    },
};
