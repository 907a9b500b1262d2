/*
 * image-map.c - what is where in an image, and in the files below it
 *
 * A raw file is asked with SEEK_DATA and SEEK_HOLE.  To find the end of its data a file system may
 * walk through all pages or extents of it, and whoever copies a disk asks again for each piece: so
 * the last stretch of data is remembered.  That it is data is true, or at least harmless, as long
 * as the image is open: what has become a hole since reads as zero.  Holes are not remembered, for
 * another program may have written there.
 */
#include <errno.h>
#include <unistd.h>

#include "devices/block/file-io.h"
#include "devices/block/image-io.h"
#include "devices/block/image.h"
#include "devices/block/qcow2/qcow2.h"
#include "vmm/base/units.h"

static uint64_t disk_bytes(const struct image *img)
{
	return __atomic_load_n(&img->bytes, __ATOMIC_RELAXED);
}

/* True: *e is of data that is known. */
static bool map_known(struct image *img, uint64_t off, uint64_t bytes, struct image_extent *e)
{
	bool known;

	pthread_mutex_lock(&img->map_mutex);
	known = off >= img->data_off && off < img->data_end;
	if (known) {
		e->data = true;
		e->bytes = MIN(bytes, img->data_end - off);
	}
	pthread_mutex_unlock(&img->map_mutex);
	return known;
}

static void map_learn(struct image *img, uint64_t off, uint64_t end)
{
	pthread_mutex_lock(&img->map_mutex);
	img->data_off = off;
	img->data_end = end;
	pthread_mutex_unlock(&img->map_mutex);
}

void image_map_forget(struct image *img)
{
	map_learn(img, 0, 0);
}

static void map_raw(struct image *img, uint64_t off, uint64_t bytes, struct image_extent *e)
{
	off_t data, hole;
	uint64_t n;

	*e = (struct image_extent){.bytes = bytes, .file = img, .off = off, .has_off = true};
	if (map_known(img, off, bytes, e))
		return;
	data = lseek(img->fd, (off_t)off, SEEK_DATA);
	if (data < 0) {
		/* ENXIO: behind the last byte of data; else the file system cannot tell */
		e->zero = errno == ENXIO;
		e->data = !e->zero;
		return;
	}
	if ((uint64_t)data > off) {
		e->zero = true;
		e->bytes = MIN(bytes, (uint64_t)data - off);
		return;
	}
	hole = lseek(img->fd, (off_t)off, SEEK_HOLE);
	e->data = true;
	if (hole < 0 || (uint64_t)hole <= off)
		return;
	n = ALIGN_UP((uint64_t)hole - off, FILE_SECTOR_BYTES);
	e->bytes = MIN(bytes, n);
	map_learn(img, off, off + n);
}

/* By this file alone; 1: the image has nothing there, and what lies below shows. */
static int map_file(struct image *img, uint64_t off, uint64_t bytes, struct image_extent *e)
{
	struct qcow2_extent q;
	int ret;

	if (!img->q) {
		map_raw(img, off, bytes, e);
		return 0;
	}
	ret = qcow2_map(img->q, off, bytes, true, &q);
	if (ret < 0)
		return ret;
	if (q.kind == QCOW2_HOLE) {
		*e = (struct image_extent){.bytes = q.bytes, .zero = true, .file = img};
		return 1;
	}
	*e = (struct image_extent){.bytes = q.bytes,
				   .data = q.kind != QCOW2_ZERO,
				   .zero = q.kind == QCOW2_ZERO,
				   .compressed = q.kind == QCOW2_COMPRESSED,
				   .has_off = q.kind == QCOW2_DATA ||
					      (q.kind == QCOW2_ZERO && q.host_off != 0),
				   .off = q.host_off,
				   .file = img};
	return 0;
}

int image_map(struct image *img, uint64_t off, uint64_t bytes, struct image_extent *e)
{
	uint64_t end = disk_bytes(img);
	unsigned depth = 0;
	int ret;

	if (bytes == 0 || off > end || bytes > end - off)
		return -EINVAL;
	for (;; depth++) {
		ret = map_file(img, off, bytes, e);
		if (ret < 0)
			return ret;
		e->depth = depth;
		img = img->backing;
		end = img ? disk_bytes(img) : 0;
		if (ret == 0 || off >= end)
			return 0;
		bytes = MIN(e->bytes, end - off);
	}
}
