/*
 * splice.c - pages into a unix socket without a copy
 *
 * vmsplice() puts references to the pages into a pipe, splice() moves them on
 * into the socket's queue; the one copy left is the reader's.
 */
#include "migration/channel/splice.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

#define PIPE_BYTES MiB /* what an unprivileged process may have */

struct splicer {
	int out, in; /* the pipe's ends; owned */
	bool refused;
};

void splicer_free(struct splicer *s)
{
	if (!s)
		return;
	(void)close(s->out);
	(void)close(s->in);
	free(s);
}

struct splicer *splicer_new(int fd)
{
	int flags = fcntl(fd, F_GETFL), pipe_ends[2];
	struct splicer *s;

	/* On a socket that blocks, older kernels would wait inside splice(). */
	if (flags < 0 || !(flags & O_NONBLOCK) || pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return NULL;
	(void)fcntl(pipe_ends[1], F_SETPIPE_SZ, PIPE_BYTES);
	s = NEW(struct splicer);
	s->out = pipe_ends[0];
	s->in = pipe_ends[1];
	return s;
}

bool channel_splices(const struct channel *c)
{
	return c->splicer && !c->splicer->refused;
}

/* What is in the pipe goes into the socket. */
static int drain(struct channel *c, size_t n, struct err *err)
{
	while (n > 0) {
		ssize_t moved = splice(c->splicer->out, NULL, c->fd, NULL, n, SPLICE_F_NONBLOCK);

		if (moved > 0) {
			n -= (size_t)moved;
			continue;
		}
		moved = moved < 0 ? -errno : -EPIPE;
		if (moved == -EAGAIN || moved == -EINTR)
			moved = channel_wait(c, POLLOUT, -1);
		if (moved < 0)
			return channel_say_failed(c, (int)moved, "write to", err);
	}
	return 0;
}

int channel_splice(struct channel *c, const void *p, size_t n, size_t *done, struct err *err)
{
	for (*done = 0; *done < n;) {
		struct iovec v = iov_of((const uint8_t *)p + *done, MIN(n - *done, PIPE_BYTES));
		ssize_t in = vmsplice(c->splicer->in, &v, 1, SPLICE_F_NONBLOCK);
		int ret;

		if (in < 0 && errno == EINTR)
			continue;
		if (in <= 0) { /* never because of the peer: the pipe is empty */
			c->splicer->refused = true;
			return 0;
		}
		ret = drain(c, (size_t)in, err);
		if (ret < 0)
			return ret;
		*done += (size_t)in;
	}
	return 0;
}
