/*
 * socket.c - unix and TCP sockets, as server or client
 *
 * One peer at a time: while there is one, a server does not look at its
 * listening socket and others wait in the backlog.  A client whose connection
 * ends, or does not come about, tries again after its reconnect time, if it
 * has one.
 *
 *	idle --accept--> connected --end of stream, error--> idle          (server)
 *	idle --timer--> connecting --writable--> connected --> idle        (client)
 *
 * Only the main loop's callbacks take a connection down, never a write: a
 * front end that writes does not expect to be told in the middle of it that
 * its peer has left.  A failed write marks the connection as broken, and the
 * loop does the rest.
 *
 * Descriptors that a peer on a unix socket sends are handed on before the
 * bytes they came with.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/chardev/address.h"
#include "devices/chardev/backend.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define MAX_FDS 16 /* with one message */

struct sock {
	/* set at creation and then constant */
	struct addresses peers; /* client */
	char *unlink_path;      /* owned; of a unix socket that we made */
	char *name;             /* owned: "unix:/path,server=on" */
	uint32_t reconnect_s;
	int listen_fd; /* server, else -1 */
	struct loop_fd *listen_watch;
	struct loop_timer *timer; /* client that reconnects */
	struct yank yank;
	/* main thread */
	int fd; /* connected or connecting; -1 */
	struct loop_fd *watch;
	bool connecting;
	bool broken;     /* a write failed: the loop ends the connection */
	bool want_write; /* the front end waits for room */
	size_t next_peer;
};

static void peer_ready(void *opaque, int ready);

/* ---- the connection ---- */

static void update_events(struct chardev *c)
{
	const struct sock *s = c->state;
	int events = 0;

	if (!s->watch)
		return;
	if (s->connecting || s->want_write)
		events |= LOOP_WRITABLE;
	if (s->broken || (!s->connecting && chardev_room(c) > 0))
		events |= LOOP_READABLE;
	loop_fd_events(s->watch, events);
}

static void show_name(struct chardev *c)
{
	const struct sock *s = c->state;
	struct address a = {.len = sizeof(a.sa)};
	char text[ADDRESS_TEXT] = "";

	if (s->fd < 0 || s->connecting) {
		chardev_set_filename(c, "disconnected:%s", s->name);
		return;
	}
	if (getpeername(s->fd, (struct sockaddr *)&a.sa, &a.len) == 0)
		address_text(&a, text);
	if (*text)
		chardev_set_filename(c, "%s <-> %s", s->name, text);
	else
		chardev_set_filename(c, "%s", s->name);
}

static void connected(struct chardev *c)
{
	struct sock *s = c->state;
	int one = 1;

	s->connecting = s->broken = s->want_write = false;
	(void)setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one,
			 sizeof(one)); /* a unix socket refuses */
	if (s->listen_watch)
		loop_fd_events(s->listen_watch, 0);
	show_name(c);
	chardev_set_connected(c, true);
	update_events(c);
}

static void take_fd(struct chardev *c, int fd)
{
	struct sock *s = c->state;

	s->fd = fd;
	yank_set_fd(&c->m->yanks, &s->yank, fd);
	s->watch = loop_fd_add(c->loop, fd, 0, peer_ready, c);
}

/* The connection is over, did not come about, or the front end wants no more of it. */
static void disconnect(struct chardev *c)
{
	struct sock *s = c->state;

	if (s->fd < 0)
		return;
	loop_fd_del(s->watch);
	s->watch = NULL;
	yank_set_fd(&c->m->yanks, &s->yank, -1);
	(void)close(s->fd);
	s->fd = -1;
	s->connecting = s->broken = false;
	show_name(c);
	chardev_set_connected(c, false);
	if (s->listen_watch)
		loop_fd_events(s->listen_watch, LOOP_READABLE);
	if (s->timer)
		loop_timer_arm_ms(s->timer, 1000ULL * s->reconnect_s);
}

static void deliver_fds(struct chardev *c, struct msghdr *msg)
{
	for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h; h = CMSG_NXTHDR(msg, h)) {
		size_t n;

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof(fd), sizeof(fd));
			chardev_deliver_fd(c, fd);
		}
	}
}

/* False when the connection has ended. */
static bool receive(struct chardev *c)
{
	const struct sock *s = c->state;
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(MAX_FDS * sizeof(int))];
	uint8_t bytes[CHARDEV_CHUNK];
	struct iovec iov = {.iov_base = bytes, .iov_len = chardev_room(c)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	ssize_t n;

	if (!iov.iov_len)
		return true;
	n = recvmsg(s->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	deliver_fds(c, &msg);
	chardev_deliver(c, bytes, (size_t)n);
	return n > 0;
}

static bool connect_done(struct chardev *c)
{
	const struct sock *s = c->state;
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error)
		return false;
	connected(c);
	return true;
}

static void peer_ready(void *opaque, int ready)
{
	struct chardev *c = opaque;
	struct sock *s = c->state;

	if (s->connecting) {
		if (!connect_done(c))
			disconnect(c);
		return;
	}
	if (s->broken || (ready & LOOP_READABLE && !receive(c))) {
		disconnect(c);
		return;
	}
	if (ready & LOOP_WRITABLE && s->want_write) {
		s->want_write = false;
		chardev_tell_writable(c);
	}
	update_events(c);
}

