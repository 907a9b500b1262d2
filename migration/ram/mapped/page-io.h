/*
 * page-io.h - pages between guest memory and their places in a file, by several threads
 *
 * Pieces are given in any order and moved in any order; a sync waits for all.
 * Each piece is one pread or pwrite, so no thread needs a place in the file of
 * its own, and all share one descriptor.
 *
 * One thread gives and syncs.
 */
#ifndef MINIVMM_MIGRATION_RAM_MAPPED_PAGE_IO_H
#define MINIVMM_MIGRATION_RAM_MAPPED_PAGE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct channel;
struct err;
struct page_io;

#define PAGE_IO_BYTES 0x100000UL /* of a piece, at most */

struct page_io_config {
	bool writing;
	bool direct;      /* O_DIRECT */
	unsigned threads; /* 0: the caller's does it */
};

struct page_io_piece {
	uint8_t *at; /* borrowed: guest memory */
	size_t bytes;
	uint64_t file_off;
	const char *block; /* borrowed, for messages */
	/* the checksum of each of its pages (page_io_sum), once it has been moved; NULL: none */
	uint64_t *sums;
};

/* The file of the channel (borrowed), whose cancel_fd ends the work.  NULL with *err set. */
struct page_io *page_io_new(struct channel *ch, const struct page_io_config *cfg, struct err *err);
/* Drops what has not begun, and ends the threads; NULL is fine. */
void page_io_free(struct page_io *io);
/* Move a piece; waits for a thread when all are behind.  -errno once any piece has failed. */
int page_io_put(struct page_io *io, const struct page_io_piece *piece);
/* Until all have been moved.  0, or -errno once any piece has failed. */
int page_io_sync(struct page_io *io);
/* The words of the first failure; returns it, or 0. */
int page_io_failure(struct page_io *io, struct err *err);

/* Write or read all n bytes at an offset of the channel's file, not by way of a page_io. */
int page_io_write_at(const struct channel *ch, const void *p, size_t n, uint64_t off,
		     struct err *err);
int page_io_read_at(const struct channel *ch, void *p, size_t n, uint64_t off, const char *what,
		    struct err *err);

#endif
