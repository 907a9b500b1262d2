/*
 * node.h - block nodes: what a virtual disk is stored in
 *
 * Requests are asynchronous: submitted and completed on the loop the node is
 * attached to (the I/O thread's).
 */
#ifndef MINIVMM_DEVICES_BLOCK_NODE_H
#define MINIVMM_DEVICES_BLOCK_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct cfg_blockdev;
struct block_node;
struct err;
struct image;
struct loop;

#define BLOCK_SECTOR_BYTES 512

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };

struct block_req {
	enum block_op op;
	const struct iovec *iov; /* borrowed until done; READ and WRITE */
	int n_iov;
	uint64_t off,
	    bytes; /* multiples of 512, within the node; bytes is the iov's sum for READ, WRITE */
	/* Called once, on the node's loop, never from within block_submit(); ret is 0 or -errno. */
	void (*done)(struct block_req *req, int ret);
	void *opaque;
	/* the driver's */
	struct block_node *node;
	size_t progress;
	void *driver_opaque;
	struct block_req *next;
};

struct block_stats {
	uint64_t rd_bytes, wr_bytes, rd_ops, wr_ops, flush_ops, failed;
};

struct block_driver {
	const char *name; /* "file" (io_uring), "file-threads" (preadv/pwritev) */
	int (*attach)(struct block_node *n, struct loop *io, struct err *err);
	void (*detach)(struct block_node *n);
	void (*submit)(struct block_node *n, struct block_req *req);
};

struct block_node {
	/* set at creation and then constant */
	const struct block_driver *driver;
	char *name, *drive_id, *filename; /* owned; "" for no drive_id */
	char *format;                     /* "raw"; owned */
	int fd;
	struct image *img; /* qcow2; owned; NULL: raw, the file is the disk */
	uint64_t bytes; /* multiple of 512 */
	bool readonly, direct, writeback, no_flush;
	bool discard; /* discards reach the file; else they are done when they come */
	/* I/O thread */
	struct loop *io;
	struct block_stats stats; /* read elsewhere with relaxed atomics */
	void *state;
	/* main thread */
	void *user;       /* the struct device it is attached to, NULL: none */
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
/*
 * Lock the file for the disk that uses it (lock.h), or see whether that would
 * be possible.  0 when it is locked already or locking=off.  Main or migration
 * thread, machine lock held.
 */
int block_node_lock(struct block_node *n, struct err *err);
int block_node_lock_probe(struct block_node *n, struct err *err);
void block_node_unlock(struct block_node *n);

struct block_nodes {
	struct block_node **v;
	size_t n;
};
struct config;
int block_nodes_open(struct block_nodes *bs, const struct config *cfg, struct err *err);
struct block_node *block_nodes_find(const struct block_nodes *bs,
				    const char *name); /* node name or drive id */
void block_nodes_close(struct block_nodes *bs);

#endif
