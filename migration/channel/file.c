/*
 * file.c - file:PATH[,offset=N]: a saved stream, complete or absent
 *
 * What is written goes to a nameless file (or, where the file system has
 * none, one with a temporary name) in the directory of PATH.  finish() makes
 * it durable and puts it in the place of PATH in one step; until then, and
 * after any failure, an older file is as it was.  With an offset the first N
 * bytes of an older file are carried over: that is where tools keep headers.
 *
 * A PATH that is not a regular file (a pipe, a terminal, a disk) is written
 * directly: there is nothing to rename.  The first bytes of a disk stay zero until all
 * the others are on it, so that what a save that failed has left, with the end of an
 * older one behind it, is not taken for a saved guest.  A symbolic link is followed, also one
 * to a file that does not exist yet.
 *
 * A descriptor set (/dev/fdset/N) is written in place as well, for a client that passes
 * descriptors has the names to itself.  A regular file of a set ends at the offset before anything
 * is written, and its first bytes come last, as a disk's: it is a saved guest when the save has
 * succeeded, and nothing until then and after a failure.
 *
 * A named pipe waits for its other end.  Opened to write it cannot be watched
 * for a reader, so it is tried again from time to time until the migration is
 * cancelled; opened to read it is watched for the first byte.  It holds 64 KiB:
 * finish() waits until they have been read.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/channel/patience.h"
#include "migration/channel/pipe.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/units.h"

#define HEAD_BYTES 4U /* the magic number */

struct file_channel {
	struct channel ch;
	off_t at;
	char *path;  /* owned; what it will be called */
	char *temp;  /* owned; its name until then, NULL: it has none yet */
	bool direct; /* PATH itself is open */
	bool silent; /* a pipe without data so far: it may have no writer yet */
	/* a disk or a descriptor's file that is written: its first bytes, which wait for finish()
	 */
	bool holds;
	uint8_t head[HEAD_BYTES];
	size_t n_held;
	off_t start;
};

#define LINKS_MAX 40 /* as in the kernel */
#define AGAIN_MS  20 /* between two looks for a pipe's reader */

static struct file_channel *file_of(struct channel *c)
{
	return container_of(c, struct file_channel, ch);
}

/* Bytes, or the end of a writer. */
static bool is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

static ssize_t file_read(struct channel *c, void *buf, size_t n)
{
	struct file_channel *f = file_of(c);
	ssize_t got;

	if (f->silent && !is_readable(c->fd))
		return -EAGAIN;
	f->silent = false;
	got = c->steady ? pread(c->fd, buf, n, f->at) : read(c->fd, buf, n);

	if (got < 0)
		return -errno;
	f->at += got;
	return got;
}

/* At once on the disk.  0 or -errno. */
static int put_at_start(const struct file_channel *f, const uint8_t *p, size_t n)
{
	ssize_t done = pwrite(f->ch.fd, p, n, f->start);

	if (done != (ssize_t)n)
		return done < 0 ? -errno : -EIO;
	return fsync(f->ch.fd) < 0 ? -errno : 0;
}

/* Zeros in their place, before anything behind them changes. */
static int clear_head(const struct file_channel *f)
{
	static const uint8_t zeros[HEAD_BYTES];

	return put_at_start(f, zeros, HEAD_BYTES);
}

/* Keep what belongs to the head. */
static ssize_t hold_head(struct file_channel *f, const struct iovec *iov)
{
	size_t n = MIN(iov->iov_len, HEAD_BYTES - f->n_held);
	int ret = f->n_held ? 0 : clear_head(f);

	if (ret < 0)
		return ret;
	memcpy(f->head + f->n_held, iov->iov_base, n);
	f->n_held += n;
	f->at += (off_t)n;
	return (ssize_t)n;
}

static ssize_t file_writev(struct channel *c, struct iovec *iov, int n_iov)
{
	struct file_channel *f = file_of(c);
	ssize_t sent;

	if (f->holds && f->n_held < HEAD_BYTES)
		return hold_head(f, iov);
	sent = c->steady ? pwritev(c->fd, iov, n_iov, f->at) : writev(c->fd, iov, n_iov);

	if (sent < 0)
		return -errno;
	f->at += sent;
	return sent;
}

static off_t file_tell(struct channel *c)
{
	return c->steady ? file_of(c)->at : -ESPIPE;
}

static void file_seek(struct channel *c, off_t to)
{
	file_of(c)->at = to;
}

/* Owned. */
static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return xstrdup(".");
	return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

/* A name beside 'path' that does not exist yet, with room for mkostemp's letters; owned. */
static char *temp_template(const char *path)
{
	CLEANUP(cleanup_free) char *dir = directory_of(path);
	const char *slash = strrchr(path, '/');

	/* a name component is at most 255 bytes */
	return xasprintf("%s/.%.200s.XXXXXX", dir, slash ? slash + 1 : path);
}

