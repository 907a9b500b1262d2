/* snapshot-table.h - the list of snapshots: as in memory, and as bytes in a qcow2 file */
#ifndef MINIVMM_DEVICES_BLOCK_QCOW2_SNAPSHOT_TABLE_H
#define MINIVMM_DEVICES_BLOCK_QCOW2_SNAPSHOT_TABLE_H

#include "devices/block/qcow2/qcow2.h"

#define SNAPSHOTS_MAX         65536
#define SNAPSHOT_TABLE_MAX    (64ULL << 20)
#define SNAPSHOT_EXTRA_MAX    1024 /* bytes */
#define SNAPSHOT_L1_BYTES_MAX (32ULL << 20)

struct snapshot {
	struct qcow2_snapshot pub; /* id and name are owned */
	uint64_t l1_off;
	uint32_t l1_entries;
	/* id and name as the file has them, a NUL inside included; what we know of is in 'pub' */
	uint16_t id_bytes, name_bytes;
	/* extra data behind what is known, kept; owned */
	uint8_t *extra;
	uint32_t extra_bytes;
};

struct snapshot_table {
	struct snapshot *at;
	uint32_t n;
	uint64_t off, bytes; /* of the table in the file */
};

/* What an image says of itself, for the checks of a table. */
struct snapshot_geometry {
	uint64_t file_bytes, disk_bytes;
	uint32_t version, cluster_bytes;
	uint64_t l2_covers; /* guest bytes of one L2 table */
};

/*
 * The table of n entries at 'off'.  0 with *t filled in (free with snapshot_table_fini()), or
 * -errno with *err, which names the entry and the field; *t is empty then.
 */
int snapshot_table_read(struct snapshot_table *t, const struct qcow2_storage *s,
			const struct snapshot_geometry *g, uint32_t n, uint64_t off,
			struct err *err);
/* The bytes of the table; returns owned, *bytes long; NULL: no memory, or *bytes too many. */
uint8_t *snapshot_table_write(const struct snapshot_table *t, size_t *bytes);
void snapshot_table_fini(struct snapshot_table *t);

/* *to is a copy of all but 'skip' (NULL: of all), with room for one more.  0 or -ENOMEM. */
int snapshot_table_copy(struct snapshot_table *to, const struct snapshot_table *from,
			const struct snapshot *skip);
/* A new last entry with a decimal id one more than the largest; *t has room.  -ENAMETOOLONG. */
int snapshot_table_add(struct snapshot_table *t, const struct qcow2_snapshot *what, uint64_t l1_off,
		       uint32_t l1_entries, struct err *err);
/* By id; NULL: none. */
struct snapshot *snapshot_table_find(const struct snapshot_table *t, const char *id);

#endif
