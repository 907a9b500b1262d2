/* block.c - disks and what they are stored in (qmp-surface 5.3) */
#include <sys/stat.h>

#include "devices/microvm.h"
#include "qmp/command.h"
#include "vmm/device.h"

/* ---- one node ---- */

struct cache {
	bool writeback, direct, no_flush;
};

struct image {
	const char *filename, *format;
	bool has_dirty, dirty;
	bool has_actual;
	int64_t actual, virtual;
};

/* No limits, no encryption, no backing file: the members say so, as zeros. */
struct node {
	const char *file, *name, *drv;
	bool ro, encrypted;
	int64_t zero;
	int detect_zeroes;
	struct image image;
	struct cache cache;
};

static const char *const detect_values[] = {"off", NULL};
static const struct qmp_type detect_type =
    QMP_ENUM_TYPE("BlockdevDetectZeroesOptions", detect_values);

static const struct qmp_member cache_members[] = {
    QMP_REQ(struct cache, writeback, "writeback"),
    QMP_REQ(struct cache, direct, "direct"),
    QMP_REQ(struct cache, no_flush, "no-flush"),
    {0},
};
static const struct qmp_type cache_type =
    QMP_OBJECT_TYPE(struct cache, "BlockdevCacheInfo", cache_members);

static const struct qmp_member image_members[] = {
    QMP_REQ(struct image, filename, "filename"),    QMP_REQ(struct image, format, "format"),
    QMP_OPT(struct image, dirty, "dirty-flag"),     QMP_OPT(struct image, actual, "actual-size"),
    QMP_REQ(struct image, virtual, "virtual-size"), {0},
};
static const struct qmp_type image_type = QMP_OBJECT_TYPE(struct image, "ImageInfo", image_members);

static const struct qmp_member node_members[] = {
    QMP_REQ(struct node, file, "file"),
    QMP_SET(struct node, name, "node-name"),
    QMP_REQ(struct node, ro, "ro"),
    QMP_REQ(struct node, drv, "drv"),
    QMP_REQ(struct node, zero, "backing_file_depth"),
    QMP_REQ(struct node, encrypted, "encrypted"),
    QMP_REQ_T(struct node, detect_zeroes, "detect_zeroes", &detect_type),
    QMP_REQ(struct node, zero, "bps"),
    QMP_REQ(struct node, zero, "bps_rd"),
    QMP_REQ(struct node, zero, "bps_wr"),
    QMP_REQ(struct node, zero, "iops"),
    QMP_REQ(struct node, zero, "iops_rd"),
    QMP_REQ(struct node, zero, "iops_wr"),
    QMP_REQ_T(struct node, image, "image", &image_type),
    QMP_REQ_T(struct node, cache, "cache", &cache_type),
    QMP_REQ(struct node, zero, "write_threshold"),
    {0},
};
static const struct qmp_type node_type =
    QMP_OBJECT_TYPE(struct node, "BlockDeviceInfo", node_members);
static const struct qmp_type node_list = QMP_ARRAY_TYPE(&node_type);

static struct node node_of(const struct block_node *n)
{
	struct stat st;
	bool known = n->fd >= 0 && fstat(n->fd, &st) == 0;

	return (struct node){
	    .file = n->filename,
	    .name = n->name,
	    .drv = n->format,
	    .ro = n->readonly,
	    .image =
		{
			.filename = n->filename,
			.format = n->format,
			.has_dirty = true,
			.has_actual = known,
			.actual = known ? (int64_t)st.st_blocks * 512 : 0,
			.virtual = (int64_t)n->bytes,
			},
	    .cache = {n->writeback, n->direct, n->no_flush                },
	};
}

struct flat_args {
	bool has_flat, flat;
};

static const struct qmp_member flat_members[] = {
    QMP_OPT(struct flat_args, flat, "flat"), /* there is nothing below a node to hide */
    {0},
};
static const struct qmp_type flat_type =
    QMP_OBJECT_TYPE(struct flat_args, "q_obj_query-named-block-nodes-arg", flat_members);

