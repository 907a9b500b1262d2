/*
 * qcow2.h - an open qcow2 image: its tables, its clusters, its snapshots
 *
 * A library of its own, which knows nothing of nodes, loops and machines: disks of a guest
 * (devices/block/qcow2-node.c), minivmm-img and tests stand on it.  Numbers and layouts:
 * qcow2-vmstate.md.  All offsets and sizes are in bytes.
 *
 * Threads: every function may be called by any thread that may block, at any time; metadata is
 * under the image's own lock, which is taken inside, is never held while data is moved for a
 * request, and under which nothing is taken.  qcow2_map() and qcow2_map_write() are for the I/O
 * thread: they do not wait.  Two requests that overlap, one of which frees clusters (discard,
 * write zeroes, snapshot), are kept apart by the caller: nothing else is in flight then.
 *
 * What a write changes in tables stays in memory until qcow2_flush(): refcounts go to the medium
 * in front of the tables that rely on them, and a freed cluster is not used again before the
 * table that let it go is there.
 */
#ifndef MINIVMM_DEVICES_BLOCK_QCOW2_H
#define MINIVMM_DEVICES_BLOCK_QCOW2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct iovec;
struct qcow2;

/* ---- what the image lies in ---- */

/* Calls block; each is 0 or -errno, and moves all or fails. */
struct qcow2_storage_ops {
	/* Bytes behind the end read as zero. */
	int (*readv)(void *opaque, const struct iovec *iov, int n_iov, uint64_t off);
	/* Behind the end: the file grows. */
	int (*writev)(void *opaque, const struct iovec *iov, int n_iov, uint64_t off);
	int (*flush)(void *opaque);
	int (*size)(void *opaque, uint64_t *bytes);
	int (*truncate)(void *opaque, uint64_t bytes);
	/* What is there is not needed: read as zero from now on ('zero'), or as anything.
	 * -ENOTSUP: cannot be done cheaply, nothing has happened. */
	int (*discard)(void *opaque, uint64_t off, uint64_t bytes, bool zero);
	/* Room for it is there from now on, and reads as before.  -ENOTSUP: cannot; NULL: the same.
	 */
	int (*allocate)(void *opaque, uint64_t off, uint64_t bytes);
};

struct qcow2_storage {
	const struct qcow2_storage_ops *ops;
	void *opaque;
};

/* A file descriptor as storage: 'opaque' is an int *, borrowed.  (storage.c) */
extern const struct qcow2_storage_ops qcow2_storage_file;

/* ---- opening and closing ---- */

struct qcow2_open {
	bool writable;
	bool inactive; /* another process has the image: only its header is read (qcow2_activate) */
	bool discards; /* freed clusters are given back to the storage */
	bool no_flush; /* never wait for the medium: fast and unsafe */
	bool checking; /* for check and repair: damage that a check can tell is no hindrance */
	uint64_t
	    cache_bytes; /* for L2 tables; 0: enough for 64 GiB of 64 KiB clusters, 8 MiB at most */
	/*
	 * What lies below, for clusters that the image does not have; NULL: zeroes.  Bytes behind
	 * its end read as zero.
	 */
	int (*read_backing)(void *opaque, const struct iovec *iov, int n_iov, uint64_t off);
	void *backing_opaque;
};

struct qcow2_info {
	uint64_t bytes;   /* the disk's size */
	uint32_t version; /* 2 or 3 */
	uint32_t cluster_bytes;
	uint32_t refcount_bits;
	bool extended_l2, lazy_refcounts, dirty, corrupt;
	const char *compression;              /* "zlib", "zstd" */
	const char *backing, *backing_format; /* the image's; NULL: none */
	uint64_t vmstate_off; /* where, in guest offsets, the VM state of a snapshot begins */
};

/*
 * Storage is borrowed.  0, or -errno with *err: not an image, damaged, or what of it is not
 * supported, by name.  An image with the dirty bit that is opened for writing has its refcounts
 * rebuilt first; unknown autoclear bits are cleared then, and bitmaps are marked as in use.
 */
int qcow2_open(struct qcow2 **out, const struct qcow2_storage *s, const struct qcow2_open *how,
	       struct err *err);
/* All is written back and closed cleanly; q is gone in any case.  -errno: it is not all there. */
int qcow2_close(struct qcow2 *q, struct err *err);
/* Constant while the image is open but for the size (qcow2_resize(), qcow2_snapshot_apply()). */
const struct qcow2_info *qcow2_info(const struct qcow2 *q);

