/* fd.c - a descriptor that was passed in: socket, pipe or file */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/nonblock.h"

static ssize_t fd_read(struct channel *c, void *buf, size_t n)
{
	ssize_t got = read(c->fd, buf, n);

	return got < 0 ? -errno : got;
}

static ssize_t fd_writev(struct channel *c, struct iovec *iov, int n_iov)
{
	ssize_t sent = writev(c->fd, iov, n_iov);

	return sent < 0 ? -errno : sent;
}

static int fd_finish(struct channel *c, struct err *err)
{
	if (c->steady && fsync(c->fd) < 0 && errno != EINVAL)
		return err_set(err, errno, "Unable to write to file: fsync: %s", err_text(errno));
	return 0;
}

static void fd_close(struct channel *c)
{
	(void)close(c->fd);
	free(c);
}

static const struct channel_ops fd_ops = {
    .kind = "file descriptor",
    .read = fd_read,
    .writev = fd_writev,
    .finish = fd_finish,
    .close = fd_close,
};

/*
 * The process that passed the descriptor may share it, so its flags stay as they are
 * where the pipe can be opened once more.
 */
static void use_own_description(struct channel *c)
{
	int flags = fcntl(c->fd, F_GETFL);
	struct nonblock n;

	if (flags < 0 || flags & O_NONBLOCK)
		return;
	nonblock_init(&n, c->fd, flags & O_ACCMODE);
	if (n.kind == NONBLOCK_OWN) {
		(void)close(c->fd);
		c->fd = n.fd;
	} else {
		(void)fcntl(c->fd, F_SETFL, flags | O_NONBLOCK);
	}
}

struct channel *channel_from_fd(int fd, int cancel_fd, struct err *err)
{
	struct channel *c;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		(void)err_set(err, EBADF, "Invalid file descriptor number '%d'", fd);
		return NULL;
	}
	if (S_ISSOCK(st.st_mode))
		return channel_from_socket(fd, cancel_fd);
	c = NEW(struct channel);
	c->ops = &fd_ops;
	c->fd = fd;
	c->cancel_fd = cancel_fd;
	c->steady = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode);
	if (!c->steady)
		use_own_description(c);
	return c;
}
