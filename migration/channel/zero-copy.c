/*
 * zero-copy.c - MSG_ZEROCOPY: each sendmsg() has a number, and the error queue tells which are done
 *
 * The kernel numbers the calls of a socket.  A notification names a range of them
 * whose pages it no longer needs, and whether it copied them after all.  'sent' and
 * 'done' count calls; a flush waits until they are equal.  ENOBUFS means that too
 * many notifications are outstanding: the writer reaps some, or, when there are none,
 * sends without the flag.
 */
#include "migration/channel/zero-copy.h"

#include <errno.h>
#include <time.h> /* before <linux/errqueue.h>, which needs it */

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "migration/channel/channel.h"
#include "vmm/base/error.h"

int zero_copy_enable(struct channel *c, struct err *err)
{
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof(ss);
	int on = 1;

	if (getsockname(c->fd, (struct sockaddr *)&ss, &len) < 0 ||
	    (ss.ss_family != AF_INET && ss.ss_family != AF_INET6))
		return err_set(err, EOPNOTSUPP,
			       "'zero-copy-send' is possible on tcp: only, this channel is another "
			       "%s",
			       c->ops->kind);
	if (setsockopt(c->fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)) < 0)
		return err_set(err, errno, "the host cannot do 'zero-copy-send': %s",
			       err_text(errno));
	return 0;
}

/* One message of the error queue: 1, 0 when there is none, -errno. */
static int reap_one(const struct channel *c, struct zero_copy *z)
{
	union {
		char bytes[CMSG_SPACE(sizeof(struct sock_extended_err) +
				      sizeof(struct sockaddr_in6))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {.msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
	struct sock_extended_err e;
	struct cmsghdr *m;

	if (recvmsg(c->fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	m = CMSG_FIRSTHDR(&msg);
	if (!m || m->cmsg_len < CMSG_LEN(sizeof(e)))
		return 1;
	memcpy(&e, CMSG_DATA(m), sizeof(e));
	if (e.ee_origin != SO_EE_ORIGIN_ZEROCOPY)
		return 1;
	z->done += e.ee_data - e.ee_info + 1; /* a range of calls */
	if (!(e.ee_code & SO_EE_CODE_ZEROCOPY_COPIED))
		z->spared = true;
	return 1;
}

static int reap(const struct channel *c, struct zero_copy *z)
{
	int ret;

	do
		ret = reap_one(c, z);
	while (ret > 0);
	return ret;
}

/* The error queue wakes poll() up whatever is asked for; so does a broken connection. */
static int wait_reaping(const struct channel *c, struct zero_copy *z, short events)
{
	int e = 0, ret = channel_wait(c, events, -1);
	socklen_t len = sizeof(e);

	if (ret == 1)
		ret = reap(c, z);
	if (ret == 0 && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &len) == 0)
		ret = -e;
	return ret;
}

static ssize_t send_some(const struct channel *c, struct zero_copy *z, struct iovec *iov, int n_iov)
{
	struct msghdr msg = {
	    .msg_iov = iov,
	    .msg_iovlen = (size_t)n_iov,
	};
	ssize_t n = sendmsg(c->fd, &msg, MSG_ZEROCOPY | MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0)
		z->sent++;
	else if (errno == ENOBUFS && z->sent == z->done) /* not even one: without it, then */
		n = sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 ? -errno : n;
}

int zero_copy_write_all(struct channel *c, struct zero_copy *z, struct iovec *iov, int n_iov,
			struct err *err)
{
	while (n_iov > 0) {
		ssize_t n = send_some(c, z, iov, n_iov);
		int used;

		if (n == -EAGAIN || n == -EINTR || n == -ENOBUFS) {
			/* Without buffers: until the kernel has finished with some. */
			n = wait_reaping(c, z, n == -ENOBUFS ? 0 : POLLOUT);
			if (n >= 0)
				continue;
		}
		if (n < 0)
			return channel_say_failed(c, (int)n, "write to", err);
		used = iov_advance(iov, n_iov, (size_t)n);
		iov += used;
		n_iov -= used;
	}
	return 0;
}

int zero_copy_flush(struct channel *c, struct zero_copy *z, bool *copied, struct err *err)
{
	bool any = z->sent > 0;

	while (z->done != z->sent) {
		int ret = wait_reaping(c, z, 0);

		if (ret < 0)
			return channel_say_failed(c, ret, "write to", err);
	}
	*copied = any && !z->spared;
	*z = (struct zero_copy){0};
	return 0;
}