/* Another process may use the image now: written back, closed cleanly, and all is forgotten. */
int qcow2_deactivate(struct qcow2 *q, struct err *err);
/* It is ours: header and tables are read again.  -EINVAL: its size or backing file differs. */
int qcow2_activate(struct qcow2 *q, struct err *err);

/* ---- the disk ---- */

enum qcow2_kind {
	QCOW2_DATA,       /* plain, at host_off */
	QCOW2_ZERO,       /* reads as zero; host_off may be a preallocated place (0: none) */
	QCOW2_HOLE,       /* not in this image: what lies below, or zero */
	QCOW2_COMPRESSED, /* in one cluster */
};

struct qcow2_extent {
	enum qcow2_kind kind;
	uint64_t bytes;    /* >= 1, cut to the question */
	uint64_t host_off; /* of its first byte */
};

/*
 * What is at [off, off + bytes)?  The first piece of it.  'wait' false: -EAGAIN when a table would
 * have to be read, or the lock is taken.
 */
int qcow2_map(struct qcow2 *q, uint64_t off, uint64_t bytes, bool wait, struct qcow2_extent *x);
/*
 * The same for a write that goes to where the data is: QCOW2_DATA, or -EAGAIN where clusters have
 * to be allocated or copied first (qcow2_writev()).  The bitmaps know of it.  Does not wait.
 */
int qcow2_map_write(struct qcow2 *q, uint64_t off, uint64_t bytes, struct qcow2_extent *x);

/* Any offset and length, within the disk.  Data, then tables in memory. */
int qcow2_readv(struct qcow2 *q, const struct iovec *iov, int n_iov, uint64_t off);
int qcow2_writev(struct qcow2 *q, const struct iovec *iov, int n_iov, uint64_t off);
/* Clusters in part are written.  'unmap': the place on the storage is let go. */
int qcow2_write_zeroes(struct qcow2 *q, uint64_t off, uint64_t bytes, bool unmap);
/* Whole clusters (subclusters) become zeroes (version 2 with a backing file: stay); the rest is
 * left. */
int qcow2_discard(struct qcow2 *q, uint64_t off, uint64_t bytes);
/* One whole cluster (or the last, which may be short), which the image does not have yet,
 * compressed. */
int qcow2_write_compressed(struct qcow2 *q, const void *p, size_t bytes, uint64_t off);
/*
 * The same in two steps, so that several threads can compress and the clusters still lie in order.
 * A packer belongs to one thread at a time; NULL: no memory.  qcow2_pack() takes a cluster (the
 * last may be short) into out[], a cluster of room: *n bytes of it; -ENOSPC: it does not become
 * smaller.  (packer.c)
 */
struct qcow2_packer;
struct qcow2_packer *qcow2_packer_new(const struct qcow2 *q);
void qcow2_packer_free(struct qcow2_packer *k);
int qcow2_pack(struct qcow2_packer *k, const void *p, size_t bytes, void *out, size_t *n);
int qcow2_write_packed(struct qcow2 *q, const void *packed, size_t n, uint64_t off);
/* Tables and data are on the medium. */
int qcow2_flush(struct qcow2 *q);
/* What a backing file has behind the old end of the disk shows: its zeroes are the caller's to
 * write. */
int qcow2_resize(struct qcow2 *q, uint64_t bytes, struct err *err);

/* ---- making one ---- */

enum qcow2_prealloc {
	QCOW2_PREALLOC_OFF,
	QCOW2_PREALLOC_METADATA,
	QCOW2_PREALLOC_FALLOC,
	QCOW2_PREALLOC_FULL
};

struct qcow2_create {
	uint64_t bytes;
	uint32_t version;       /* 0: 3 */
	uint32_t cluster_bytes; /* 0: 64 KiB */
	uint32_t refcount_bits; /* 0: 16 */
	bool extended_l2, lazy_refcounts, zstd;
	const char *backing, *backing_format; /* borrowed; NULL: none */
	enum qcow2_prealloc prealloc;
};

/* A new image over all that the storage holds. */
int qcow2_create(const struct qcow2_storage *s, const struct qcow2_create *c, struct err *err);

/* ---- snapshots (snapshot.c) ---- */

#define QCOW2_NO_ICOUNT UINT64_MAX

struct qcow2_snapshot {
	const char *id, *name;
	uint32_t date_s, date_ns;
	uint64_t vm_clock_ns;
	uint64_t vmstate_bytes;
	uint64_t disk_bytes;
	uint64_t vmstate_off; /* where its VM state begins, for qcow2_snapshot_read() */
	uint64_t icount;
};

