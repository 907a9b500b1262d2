/*
 * storage.c - a file descriptor as the storage of an image
 *
 * A request moves all or fails.  A file that was opened with O_DIRECT refuses what is not aligned
 * (EINVAL): such a piece goes by way of an aligned buffer, and what is around it in its blocks is
 * read first and written again.  Tables are written in whole aligned sectors, so it is for devices
 * of 4 KiB sectors, and for compressed clusters, which lie at any byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/qcow2/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"

#define PIECES       64
#define BOUNCE_ALIGN 4096UL
#define BOUNCE_BYTES (1 * MiB)
#define ZERO_BYTES   (64 * KiB)

void *qcow2_buffer(size_t bytes)
{
	return aligned_alloc(BOUNCE_ALIGN, ALIGN_UP(MAX(bytes, 1U), BOUNCE_ALIGN));
}

/* One preadv or pwritev; at least one byte, 0 at the end of the file, or -errno. */
static ssize_t move_some(int fd, bool write, const struct iovec *iov, int n_iov, uint64_t off)
{
	ssize_t n;

	if (off > INT64_MAX)
		return -EFBIG;
	do
		n = write ? pwritev(fd, iov, n_iov, (off_t)off)
			  : preadv(fd, iov, n_iov, (off_t)off);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* As much as the file has of aligned bytes; the rest is zero.  0 or -errno. */
static int read_aligned(int fd, uint8_t *p, size_t bytes, uint64_t off)
{
	size_t done = 0;

	while (done < bytes) {
		struct iovec v = {p + done, bytes - done};
		ssize_t n = move_some(fd, false, &v, 1, off + done);

		if (n < 0)
			return (int)n;
		if (n == 0 || (size_t)n % 512 != 0) { /* the end of the file */
			done += (size_t)n;
			break;
		}
		done += (size_t)n;
	}
	memset(p + done, 0, bytes - done);
	return 0;
}

static int write_aligned(int fd, const uint8_t *p, size_t bytes, uint64_t off)
{
	for (size_t done = 0; done < bytes;) {
		struct iovec v = {(void *)(p + done), bytes - done};
		ssize_t n = move_some(fd, true, &v, 1, off + done);

		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		done += (size_t)n;
	}
	return 0;
}

/* [at, at + n) of a request at 'off', n at most BOUNCE_BYTES. */
static int bounce(int fd, bool write, const struct iovec *iov, int n_iov, size_t at, size_t n,
		  uint64_t off)
{
	uint64_t first = ALIGN_DOWN(off, BOUNCE_ALIGN);
	size_t bytes = (size_t)(ALIGN_UP(off + n, BOUNCE_ALIGN) - first);
	CLEANUP(cleanup_free) uint8_t *p = qcow2_buffer(bytes);
	int ret;

	if (!p)
		return -ENOMEM;
	ret = read_aligned(fd, p, bytes, first);
	if (ret < 0)
		return ret;
	if (!write) {
		(void)iov_write(iov, (size_t)n_iov, at, p + (off - first), n);
		return 0;
	}
	(void)iov_read(iov, (size_t)n_iov, at, p + (off - first), n);
	return write_aligned(fd, p, bytes, first);
}

static int bounce_all(int fd, bool write, const struct iovec *iov, int n_iov, size_t at,
		      size_t bytes, uint64_t off)
{
	int ret = 0;

	while (at < bytes && ret == 0) {
		size_t n = MIN(bytes - at, BOUNCE_BYTES);

		ret = bounce(fd, write, iov, n_iov, at, n, off + at);
		at += n;
	}
	return ret;
}

/* The pieces of [at, bytes) of a request, at most PIECES of them. */
static int slice_some(struct iovec *out, const struct iovec *iov, int n_iov, size_t at)
{
	int n = 0;

	for (int i = 0; i < n_iov && n < PIECES; i++) {
		if (at >= iov[i].iov_len) {
			at -= iov[i].iov_len;
			continue;
		}
		out[n].iov_base = (uint8_t *)iov[i].iov_base + at;
		out[n++].iov_len = iov[i].iov_len - at;
		at = 0;
	}
	return n;
}

static int move_all(int fd, bool write, const struct iovec *iov, int n_iov, uint64_t off)
{
	size_t bytes = (size_t)iov_bytes(iov, (size_t)n_iov), done = 0;

	while (done < bytes) {
		struct iovec some[PIECES];
		ssize_t n;

		if (done == 0 && n_iov <= IOV_MAX)
			n = move_some(fd, write, iov, n_iov, off);
		else
			n = move_some(fd, write, some, slice_some(some, iov, n_iov, done),
				      off + done);
		if (n == -EINVAL)
			return bounce_all(fd, write, iov, n_iov, done, bytes, off);
		if (n < 0)
			return (int)n;
		if (n == 0 && write)
			return -EIO;
		if (n == 0) {
			(void)iov_zero(iov, (size_t)n_iov, done, bytes - done);
			return 0;
		}
		done += (size_t)n;
	}
	return 0;
}

static int file_readv(void *opaque, const struct iovec *iov, int n_iov, uint64_t off)
{
	return move_all(*(const int *)opaque, false, iov, n_iov, off);
}

static int file_writev(void *opaque, const struct iovec *iov, int n_iov, uint64_t off)
{
	return move_all(*(const int *)opaque, true, iov, n_iov, off);
}

static int file_flush(void *opaque)
{
	return fdatasync(*(const int *)opaque) < 0 ? -errno : 0;
}

static int file_size(void *opaque, uint64_t *bytes)
{
	int fd = *(const int *)opaque;
	struct stat st;
	off_t end;

	if (fstat(fd, &st) < 0)
		return -errno;
	end = S_ISREG(st.st_mode) ? st.st_size : lseek(fd, 0, SEEK_END);
	if (end < 0)
		return -errno;
	*bytes = (uint64_t)end;
	return 0;
}

static int file_truncate(void *opaque, uint64_t bytes)
{
	struct stat st;

	if (bytes > INT64_MAX)
		return -EFBIG;
	if (fstat(*(const int *)opaque, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode)) {
		uint64_t have = 0;
		int ret = file_size(opaque, &have);

		return ret < 0 || bytes <= have ? ret : -ENOSPC;
	}
	return ftruncate(*(const int *)opaque, (off_t)bytes) < 0 ? -errno : 0;
}

/* A hole reads as zero, on a device, too: one way for both. */
static int file_discard(void *opaque, uint64_t off, uint64_t bytes, bool zero)
{
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	(void)zero;
	if (fallocate(*(const int *)opaque, mode, (off_t)off, (off_t)bytes) == 0)
		return 0;
	return errno == EOPNOTSUPP || errno == EINVAL || errno == ENODEV ? -ENOTSUP : -errno;
}

static int file_allocate(void *opaque, uint64_t off, uint64_t bytes)
{
	if (fallocate(*(const int *)opaque, 0, (off_t)off, (off_t)bytes) == 0)
		return 0;
	return errno == EOPNOTSUPP || errno == ENODEV ? -ENOTSUP : -errno;
}

const struct qcow2_storage_ops qcow2_storage_file = {
    .readv = file_readv,
    .writev = file_writev,
    .flush = file_flush,
    .size = file_size,
    .truncate = file_truncate,
    .discard = file_discard,
    .allocate = file_allocate,
};

/* ---- the same, of an open image ---- */

int qcow2_pread(struct qcow2 *q, void *p, size_t n, uint64_t host)
{
	return q->s.ops->readv(q->s.opaque, &(struct iovec){p, n}, 1, host);
}

int qcow2_pwrite(struct qcow2 *q, const void *p, size_t n, uint64_t host)
{
	const struct iovec v = {(void *)p, n};

	return q->s.ops->writev(q->s.opaque, &v, 1, host);
}

/* A hole costs the file system more than a few pages do. */
int qcow2_pzero(struct qcow2 *q, uint64_t host, uint64_t bytes)
{
	size_t n = (size_t)MIN(bytes, ZERO_BYTES);
	CLEANUP(cleanup_free) uint8_t *zeroes = NULL;
	int ret = -ENOTSUP;

	if (bytes > ZERO_BYTES)
		ret = q->s.ops->discard(q->s.opaque, host, bytes, true);
	if (ret != -ENOTSUP)
		return ret;
	zeroes = qcow2_buffer(n);
	if (!zeroes)
		return -ENOMEM;
	memset(zeroes, 0, n);
	for (ret = 0; bytes > 0 && ret == 0; bytes -= n, host += n) {
		n = (size_t)MIN(bytes, ZERO_BYTES);
		ret = qcow2_pwrite(q, zeroes, n, host);
	}
	return ret;
}

int qcow2_barrier(struct qcow2 *q)
{
	return q->how.no_flush ? 0 : q->s.ops->flush(q->s.opaque);
}
