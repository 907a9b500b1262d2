/* bitmap-dir.h - the directory of persistent bitmaps, as in memory and as bytes */
#ifndef MINIVMM_DEVICES_BLOCK_QCOW2_BITMAP_DIR_H
#define MINIVMM_DEVICES_BLOCK_QCOW2_BITMAP_DIR_H

#include "devices/block/qcow2/qcow2.h"

#define BITMAP_IN_USE     1U /* flags of an entry */
#define BITMAP_AUTO       2U
#define BITMAP_EXTRA_OK   4U /* extra data may be ignored */
#define BITMAP_TYPE_DIRTY 1U

#define BITMAP_NAME_MAX        1023U
#define BITMAP_TABLE_MAX       (1U << 27) /* entries */
#define BITMAP_MIN_GRANULARITY 9U         /* bits */
#define BITMAP_MAX_GRANULARITY 31U

struct bitmap_entry {
	struct qcow2_bitmap pub; /* name is owned */
	uint64_t table_host;
	uint32_t table_n; /* entries */
	uint32_t flags;
	uint8_t type, granularity_bits;
	uint8_t *extra; /* owned */
	uint32_t extra_bytes;
};

/*
 * n entries in 'bytes' at p: owned, in *out (NULL when n is 0).  0, or -errno with *err, which
 * names the entry and the field.  Places are only checked for their alignment.
 */
int bitmap_dir_parse(struct bitmap_entry **out, uint32_t n, const uint8_t *p, size_t bytes,
		     uint64_t cluster_bytes, struct err *err);
/* The bytes for it; returns owned, *bytes long; NULL: no memory. */
uint8_t *bitmap_dir_pack(const struct bitmap_entry *e, uint32_t n, size_t *bytes);
void bitmap_dir_free(struct bitmap_entry *e, uint32_t n);

#endif
