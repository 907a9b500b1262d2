/* socket.c - tcp and unix stream sockets */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/channel/patience.h"
#include "migration/channel/splice.h"
#include "migration/channel/uri.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define BACKLOG_PIECE_US 100000
#define BACKLOG_PIECES   50
#define MS_PER_S         1000

/* Beyond what is under way, TCP takes no more than this ahead: it is in a cache still when it goes
 * out, and a page that a postcopy asks for has little before it. */
#define UNSENT_BYTES ((int)(128 * KiB))

/* What does not fit is closed: by us, or by the kernel. */
static void keep_fds(struct channel *c, struct msghdr *msg)
{
	for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h; h = CMSG_NXTHDR(msg, h)) {
		size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
			if (c->n_fds < CHANNEL_MAX_FDS)
				c->fds[c->n_fds++] = fd;
			else
				(void)close(fd);
		}
	}
}

static ssize_t recv_with_fds(struct channel *c, void *buf, size_t n)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(CHANNEL_MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = buf, .iov_len = n};
	struct msghdr msg = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.room,
	    .msg_controllen = sizeof(control.room),
	};
	ssize_t got = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (got >= 0)
		keep_fds(c, &msg);
	return got;
}

/*
 * MSG_DONTWAIT instead of O_NONBLOCK: a descriptor that came from a client
 * shares its flags with the client's.
 */
static ssize_t socket_read(struct channel *c, void *buf, size_t n)
{
	ssize_t got = c->accepts_fds ? recv_with_fds(c, buf, n) : recv(c->fd, buf, n, MSG_DONTWAIT);

	return got < 0 ? -errno : got;
}

static ssize_t socket_readv(struct channel *c, struct iovec *iov, int n_iov)
{
	struct msghdr msg = {
	    .msg_iov = iov,
	    .msg_iovlen = (size_t)n_iov,
	};
	ssize_t got = recvmsg(c->fd, &msg, MSG_DONTWAIT);

	return got < 0 ? -errno : got;
}

static ssize_t socket_writev(struct channel *c, struct iovec *iov, int n_iov)
{
	struct msghdr msg = {
	    .msg_iov = iov,
	    .msg_iovlen = (size_t)n_iov,
	};
	ssize_t sent = sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);

	return sent < 0 ? -errno : sent;
}

static ssize_t socket_peek(struct channel *c, void *buf, size_t n)
{
	ssize_t got = recv(c->fd, buf, n, MSG_PEEK | MSG_DONTWAIT);

	return got < 0 ? -errno : got;
}

/* POLLERR alone may be news of zero-copy-send; a broken connection hangs up as well. */
static bool socket_hung_up(const struct channel *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP);
}

static void socket_end_writing(struct channel *c)
{
	(void)shutdown(c->fd, SHUT_WR);
}

/*
 * In poll() alone, never in a call that waits: there Linux waits for what is asked for,
 * but is woken up only at the low-water mark (findings/rcvlowat-longer-than-the-rest.sh).
 * Sockets that do not know the option have no such mark.
 */
static void socket_low_water(const struct channel *c, size_t n)
{
	int bytes = (int)n;

	(void)setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes));
}

static void socket_close(struct channel *c)
{
	for (int i = 0; i < c->n_fds; i++)
		(void)close(c->fds[i]);
	splicer_free(c->splicer);
	(void)shutdown(c->fd, SHUT_RDWR); /* others may hold the descriptor too */
	(void)close(c->fd);
	free(c);
}

static const struct channel_ops socket_ops = {
    .kind = "socket",
    .read = socket_read,
    .readv = socket_readv,
    .writev = socket_writev,
    .peek = socket_peek,
    .hung_up = socket_hung_up,
    .end_writing = socket_end_writing,
    .low_water = socket_low_water,
    .close = socket_close,
};

bool channel_passes_fds(const struct channel *c)
{
	struct sockaddr_storage addr = {0};
	socklen_t len = sizeof(addr);

	return c->ops == &socket_ops && getsockname(c->fd, (struct sockaddr *)&addr, &len) == 0 &&
	       addr.ss_family == AF_UNIX;
}

void channel_use_splice(struct channel *c, bool tcp)
{
	if (!c->splicer && (tcp ? c->ops == &socket_ops : channel_passes_fds(c)))
		c->splicer = splicer_new(c->fd);
}

int channel_write_fd(struct channel *c, const void *p, size_t n, int fd, struct err *err)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.room = {0}};
	struct iovec iov = iov_of(p, 1);
	struct msghdr msg = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.room,
	    .msg_controllen = sizeof(control.room),
	};
	ssize_t sent;

	control.align = (struct cmsghdr){
	    .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
	memcpy(CMSG_DATA(&control.align), &fd, sizeof(int));
	do {
		sent = sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		sent = sent < 0 ? -errno : sent;
		if (sent == -EAGAIN) {
			int ret = channel_wait(c, POLLOUT, -1);

			sent = ret < 0 ? ret : -EAGAIN;
		}
	} while (sent == -EAGAIN || sent == -EINTR);
	if (sent < 0)
		return channel_say_failed(c, (int)sent, "pass a descriptor to", err);
	return channel_write(c, (const uint8_t *)p + 1, n - 1, err);
}

void channel_accept_fds(struct channel *c)
{
	c->accepts_fds = channel_passes_fds(c);
}

