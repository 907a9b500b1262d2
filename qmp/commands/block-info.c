/*
 * block-info.c - what is said of an image, and of the images below it
 *
 * Raw nodes are told from the node alone.  Of a qcow2 image the header is known at any time, also
 * while another process has it; snapshots and bitmaps are those of the node's copy (node-info.h).
 * Images below are only read, so they are asked directly.
 */
#include "qmp/commands/block-info.h"

#include <sys/stat.h>

#include "devices/block/image.h"
#include "devices/block/node-info.h"
#include "devices/block/node.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

#define NS_PER_S 1000000000

/* ---- types ---- */

static const char *const detect_values[] = {"off", "on", "unmap", NULL};
static const struct qmp_type detect_type =
    QMP_ENUM_TYPE("BlockdevDetectZeroesOptions", detect_values);

static const struct qmp_member cache_members[] = {
    QMP_REQ(struct block_cache_info, writeback, "writeback"),
    QMP_REQ(struct block_cache_info, direct, "direct"),
    QMP_REQ(struct block_cache_info, no_flush, "no-flush"),
    {0},
};
static const struct qmp_type cache_type =
    QMP_OBJECT_TYPE(struct block_cache_info, "BlockdevCacheInfo", cache_members);

enum { FLAG_IN_USE, FLAG_AUTO };
static const char *const flag_values[] = {"in-use", "auto", NULL};
static const struct qmp_type flag_type = QMP_ENUM_TYPE("Qcow2BitmapInfoFlags", flag_values);
static const struct qmp_type flag_list = QMP_ARRAY_TYPE(&flag_type);
static const struct qmp_member bitmap_members[] = {
    QMP_REQ(struct bitmap_info, name, "name"),
    QMP_REQ(struct bitmap_info, granularity, "granularity"),
    QMP_REQ_T(struct bitmap_info, flags, "flags", &flag_list),
    {0},
};
static const struct qmp_type bitmap_type =
    QMP_OBJECT_TYPE(struct bitmap_info, "Qcow2BitmapInfo", bitmap_members);
static const struct qmp_type bitmap_list = QMP_ARRAY_TYPE(&bitmap_type);

static const char *const compression_values[] = {"zlib", "zstd", NULL};
static const struct qmp_type compression_type =
    QMP_ENUM_TYPE("Qcow2CompressionType", compression_values);
static const struct qmp_member facts_members[] = {
    QMP_REQ(struct qcow2_facts, compat, "compat"),
    QMP_NONE("data-file", &qmp_str),
    QMP_NONE("data-file-raw", &qmp_bool),
    QMP_OPT(struct qcow2_facts, extended_l2, "extended-l2"),
    QMP_OPT(struct qcow2_facts, lazy, "lazy-refcounts"),
    QMP_OPT(struct qcow2_facts, corrupt, "corrupt"),
    QMP_REQ(struct qcow2_facts, refcount_bits, "refcount-bits"),
    QMP_SET_T(struct qcow2_facts, bitmaps, "bitmaps", &bitmap_list),
    QMP_REQ_T(struct qcow2_facts, compression, "compression-type", &compression_type),
    {0},
};
static const struct qmp_type facts_type =
    QMP_OBJECT_TYPE(struct qcow2_facts, "ImageInfoSpecificQCow2", facts_members);

static const char *const specific_values[] = {"qcow2", NULL};
static const struct qmp_type specific_kind =
    QMP_ENUM_TYPE("ImageInfoSpecificKind", specific_values);
static const struct qmp_member wrapper_members[] = {
    QMP_REQ_T(struct image_specific, data, "data", &facts_type),
    {0},
};
static const struct qmp_type wrapper_type =
    QMP_OBJECT_TYPE(struct image_specific, "ImageInfoSpecificQCow2Wrapper", wrapper_members);
static const struct qmp_type *const specific_variants[] = {&wrapper_type};
static const struct qmp_member specific_members[] = {
    QMP_REQ_T(struct image_specific, type, "type", &specific_kind),
    {0},
};
static const struct qmp_type specific_type = {
    .kind = QMP_KIND_OBJECT,
    .name = "ImageInfoSpecific",
    .size = sizeof(struct image_specific),
    .members = specific_members,
    .tag = "type",
    .variants = specific_variants,
};

