/*
 * internal.h - struct qcow2, and what the files of this room share
 *
 * What is where:
 *
 *     header.c    the header and its extensions: parsed with every bound checked, written
 *     create.c    a new image
 *     open.c      opening, closing, handing over; flush, and the order of the write-back
 *     cache.c     pieces of tables in bounded memory, least recently used first out
 *     tables.c    L1 and L2: entries, looking up, tables of one's own, resize
 *     refcount.c  refcounts: reading, changing, letting go
 *     alloc.c     room for clusters, refcount blocks and a larger refcount table
 *     cluster.c   what is at a guest offset; reading
 *     write.c     writing: in place, into new clusters, copy on write
 *     zero.c      zeroes, discard
 *     compress.c  compressed clusters
 *     snapshot.c bitmap.c check.c
 *
 * The lock: every function here is called with q->lock held, unless it says otherwise.
 *
 * THE ORDER.  Refcounts and L2 tables are changed in memory only.  qcow2_write_back() brings them
 * to the medium so that at any moment an image that is cut off has leaks at most:
 *
 *     1  data of requests has been written already, by who changed the tables
 *     2  refcount blocks, and L2 tables that nothing on the medium refers to yet
 *        (barrier, refcount table, where that has changed)
 *     3  barrier
 *     4  L2 tables that are in use, and the L1 table
 *     5  barrier
 *     6  what had been let go before step 1 is free: its refcounts fall, in memory
 *
 * So refcounts go up at once (qcow2_alloc(), qcow2_ref()) and down by a detour: qcow2_unref() only
 * notes that a reference is gone from the tables in memory, and the count falls, and the cluster
 * may be used again, when step 5 is over.  Only what nothing in a table ever referred to goes back
 * directly: qcow2_unalloc().
 *
 * Guest offsets are called off, places on the storage host.
 */
#ifndef MINIVMM_DEVICES_BLOCK_QCOW2_INTERNAL_H
#define MINIVMM_DEVICES_BLOCK_QCOW2_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/block/qcow2/qcow2.h"
#include "vmm/base/list.h"

struct err;
struct iovec;

/* ---- numbers of the format ---- */

#define QCOW2_MAGIC            0x514649fbU
#define QCOW2_MIN_CLUSTER_BITS 9
#define QCOW2_MAX_CLUSTER_BITS 21

/* Bounds on what a header may ask for: QEMU's. */
#define QCOW2_MAX_L1_BYTES       (32U << 20)
#define QCOW2_MAX_RT_BYTES       (8U << 20)
#define QCOW2_MAX_SNAPSHOTS      65536U
#define QCOW2_MAX_SNAPSHOT_BYTES (1024U * QCOW2_MAX_SNAPSHOTS) /* of their table */
#define QCOW2_MAX_BITMAPS        65535U
#define QCOW2_MAX_BACKING_NAME   1023U
#define QCOW2_SUBCLUSTERS        32U

#define QCOW2_INCOMPAT_DIRTY       (1ULL << 0)
#define QCOW2_INCOMPAT_CORRUPT     (1ULL << 1)
#define QCOW2_INCOMPAT_DATA_FILE   (1ULL << 2)
#define QCOW2_INCOMPAT_COMPRESSION (1ULL << 3)
#define QCOW2_INCOMPAT_EXTENDED_L2 (1ULL << 4)
#define QCOW2_COMPAT_LAZY          (1ULL << 0)
#define QCOW2_AUTOCLEAR_BITMAPS    (1ULL << 0)
#define QCOW2_AUTOCLEAR_RAW_DATA   (1ULL << 1)

#define QCOW2_EXT_END           0U
#define QCOW2_EXT_BACKING       0xe2792acaU
#define QCOW2_EXT_FEATURE_NAMES 0x6803f857U
#define QCOW2_EXT_BITMAPS       0x23852875U
#define QCOW2_EXT_CRYPTO        0x0537be77U
#define QCOW2_EXT_DATA_FILE     0x44415441U

