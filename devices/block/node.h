/*
 * node.h - block nodes: what a virtual disk is stored in
 *
 * Requests are asynchronous: submitted and completed on the loop the node is
 * attached to (the I/O thread's).
 */
#ifndef MINIVMM_DEVICES_BLOCK_NODE_H
#define MINIVMM_DEVICES_BLOCK_NODE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/device.h"
#include "vmm/options/config.h"

struct block_node;
struct block_node_info;
struct err;
struct flush;
struct image;
struct loop;

#define BLOCK_SECTOR_BYTES 512

enum block_op {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,
	BLOCK_DISCARD,
	BLOCK_WRITE_ZEROES,
	BLOCK_CALL, /* call(), on a thread that may wait; of a qcow2 node: with nothing in flight */
};

struct block_req {
	enum block_op op;
	const struct iovec *iov; /* borrowed until done; READ and WRITE */
	int n_iov;
	uint64_t off,
	    bytes;  /* multiples of 512, within the node; bytes is the iov's sum for READ, WRITE */
	bool unmap; /* WRITE_ZEROES: the space may be given back */
	int (*call)(struct block_req *req); /* CALL */
	/* Called once, on the node's loop, never from within block_submit(); ret is 0 or -errno. */
	void (*done)(struct block_req *req, int ret);
	void *opaque;
	/* the driver's */
	struct block_node *node;
	int64_t begun_ns;
	size_t progress;
	void *driver_opaque;
	struct block_req *next;
};

/* A write of zeroes is a write, as QEMU counts it; times are from block_submit() to done(). */
struct block_stats {
	uint64_t rd_bytes, wr_bytes, unmap_bytes;
	uint64_t rd_ops, wr_ops, flush_ops, unmap_ops;
	uint64_t rd_ns, wr_ns, flush_ns, unmap_ns;
	uint64_t failed_rd, failed_wr, failed_flush, failed_unmap;
	uint64_t wr_end; /* the end of the write that went furthest */
};

struct block_driver {
	const char *name; /* "file" (io_uring), "file-threads" (preadv/pwritev), "qcow2" */
	int (*attach)(struct block_node *n, struct loop *io, struct err *err);
	void (*detach)(struct block_node *n);
	void (*submit)(struct block_node *n, struct block_req *req);
};

struct block_node {
	/* set at creation and then constant */
	const struct block_driver *driver;
	struct cfg_blockdev cfg;          /* what it was made from; owned */
	char *name, *drive_id, *filename; /* owned; "" for no drive_id */
	char *format;                     /* "raw", "qcow2"; owned */
	int fd;                           /* qcow2: the image's */
	struct image *img;                /* qcow2; owned; NULL: raw, the file is the disk */
	struct block_node *file;          /* qcow2: its file, over the same descriptor; owned */
	bool readonly, direct, writeback, no_flush;
	bool discard; /* discards reach the file; else they are done when they come */
	/* atomic: changed by a resize */
	uint64_t bytes; /* multiple of 512 */
	/* atomic: the tables of a qcow2 image are ours (block_node_activate()); raw: as it was set
	 */
	bool active;
	pthread_mutex_t info_mutex; /* a leaf (vmm/machine.h) */
	/* under info_mutex */
	struct block_node_info *info; /* node-info.h; NULL: none */
	/* I/O thread */
	struct loop *io;
	struct block_stats stats; /* read elsewhere with relaxed atomics */
	void *state;
	/* main thread */
	void *user; /* the struct device of the disk it is attached to, NULL: none */
	/* a disk whose size has changed: called under the machine lock; NULL: nothing to do */
	void (*resized)(void *user);
	/* ... and what the machine's description says of it, before or without that; NULL: nothing
	 */
	void (*describe)(void *user, uint64_t bytes);
	struct device *keeper; /* without a disk: block_node_add_user() */
	/*
	 * What works on it, a job or a command that has given the lock up: it can be neither
	 * deleted nor resized nor saved.  Machine lock
	 */
	unsigned jobs;
	unsigned locking; /* enum block_locking; off where auto found nothing to lock with */
	bool force_share; /* what other programs do to the file is their affair; readonly */
	bool share_rw;    /* other programs may write to the file at the same time */
	bool locked;      /* the file is ours, as far as locking goes */
};