static const struct qmp_member snapshot_members[] = {
    QMP_REQ(struct snapshot_info, id, "id"),
    QMP_REQ(struct snapshot_info, name, "name"),
    QMP_REQ(struct snapshot_info, vmstate_bytes, "vm-state-size"),
    QMP_REQ(struct snapshot_info, date_s, "date-sec"),
    QMP_REQ(struct snapshot_info, date_ns, "date-nsec"),
    QMP_REQ(struct snapshot_info, clock_s, "vm-clock-sec"),
    QMP_REQ(struct snapshot_info, clock_ns, "vm-clock-nsec"),
    QMP_OPT(struct snapshot_info, icount, "icount"),
    {0},
};
static const struct qmp_type snapshot_type =
    QMP_OBJECT_TYPE(struct snapshot_info, "SnapshotInfo", snapshot_members);
static const struct qmp_type snapshot_list = QMP_ARRAY_TYPE(&snapshot_type);

static const struct qmp_type image_type;
static const struct qmp_type below_type = QMP_BELOW_TYPE(&image_type);
static const struct qmp_member image_members[] = {
    QMP_REQ(struct image_info, filename, "filename"),
    QMP_REQ(struct image_info, format, "format"),
    QMP_OPT(struct image_info, dirty, "dirty-flag"),
    QMP_OPT(struct image_info, actual, "actual-size"),
    QMP_REQ(struct image_info, virtual, "virtual-size"),
    QMP_OPT(struct image_info, cluster, "cluster-size"),
    QMP_NONE("encrypted", &qmp_bool),
    QMP_NONE("compressed", &qmp_bool),
    QMP_SET(struct image_info, backing, "backing-filename"),
    QMP_SET(struct image_info, full_backing, "full-backing-filename"),
    QMP_SET(struct image_info, backing_format, "backing-filename-format"),
    QMP_SET_T(struct image_info, snapshots, "snapshots", &snapshot_list),
    QMP_SET_T(struct image_info, below, "backing-image", &below_type),
    QMP_OPT_T(struct image_info, specific, "format-specific", &specific_type),
    {0},
};
static const struct qmp_type image_type =
    QMP_OBJECT_TYPE(struct image_info, "ImageInfo", image_members);

static const struct qmp_member dirty_members[] = {
    QMP_NONE("name", &qmp_str),          QMP_ONLY("count", &qmp_i64),
    QMP_ONLY("granularity", &qmp_u32),   QMP_ONLY("recording", &qmp_bool),
    QMP_ONLY("busy", &qmp_bool),         QMP_ONLY("persistent", &qmp_bool),
    QMP_NONE("inconsistent", &qmp_bool), {0},
};
static const struct qmp_type dirty_type = QMP_SHAPE_TYPE("BlockDirtyInfo", dirty_members);
static const struct qmp_type dirty_list = QMP_ARRAY_TYPE(&dirty_type);
#define LIMITS(what)                                                                               \
	QMP_NONE("bps" what, &qmp_i64), QMP_NONE("bps_rd" what, &qmp_i64),                         \
	    QMP_NONE("bps_wr" what, &qmp_i64), QMP_NONE("iops" what, &qmp_i64),                    \
	    QMP_NONE("iops_rd" what, &qmp_i64), QMP_NONE("iops_wr" what, &qmp_i64)
static const struct qmp_member info_members[] = {
    QMP_REQ(struct block_info, file, "file"),
    QMP_SET(struct block_info, name, "node-name"),
    QMP_REQ(struct block_info, ro, "ro"),
    QMP_REQ(struct block_info, drv, "drv"),
    QMP_SET(struct block_info, backing_file, "backing_file"),
    QMP_REQ(struct block_info, depth, "backing_file_depth"),
    QMP_REQ(struct block_info, encrypted, "encrypted"),
    QMP_REQ_T(struct block_info, detect_zeroes, "detect_zeroes", &detect_type),
    QMP_REQ(struct block_info, zero, "bps"),
    QMP_REQ(struct block_info, zero, "bps_rd"),
    QMP_REQ(struct block_info, zero, "bps_wr"),
    QMP_REQ(struct block_info, zero, "iops"),
    QMP_REQ(struct block_info, zero, "iops_rd"),
    QMP_REQ(struct block_info, zero, "iops_wr"),
    LIMITS("_max"),
    LIMITS("_max_length"),
    QMP_NONE("iops_size", &qmp_i64),
    QMP_NONE("group", &qmp_str),
    QMP_NONE("dirty-bitmaps", &dirty_list), /* they are in image.format-specific */
    QMP_REQ_T(struct block_info, image, "image", &image_type),
    QMP_REQ_T(struct block_info, cache, "cache", &cache_type),
    QMP_REQ(struct block_info, zero, "write_threshold"),
    {0},
};
const struct qmp_type qmp_block_info =
    QMP_OBJECT_TYPE(struct block_info, "BlockDeviceInfo", info_members);