/* In entries of L1 and L2. */
#define QCOW2_COPIED          (1ULL << 63) /* refcount 1: may be written in place */
#define QCOW2_COMPRESSED_FLAG (1ULL << 62)
#define QCOW2_ZERO_FLAG       1ULL /* version 3, standard entries */
#define QCOW2_OFF_MASK        0x00fffffffffffe00ULL
#define QCOW2_RT_MASK         0xfffffffffffffe00ULL

/* ---- the header ---- */

struct qcow2_ext {
	uint32_t type, bytes;
	uint8_t *data; /* owned */
};

/* The header in numbers; what changes is written by qcow2_header_write(). */
struct qcow2_header {
	uint32_t version;
	uint32_t cluster_bits;
	uint64_t bytes; /* the disk's size */
	uint32_t l1_n;
	uint64_t l1_host;
	uint64_t rt_host;
	uint32_t rt_clusters;
	uint32_t n_snapshots;
	uint64_t snapshots_host;
	uint64_t incompat, compat, autoclear;
	uint32_t refcount_order;
	uint32_t header_bytes;
	uint8_t compression; /* 0 zlib, 1 zstd */
	/* Extension of bitmaps; n_bitmaps 0: there is none, and none is written. */
	uint32_t n_bitmaps;
	uint64_t bitmap_dir_bytes, bitmap_dir_host;
	/* All others in their order, backing format and feature names included: kept as they are.
	 */
	struct qcow2_ext *ext; /* owned */
	size_t n_ext;
	uint8_t *unknown;               /* owned: fields behind those that are known; NULL: none */
	char *backing, *backing_format; /* owned; NULL: none */
};

/*
 * Any bytes: 'p' is the beginning of the storage, n bytes of it (at least the first cluster, or all
 * that there is).  Owned parts of *h are freed with qcow2_header_fini(), also after a failure.
 * What cannot be opened at all is refused here; corrupt and dirty bits are the caller's.  No lock.
 */
int qcow2_header_parse(struct qcow2_header *h, const uint8_t *p, size_t n, struct err *err);
void qcow2_header_fini(struct qcow2_header *h);
/* The bytes for it into p[], one cluster; *n: how many.  -ENOSPC: do not fit.  No lock. */
int qcow2_header_pack(const struct qcow2_header *h, uint8_t *p, size_t *n);

/*
 * q->h is written: only the sectors of it that differ from what is there.  All numbers are in the
 * first sector: they change at once or not at all.  Not a barrier.
 */
int qcow2_header_write(struct qcow2 *q);
/* The same between two barriers: what was written before is there before it, and it before what
 * follows. */
int qcow2_header_commit(struct qcow2 *q);
/* After one that failed, q->h as it was before again: the storage too, or the image is broken. */
void qcow2_header_restore(struct qcow2 *q);

/* ---- tables that are in memory as a whole: L1, refcount table ---- */

struct qcow2_table {
	uint64_t *e; /* owned, in the host's byte order, flags and all */
	uint32_t n;
	uint64_t host;
	uint64_t *dirty; /* owned: bitmap of its sectors of 512 bytes */
	bool any_dirty;
};

/* n entries from 'host'; bounds are the caller's.  *t is filled in on success. */
int qcow2_table_load(struct qcow2 *q, struct qcow2_table *t, uint64_t host, uint32_t n);
/* All zero, not dirty; nothing is read or written. */
int qcow2_table_init(struct qcow2_table *t, uint64_t host, uint32_t n);
void qcow2_table_fini(struct qcow2_table *t);
void qcow2_table_set(struct qcow2_table *t, uint32_t i, uint64_t v);
int qcow2_table_write(struct qcow2 *q, struct qcow2_table *t); /* what is dirty */
/* n entries of a table, there and back, any number and offset, not by way of the cache. */
int qcow2_read_be64(struct qcow2 *q, uint64_t *e, size_t n, uint64_t host);
int qcow2_write_be64(struct qcow2 *q, const uint64_t *e, size_t n, uint64_t host);

/* ---- pieces of tables in bounded memory ---- */

