/*
 * file-io.c - plain system calls, repeated until all is done
 *
 * A call may move less than it was given, so the pieces that are left are given to the next one,
 * a window of them at a time.
 */
#include "devices/block/file-io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>

#include "vmm/base/iov.h"
#include "vmm/base/units.h"

#define WINDOW       64         /* pieces given to one system call */
#define BOUNCE_BYTES (1 * MiB)  /* for memory that O_DIRECT does not take */
#define ZERO_BYTES   (64 * KiB) /* written at a time where the file system cannot zero */

/* One request, as it goes to the file. */
struct file_move {
	int fd;
	bool write;
	const struct iovec *iov;
	int n_iov;
	uint64_t off, bytes; /* bytes: the sum of iov */
};

bool file_iov_aligned(const struct iovec *iov, int n_iov)
{
	for (int i = 0; i < n_iov; i++)
		if (((uintptr_t)iov[i].iov_base | iov[i].iov_len) % FILE_SECTOR_BYTES)
			return false;
	return true;
}

/* Reads beyond the end of a file whose size is no multiple of a sector are zeroes. */
static int end_of_file(const struct file_move *m, uint64_t done)
{
	(void)iov_zero(m->iov, (size_t)m->n_iov, done, m->bytes - done);
	return 0;
}

/* Read or write it all, however short the single calls are. */
static int transfer(const struct file_move *m)
{
	struct iovec window[WINDOW];
	uint64_t done = 0, skip = 0; /* bytes; skip: of the first piece left */
	int i = 0;                   /* that piece */

	while (done < m->bytes) {
		int k = 0;
		ssize_t got;

		for (int j = i; j < m->n_iov && k < WINDOW; j++)
			window[k++] = m->iov[j];
		window[0].iov_base = (uint8_t *)window[0].iov_base + skip;
		window[0].iov_len -= skip;
		got = m->write ? pwritev(m->fd, window, k, (off_t)(m->off + done))
			       : preadv(m->fd, window, k, (off_t)(m->off + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return m->write ? -ENOSPC : end_of_file(m, done);
		done += (uint64_t)got;
		for (skip += (uint64_t)got; i < m->n_iov && skip >= m->iov[i].iov_len; i++)
			skip -= m->iov[i].iov_len;
	}
	return 0;
}

static int move_flat(const struct file_move *m, bool write, void *buf, uint64_t off, size_t bytes)
{
	struct iovec v = {.iov_base = buf, .iov_len = bytes};

	return transfer(&(struct file_move){
	    .fd = m->fd, .write = write, .iov = &v, .n_iov = 1, .off = off, .bytes = bytes});
}

/* [at, at + bytes) of the request, which lies 'skip' bytes into the first sector of buf. */
static int bounce_part(const struct file_move *m, uint64_t at, size_t bytes, uint8_t *buf)
{
	size_t skip = (m->off + at) % FILE_SECTOR_BYTES;
	size_t span = ALIGN_UP(skip + bytes, FILE_SECTOR_BYTES);
	uint64_t start = m->off + at - skip;
	int ret = 0;

	if (!m->write || span != bytes)
		ret = move_flat(m, false, buf, start, span);
	if (ret < 0)
		return ret;
	if (!m->write) {
		(void)iov_write(m->iov, (size_t)m->n_iov, at, buf + skip, bytes);
		return 0;
	}
	(void)iov_read(m->iov, (size_t)m->n_iov, at, buf + skip, bytes);
	return move_flat(m, true, buf, start, span);
}

/* The same through an aligned buffer. */
static int bounce(const struct file_move *m)
{
	uint64_t part;
	int ret = 0;
	void *buf;

	if (posix_memalign(&buf, PAGE_BYTES, BOUNCE_BYTES))
		return -ENOMEM;
	for (uint64_t at = 0; at < m->bytes && ret == 0; at += part) {
		part = MIN(m->bytes - at, BOUNCE_BYTES - (m->off + at) % FILE_SECTOR_BYTES);
		ret = bounce_part(m, at, part, buf);
	}
	free(buf);
	return ret;
}

static int file_move(const struct file_move *m, bool direct)
{
	if (m->bytes == UINT64_MAX || m->off > INT64_MAX - m->bytes)
		return -EINVAL;
	if (direct && (m->off % FILE_SECTOR_BYTES || !file_iov_aligned(m->iov, m->n_iov)))
		return bounce(m);
	return transfer(m);
}

int file_readv(int fd, bool direct, const struct iovec *iov, int n_iov, uint64_t off)
{
	return file_move(&(struct file_move){.fd = fd,
					     .iov = iov,
					     .n_iov = n_iov,
					     .off = off,
					     .bytes = iov_bytes(iov, (size_t)n_iov)},
			 direct);
}

int file_writev(int fd, bool direct, const struct iovec *iov, int n_iov, uint64_t off)
{
	return file_move(&(struct file_move){.fd = fd,
					     .write = true,
					     .iov = iov,
					     .n_iov = n_iov,
					     .off = off,
					     .bytes = iov_bytes(iov, (size_t)n_iov)},
			 direct);
}

/* ---- zeroes and holes ---- */

static int change_space(int fd, int mode, uint64_t off, uint64_t bytes)
{
	int ret;

	if (bytes == 0)
		return 0;
	do
		ret = fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)bytes);
	while (ret < 0 && errno == EINTR);
	if (ret == 0)
		return 0;
	return errno == ENOSYS || errno == ENODEV || errno == EINVAL ? -EOPNOTSUPP : -errno;
}

int file_punch(int fd, uint64_t off, uint64_t bytes)
{
	return change_space(fd, FALLOC_FL_PUNCH_HOLE, off, bytes);
}

static int write_zeroes(int fd, bool direct, uint64_t off, uint64_t bytes)
{
	void *zeroes;
	int ret = 0;

	if (posix_memalign(&zeroes, PAGE_BYTES, ZERO_BYTES))
		return -ENOMEM;
	for (uint64_t done = 0; done < bytes && ret == 0; done += ZERO_BYTES) {
		struct iovec v = {.iov_base = zeroes, .iov_len = MIN(bytes - done, ZERO_BYTES)};

		(void)iov_zero(&v, 1, 0, v.iov_len);
		ret = file_writev(fd, direct, &v, 1, off + done);
	}
	free(zeroes);
	return ret;
}

int file_write_zeroes(int fd, bool direct, uint64_t off, uint64_t bytes, bool unmap)
{
	int first = unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
	int second = unmap ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE;
	int ret = change_space(fd, first, off, bytes);

	if (ret == -EOPNOTSUPP)
		ret = change_space(fd, second, off, bytes);
	return ret == -EOPNOTSUPP ? write_zeroes(fd, direct, off, bytes) : ret;
}