/* ---- one image ---- */

static const char *copy(struct qmp_pool *pool, const char *s)
{
	return s ? qmp_printf(pool, "%s", s) : NULL;
}

static struct qmp_array snapshots_of(const struct block_node_info *info, struct qmp_pool *pool)
{
	struct snapshot_info *v = qmp_alloc(pool, info->n_snapshots, sizeof(*v));

	for (size_t i = 0; i < info->n_snapshots; i++) {
		const struct qcow2_snapshot *s = &info->snapshots[i];

		v[i] = (struct snapshot_info){
		    .id = copy(pool, s->id),
		    .name = copy(pool, s->name),
		    .vmstate_bytes = s->vmstate_bytes,
		    .date_s = s->date_s,
		    .date_ns = s->date_ns,
		    .clock_s = s->vm_clock_ns / NS_PER_S,
		    .clock_ns = s->vm_clock_ns % NS_PER_S,
		    .has_icount = s->icount != QCOW2_NO_ICOUNT,
		    .icount = s->icount,
		};
	}
	return (struct qmp_array){v, info->n_snapshots};
}

/* 'used': by this process, as the image itself says then. */
static struct qmp_array bitmaps_of(const struct block_node_info *info, bool used,
				   struct qmp_pool *pool)
{
	struct bitmap_info *v = qmp_alloc(pool, info->n_bitmaps, sizeof(*v));

	for (size_t i = 0; i < info->n_bitmaps; i++) {
		const struct qcow2_bitmap *b = &info->bitmaps[i];
		int *flags = qmp_alloc(pool, 2, sizeof(*flags));
		size_t n = 0;

		if (b->in_use || used)
			flags[n++] = FLAG_IN_USE;
		if (b->automatic)
			flags[n++] = FLAG_AUTO;
		v[i] = (struct bitmap_info){
		    .name = copy(pool, b->name),
		    .granularity = b->granularity,
		    .flags = {flags, n},
		};
	}
	return (struct qmp_array){v, info->n_bitmaps};
}

static void add_lists(struct image_info *to, const struct block_node_info *info, bool used,
		      struct qmp_pool *pool)
{
	if (!info)
		return;
	to->snapshots = snapshots_of(info, pool);
	to->specific.data.bitmaps = bitmaps_of(info, used, pool);
}

static struct image_specific specific_of(const struct qcow2_info *q)
{
	bool v3 = q->version >= 3;

	return (struct image_specific){
	    .data =
		{
		       .compat = v3 ? "1.1" : "0.10",
		       .has_extended_l2 = v3,
		       .extended_l2 = q->extended_l2,
		       .has_lazy = v3,
		       .lazy = q->lazy_refcounts,
		       .has_corrupt = v3,
		       .corrupt = q->corrupt,
		       .refcount_bits = q->refcount_bits,
		       .compression = qmp_value_find(&compression_type, q->compression),
		       },
	};
}

static void add_file(struct image_info *to, int fd)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	to->has_actual = true;
	to->actual = (int64_t)st.st_blocks * 512;
}

/* Everything but snapshots and bitmaps. */
static struct image_info header_of(const struct image *img, struct qmp_pool *pool)
{
	CLEANUP(cleanup_free) char *full = NULL;
	enum image_format f;
	const struct qcow2_info *q = img->q ? qcow2_info(img->q) : NULL;
	struct image_info i = {
	    .filename = img->filename,
	    .format = image_format_name(img->format),
	    .has_dirty = true,
	    .virtual = (int64_t)__atomic_load_n(&img->bytes, __ATOMIC_RELAXED),
	};

	add_file(&i, img->fd);
	if (!q)
		return i;
	i.dirty = q->dirty;
	i.has_cluster = true;
	i.cluster = q->cluster_bytes;
	i.backing = q->backing;
	i.backing_format = q->backing_format;
	i.has_specific = true;
	i.specific = specific_of(q);
	if (image_backing_file(img, &full, &f, NULL) == 0)
		i.full_backing = copy(pool, full);
	return i;
}