/*
 * A piece of an L2 table or of a refcount block: min(cluster, 64 KiB) bytes, in the file's byte
 * order.  It stays while it is pinned.
 */
struct qcow2_block {
	struct list lru;
	struct qcow2_block *next; /* of the same hash */
	uint64_t host;            /* 0: holds nothing */
	unsigned pins;
	bool fresh;                  /* of a table that nothing on the medium refers to yet */
	uint32_t dirty_lo, dirty_hi; /* bytes that are not written yet; both 0: none */
	uint8_t *data;
};

struct qcow2_cache {
	struct qcow2_block *blocks; /* owned, n of them */
	uint8_t *memory;            /* owned */
	struct qcow2_block **hash;  /* owned, a power of 2 of them */
	uint32_t n, hash_mask;
	uint32_t n_dirty;
	struct list lru; /* the least recently used first */
};

/* 'bytes' of memory at most, but for a few pieces that it takes at least. */
int qcow2_cache_init(struct qcow2 *q, struct qcow2_cache *c, uint64_t bytes);
void qcow2_cache_fini(struct qcow2_cache *c);
/*
 * The piece at 'host' (a multiple of q->piece_bytes), read if need be and pinned: qcow2_block_put()
 * follows.  When only dirty ones could go, all is written back.
 */
int qcow2_block_get(struct qcow2 *q, struct qcow2_cache *c, uint64_t host,
		    struct qcow2_block **out);
/* Only if it is there; NULL: it is not.  Pinned. */
struct qcow2_block *qcow2_block_peek(struct qcow2 *q, struct qcow2_cache *c, uint64_t host);
/* The same, of a table that is new: all zero in memory, nothing is read.  Not dirty: what the
 * storage has there is zero, too, or the caller marks all of it. */
int qcow2_block_new(struct qcow2 *q, struct qcow2_cache *c, uint64_t host,
		    struct qcow2_block **out);
void qcow2_block_put(struct qcow2_block *b);
void qcow2_block_dirty(struct qcow2_cache *c, struct qcow2_block *b, uint32_t at, uint32_t bytes);
/* Dirty pieces are written; 'fresh_only': only such. */
int qcow2_cache_write(struct qcow2 *q, struct qcow2_cache *c, bool fresh_only);
/* [host, host + bytes) is forgotten, dirty or not: it is no table any more, or was written. */
void qcow2_cache_drop(struct qcow2 *q, struct qcow2_cache *c, uint64_t host, uint64_t bytes);
/* All is forgotten. */
void qcow2_cache_empty(struct qcow2 *q, struct qcow2_cache *c);

/* ---- the image ---- */

/* Clusters of the guest that a request allocates: others that want to wait (write.c). */
struct qcow2_claim {
	struct list link;
	uint64_t off, bytes; /* whole clusters */
};

struct qcow2_free {
	uint64_t host, bytes; /* whole clusters */
};

struct qcow2_saving;

struct qcow2 {
	/* set at creation and then constant */
	struct qcow2_storage s;
	struct qcow2_open how;

	pthread_mutex_t lock; /* everything below; under it nothing is taken */
	pthread_cond_t claims_changed;

	struct qcow2_info info; /* strings are those of h */
	bool active;            /* the image is ours: tables are loaded */
	bool broken;  /* marked as corrupt, or not to be trusted any more: nothing is written */
	bool unclean; /* the dirty bit is set by us: refcounts are written at the end only */

	struct qcow2_header h;
	uint8_t *header_image; /* owned: the first header_image_bytes as they are on the storage */
	size_t header_image_bytes;
	bool header_unsure; /* a write of it failed: it may be there or not */

	/* from the header, constant while active */
	uint32_t cluster_bits;
	uint64_t cluster_bytes;
	uint32_t entry_bytes;     /* of L2: 8 or 16 */
	uint32_t l2_bits;         /* log2 of the entries of an L2 table */
	uint64_t l2_covers;       /* guest bytes of an L2 table */
	uint32_t piece_bytes;     /* of a table in the cache */
	uint32_t subcluster_bits; /* cluster_bits without extended L2 */
	uint32_t refcount_order;
	uint32_t rb_bits; /* log2 of the refcounts of a block */
	uint64_t refcount_max;