static ssize_t socket_write(struct chardev *c, const uint8_t *p, size_t n)
{
	struct sock *s = c->state;
	ssize_t ret;

	if (s->broken)
		return (ssize_t)n; /* nobody is there any more */
	do
		ret = send(s->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (ret < 0 && errno == EINTR);
	if (ret < 0 && errno != EAGAIN) {
		s->broken = true;
		(void)shutdown(s->fd, SHUT_RDWR); /* wakes the loop at once */
		ret = (ssize_t)n;
	} else if (ret < 0) {
		ret = 0;
	}
	s->want_write = !s->broken && (size_t)ret < n;
	update_events(c);
	return ret;
}

/* ---- server ---- */

static void listen_ready(void *opaque, int ready)
{
	struct chardev *c = opaque;
	const struct sock *s = c->state;
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)ready;
	if (fd < 0)
		return;
	take_fd(c, fd);
	connected(c);
}

/* wait=on: the program starts when somebody is there. */
static int wait_for_peer(struct chardev *c, struct err *err)
{
	const struct sock *s = c->state;
	struct pollfd p = {.fd = s->listen_fd, .events = POLLIN};

	log_info("waiting for connection on: %s", s->name);
	while (s->fd < 0) {
		if (poll(&p, 1, -1) < 0)
			return err_set(err, errno, "chardev '%s': waiting for a connection: %s",
				       c->id, err_text(errno));
		listen_ready(c, LOOP_READABLE);
	}
	return 0;
}

static int start_listening(struct chardev *c, const struct cfg_chardev *cfg, int fd,
			   struct err *err)
{
	struct sock *s = c->state;

	s->listen_fd = fd;
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	s->listen_watch = loop_fd_add(c->loop, fd, LOOP_READABLE, listen_ready, c);
	return cfg->wait ? wait_for_peer(c, err) : 0;
}

/* ---- client ---- */

static void try_connect(void *opaque)
{
	struct chardev *c = opaque;
	struct sock *s = c->state;
	int fd = address_connect_start(&s->peers.v[s->next_peer++ % s->peers.n]);

	if (fd < 0) {
		loop_timer_arm_ms(s->timer, 1000ULL * s->reconnect_s);
		return;
	}
	take_fd(c, fd);
	s->connecting = true;
	update_events(c);
}

static int start_connecting(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	struct sock *s = c->state;
	int fd;

	if (cfg->reconnect_s) {
		s->reconnect_s = cfg->reconnect_s;
		s->timer = loop_timer_new(c->loop, try_connect, c);
		try_connect(c);
		return 0;
	}
	fd = address_connect(&s->peers, cfg, err);
	if (fd < 0)
		return fd;
	take_fd(c, fd);
	connected(c);
	return 0;
}

/* ---- life ---- */

/* A descriptor given with fd=: a listening socket for a server, else a connected one. */
static int use_fd(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	int type = 0;
	socklen_t len = sizeof(type);

	if (getsockopt(cfg->fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return err_set(err, EINVAL, "File descriptor '%d' is not a socket", cfg->fd);
	(void)fcntl(cfg->fd, F_SETFD, FD_CLOEXEC);
	if (cfg->server)
		return start_listening(c, cfg, cfg->fd, err);
	(void)fcntl(cfg->fd, F_SETFL, fcntl(cfg->fd, F_GETFL) | O_NONBLOCK);
	take_fd(c, cfg->fd);
	connected(c);
	return 0;
}

static char *make_name(const struct cfg_chardev *cfg, int listen_fd)
{
	const char *role = cfg->server ? ",server=on" : "";
	struct address a = {.len = sizeof(a.sa)};
	char text[ADDRESS_TEXT] = "";

	if (cfg->fd >= 0)
		return xasprintf("fd:%d%s", cfg->fd, role);
	if (cfg->path)
		return xasprintf("unix:%s%s", cfg->path, role);
	/* The port may have been the host's choice. */
	if (listen_fd >= 0 && getsockname(listen_fd, (struct sockaddr *)&a.sa, &a.len) == 0)
		address_text(&a, text);
	if (*text)
		return xasprintf("tcp:%s%s", text, role);
	return xasprintf("tcp:%s:%s%s", cfg->host ? cfg->host : "", cfg->port, role);
}

static int open_address(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	struct sock *s = c->state;
	int fd, ret = address_resolve(&s->peers, cfg, err);

	if (ret < 0)
		return ret;
	if (!cfg->server) {
		s->name = make_name(cfg, -1);
		show_name(c);
		return start_connecting(c, cfg, err);
	}
	fd = address_listen(&s->peers, cfg, err);
	if (fd < 0)
		return fd;
	s->unlink_path = cfg->path ? xstrdup(cfg->path) : NULL;
	s->name = make_name(cfg, fd);
	show_name(c);
	return start_listening(c, cfg, fd, err);
}

static void socket_close(struct chardev *c)
{
	struct sock *s = c->state;

	c->connected = false;
	yank_del(&c->m->yanks, &s->yank);
	loop_timer_free(s->timer);
	loop_fd_del(s->watch);
	loop_fd_del(s->listen_watch);
	if (s->fd >= 0)
		(void)close(s->fd);
	if (s->listen_fd >= 0)
		(void)close(s->listen_fd);
	if (s->unlink_path)
		(void)unlink(s->unlink_path);
	free(s->unlink_path);
	free(s->name);
	free(s);
}

static int socket_open(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	struct sock *s = NEW(struct sock);
	int ret;

	s->fd = s->listen_fd = -1;
	c->state = s;
	yank_add(&c->m->yanks, &s->yank, YANK_CHARDEV, c->id, -1);
	if (cfg->fd >= 0) {
		s->name = make_name(cfg, -1);
		ret = use_fd(c, cfg, err);
	} else {
		ret = open_address(c, cfg, err);
	}
	if (ret < 0)
		socket_close(c);
	return ret;
}

const struct chardev_ops chardev_socket_ops = {
    .type = "socket",
    .open = socket_open,
    .write = socket_write,
    .accept_input = update_events,
    .close = socket_close,
    .disconnect = disconnect,
};