/* Give a nameless file a temporary name. */
static int name_it(struct file_channel *f, struct err *err)
{
	char *name = temp_template(f->path);
	char self[32];
	int fd = mkostemp(name, O_CLOEXEC); /* finds a free name ... */

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", f->ch.fd);
	if (fd >= 0) {
		(void)close(fd);
		(void)unlink(name); /* ... which linkat wants free */
		fd = linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW);
	}
	if (fd < 0) {
		int e = errno;

		free(name);
		return err_set(err, e, "Unable to write to file '%s': %s", f->path, err_text(e));
	}
	f->temp = name;
	return 0;
}

/* The directory entry must last as well. */
static void sync_directory(const char *path)
{
	CLEANUP(cleanup_free) char *dir = directory_of(path);
	CLEANUP(cleanup_close)
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		(void)fsync(fd);
}

static int file_finish(struct channel *c, struct err *err)
{
	struct file_channel *f = file_of(c);
	int ret;

	if (fsync(c->fd) < 0 && errno != EINVAL)
		return err_set(err, errno, "Unable to write to file '%s': fsync: %s", f->path,
			       err_text(errno));
	if (f->holds) {
		ret = put_at_start(f, f->head, f->n_held);
		if (ret < 0)
			return err_set(err, -ret, "Unable to write to file '%s': %s", f->path,
				       err_text(-ret));
	}
	if (f->direct)
		return fd_is_pipe(c->fd) ? pipe_wait_read(c, err) : 0;
	if (!f->temp) {
		ret = name_it(f, err);
		if (ret < 0)
			return ret;
	}
	if (rename(f->temp, f->path) < 0)
		return err_set(err, errno, "Unable to put file '%s' in place: %s", f->path,
			       err_text(errno));
	free(f->temp);
	f->temp = NULL;
	sync_directory(f->path);
	return 0;
}

static void file_close(struct channel *c)
{
	struct file_channel *f = file_of(c);

	if (f->temp)
		(void)unlink(f->temp);
	path_close(c->fd);
	free(f->temp);
	free(f->path);
	free(f);
}

static const struct channel_ops file_ops = {
    .kind = "file",
    .read = file_read,
    .writev = file_writev,
    .tell = file_tell,
    .seek = file_seek,
    .finish = file_finish,
    .close = file_close,
};

static struct file_channel *file_new(char *path, int cancel_fd)
{
	struct file_channel *f = NEW(struct file_channel);

	f->ch.ops = &file_ops;
	f->ch.fd = -1;
	f->ch.cancel_fd = cancel_fd;
	f->path = path;
	return f;
}

/* A descriptor, or -errno. */
static int open_temp(struct file_channel *f)
{
	CLEANUP(cleanup_free) char *dir = directory_of(f->path);
	int fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd < 0 ? -errno : fd;
	f->temp = temp_template(f->path);
	fd = mkostemp(f->temp, O_CLOEXEC);
	if (fd < 0) {
		fd = -errno;
		free(f->temp);
		f->temp = NULL;
	}
	return fd;
}

/* The new file takes the old one's permissions and its first 'bytes' bytes. */
static int carry_over(struct file_channel *f, uint64_t bytes, struct err *err)
{
	CLEANUP(cleanup_close) int old = open(f->path, O_RDONLY | O_CLOEXEC);
	CLEANUP(cleanup_free) uint8_t *piece = xcalloc(1, 64 * KiB);
	struct stat st;
	uint64_t at = 0;

	if (old < 0 || fstat(old, &st) < 0)
		return 0;
	(void)fchmod(f->ch.fd, st.st_mode & 0777);
	while (at < bytes) {
		ssize_t n = pread(old, piece, MIN(64 * KiB, bytes - at), (off_t)at);

		if (n > 0 && pwrite(f->ch.fd, piece, (size_t)n, (off_t)at) != n)
			n = -1;
		if (n < 0)
			return err_set(err, errno, "cannot keep the first bytes of '%s': %s",
				       f->path, err_text(errno));
		if (n == 0)
			break; /* the old one is shorter: a hole follows */
		at += (uint64_t)n;
	}
	return 0;
}

/* What the symbolic link 'path' says, as seen from here; NULL when it is none.  Owned. */
static char *link_target(const char *path)
{
	char to[PATH_MAX];
	ssize_t n = readlink(path, to, sizeof(to) - 1);
	CLEANUP(cleanup_free) char *dir = NULL;

	if (n < 0)
		return NULL;
	to[n] = 0;
	if (*to == '/')
		return xstrdup(to);
	dir = directory_of(path);
	return xasprintf("%s/%s", dir, to);
}

/* Where the bytes really are: rename must not replace a symbolic link by a file. */
static char *real_path(const char *path)
{
	char *real = realpath(path, NULL), *at, *next;

	if (real)
		return real;
	at = xstrdup(path); /* it does not exist; links that lead to it may */
	for (int i = 0; i < LINKS_MAX && (next = link_target(at)); i++) {
		free(at);
		at = next;
	}
	return at;
}