	struct qcow2_table l1, rt;
	struct qcow2_cache l2c, rbc;
	uint64_t *fresh_l2; /* owned: places of tables that the L1 table on the medium has not */
	size_t n_fresh_l2, cap_fresh_l2;
	uint64_t *
	    table_filter; /* owned: bit by hash of cluster, set for L2 tables and refcount blocks */
	uint32_t table_filter_bits;

	/* room (refcount.c) */
	uint64_t free_from;       /* cluster: none below is free */
	uint64_t hole_from;       /* storage from here on was never written: reads as zero */
	struct qcow2_free *frees; /* owned: let go in memory, not on the medium yet */
	size_t n_frees, cap_frees;
	size_t frees_sealed; /* so many do not grow any more: a flush is under way */
	uint64_t freed_bytes;
	unsigned long turn; /* how often step 6 has been done */
	unsigned readers;   /* that read clusters which might be let go: compressed ones */

	struct list claims; /* struct qcow2_claim */

	/*
	 * A saving under way (snapshot.c): from qcow2_saving_begin() on.
	 *
	 * held   bit i set: beneath L1 entry i nothing has been changed since the instant.  The
	 *        first change there calls qcow2_saving_hold(), which keeps the L2 table as it was
	 *        (a copy, known to the saving alone) and clears the bit; the active table is then
	 *        changed in place.  NULL: no saving.
	 * since  bit by host cluster: allocated since the instant (qcow2_alloc() sets it).  All
	 *        other clusters are the instant's, too: they are never written in place, whatever
	 *        COPIED says, and when the active table lets go of one (qcow2_release()), its
	 *        reference passes to the instant instead of being taken away.
	 *
	 * So until the commit the image on the medium is one without the snapshot, with leaks.
	 * (A commit changes refcounts and COPIED flags of what both have, which no order of writes
	 * does without a moment in which a check finds them different; both hang from one sector:
	 * new L1, L2s, refcount table and blocks beside the old ones, and one write of the header.)
	 */
	uint64_t *held;  /* owned */
	uint64_t *since; /* owned: since_n bits, grows; what is beyond is not set */
	uint64_t since_n;
	struct qcow2_saving *saving; /* owned */
	/* Where the next compressed cluster goes, in a cluster that has room behind others; 0: a
	 * new one.  A saving begins with 0. */
	uint64_t compress_at;

	/* snapshot.c */
	struct qcow2_snapshot *snapshots; /* owned, q->h.n_snapshots of them */
	void *snapshot_state;             /* owned: what else snapshot.c keeps */
	/* bitmap.c */
	struct qcow2_bitmap *bitmaps; /* owned */
	size_t n_bitmaps;
	void *bitmap_state; /* owned: what else bitmap.c keeps */
};

/* ---- storage (storage.c); no lock ---- */

/* Memory that is aligned for O_DIRECT, or NULL; free(). */
void *qcow2_buffer(size_t bytes);
int qcow2_pread(struct qcow2 *q, void *p, size_t n, uint64_t host);
int qcow2_pwrite(struct qcow2 *q, const void *p, size_t n, uint64_t host);
/* Zeroes, cheaply where the storage can, and not at all behind hole_from. */
int qcow2_pzero(struct qcow2 *q, uint64_t host, uint64_t bytes);
/* What was written is on the medium; nothing with no_flush. */
int qcow2_barrier(struct qcow2 *q);

/*
 * Damage, found while the image is in use: noted in the header (QEMU's corrupt bit) where it may be
 * written, and nothing is written from then on.  Returns -EIO.  The text is logged.
 */
int qcow2_damaged(struct qcow2 *q, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), cold));

/* ---- order (open.c) ---- */

/* All of THE ORDER, if anything is dirty or let go; else one barrier. */
int qcow2_write_back(struct qcow2 *q);
/*
 * Before anything that changes tables: -EROFS, -EIO (broken), and with lazy refcounts the dirty bit
 * is set on the medium.
 */