/* The chain below, each with the next. */
static const struct image_info *below_of(const struct image *img, struct qmp_pool *pool)
{
	const struct image_info *first = NULL, **next = &first;

	for (const struct image *b = img->backing; b; b = b->backing) {
		struct image_info *i = qmp_alloc(pool, 1, sizeof(*i));

		*i = header_of(b, pool);
		if (b->q) {
			struct block_node_info *info = block_node_info_of(b->q);

			add_lists(i, info, false, pool);
			block_node_info_free(info);
		}
		*next = i;
		next = &i->below;
	}
	return first;
}

static struct image_info image_of(struct block_node *n, bool flat, struct qmp_pool *pool)
{
	struct image_info i;

	if (!n->img) {
		i = (struct image_info){
		    .filename = n->filename,
		    .format = n->format,
		    .has_dirty = true,
		    .virtual = (int64_t)block_node_bytes(n),
		};
		add_file(&i, n->fd);
		return i;
	}
	i = header_of(n->img, pool);
	pthread_mutex_lock(&n->info_mutex);
	add_lists(&i, n->info, !n->readonly && block_node_active(n), pool);
	pthread_mutex_unlock(&n->info_mutex);
	if (!flat)
		i.below = below_of(n->img, pool);
	return i;
}

/* ---- one node ---- */

static int64_t depth_of(const struct image *img)
{
	int64_t depth = 0;

	for (; img && img->backing; img = img->backing)
		depth++;
	return depth;
}

struct block_info block_info_of(struct block_node *n, bool flat, struct qmp_pool *pool)
{
	return (struct block_info){
	    .file = n->filename,
	    .name = *n->name ? n->name : NULL,
	    .drv = n->format,
	    .backing_file = n->img && n->img->backing ? n->img->backing->filename : NULL,
	    .ro = n->readonly,
	    .depth = flat ? 0 : depth_of(n->img),
	    .image = image_of(n, flat, pool),
	    .cache = {n->writeback, n->direct, n->no_flush},
	};
}

size_t block_info_parts(const struct block_node *n)
{
	size_t parts = 0;

	for (const struct cfg_blockdev *b = &n->cfg; b; b = b->backing)
		parts += 2;
	return parts;
}

/* The file below a node, by its own name. */
static struct block_info file_part(const struct block_info *over, const char *name, int fd)
{
	struct block_info i = *over;
	struct stat st;

	i.name = name;
	i.drv = "file";
	i.backing_file = NULL;
	i.depth = 0;
	i.image = (struct image_info){.filename = over->file, .format = "file", .has_dirty = true};
	add_file(&i.image, fd);
	if (fstat(fd, &st) == 0)
		i.image.virtual = (int64_t)ALIGN_UP((uint64_t)st.st_size, BLOCK_SECTOR_BYTES);
	return i;
}

/* A node that is the backing file of another. */
static struct block_info backing_part(const struct block_info *over, const struct image *img,
				      const char *name, bool flat, struct qmp_pool *pool)
{
	struct block_info i = *over;

	i.file = img->filename;
	i.name = name;
	i.drv = image_format_name(img->format);
	i.ro = true;
	i.backing_file = img->backing ? img->backing->filename : NULL;
	i.depth = flat ? 0 : depth_of(img);
	i.image = header_of(img, pool);
	if (img->q) {
		struct block_node_info *info = block_node_info_of(img->q);

		add_lists(&i.image, info, false, pool);
		block_node_info_free(info);
	}
	if (!flat)
		i.image.below = below_of(img, pool);
	return i;
}

size_t block_info_fill(struct block_node *n, bool flat, struct qmp_pool *pool,
		       struct block_info *out)
{
	const struct image *img = n->img;
	const struct cfg_blockdev *b = &n->cfg;
	size_t count = 0;

	out[count++] = block_info_of(n, flat, pool);
	if (b->file_node) {
		out[count] = file_part(&out[0], b->file_node, n->fd);
		count++;
	}
	while (b->backing && img && img->backing) {
		struct block_info below;

		b = b->backing;
		img = img->backing;
		below = backing_part(&out[0], img, b->node_name, flat, pool);
		if (b->node_name)
			out[count++] = below;
		if (b->file_node)
			out[count++] = file_part(&below, b->file_node, img->fd);
	}
	return count;
}
