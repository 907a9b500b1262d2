/*
 * nonblock.c - four ways to use a shared descriptor without O_NONBLOCK
 *
 *     NONBLOCK_OWN      pipe, terminal: opened again through /proc/self/fd
 *     NONBLOCK_SOCKET   MSG_DONTWAIT
 *     NONBLOCK_STEADY   regular file, device: never waits
 *     NONBLOCK_POLL     the rest: poll() before each call; at most PIPE_BUF bytes,
 *                       which a pipe that polls writable takes at once
 */
#include "vmm/base/nonblock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "vmm/base/units.h"

/* To open /dev/ptmx again makes another terminal. */
static bool can_reopen(int fd, const struct stat *st)
{
	return S_ISFIFO(st->st_mode) ||
	       (S_ISCHR(st->st_mode) && st->st_rdev != makedev(5, 2) && isatty(fd));
}

static int reopen(int fd, int mode)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void nonblock_init(struct nonblock *n, int fd, int mode)
{
	struct stat st;
	int own;

	*n = (struct nonblock){.fd = fd, .kind = NONBLOCK_POLL};
	if (fstat(fd, &st) < 0)
		return;
	if (S_ISSOCK(st.st_mode)) {
		n->kind = NONBLOCK_SOCKET;
	} else if (can_reopen(fd, &st)) {
		own = reopen(fd, mode);
		if (own >= 0)
			*n = (struct nonblock){.fd = own, .kind = NONBLOCK_OWN};
	} else if (!isatty(fd)) {
		n->kind = NONBLOCK_STEADY;
	}
}

void nonblock_fini(struct nonblock *n)
{
	if (n->kind == NONBLOCK_OWN)
		(void)close(n->fd);
	*n = (struct nonblock){.fd = -1, .kind = NONBLOCK_POLL};
}

static bool is_ready(const struct nonblock *n, short events)
{
	struct pollfd p = {.fd = n->fd, .events = events};

	return n->kind != NONBLOCK_POLL || poll(&p, 1, 0) > 0;
}

ssize_t nonblock_read(const struct nonblock *n, void *p, size_t size)
{
	ssize_t got;

	if (!is_ready(n, POLLIN))
		return -EAGAIN;
	if (n->kind == NONBLOCK_SOCKET)
		got = recv(n->fd, p, size, MSG_DONTWAIT);
	else
		got = read(n->fd, p, size);
	return got < 0 ? -errno : got;
}

ssize_t nonblock_write(const struct nonblock *n, const void *p, size_t size)
{
	ssize_t put;

	if (!is_ready(n, POLLOUT))
		return -EAGAIN;
	if (n->kind == NONBLOCK_SOCKET)
		put = send(n->fd, p, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	else /* a pipe that poll() calls writable has room for so much */
		put = write(n->fd, p, n->kind == NONBLOCK_POLL ? MIN(size, PIPE_BUF) : size);
	return put < 0 ? -errno : put;
}