static bool is_pipe(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISFIFO(st.st_mode);
}

static int say_not_opened(const char *path, int ret, const struct patience *patience,
			  struct err *err)
{
	if (ret == -ECANCELED)
		return err_set(err, ECANCELED, "the migration was cancelled");
	if (ret == -ETIME)
		return err_set(
		    err, ETIMEDOUT,
		    "Could not open '%s': no program has opened the pipe to read for %u s "
		    "(x-minivmm-peer-timeout)",
		    path, patience_limit_s(patience));
	return err_set(err, -ret, "Could not open '%s': %s", path, err_text(-ret));
}

/* Until the pipe has a reader.  A descriptor, or -errno as channel_wait() has it. */
static int open_pipe(const char *path, int cancel_fd, struct patience *patience)
{
	struct pollfd p = {.fd = cancel_fd, .events = POLLIN};
	int fd;

	patience_wait(patience);
	while ((fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)) < 0) {
		fd = -errno;
		if (fd == -ENXIO && poll(&p, 1, AGAIN_MS) > 0)
			fd = -ECANCELED;
		else if (fd == -ENXIO && patience_ended(patience))
			fd = -ETIME;
		if (fd != -ENXIO)
			break;
	}
	patience_go_on(patience);
	return fd;
}

static int open_direct(const char *path, int cancel_fd, struct patience *patience)
{
	int fd;

	if (is_pipe(path))
		return open_pipe(path, cancel_fd, patience);
	fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* What the descriptor's file holds behind the offset goes. */
static struct channel *write_fdset(const char *path, unsigned long long offset, int cancel_fd,
				   struct err *err)
{
	struct file_channel *f = file_new(xstrdup(path), cancel_fd);
	struct stat st = {0};

	f->direct = true;
	f->ch.set_path = f->path;
	f->at = f->start = (off_t)offset;
	f->ch.fd = path_open(path, O_WRONLY | O_NONBLOCK, 0, err);
	if (f->ch.fd < 0)
		goto fail;
	if (fstat(f->ch.fd, &st) < 0 ||
	    (S_ISREG(st.st_mode) && ftruncate(f->ch.fd, (off_t)offset) < 0)) {
		(void)err_set(err, errno, "Unable to write to file '%s': %s", path,
			      err_text(errno));
		goto fail;
	}
	f->ch.steady = f->holds = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode);
	if (f->ch.steady || !offset)
		return &f->ch;
	(void)err_set(err, ESPIPE, "'%s' has no offsets: %s", path, err_text(ESPIPE));
fail:
	file_close(&f->ch);
	return NULL;
}

struct channel *channel_file_write(const char *path, unsigned long long offset, int cancel_fd,
				   struct patience *patience, struct err *err)
{
	struct file_channel *f;
	struct stat st;
	bool exists;
	int fd;

	if (path_is_fdset(path))
		return write_fdset(path, offset, cancel_fd, err);
	f = file_new(real_path(path), cancel_fd);
	exists = stat(f->path, &st) == 0;
	f->at = (off_t)offset;
	f->direct = exists && !S_ISREG(st.st_mode);
	fd = f->direct ? open_direct(f->path, cancel_fd, patience) : open_temp(f);
	if (fd < 0) {
		(void)say_not_opened(path, fd, patience, err);
		goto fail;
	}
	f->ch.fd = fd;
	f->ch.steady = !f->direct || S_ISBLK(st.st_mode);
	f->holds = f->direct && f->ch.steady;
	f->start = f->at;
	if (f->direct && offset && lseek(f->ch.fd, (off_t)offset, SEEK_SET) < 0) {
		(void)err_set(err, errno, "'%s' has no offsets: %s", path, err_text(errno));
		goto fail;
	}
	if (!f->direct && exists && carry_over(f, offset, err) < 0)
		goto fail;
	return &f->ch;
fail:
	file_close(&f->ch);
	return NULL;
}

struct channel *channel_file_read(const char *path, unsigned long long offset, int cancel_fd,
				  struct err *err)
{
	struct file_channel *f = file_new(xstrdup(path), cancel_fd);
	struct stat st;

	f->at = (off_t)offset;
	f->ch.set_path = path_is_fdset(path) ? f->path : NULL;
	f->ch.fd = path_open(path, O_RDONLY | O_NONBLOCK, 0, err);
	if (f->ch.fd >= 0 && fstat(f->ch.fd, &st) < 0) {
		(void)err_set(err, errno, "Could not open '%s': %s", path, err_text(errno));
		path_close(f->ch.fd);
		f->ch.fd = -1;
	}
	if (f->ch.fd < 0) {
		file_close(&f->ch);
		return NULL;
	}
	f->ch.steady = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode);
	f->direct = !f->ch.steady;
	f->silent = S_ISFIFO(st.st_mode);
	return &f->ch;
}