int qcow2_may_change(struct qcow2 *q);
/* Without writing anything; not in use by any thread, the lock is free. */
void qcow2_free(struct qcow2 *q);
/* q->info follows q->h. */
void qcow2_info_update(struct qcow2 *q);

/* ---- refcounts and room (refcount.c, alloc.c) ---- */

int qcow2_refcounts_load(struct qcow2 *q, struct err *err); /* the table; at open and activate */
void qcow2_refcounts_fini(struct qcow2 *q);

/* Of the cluster with this number; 0 where no block is. */
int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *count);
/*
 * For check and rebuilding: the count is this now.  A block is made where there is none.
 * free_from is not kept true: qcow2_refcounts_changed() afterwards.
 */
int qcow2_refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t count);
void qcow2_refcounts_changed(struct qcow2 *q);
/*
 * One reference more to each cluster that [host, host + bytes) touches.  All or nothing; -ERANGE:
 * the refcounts are too narrow.
 */
int qcow2_ref(struct qcow2 *q, uint64_t host, uint64_t bytes);
/* One reference less, from the next complete write-back on.  Memory only; does not fail. */
void qcow2_unref(struct qcow2 *q, uint64_t host, uint64_t bytes);
/* Is there anything that qcow2_write_back() would let go? */
static inline bool qcow2_has_frees(const struct qcow2 *q)
{
	return q->n_frees != 0;
}
/* All is written back when too much waits to be let go. */
int qcow2_bound_frees(struct qcow2 *q);
/* Step 6 of THE ORDER; qcow2_write_back() calls it. */
int qcow2_apply_frees(struct qcow2 *q, size_t n); /* the first n */

/*
 * Clusters in a row, refcount 1 each (in memory), to which no table refers yet; *host is where.
 * When there is no room what was let go is written back first.  -ENOSPC, -EFBIG, -EIO.
 */
int qcow2_alloc(struct qcow2 *q, uint64_t clusters, uint64_t *host);
/* At least 1 and at most *clusters in a row; *clusters: how many.  '*zero': they read as zero. */
int qcow2_alloc_some(struct qcow2 *q, uint64_t *clusters, uint64_t *host, bool *zero);
/* n clusters were allocated since the instant of a saving; nothing without one. */
void qcow2_since_add(struct qcow2 *q, uint64_t first, uint64_t n);
/* The way back, as long as nothing in any table refers to them.  Does not fail (leaks at most). */
void qcow2_unalloc(struct qcow2 *q, uint64_t host, uint64_t bytes);
/* Room for a table of n bytes, whole clusters: as qcow2_alloc(). */
int qcow2_alloc_bytes(struct qcow2 *q, uint64_t bytes, uint64_t *host);

/*
 * Does [host, host + bytes) touch header, L1, refcount table or block, snapshot table, or, with
 * 'l2', an L2 table of the active L1?  The name of it, or NULL.
 */
const char *qcow2_overlaps(struct qcow2 *q, uint64_t host, uint64_t bytes, bool l2);
/* A table at this place is in use from now on (for qcow2_overlaps()). */
void qcow2_table_note(struct qcow2 *q, uint64_t host);

/* ---- L1 and L2 (tables.c) ---- */

int qcow2_l1_load(struct qcow2 *q, struct err *err);
void qcow2_l1_fini(struct qcow2 *q);

static inline uint64_t qcow2_l1_index(const struct qcow2 *q, uint64_t off)
{
	return off >> (q->cluster_bits + q->l2_bits);
}

static inline uint32_t qcow2_l2_index(const struct qcow2 *q, uint64_t off)
{
	return (uint32_t)(off >> q->cluster_bits & ((1ULL << q->l2_bits) - 1));
}

/* Does the cluster at 'host' belong to the instant of a saving, too? */
static inline bool qcow2_is_held(const struct qcow2 *q, uint64_t host)
{
	uint64_t c = host >> q->cluster_bits;

	return q->held && (c >= q->since_n || !(q->since[c / 64] >> c % 64 & 1));
}

