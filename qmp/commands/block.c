/* block.c - disks and what they are stored in (qmp-surface 5.3) */
#include "devices/microvm.h"
#include "qmp/command.h"
#include "qmp/commands/block-info.h"
#include "vmm/device.h"

static const struct qmp_type node_list = QMP_ARRAY_TYPE(&qmp_block_info);

struct flat_args {
	bool has_flat, flat;
};

static const struct qmp_member flat_members[] = {
    QMP_OPT(struct flat_args, flat, "flat"), /* nothing is said of backing files */
    {0},
};
static const struct qmp_type flat_type =
    QMP_OBJECT_TYPE(struct flat_args, "q_obj_query-named-block-nodes-arg", flat_members);

static int query_nodes(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct block_nodes *bs = &call->be->blocks;
	bool flat = ((const struct flat_args *)arg)->flat;
	struct block_info *nodes;
	size_t room = 0, n = 0;

	(void)err;
	for (size_t i = 0; i < bs->n; i++)
		room += block_info_parts(bs->v[i]);
	nodes = qmp_alloc(call->pool, room, sizeof(*nodes));
	for (size_t i = 0; i < bs->n; i++)
		n += block_info_fill(bs->v[i], flat, call->pool, nodes + n);
	*(struct qmp_array *)ret = (struct qmp_array){nodes, n};
	return 0;
}

/* ---- query-block ---- */

struct disk {
	const char *device, *qdev, *type;
	bool removable, locked;
	bool has_inserted;
	struct block_info inserted;
	bool has_io_status;
	int io_status;
};

/* A failed request is reported to the guest and stops nothing, so the status stays good. */
static const char *const io_states[] = {"ok", "failed", "nospace", NULL};
static const struct qmp_type io_state_type = QMP_ENUM_TYPE("BlockDeviceIoStatus", io_states);

static const struct qmp_member disk_members[] = {
    QMP_REQ(struct disk, device, "device"),
    QMP_SET(struct disk, qdev, "qdev"),
    QMP_REQ(struct disk, type, "type"),
    QMP_REQ(struct disk, removable, "removable"),
    QMP_REQ(struct disk, locked, "locked"),
    QMP_NONE("tray_open", &qmp_bool),
    QMP_OPT_T(struct disk, inserted, "inserted", &qmp_block_info),
    QMP_OPT_T(struct disk, io_status, "io-status", &io_state_type),
    {0},
};
static const struct qmp_type disk_type = QMP_OBJECT_TYPE(struct disk, "BlockInfo", disk_members);
static const struct qmp_type disk_list = QMP_ARRAY_TYPE(&disk_type);

static bool is_disk(const struct block_node *n)
{
	return n->user || (n->drive_id && *n->drive_id);
}

/*
 * The path at which libvirt looks for a virtio disk: that of the block device behind a transport.
 * QEMU says so of virtio-blk-pci, and only the id of virtio-blk-device.
 */
static const char *qdev(struct qmp_pool *pool, const struct block_node *n)
{
	const struct device *d = n->user;

	return d && d->id && *d->id
		   ? qmp_printf(pool, "/machine/peripheral/%s/virtio-backend", d->id)
		   : NULL;
}

static int query_block(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct block_nodes *bs = &call->be->blocks;
	struct disk *disks = qmp_alloc(call->pool, bs->n, sizeof(*disks));
	size_t n = 0;

	(void)arg;
	(void)err;
	for (size_t i = 0; i < bs->n; i++) {
		struct block_node *b = bs->v[i];

		if (!is_disk(b))
			continue;
		disks[n++] = (struct disk){
		    .device = b->drive_id ? b->drive_id : "",
		    .qdev = qdev(call->pool, b),
		    .type = "unknown",
		    .has_inserted = true,
		    .inserted = block_info_of(b, false, call->pool),
		    .has_io_status = b->user != NULL,
		};
	}
	*(struct qmp_array *)ret = (struct qmp_array){disks, n};
	return 0;
}

/* ---- query-blockstats ---- */

/* As QEMU's: what does not exist here is 0 (no request is merged, an invalid one never comes here).
 */
struct counters {
	struct block_stats s;
	uint64_t none;
	bool account_invalid, account_failed;
	struct qmp_array timed;
};

struct stats {
	const char *device, *qdev, *name;
	struct counters stats;
	const struct stats
	    *parent; /* the file below a qcow2 node; so called for its place in QEMU */
};

struct stats_args {
	bool has_query_nodes, query_nodes;
};

struct timed_stats {
	uint64_t interval_length;
};

#define LATENCIES(what)                                                                            \
	QMP_ONLY("min_" what "_latency_ns", &qmp_u64),                                             \
	    QMP_ONLY("max_" what "_latency_ns", &qmp_u64),                                         \
	    QMP_ONLY("avg_" what "_latency_ns", &qmp_u64)
/* The list is always empty: what has to be asked for at the start is not offered. */
static const struct qmp_member timed_members[] = {
    QMP_REQ(struct timed_stats, interval_length, "interval_length"),
    LATENCIES("rd"),
    LATENCIES("wr"),
    LATENCIES("flush"),
    QMP_ONLY("avg_rd_queue_depth", &qmp_number),
    QMP_ONLY("avg_wr_queue_depth", &qmp_number),
    {0},
};
static const struct qmp_type timed_type =
    QMP_OBJECT_TYPE(struct timed_stats, "BlockDeviceTimedStats", timed_members);
static const struct qmp_type timed_list = QMP_ARRAY_TYPE(&timed_type);