int channel_take_fd(struct channel *c)
{
	int fd;

	if (!c || !c->n_fds)
		return -1;
	fd = c->fds[0];
	memmove(c->fds, c->fds + 1, (size_t)--c->n_fds * sizeof(int));
	return fd;
}

struct channel *channel_from_socket(int fd, int cancel_fd)
{
	struct channel *c = NEW(struct channel);
	int unsent = UNSENT_BYTES, on = 1;

	/* At both ends: what comes back is little, and waited for. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	c->ops = &socket_ops;
	c->fd = fd;
	c->cancel_fd = cancel_fd;
	c->two_way = true;
	return c;
}

/*
 * Keep-alive asks a peer that has nothing to say; it does not while something waits to be sent, and
 * there the other limit counts: nothing acknowledged, or nothing taken.
 */
void channel_bound_silence(const struct channel *c)
{
	const struct {
		int level, name, value;
	} options[] = {
	    {SOL_SOCKET,  SO_KEEPALIVE,     1                           },
	    {IPPROTO_TCP, TCP_KEEPIDLE,     CHANNEL_KEEP_IDLE_S         },
	    {IPPROTO_TCP, TCP_KEEPINTVL,    CHANNEL_KEEP_INTERVAL_S     },
	    {IPPROTO_TCP, TCP_KEEPCNT,      CHANNEL_KEEP_PROBES         },
	    {IPPROTO_TCP, TCP_USER_TIMEOUT, CHANNEL_SILENCE_S * MS_PER_S},
	};

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		(void)setsockopt(channel_fd(c), options[i].level, options[i].name,
				 &options[i].value, sizeof(options[i].value));
}

void channel_send_buffer(const struct channel *c, size_t bytes)
{
	int n = (int)bytes;

	if (channel_passes_fds(c))
		(void)setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &n, sizeof(n));
}

/*
 * A unix listener whose backlog is full cannot be waited for with poll():
 * connect() does, for as long as sending may take.
 */
static int wait_for_backlog(const struct channel *waiter, const struct sockaddr *addr,
			    socklen_t len)
{
	struct timeval piece = {.tv_usec = BACKLOG_PIECE_US};
	int fd = waiter->fd, ret = -EAGAIN, flags = fcntl(fd, F_GETFL);

	patience_wait(waiter->patience);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &piece, sizeof(piece));
	(void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
	for (int i = 0; i < BACKLOG_PIECES && ret == -EAGAIN; i++) {
		ret = connect(fd, addr, len) < 0 ? -errno : 0;
		if (ret == -EAGAIN && channel_cancelled(waiter))
			ret = -ECANCELED;
		if (ret == -EAGAIN && patience_ended(waiter->patience))
			ret = -ETIME;
	}
	patience_go_on(waiter->patience);
	piece.tv_usec = 0;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &piece, sizeof(piece));
	(void)fcntl(fd, F_SETFL, flags);
	return ret == -EAGAIN ? -ECONNREFUSED : ret;
}

/* Returns the connected descriptor or -errno. */
static int connect_to(const struct sockaddr *addr, socklen_t len, int cancel_fd,
		      struct patience *patience)
{
	int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct channel waiter = {.fd = fd, .cancel_fd = cancel_fd, .patience = patience};
	int e = 0, ret;
	socklen_t e_len = sizeof(e);

	if (fd < 0)
		return -errno;
	ret = connect(fd, addr, len) < 0 ? -errno : 0;
	if (ret == -EINPROGRESS) {
		ret = channel_wait(&waiter, POLLOUT, -1);
		if (ret >= 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &e_len) == 0)
			ret = -e;
	} else if (ret == -EAGAIN) {
		ret = wait_for_backlog(&waiter, addr, len);
	}
	if (ret < 0) {
		(void)close(fd);
		return ret;
	}
	return fd;
}

static void *say_not_connected(int ret, const char *what, const struct patience *patience,
			       struct err *err)
{
	if (ret == -ECANCELED)
		(void)err_set(err, ECANCELED, "the migration was cancelled");
	else if (ret == -ETIME)
		(void)err_set(err, ETIMEDOUT,
			      "Failed to connect to '%s': no answer for %u s "
			      "(x-minivmm-peer-timeout)",
			      what, patience_limit_s(patience));
	else
		(void)err_set(err, -ret, "Failed to connect to '%s': %s", what, err_text(-ret));
	return NULL;
}

struct channel *channel_connect_unix(const char *path, int cancel_fd, struct patience *patience,
				     struct err *err)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(un.sun_path)) {
		(void)err_set(err, ENAMETOOLONG, "UNIX socket path '%s' is too long", path);
		return NULL;
	}
	memcpy(un.sun_path, path, strlen(path) + 1);
	fd = connect_to((const struct sockaddr *)&un, sizeof(un), cancel_fd, patience);
	if (fd < 0)
		return say_not_connected(fd, path, patience, err);
	return channel_from_socket(fd, cancel_fd);
}

struct channel *channel_connect_tcp(const struct sockaddr_list *to, const char *what,
				    bool keep_alive, int cancel_fd, struct patience *patience,
				    struct err *err)
{
	int fd = -EADDRNOTAVAIL, on = 1;

	for (int i = 0; i < to->n && fd < 0 && fd != -ECANCELED; i++)
		fd = connect_to((const struct sockaddr *)&to->addr[i], to->len[i], cancel_fd,
				patience);
	if (fd < 0)
		return say_not_connected(fd, what, patience, err);
	if (keep_alive)
		(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	return channel_from_socket(fd, cancel_fd);
}
