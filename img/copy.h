/*
 * copy.h - the content of disks, one behind the other, into an image
 *
 * What reads as zero is found twice: by the maps of the sources, and in the bytes that were read.
 */
#ifndef MINIVMM_IMG_COPY_H
#define MINIVMM_IMG_COPY_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct image;
struct progress;

#define COPY_MAX_THREADS 16

struct copy {
	/* set by the caller; borrowed */
	struct image **src; /* n_src of them, one behind the other in the target */
	unsigned n_src;
	const char *snapshot; /* id: the disk of this snapshot of the one source; NULL: as it is */
	uint64_t bytes;       /* in all: of the sources, or of the snapshot */
	struct image *dst;
	bool dst_is_zero;   /* all of it reads as zero, so zeroes are skipped */
	bool above_backing; /* what the source's own file does not have is below the target, too */
	bool compress;      /* qcow2 */
	bool scan;          /* look for zeroes; else all is written, also what is zero by a map */
	uint64_t min_zero;  /* shorter runs of zero bytes are written; of 512 */
	unsigned threads;   /* 1 to COPY_MAX_THREADS */
	bool any_order;     /* writes need not go in the order of the disk */
	struct progress *progress;
};

/* 0, or -errno with *err; the target then holds a part of it. */
int copy_run(const struct copy *c, struct err *err);

/*
 * The run at the beginning of n bytes (> 0): how long, and is it zero?  Blocks of 'grain' are
 * zero or not, and 'min' or more of them, or all that is left, make a run of zeroes.  (for tests)
 */
uint64_t copy_find_run(const unsigned char *p, uint64_t n, uint64_t grain, uint64_t min,
		       bool *zero);

#endif
