/*
 * copy-pieces.h - the disk that is copied, cut into pieces, and read
 *
 * What the maps of the sources say is zero is one piece of any length; the rest is cut into pieces
 * of 'piece_bytes' that begin and end at clusters of the target, so that no two of them have a
 * cluster together.
 */
#ifndef MINIVMM_IMG_COPY_PIECES_H
#define MINIVMM_IMG_COPY_PIECES_H

#include <stdint.h>

struct copy;
struct err;

enum piece_kind {
	PIECE_SKIP, /* the target has it already */
	PIECE_ZERO, /* is zero by the map */
	PIECE_DATA,
};

struct piece {
	enum piece_kind kind;
	uint64_t off, bytes;
};

/* One thread at a time. */
struct cutter {
	/* set by the caller */
	const struct copy *c;
	uint64_t cluster;     /* of the target */
	uint64_t piece_bytes; /* whole clusters */

	uint64_t off; /* where the next piece begins */
	/* what the map has said of [known_off, known_end): it is asked once for all pieces of an
	 * extent, not for each */
	enum piece_kind known;
	uint64_t known_off, known_end;
};

/* 1: *p is the next one; 0: there are no more; or -errno. */
int cutter_next(struct cutter *k, struct piece *p, struct err *err);
/* Any thread. */
int copy_read(const struct copy *c, void *buf, uint64_t bytes, uint64_t off, struct err *err);

#endif
