/*
 * image.h - an image file with what lies below it: raw, or qcow2 over a chain of backing files
 *
 * The blocking half of block storage: a node of a guest's disk (node.h) works on one with a
 * worker beside the I/O thread, and minivmm-img works on nothing else.  No format is ever
 * guessed: it is given, or written in the image above; where it is not, the image is refused.
 * Any thread that may block.
 */
#ifndef MINIVMM_DEVICES_BLOCK_IMAGE_H
#define MINIVMM_DEVICES_BLOCK_IMAGE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/block/lock.h"

struct err;
struct iovec;
struct qcow2;

enum image_format { IMAGE_RAW, IMAGE_QCOW2 };

struct image_open {
	enum image_format format;
	bool writable; /* the top; what lies below never is */
	bool direct, no_flush, discards;
	bool inactive;   /* qcow2_open.inactive */
	bool checking;   /* qcow2_open.checking; the chain is not opened */
	bool no_backing; /* only this file */
	uint64_t cache_bytes;
	/* The node below, opened already (taken on success), instead of what the header names. */
	struct image *backing;
};

struct image {
	/* set at creation and then constant */
	char *filename; /* owned */
	enum image_format format;
	int fd; /* owned */
	bool writable, direct, no_flush, discards;
	struct qcow2 *q;       /* owned; NULL: raw */
	struct image *backing; /* owned; NULL: none */
	/* O_DIRECT: held while a part of a sector is written; a leaf, taken inside */
	pthread_mutex_t partial;
	pthread_mutex_t map_mutex; /* a leaf */
	/* under map_mutex; raw: the file is known to have data there (image-map.c) */
	uint64_t data_off, data_end;
	/* changed by a resize and a snapshot that is loaded; atomic */
	uint64_t bytes; /* of the disk, a multiple of 512 */
};

/* "raw", "qcow2" -> 0; else -ENOTSUP for formats that exist elsewhere, -EINVAL. */
int image_format_parse(const char *name, enum image_format *f, struct err *err);
const char *image_format_name(enum image_format f);

/* Owned, or NULL with *err, in which each file of a chain is named. */
struct image *image_open(const char *filename, const struct image_open *how, struct err *err);
/* The same for an open file (taken on success); 'filename' is for messages and relative names. */
struct image *image_open_fd(int fd, const char *filename, const struct image_open *how,
			    struct err *err);
/* -errno with *err: not all of it is on the storage.  It is gone in any case; NULL is fine. */
int image_close(struct image *img, struct err *err);

/*
 * The file below, as the header names it and seen from the image's folder; owned, NULL: none.
 * -errno with *err: the name is no plain file's, or its format is not there.
 */
int image_backing_file(const struct image *img, char **filename, enum image_format *f,
		       struct err *err);

/* Off and length are within the disk; 0 or -errno. */
int image_readv(struct image *img, const struct iovec *iov, int n_iov, uint64_t off);
int image_writev(struct image *img, const struct iovec *iov, int n_iov, uint64_t off);
int image_write_zeroes(struct image *img, uint64_t off, uint64_t bytes, bool unmap);
int image_discard(struct image *img, uint64_t off, uint64_t bytes);
int image_flush(struct image *img);
int image_resize(struct image *img, uint64_t bytes, struct err *err);

/*
 * Byte locks (lock.h): 'top' for the image, and for each file below it those of a reader.
 * 'probe': only see whether that would be possible.  As block_lock() answers; nothing is held
 * after a failure.
 */
int image_lock(struct image *img, struct block_perms top, bool probe, struct err *err);
void image_unlock(struct image *img);

struct image_extent {
	uint64_t bytes;
	bool data, zero, compressed, has_off;
	uint64_t off;   /* where in 'file'; has_off */
	unsigned depth; /* 0: this image */
	const struct image *file;
};

/* What is at [off, off + bytes), the first piece of it, with what lies below. */
int image_map(struct image *img, uint64_t off, uint64_t bytes, struct image_extent *e);

#endif
