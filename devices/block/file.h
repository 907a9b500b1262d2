/* file.h - the drivers of raw files and block devices; node.h is their contract */
#ifndef MINIVMM_DEVICES_BLOCK_FILE_H
#define MINIVMM_DEVICES_BLOCK_FILE_H

#include "devices/block/node.h"

/* io_uring for reads, writes and flushes; the rest, and whatever needs a second try, goes to
 * threads. */
extern const struct block_driver block_file_uring;
/* preadv, pwritev, fdatasync, fallocate on libuv's thread pool. */
extern const struct block_driver block_file_threads;

/* May the request go to an O_DIRECT descriptor as it is?  True for others. */
bool block_req_aligned(const struct block_node *n, const struct block_req *req);
/* For drivers: account for the request and call its done(). */
void block_req_done(struct block_req *req, int ret);

#endif
