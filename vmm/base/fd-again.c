/*
 * fd-again.c - another descriptor for a file of which there is one
 *
 * A duplicate shares flags, place in the file and locks with the descriptor that was passed in and
 * with all others of it.  So a file, a pipe or a terminal is opened once more by way of
 * /proc/self/fd, which makes an open file of its own; where the permissions do not allow that, and
 * for all else (sockets, devices that are another one each time), it is a duplicate.
 */
#include "vmm/base/fd-again.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int open_again(int fd, int flags)
{
	char self[32];
	int ret;

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	ret = open(self, (flags & ~(O_CREAT | O_EXCL | O_TRUNC)) | O_CLOEXEC);
	return ret < 0 ? -errno : ret;
}

/* To open /dev/ptmx again makes another terminal. */
static bool may_open_again(int fd, const struct stat *st)
{
	return S_ISREG(st->st_mode) || S_ISBLK(st->st_mode) || S_ISFIFO(st->st_mode) ||
	       (S_ISCHR(st->st_mode) && st->st_rdev != makedev(5, 2) && isatty(fd));
}

static int duplicate(int from, int flags, const struct stat *st)
{
	int have = fcntl(from, F_GETFL), want = have | (flags & (O_APPEND | O_NONBLOCK));
	int fd = fcntl(from, F_DUPFD_CLOEXEC, 0), ret = 0;

	if (fd < 0)
		return -errno;
	if (want != have && fcntl(fd, F_SETFL, want) < 0)
		ret = -errno;
	if (ret == 0 && S_ISREG(st->st_mode))
		(void)lseek(fd, 0, SEEK_SET);
	if (ret == 0)
		return fd;
	(void)close(fd);
	return ret;
}

int fd_open_again(int from, int flags, const struct stat *st)
{
	int fd = may_open_again(from, st) ? open_again(from, flags) : -EINVAL;

	if (fd >= 0 || (fcntl(from, F_GETFL) & O_DIRECT) != (flags & O_DIRECT))
		return fd;
	return duplicate(from, flags, st);
}