/* The i-th; NULL behind the last.  Borrowed until the list changes. */
const struct qcow2_snapshot *qcow2_snapshot_at(const struct qcow2 *q, size_t i);
/* The one with that id; NULL: none. */
const struct qcow2_snapshot *qcow2_snapshot_with_id(const struct qcow2 *q, const char *id);
/* The last one of that name; NULL: none. */
const struct qcow2_snapshot *qcow2_snapshot_named(const struct qcow2 *q, const char *name);

/*
 * A snapshot is made in three steps, so that the guest stands still for the first only.
 *
 *     begin    the instant: no request is in flight; in memory alone, the disk as it is now is
 *              held.  From here on the guest's writes go elsewhere.
 *     write    the VM state, from any thread, in any order and piece
 *     commit   the snapshot is in the list, and all of it on the medium, and *s is gone; after a
 *              failure *s is what it was, and abort is to follow
 *     abort    ... or nothing of it is left, and *s is gone.  Clusters are let go that requests
 *              may have been sent to: no request is in flight
 *     leave    instead of abort, where requests cannot be kept away: it is done by whatever comes
 *              next with no request in flight (begin, delete, apply), or by the close
 *
 * One at a time for an image; meanwhile no resize, delete and apply.
 */
struct qcow2_saving;
int qcow2_saving_begin(struct qcow2 *q, struct qcow2_saving **s, struct err *err);
int qcow2_saving_write(struct qcow2_saving *s, const struct iovec *iov, int n_iov, uint64_t pos,
		       struct err *err);
/* Writes of whole clusters, from a multiple of it on, are the cheapest. */
size_t qcow2_saving_cluster_bytes(const struct qcow2_saving *s);
/* 'what': id is chosen here; disk_bytes is known here. */
int qcow2_saving_commit(struct qcow2_saving *s, const struct qcow2_snapshot *what, struct err *err);
void qcow2_saving_abort(struct qcow2_saving *s);
void qcow2_saving_leave(struct qcow2_saving *s);

/*
 * Another VM state in place of a snapshot's own, whose disk stays: written in any order and piece
 * (restate.c), and there with the commit, at once, or not at all.  The list of snapshots does not
 * change meanwhile.  *r is gone after commit and abort.
 */
struct qcow2_restate;
int qcow2_restate_begin(struct qcow2 *q, const char *id, struct qcow2_restate **r, struct err *err);
int qcow2_restate_write(struct qcow2_restate *r, const struct iovec *iov, int n_iov, uint64_t pos,
			struct err *err);
int qcow2_restate_commit(struct qcow2_restate *r, uint64_t vmstate_bytes, struct err *err);
void qcow2_restate_abort(struct qcow2_restate *r);

/* By id.  On failure the image and its list are as they were, or *err says what is left. */
int qcow2_snapshot_delete(struct qcow2 *q, const char *id, struct err *err);
/* Would apply refuse to?  What only its reads and writes can tell is not known before. */
int qcow2_snapshot_check_apply(struct qcow2 *q, const char *id, struct err *err);
/* The disk is that of the snapshot, its size too. */
int qcow2_snapshot_apply(struct qcow2 *q, const char *id, struct err *err);
/* The disk or, from vmstate_off on, the VM state of a snapshot, without applying it. */
int qcow2_snapshot_read(struct qcow2 *q, const char *id, void *buf, size_t bytes, uint64_t off,
			struct err *err);

/*
 * Bytes that new clusters find without growing the storage, at most: in clusters that are free or
 * soon will be.  Counts no further than 'enough'.  0 or -errno.
 */
int qcow2_room(struct qcow2 *q, uint64_t enough, uint64_t *bytes);

/* ---- bitmaps (bitmap.c) ---- */

struct qcow2_bitmap {
	const char *name;
	uint64_t granularity;
	bool in_use, automatic;
};

const struct qcow2_bitmap *qcow2_bitmap_at(const struct qcow2 *q, size_t i);

/* ---- check and repair (check.c) ---- */

enum qcow2_repair { QCOW2_REPAIR_NONE, QCOW2_REPAIR_LEAKS = 1, QCOW2_REPAIR_ERRORS = 2 };

struct qcow2_check {
	uint64_t errors, leaks, errors_fixed, leaks_fixed;
	uint64_t clusters, allocated, fragmented, compressed;
	uint64_t end_off; /* of the last cluster in use */
	/* Each finding, in a sentence; may be NULL. */
	void (*say)(void *opaque, const char *text);
	void (*progress)(void *opaque, uint64_t done, uint64_t total); /* may be NULL */
	void *opaque;
};

int qcow2_check(struct qcow2 *q, unsigned repair, struct qcow2_check *c, struct err *err);

#endif
