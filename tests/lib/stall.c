/*
 * stall.c - a disk that stops answering when a test says so; linked around minivmm (--wrap)
 *
 * System calls on the file that $STALL_DISK names first pass a gate: a lock on
 * $STALL_GATE.io for reads and writes, on $STALL_GATE.flush for flushes.  While
 * the test holds that lock they wait, as on a frozen file system; a byte in
 * the FIFO $STALL_GATE.told, its first letter, says that one does.  A test that dies lets go.
 *
 * Page faults that userfaultfd reports cannot be read any more once the file $STALL_FAULTS exists.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vmm/memory/userfault.h"

ssize_t __real_preadv(int fd, const struct iovec *iov, int n, off_t off);
ssize_t __real_pwritev(int fd, const struct iovec *iov, int n, off_t off);
int __real_fdatasync(int fd);
ssize_t __wrap_preadv(int fd, const struct iovec *iov, int n, off_t off);
ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int n, off_t off);
int __wrap_fdatasync(int fd);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __real_userfault_read(const struct userfault *u, struct userfault_msg *msgs, unsigned max);
int __wrap_userfault_read(const struct userfault *u, struct userfault_msg *msgs, unsigned max);

static int is_the_disk(int fd)
{
	const char *path = getenv("STALL_DISK");
	struct stat a, b;

	return path && stat(path, &a) == 0 && fstat(fd, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

static int open_gate(const char *which, int flags)
{
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s.%s", getenv("STALL_GATE"), which);
	return open(path, flags | O_CLOEXEC);
}

static void tell(const char *which)
{
	int fd = open_gate("told", O_WRONLY | O_NONBLOCK);

	(void)!write(fd, which, 1);
	(void)close(fd);
}

static void pass(int fd, const char *which)
{
	int gate = is_the_disk(fd) ? open_gate(which, O_RDONLY) : -1;

	if (gate < 0)
		return;
	if (flock(gate, LOCK_SH | LOCK_NB) < 0) {
		tell(which);
		while (flock(gate, LOCK_SH) < 0 && errno == EINTR)
			continue;
	}
	(void)close(gate);
}

ssize_t __wrap_preadv(int fd, const struct iovec *iov, int n, off_t off)
{
	pass(fd, "io");
	return __real_preadv(fd, iov, n, off);
}

ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	pass(fd, "io");
	return __real_pwritev(fd, iov, n, off);
}

int __wrap_fdatasync(int fd)
{
	pass(fd, "flush");
	return __real_fdatasync(fd);
}

int __wrap_userfault_read(const struct userfault *u, struct userfault_msg *msgs, unsigned max)
{
	const char *path = getenv("STALL_FAULTS");

	return path && access(path, F_OK) == 0 ? -EIO : __real_userfault_read(u, msgs, max);
}

/* All requests take the way of the calls above. */
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
	(void)entries;
	(void)ring;
	(void)flags;
	return -ENOSYS;
}
