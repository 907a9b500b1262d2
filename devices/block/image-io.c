/*
 * image-io.c - the requests of an image
 *
 * Raw requests go to the file.  Those of a qcow2 image go to the qcow2 library, which comes back
 * with its own requests to the file below it (image_storage) and for what the image does not
 * have (image_read_backing): so a read goes down the chain by recursion.
 */
#include "devices/block/image-io.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "devices/block/file-io.h"
#include "devices/block/file-open.h"
#include "devices/block/image.h"
#include "vmm/base/error.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"

static uint64_t disk_bytes(const struct image *img)
{
	return __atomic_load_n(&img->bytes, __ATOMIC_RELAXED);
}

/* ---- the file as the qcow2 library's storage ---- */

static int storage_readv(void *opaque, const struct iovec *iov, int n_iov, uint64_t off)
{
	const struct image *img = opaque;

	return file_readv(img->fd, img->direct, iov, n_iov, off);
}

static int storage_writev(void *opaque, const struct iovec *iov, int n_iov, uint64_t off)
{
	struct image *img = opaque;
	bool partial =
	    img->direct && (off | iov_bytes(iov, (size_t)n_iov)) % FILE_SECTOR_BYTES != 0;
	int ret;

	if (partial)
		pthread_mutex_lock(&img->partial);
	ret = file_writev(img->fd, img->direct, iov, n_iov, off);
	if (partial)
		pthread_mutex_unlock(&img->partial);
	return ret;
}

static int storage_flush(void *opaque)
{
	const struct image *img = opaque;

	return fdatasync(img->fd) < 0 ? -errno : 0;
}

static int storage_size(void *opaque, uint64_t *bytes)
{
	const struct image *img = opaque;

	return file_bytes(img->fd, img->filename, bytes, NULL);
}

static int storage_truncate(void *opaque, uint64_t bytes)
{
	const struct image *img = opaque;

	if (bytes > INT64_MAX)
		return -EFBIG;
	return ftruncate(img->fd, (off_t)bytes) < 0 ? -errno : 0;
}

static int storage_discard(void *opaque, uint64_t off, uint64_t bytes, bool zero)
{
	const struct image *img = opaque;
	int ret = file_punch(img->fd, off, bytes);

	(void)zero; /* a hole reads as zero in any case */
	return ret == -EOPNOTSUPP ? -ENOTSUP : ret;
}

static int storage_allocate(void *opaque, uint64_t off, uint64_t bytes)
{
	const struct image *img = opaque;

	if (fallocate(img->fd, 0, (off_t)off, (off_t)bytes) == 0)
		return 0;
	return errno == EOPNOTSUPP || errno == ENOSYS || errno == ENODEV ? -ENOTSUP : -errno;
}

const struct qcow2_storage_ops image_storage = {
    .readv = storage_readv,
    .writev = storage_writev,
    .flush = storage_flush,
    .size = storage_size,
    .truncate = storage_truncate,
    .discard = storage_discard,
    .allocate = storage_allocate,
};

int image_read_backing(void *opaque, const struct iovec *iov, int n_iov, uint64_t off)
{
	struct image *below = ((struct image *)opaque)->backing;
	uint64_t bytes = iov_bytes(iov, (size_t)n_iov), end = below ? disk_bytes(below) : 0;
	uint64_t there = off < end ? MIN(bytes, end - off) : 0;
	uint64_t done = 0;
	int ret = 0;

	if (there == bytes)
		return image_readv(below, iov, n_iov, off);
	(void)iov_zero(iov, (size_t)n_iov, there, bytes - there);
	/* At the end of the file below: piece by piece. */
	for (int i = 0; i < n_iov && done < there && ret == 0; i++) {
		struct iovec v = iov[i];

		v.iov_len = MIN(v.iov_len, there - done);
		ret = image_readv(below, &v, 1, off + done);
		done += v.iov_len;
	}
	return ret;
}

/* ---- requests ---- */

static bool within(const struct image *img, uint64_t off, uint64_t bytes)
{
	uint64_t end = disk_bytes(img);

	return bytes <= end && off <= end - bytes;
}

int image_readv(struct image *img, const struct iovec *iov, int n_iov, uint64_t off)
{
	if (!within(img, off, iov_bytes(iov, (size_t)n_iov)))
		return -EINVAL;
	return img->q ? qcow2_readv(img->q, iov, n_iov, off) : storage_readv(img, iov, n_iov, off);
}

int image_writev(struct image *img, const struct iovec *iov, int n_iov, uint64_t off)
{
	if (!img->writable)
		return -EROFS;
	if (!within(img, off, iov_bytes(iov, (size_t)n_iov)))
		return -EINVAL;
	return img->q ? qcow2_writev(img->q, iov, n_iov, off)
		      : storage_writev(img, iov, n_iov, off);
}

int image_write_zeroes(struct image *img, uint64_t off, uint64_t bytes, bool unmap)
{
	if (!img->writable)
		return -EROFS;
	if (!within(img, off, bytes))
		return -EINVAL;
	if (img->q)
		return qcow2_write_zeroes(img->q, off, bytes, unmap);
	image_map_forget(img);
	return file_write_zeroes(img->fd, img->direct, off, bytes, unmap);
}

int image_discard(struct image *img, uint64_t off, uint64_t bytes)
{
	int ret;

	if (!img->writable)
		return -EROFS;
	if (!within(img, off, bytes))
		return -EINVAL;
	if (img->q)
		return qcow2_discard(img->q, off, bytes);
	image_map_forget(img);
	ret = img->discards ? file_punch(img->fd, off, bytes) : 0;
	return ret == -EOPNOTSUPP ? 0 : ret; /* a hint */
}

int image_flush(struct image *img)
{
	if (!img->writable)
		return 0;
	if (img->q)
		return qcow2_flush(img->q); /* which knows of no_flush */
	return img->no_flush ? 0 : storage_flush(img);
}

/*
 * What the files below have behind the old end must not show in a disk that has grown.  The disk is
 * larger when this fails, and is made as small again as it was.
 */
static int hide_backing(struct image *img, uint64_t old, uint64_t bytes)
{
	uint64_t end = img->backing ? MIN(bytes, disk_bytes(img->backing)) : 0;
	int ret = end > old ? qcow2_write_zeroes(img->q, old, end - old, false) : 0;

	return ret < 0 ? ret : qcow2_flush(img->q);
}

static int resize_qcow2(struct image *img, uint64_t bytes, struct err *err)
{
	uint64_t old = disk_bytes(img);
	int ret = qcow2_resize(img->q, bytes, err);

	if (ret < 0 || bytes <= old)
		return ret;
	ret = hide_backing(img, old, bytes);
	if (ret == 0)
		return 0;
	(void)qcow2_resize(img->q, old, NULL);
	return err_set(err, -ret, "'%s' cannot be resized: %s", img->filename, err_text(-ret));
}

int image_resize(struct image *img, uint64_t bytes, struct err *err)
{
	int ret;

	if (!img->writable)
		return err_set(err, EROFS, "'%s' is read-only", img->filename);
	if (bytes % FILE_SECTOR_BYTES)
		return err_set(err, EINVAL, "The new size must be a multiple of %d",
			       FILE_SECTOR_BYTES);
	image_map_forget(img);
	if (img->q)
		ret = resize_qcow2(img, bytes, err);
	else if ((ret = storage_truncate(img, bytes)) < 0)
		ret =
		    err_set(err, -ret, "'%s' cannot be resized: %s", img->filename, err_text(-ret));
	if (ret == 0)
		__atomic_store_n(&img->bytes, bytes, __ATOMIC_RELAXED);
	return ret;
}