static int query_nodes(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct block_nodes *bs = &call->be->blocks;
	struct node *nodes = qmp_alloc(call->pool, bs->n, sizeof(*nodes));

	(void)arg;
	(void)err;
	for (size_t i = 0; i < bs->n; i++)
		nodes[i] = node_of(bs->v[i]);
	*(struct qmp_array *)ret = (struct qmp_array){nodes, bs->n};
	return 0;
}

/* ---- query-block ---- */

struct disk {
	const char *device, *qdev, *type;
	bool removable, locked;
	bool has_inserted;
	struct node inserted;
	bool has_io_status;
	int io_status;
};

/* A failed request is reported to the guest and stops nothing, so the status stays good. */
static const char *const io_states[] = {"ok", NULL};
static const struct qmp_type io_state_type = QMP_ENUM_TYPE("BlockDeviceIoStatus", io_states);

static const struct qmp_member disk_members[] = {
    QMP_REQ(struct disk, device, "device"),
    QMP_SET(struct disk, qdev, "qdev"),
    QMP_REQ(struct disk, type, "type"),
    QMP_REQ(struct disk, removable, "removable"),
    QMP_REQ(struct disk, locked, "locked"),
    QMP_OPT_T(struct disk, inserted, "inserted", &node_type),
    QMP_OPT_T(struct disk, io_status, "io-status", &io_state_type),
    {0},
};
static const struct qmp_type disk_type = QMP_OBJECT_TYPE(struct disk, "BlockInfo", disk_members);
static const struct qmp_type disk_list = QMP_ARRAY_TYPE(&disk_type);

static bool is_disk(const struct block_node *n)
{
	return n->user || (n->drive_id && *n->drive_id);
}

static const char *device_id(const struct block_node *n)
{
	const struct device *d = n->user;

	return d && d->id && *d->id ? d->id : NULL;
}

static int query_block(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct block_nodes *bs = &call->be->blocks;
	struct disk *disks = qmp_alloc(call->pool, bs->n, sizeof(*disks));
	size_t n = 0;

	(void)arg;
	(void)err;
	for (size_t i = 0; i < bs->n; i++) {
		const struct block_node *b = bs->v[i];

		if (!is_disk(b))
			continue;
		disks[n++] = (struct disk){
		    .device = b->drive_id ? b->drive_id : "",
		    .qdev = device_id(b),
		    .type = "unknown",
		    .has_inserted = true,
		    .inserted = node_of(b),
		    .has_io_status = b->user != NULL,
		};
	}
	*(struct qmp_array *)ret = (struct qmp_array){disks, n};
	return 0;
}

/* ---- query-blockstats ---- */

struct stats {
	const char *device, *qdev, *name;
	struct block_stats stats;
};

struct stats_args {
	bool has_query_nodes, query_nodes;
};

static const struct qmp_member counter_members[] = {
    QMP_REQ(struct block_stats, rd_bytes, "rd_bytes"),
    QMP_REQ(struct block_stats, wr_bytes, "wr_bytes"),
    QMP_REQ(struct block_stats, rd_ops, "rd_operations"),
    QMP_REQ(struct block_stats, wr_ops, "wr_operations"),
    QMP_REQ(struct block_stats, flush_ops, "flush_operations"),
    {0},
};
static const struct qmp_type counter_type =
    QMP_OBJECT_TYPE(struct block_stats, "BlockDeviceStats", counter_members);
static const struct qmp_member stats_members[] = {
    QMP_SET(struct stats, device, "device"),
    QMP_SET(struct stats, qdev, "qdev"),
    QMP_SET(struct stats, name, "node-name"),
    QMP_REQ_T(struct stats, stats, "stats", &counter_type),
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

static uint64_t counter(const uint64_t *v)
{
	return __atomic_load_n(v, __ATOMIC_RELAXED);
}

static struct block_stats counters(const struct block_stats *s)
{
	return (struct block_stats){
	    .rd_bytes = counter(&s->rd_bytes),
	    .wr_bytes = counter(&s->wr_bytes),
	    .rd_ops = counter(&s->rd_ops),
	    .wr_ops = counter(&s->wr_ops),
	    .flush_ops = counter(&s->flush_ops),
	};
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
		    .qdev = all ? NULL : device_id(b),
		    .name = b->name,
		    .stats = counters(&b->stats),
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