/* Open the file.  Falls back from io_uring to threads by itself where the host refuses it. */
struct block_node *block_node_new(const struct cfg_blockdev *cfg, struct err *err);
void block_node_free(struct block_node *n);
int block_node_attach(struct block_node *n, struct loop *io, struct err *err);
void block_node_detach(struct block_node *n);
/* On the node's loop. */
void block_submit(struct block_node *n, struct block_req *req);
/* Everything written is on stable storage; blocks; nothing is in flight. */
int block_node_flush(struct block_node *n);
static inline uint64_t block_node_bytes(const struct block_node *n)
{
	return __atomic_load_n(&n->bytes, __ATOMIC_RELAXED);
}

/* ---- one process at a time (node-lock.c) ---- */

/*
 * Lock the file for the disk that uses it (lock.h), or see whether that would
 * be possible.  0 when it is locked already or locking=off.  Main or migration
 * thread, machine lock held.
 */
int block_node_lock(struct block_node *n, struct err *err);
int block_node_lock_probe(struct block_node *n, struct err *err);
void block_node_unlock(struct block_node *n);
/*
 * A qcow2 image is opened inactive: of it only the header is known.  Once it is locked its tables
 * may be used; before it is unlocked they are written back, and forgotten.  Both block, and are
 * for a node that is not attached, or from within BLOCK_CALL; done already: 0.
 */
int block_node_activate(struct block_node *n, struct err *err);
int block_node_deactivate(struct block_node *n, struct err *err);
static inline bool block_node_active(const struct block_node *n)
{
	return __atomic_load_n(&n->active, __ATOMIC_SEQ_CST);
}
/* Lock and activate a node that is not attached; and the other way round, where a failure is
 * logged. */
int block_node_take(struct block_node *n, struct err *err);
void block_node_release(struct block_node *n);

/* ---- for the device that uses the node (node-user.c): machine lock held ---- */

/* device_ops.handover */
int block_node_handover(struct block_node *n, enum handover what, struct err *err);
/*
 * device_ops.flush: what 'f' asks of the node, as a request to be submitted on its loop, after
 * which ended(opaque) is called there.  NULL: there is nothing to do.
 */
struct block_req *block_node_flush_req(struct block_node *n, struct flush *f,
				       void (*ended)(void *opaque), void *opaque);
/*
 * A node that no disk uses has a device as well, which attaches it, flushes it and hands it over
 * with the others; removing it leaves the node as it was opened.
 */
int block_node_add_user(struct block_node *n, struct machine *m, struct err *err);
void block_node_del_user(struct block_node *n);
/*
 * Run fn with nothing else in flight on the node, where it may wait.  The lock is given up
 * meanwhile, so not on the main loop.  -ECANCELED: the program ends, fn may still run.
 */
typedef int block_node_fn(struct block_node *n, uint64_t arg, struct err *err);
int block_node_call(struct block_node *n, struct machine *m, block_node_fn *fn, uint64_t arg,
		    struct err *err);
/*
 * The same, and the end of the program waits for it: for what is to be done to several images or
 * to none.  A job's thread, which jobs_end() waits for.
 */
int block_node_call_through(struct block_node *n, struct machine *m, block_node_fn *fn,
			    uint64_t arg, struct err *err);

/*
 * The image has been given another size (image.bytes says it): so has the node, and its disk tells
 * the guest.  Main thread or work loop, machine lock held.
 */
void block_node_size_changed(struct block_node *n, struct machine *m, uint64_t bytes);
/* Gives image or file that size, and then the node; as block_node_call(). */
int block_node_resize(struct block_node *n, struct machine *m, uint64_t bytes, struct err *err);

/* ---- all of them (nodes.c): main thread or work loop, machine lock held ---- */

struct block_nodes {
	struct block_node **v;
	size_t n;
};
struct config;
int block_nodes_open(struct block_nodes *bs, const struct config *cfg, struct err *err);
/* Keepers for all that no disk uses. */
int block_nodes_keep(struct block_nodes *bs, struct machine *m, struct err *err);
struct block_node *block_nodes_find(const struct block_nodes *bs,
				    const char *name); /* node name or drive id */
void block_nodes_close(struct block_nodes *bs);
/*
 * blockdev-add, from its arguments as JSON; a node that becomes part of the new one is no node
 * any more.  blockdev-del, which gives those back.  Both give the lock up, on the work loop.
 */
int block_nodes_add(struct block_nodes *bs, struct machine *m, const char *json, struct err *err);
int block_nodes_del(struct block_nodes *bs, struct machine *m, const char *name, struct err *err);

#endif
