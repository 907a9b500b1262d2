/*
 * recv-bitmap.h - which pages of a block have come, told when a postcopy is resumed
 *
 * RECV_BITMAP on the return path (migration-stream 5.7 type 5, 5.8): the message
 * names a block; outside its counted payload follow
 *
 *     be64 size | size bytes: a bit a 4 KiB page, set when it has come | be64 mark
 *
 * The bits are in the order of vmm/base/bitmap.h, the size is a multiple of 8 bytes.  Pure; one
 * thread at a time.
 */
#ifndef MINIVMM_MIGRATION_RECV_BITMAP_H
#define MINIVMM_MIGRATION_RECV_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;

/* ---- the destination ---- */

#define RECV_BITMAP_HEAD_MAX (4 + 1 + 255 + 8)
#define RECV_BITMAP_TAIL     8

/* A message in three pieces, to be written behind each other: head, map, tail. */
struct recv_bitmap_out {
	uint8_t head[RECV_BITMAP_HEAD_MAX];
	size_t head_bytes;
	const uint64_t *map; /* borrowed */
	size_t map_bytes;
	uint8_t tail[RECV_BITMAP_TAIL];
};

/* Of a block of 'pages' pages with a name of at most 255 bytes.  'map' is borrowed; its bits
 * beyond the last page are zero. */
void recv_bitmap_out_init(struct recv_bitmap_out *out, const char *name, const uint64_t *map,
			  uint64_t pages);

/* ---- the source ---- */

/* The answer that is awaited, for one block. */
struct recv_bitmap_in {
	/* the caller's */
	const char *name; /* borrowed */
	uint64_t pages;
	uint64_t *map; /* borrowed: BITMAP_WORDS(pages) words, to be filled in */
	/* the reader's; zeroed */
	uint64_t at; /* bytes behind the payload that have been read */
	uint8_t number[8];
	bool named; /* the payload has been read, the rest is next */
	bool done;  /* all of it has come */
};

/* The counted payload of a message: does it name the block?  0 or -EPROTO. */
int recv_bitmap_in_name(struct recv_bitmap_in *in, const uint8_t *p, size_t n, struct err *err);
/*
 * Bytes behind the payload: how many of the n are used, fewer only once it is done; or -EPROTO with
 * *err set.  Bits beyond the last page are dropped.
 */
ssize_t recv_bitmap_in_feed(struct recv_bitmap_in *in, const uint8_t *p, size_t n, struct err *err);

#endif