/* The active table's reference to these clusters is gone from it: qcow2_unref(), or the instant of
 * a saving has it now. */
void qcow2_release(struct qcow2 *q, uint64_t host, uint64_t bytes);

/* An L2 entry: bitmap is 0 without extended L2 (low half: allocated, high half: zeroes). */
struct qcow2_entry {
	uint64_t desc, bitmap;
};

/* A place in an L2 table: the piece, pinned, and which entry of it. */
struct qcow2_l2_pos {
	struct qcow2_block *b; /* NULL: no table there */
	uint32_t i;            /* entry in the piece */
	uint32_t n;            /* entries from it to the end of the piece */
};

/* The entry of guest offset 'off' by the active L1.  -EIO: damaged.  qcow2_l2_put() follows. */
int qcow2_l2_get(struct qcow2 *q, uint64_t off, struct qcow2_l2_pos *pos);
/* The same if it is in memory; -EAGAIN. */
int qcow2_l2_peek(struct qcow2 *q, uint64_t off, struct qcow2_l2_pos *pos);
/* The same to be changed: the table is made, or a copy of one's own. */
int qcow2_l2_get_own(struct qcow2 *q, uint64_t off, struct qcow2_l2_pos *pos);
/* Entry 'index' of the table at 'host', of whatever L1.  Checked: alignment, overlaps. */
int qcow2_l2_get_at(struct qcow2 *q, uint64_t l1_entry, uint32_t index, struct qcow2_l2_pos *pos);
void qcow2_l2_put(struct qcow2_l2_pos *pos);
/* The k-th from the place on (below pos->n). */
struct qcow2_entry qcow2_entry_get(const struct qcow2 *q, const struct qcow2_l2_pos *pos,
				   uint32_t k);
void qcow2_entry_set(struct qcow2 *q, const struct qcow2_l2_pos *pos, uint32_t k,
		     struct qcow2_entry e);

/* What an entry refers to on the storage: whole clusters; false: nothing.  -EIO is for
 * qcow2_entry_check(). */
bool qcow2_entry_range(const struct qcow2 *q, const struct qcow2_entry *e, uint64_t *host,
		       uint64_t *bytes);
/* Where the bytes of a compressed cluster lie: from any byte on, to the end of a sector. */
void qcow2_entry_compressed(const struct qcow2 *q, const struct qcow2_entry *e, uint64_t *host,
			    uint64_t *bytes);
/* Nothing, or a sentence of what is wrong with it by itself (alignment, reserved bits). */
const char *qcow2_entry_wrong(const struct qcow2 *q, const struct qcow2_entry *e);
static inline bool qcow2_entry_is_compressed(const struct qcow2_entry *e)
{
	return e->desc & QCOW2_COMPRESSED_FLAG;
}

/*
 * One reference more, or less (later), for each cluster that the L2 table at 'l1_entry' refers to;
 * not for the table itself.  More: all or nothing.
 */
int qcow2_l2_ref_all(struct qcow2 *q, uint64_t l1_entry);
int qcow2_l2_unref_all(struct qcow2 *q, uint64_t l1_entry);

/*
 * An L1 table with these entries, at a new place, and the disk's size with it: written, and then
 * known to the header, all between barriers; the old one's clusters are let go.  References of
 * the entries are the caller's.  qcow2_write_back() comes first, inside.
 */
int qcow2_l1_replace(struct qcow2 *q, const uint64_t *e, uint32_t n, uint64_t bytes);
/* The L1 table on the medium is about to have all new L2 tables. */
void qcow2_fresh_clear(struct qcow2 *q);
/* L1 entries that a disk of this size needs. */
uint64_t qcow2_l1_needs(const struct qcow2 *q, uint64_t bytes);

/* ---- what is where (cluster.c) ---- */

/* What the guest reads in a piece of one cluster. */
struct qcow2_part {
	enum qcow2_kind kind;
	uint64_t host;  /* of its first byte; 0: no place */
	uint64_t bytes; /* to the end of what is alike in this cluster */
	bool own;       /* the cluster is the active table's alone: may be written in place */
};