static const struct qmp_type u64_list = QMP_ARRAY_TYPE(&qmp_u64);
static const struct qmp_member histogram_members[] = {
    QMP_ONLY("boundaries", &u64_list),
    QMP_ONLY("bins", &u64_list),
    {0},
};
static const struct qmp_type histogram_type =
    QMP_SHAPE_TYPE("BlockLatencyHistogramInfo", histogram_members);
static const struct qmp_member counter_members[] = {
    QMP_NONE("idle_time_ns", &qmp_i64),
    QMP_NONE("rd_latency_histogram", &histogram_type),
    QMP_NONE("wr_latency_histogram", &histogram_type),
    QMP_NONE("flush_latency_histogram", &histogram_type),
    QMP_REQ(struct counters, s.rd_bytes, "rd_bytes"),
    QMP_REQ(struct counters, s.wr_bytes, "wr_bytes"),
    QMP_REQ(struct counters, s.unmap_bytes, "unmap_bytes"),
    QMP_REQ(struct counters, s.rd_ops, "rd_operations"),
    QMP_REQ(struct counters, s.wr_ops, "wr_operations"),
    QMP_REQ(struct counters, s.flush_ops, "flush_operations"),
    QMP_REQ(struct counters, s.unmap_ops, "unmap_operations"),
    QMP_REQ(struct counters, s.rd_ns, "rd_total_time_ns"),
    QMP_REQ(struct counters, s.wr_ns, "wr_total_time_ns"),
    QMP_REQ(struct counters, s.flush_ns, "flush_total_time_ns"),
    QMP_REQ(struct counters, s.unmap_ns, "unmap_total_time_ns"),
    QMP_REQ(struct counters, s.wr_end, "wr_highest_offset"),
    QMP_REQ(struct counters, none, "rd_merged"),
    QMP_REQ(struct counters, none, "wr_merged"),
    QMP_REQ(struct counters, none, "unmap_merged"),
    QMP_REQ(struct counters, s.failed_rd, "failed_rd_operations"),
    QMP_REQ(struct counters, s.failed_wr, "failed_wr_operations"),
    QMP_REQ(struct counters, s.failed_flush, "failed_flush_operations"),
    QMP_REQ(struct counters, s.failed_unmap, "failed_unmap_operations"),
    QMP_REQ(struct counters, none, "invalid_rd_operations"),
    QMP_REQ(struct counters, none, "invalid_wr_operations"),
    QMP_REQ(struct counters, none, "invalid_flush_operations"),
    QMP_REQ(struct counters, none, "invalid_unmap_operations"),
    QMP_REQ(struct counters, account_invalid, "account_invalid"),
    QMP_REQ(struct counters, account_failed, "account_failed"),
    QMP_REQ_T(struct counters, timed, "timed_stats", &timed_list),
    {0},
};
static const struct qmp_type counter_type =
    QMP_OBJECT_TYPE(struct counters, "BlockDeviceStats", counter_members);
static const struct qmp_type stats_type;
static const struct qmp_type stats_parent = QMP_BELOW_TYPE(&stats_type);
static const struct qmp_member stats_members[] = {
    QMP_SET(struct stats, device, "device"),
    QMP_SET(struct stats, qdev, "qdev"),
    QMP_SET(struct stats, name, "node-name"),
    QMP_REQ_T(struct stats, stats, "stats", &counter_type),
    QMP_SET_T(struct stats, parent, "parent", &stats_parent),
    {0},
};
static const struct qmp_type stats_type =
    QMP_OBJECT_TYPE(struct stats, "BlockStats", stats_members);
static const struct qmp_type stats_list = QMP_ARRAY_TYPE(&stats_type);
static const struct qmp_member stats_args_members[] = {
    QMP_OPT(struct stats_args, query_nodes, "query-nodes"),
    {0},
};
static const struct qmp_type stats_args_type =
    QMP_OBJECT_TYPE(struct stats_args, "q_obj_query-blockstats-arg", stats_args_members);

/* Each is whole; they need not be of one moment. */
static struct counters counters(const struct block_stats *s)
{
	struct counters c = {.account_invalid = true, .account_failed = true};
	const uint64_t *from = (const uint64_t *)s;
	uint64_t *to = (uint64_t *)&c.s;

	for (size_t i = 0; i < sizeof(*s) / sizeof(*from); i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	return c;
}

/* NULL: the node is the file. */
static const struct stats *parent_stats(const struct block_node *n, struct qmp_pool *pool)
{
	struct stats *s;

	if (!n->file)
		return NULL;
	s = qmp_alloc(pool, 1, sizeof(*s));
	s->name = *n->file->name ? n->file->name : NULL;
	s->stats = counters(&n->file->stats);
	return s;
}

static int query_blockstats(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct block_nodes *bs = &call->be->blocks;
	bool all = ((const struct stats_args *)arg)->query_nodes;
	struct stats *v = qmp_alloc(call->pool, bs->n, sizeof(*v));
	size_t n = 0;

	(void)err;
	for (size_t i = 0; i < bs->n; i++) {
		const struct block_node *b = bs->v[i];

		if (!all && !is_disk(b))
			continue;
		v[n++] = (struct stats){
		    .device = all           ? NULL
			      : b->drive_id ? b->drive_id
					    : "",
		    .qdev = all ? NULL : qdev(call->pool, b),
		    .name = b->name,
		    .stats = counters(&b->stats),
		    .parent = parent_stats(b, call->pool),
		};
	}
	*(struct qmp_array *)ret = (struct qmp_array){v, n};
	return 0;
}

const struct qmp_command qmp_block_commands[] = {
    {"query-block",             NULL, &disk_list, query_block, 0},
    {"query-named-block-nodes",               &flat_type, &node_list, query_nodes, 0},
    {"query-blockstats",                        &stats_args_type, &stats_list, query_blockstats, 0},
    {0},
};
