/* block-info.h - BlockDeviceInfo, as several commands answer it */
#ifndef MINIVMM_QMP_COMMANDS_BLOCK_INFO_H
#define MINIVMM_QMP_COMMANDS_BLOCK_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qmp/schema.h"

struct block_node;

struct block_cache_info {
	bool writeback, direct, no_flush;
};

/* Qcow2BitmapInfo */
struct bitmap_info {
	const char *name;
	uint64_t granularity;
	struct qmp_array flags; /* int, enum */
};

/* ImageInfoSpecificQCow2; its members beside the tag are in the object "data" */
struct qcow2_facts {
	const char *compat;
	bool has_extended_l2, extended_l2;
	bool has_lazy, lazy;
	bool has_corrupt, corrupt;
	int64_t refcount_bits;
	struct qmp_array bitmaps; /* struct bitmap_info */
	int compression;
};

struct image_specific {
	int type;
	struct qcow2_facts data;
};

/* SnapshotInfo */
struct snapshot_info {
	const char *id, *name;
	uint64_t vmstate_bytes, date_s, date_ns, clock_s, clock_ns;
	bool has_icount;
	uint64_t icount;
};

/* ImageInfo */
struct image_info {
	const char *filename, *format;
	bool has_dirty, dirty;
	bool has_actual;
	int64_t actual, virtual;
	bool has_cluster;
	int64_t cluster;
	const char *backing, *full_backing, *backing_format;
	struct qmp_array snapshots;     /* struct snapshot_info */
	const struct image_info *below; /* NULL: nothing, or it is not asked for */
	bool has_specific;
	struct image_specific specific;
};

/* BlockDeviceInfo.  No limits, no encryption: members say so, as zeros. */
struct block_info {
	const char *file, *name, *drv, *backing_file;
	bool ro, encrypted;
	int64_t zero, depth;
	int detect_zeroes;
	struct image_info image;
	struct block_cache_info cache;
};

extern const struct qmp_type qmp_block_info;

/* The node; 'flat': without what lies below its image. */
struct block_info block_info_of(struct block_node *n, bool flat, struct qmp_pool *pool);
/* The node and the parts of it that have a name: at most so many, and what they are. */
size_t block_info_parts(const struct block_node *n);
size_t block_info_fill(struct block_node *n, bool flat, struct qmp_pool *pool,
		       struct block_info *out);

#endif