/* By an entry, from byte 'at' of the cluster on.  -EIO: damaged. */
int qcow2_part_get(struct qcow2 *q, const struct qcow2_entry *e, uint64_t at, struct qcow2_part *p);
/* qcow2_map() under the lock; *e: the first entry, when it is not NULL. */
int qcow2_map_locked(struct qcow2 *q, uint64_t off, uint64_t bytes, bool wait,
		     struct qcow2_extent *x, struct qcow2_entry *e);
/* qcow2_readv() of one buffer, also behind the disk's end (zeroes).  No lock. */
int qcow2_read_buf(struct qcow2 *q, void *p, size_t bytes, uint64_t off);
/* [off, off + bytes) reads as zero without a look below?  -errno. */
int qcow2_is_zero(struct qcow2 *q, uint64_t off, uint64_t bytes);

/* ---- compressed clusters (compress.c); no lock ---- */

/* 'bytes' at p, of which the compressed cluster is a beginning, into one cluster at out. */
int qcow2_inflate(const struct qcow2 *q, const void *p, size_t bytes, void *out);
/* How many bytes it took in out[], one cluster; -ENOSPC: it does not shrink. */
int qcow2_deflate(const struct qcow2 *q, const void *p, void *out, size_t *bytes);
/* A whole compressed cluster, read and unpacked; 'e' was found under the lock, which has been
 * given up, and q->readers counts the caller. */
int qcow2_read_compressed(struct qcow2 *q, const struct qcow2_entry *e, void *out);

/* ---- waiting for requests that allocate (write.c) ---- */

/* Nothing else allocates in [off, off + bytes) until qcow2_unclaim(); may give up the lock. */
void qcow2_claim(struct qcow2 *q, struct qcow2_claim *c, uint64_t off, uint64_t bytes);
void qcow2_unclaim(struct qcow2 *q, struct qcow2_claim *c);

/* ---- hooks: what snapshots, bitmaps and checks do when ... ---- */

/* Loaded at open and activate, after L1 and refcounts; a table that cannot be read refuses the
 * image only where QEMU's does (qcow2-vmstate 1): else it is empty, and a check tells. */
int qcow2_snapshots_load(struct qcow2 *q, struct err *err);
/* Forgotten, at close and deactivate; a saving under way is aborted. */
void qcow2_snapshots_fini(struct qcow2 *q);
/* q->held has bit i: the L2 table beneath is about to be changed; it is cleared on success. */
int qcow2_saving_hold(struct qcow2 *q, uint64_t i);
/* The active tables no longer refer to these clusters, which are the instant's (qcow2_release()).
 */
void qcow2_saving_keep(struct qcow2 *q, uint64_t host, uint64_t bytes);
/* The saving, if there is one, is aborted and gone: before a clean close. */
void qcow2_saving_drop(struct qcow2 *q);
/* One that qcow2_saving_leave() has left: nothing is in flight now. */
void qcow2_saving_drop_left(struct qcow2 *q);

/* Loaded; where the image is written they are marked as in use, on the medium. */
int qcow2_bitmaps_load(struct qcow2 *q, struct err *err);
/* Before a clean close or deactivate: stored, in-use flags cleared, autoclear bit set. */
int qcow2_bitmaps_store(struct qcow2 *q, struct err *err);
void qcow2_bitmaps_fini(struct qcow2 *q);
/* The guest has changed [off, off + bytes) or is about to.  Does not wait. */
void qcow2_bitmaps_mark(struct qcow2 *q, uint64_t off, uint64_t bytes);
/* The disk's size is q->h.bytes now, was 'old'; or is about to become 'bytes': may it? */
int qcow2_bitmaps_may_resize(struct qcow2 *q, uint64_t bytes, struct err *err);
void qcow2_bitmaps_resized(struct qcow2 *q, uint64_t old);

/* The dirty bit is set in an image that is opened for writing: refcounts are made right, in the
 * image; the caller clears the bit. */
int qcow2_rebuild(struct qcow2 *q, struct err *err);

#endif
