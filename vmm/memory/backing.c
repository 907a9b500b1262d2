/*
 * backing.c - opening, sizing and undoing the memfd or file behind a RAM block
 *
 * A file in use has data that this program did not write, so only an empty file
 * is given a size, and only what this program created or sized is undone.  A
 * memfd is sealed at its size: another process that receives it cannot shrink
 * it under a reader, which would be a SIGBUS.
 */
#include "vmm/memory/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/units.h"
#include "vmm/memory/memory.h"

static int open_memfd(const char *name, const struct ram_backend *be, struct err *err)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd;

	if (be->hugetlb) {
		flags |= MFD_HUGETLB;
		if (be->hugetlb_bytes)
			flags |= (unsigned)__builtin_ctzll(be->hugetlb_bytes) << MFD_HUGE_SHIFT;
	}
	fd = memfd_create(name, flags);
	if (fd < 0)
		return err_set(err, errno, "cannot set up guest memory '%s': memfd: %s", name,
			       err_text(errno));
	return fd;
}

/* Shared memory without a file could not be asked which of its pages are there. */
static bool is_memfd(const struct ram_backend *be)
{
	return be->kind == RAM_MEMFD || (be->kind == RAM_ANONYMOUS && be->share);
}

/* A file without a name in a directory; -errno. */
static int open_in(const char *directory)
{
	int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
		CLEANUP(cleanup_free)
		char *path = xasprintf("%s/minivmm-ram.XXXXXX", directory);

		fd = mkostemp(path, O_CLOEXEC);
		if (fd >= 0)
			(void)unlink(path);
	}
	return fd < 0 ? -errno : fd;
}

static int open_file(struct backing *b, const char *name, const char *path, struct err *err)
{
	struct stat st;
	int fd;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		fd = open_in(path);
	} else {
		b->path = path;
		fd = path_open(path, O_RDWR, 0, NULL);
		if (fd == -ENOENT && !path_is_fdset(path)) {
			fd = path_open(path, O_RDWR | O_CREAT | O_EXCL, 0644, NULL);
			b->created = fd >= 0;
		}
		if (fd == -EEXIST) /* another process has created it meanwhile */
			fd = path_open(path, O_RDWR, 0, NULL);
	}
	if (fd < 0)
		return err_set(err, -fd, "can't open backing store %s for guest RAM '%s': %s", path,
			       name, err_text(-fd));
	return fd;
}

int backing_open(struct backing *b, const char *name, const struct ram_backend *be, struct err *err)
{
	int ret = 0;

	*b = (struct backing){.fd = be->fd, .own_memfd = be->fd < 0 && is_memfd(be)};
	if (be->fd < 0 && is_memfd(be))
		b->fd = ret = open_memfd(name, be, err);
	else if (be->fd < 0 && be->kind == RAM_FILE)
		b->fd = ret = open_file(b, name, be->path, err);
	return ret < 0 ? ret : 0;
}

/* A process that receives the descriptor must not be able to remove pages under a reader. */
static void seal_size(int fd)
{
	(void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

int backing_size(struct backing *b, const char *name, uint64_t bytes, struct err *err)
{
	struct stat st;

	if (b->fd < 0)
		return 0;
	if (fstat(b->fd, &st) < 0)
		return err_set(err, errno, "guest RAM '%s': %s", name, err_text(errno));
	if (st.st_size > 0 && (uint64_t)st.st_size < bytes)
		return err_set(err, EEXIST,
			       "guest RAM '%s': %s holds %" PRIu64 " bytes, fewer than the %" PRIu64
			       " of the RAM, which would be written over them: remove it, or give "
			       "another mem-path=",
			       name, b->path ? b->path : "the file", (uint64_t)st.st_size, bytes);
	if (st.st_size == 0 && ftruncate(b->fd, (off_t)bytes) < 0)
		return err_set(err, errno,
			       "cannot size the backing of guest RAM '%s' to %" PRIu64 " bytes: %s",
			       name, bytes, err_text(errno));
	b->resized = st.st_size == 0;
	if (b->own_memfd)
		seal_size(b->fd);
	return 0;
}

void backing_undo(const struct backing *b)
{
	if (b->resized && !b->own_memfd)
		(void)!ftruncate(b->fd, 0);
	if (b->created)
		(void)unlink(b->path);
}

uint64_t backing_page_bytes(int fd)
{
	struct statfs fs;

	if (fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC)
		return (uint64_t)fs.f_bsize;
	return PAGE_BYTES;
}
