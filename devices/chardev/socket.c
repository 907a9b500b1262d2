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
 * its peer has left.  A failed write marks the peer as deaf: output for it is
 * dropped from then on, and the loop does the rest.
 *
 * The end of a connection is noticed whatever waits in either direction.  What
 * the peer has sent is read to its end; when the front end takes no more because
 * its own output waits, dropping that gives it room.  What it does not take even
 * then is dropped with the peer, or kept when the input is a line ('owed').
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
#include <sys/ioctl.h>
#include <unistd.h>

#include "devices/chardev/address.h"
#include "devices/chardev/backend.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/listen.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/host.h"
#include "vmm/listener.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define MAX_FDS  16         /* with one message */
#define MAX_OWED MiB        /* of input that the front end has not taken from peers that left */
#define MAX_REST (64 * KiB) /* of that, handed over at once */

struct sock {
	/* set at creation and then constant */
	struct sockaddr_list peers; /* client */
	char *name;                 /* owned: "unix:/path,server=on" */
	uint64_t reconnect_ms;
	struct listen_set listening; /* server, else empty */
	struct listener *listener;
	struct loop_timer *timer; /* client that reconnects */
	struct yank yank;
	/* main thread */
	int fd; /* connected or connecting; -1 */
	struct loop_fd *watch;
	bool connecting;
	bool deaf;       /* the peer has gone: output is dropped */
	bool want_write; /* the front end waits for room */
	bool half_open;  /* the peer says nothing more, but reads on */
	/* under the machine lock: a line's input from peers that have left */
	struct buf owed;
	size_t owed_at;                /* delivered so far */
	struct loop_timer *owed_timer; /* delivers; NULL: nothing has ever been owed */
	int next_peer;
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
	if (!s->connecting && !s->owed.len && chardev_room(c) > 0)
		events |= LOOP_READABLE;
	if (!s->connecting && !s->half_open)
		events |= LOOP_HANGUP;
	loop_fd_events(s->watch, events);
}

static void show_name(struct chardev *c)
{
	const struct sock *s = c->state;
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof(ss);
	char text[ADDRESS_TEXT] = "";

	if (s->fd < 0 || s->connecting) {
		chardev_set_filename(c, "disconnected:%s", s->name);
		return;
	}
	if (getpeername(s->fd, (struct sockaddr *)&ss, &len) == 0)
		address_text(&ss, len, text);
	if (*text)
		chardev_set_filename(c, "%s <-> %s", s->name, text);
	else
		chardev_set_filename(c, "%s", s->name);
}

static void socket_connected(struct chardev *c)
{
	struct sock *s = c->state;
	int one = 1;

	s->connecting = s->deaf = s->want_write = s->half_open = false;
	(void)setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one,
			 sizeof(one)); /* a unix socket refuses */
	if (s->listener)
		listener_switch(s->listener, false);
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

/* The connection is over, did not come about, or the front end closes it. */
static void socket_disconnect(struct chardev *c)
{
	struct sock *s = c->state;

	if (s->fd < 0)
		return;
	loop_fd_del(s->watch);
	s->watch = NULL;
	yank_set_fd(&c->m->yanks, &s->yank, -1);
	(void)close(s->fd);
	s->fd = -1;
	s->connecting = s->deaf = s->want_write = false;
	show_name(c);
	chardev_set_connected(c, false);
	if (s->listener)
		listener_switch(s->listener, true);
	if (s->timer)
		loop_timer_arm_ms(s->timer, s->reconnect_ms);
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
static bool socket_receive(struct chardev *c)
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

/* ---- a peer that has left ---- */

/* Nothing can be sent to it either. */
static bool peer_is_gone(const struct sock *s)
{
	struct pollfd p = {.fd = s->fd};

	return poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR);
}

/* The loop hands over what was kept, not accept_input(): that is called by a vCPU in its access. */
static void deliver_owed(void *opaque)
{
	struct chardev *c = opaque;
	struct sock *s = c->state;
	size_t n = MIN(chardev_room(c), s->owed.len - s->owed_at);

	s->owed_at += n;
	chardev_deliver(c, s->owed.data + s->owed_at - n, n);
	if (s->owed_at == s->owed.len) {
		buf_free(&s->owed);
		s->owed_at = 0;
		update_events(c);
	} else if (chardev_room(c) > 0) {
		loop_timer_arm_ms(s->owed_timer, 0);
	}
}

/* Keep a line's input up to the end of what the peer has sent. */
static void keep_rest(struct chardev *c)
{
	struct sock *s = c->state;
	uint8_t bytes[CHARDEV_CHUNK];
	ssize_t n = 1;

	while (n > 0 && s->owed.len < MAX_OWED) {
		n = recv(s->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n > 0)
			buf_put(&s->owed, bytes, (size_t)n);
	}
	if (s->owed.len && !s->owed_timer)
		s->owed_timer = loop_timer_new(c->loop, deliver_owed, c);
}

static void say_dropped(const struct chardev *c)
{
	const struct sock *s = c->state;
	int left = 0;

	if (ioctl(s->fd, FIONREAD, &left) == 0 && left > 0)
		log_warn("chardev '%s': the peer has left; %d bytes that it sent are dropped, for "
			 "they were not taken",
			 c->id, left);
}

/* Hand over what the front end takes from a peer that has left. */
static void deliver_rest(struct chardev *c)
{
	const struct sock *s = c->state;
	uint8_t bytes[CHARDEV_CHUNK];
	ssize_t n = 1;

	for (size_t done = 0; c->client && c->client->rest && n > 0 && done < MAX_REST;
	     done += (size_t)n) {
		n = recv(s->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n <= 0)
			break;
		c->client->rest(c->client_opaque, bytes, (size_t)n);
	}
}

/* The peer says nothing more.  False: the connection has ended. */
static bool hung_up(struct chardev *c)
{
	struct sock *s = c->state;

	if (chardev_room(c) > 0) /* it is read to its end */
		return true;
	if (c->client && c->client->line) {
		keep_rest(c);
		say_dropped(c);
		return false;
	}
	if (!peer_is_gone(s)) {
		s->half_open = true;
		return true;
	}
	s->deaf = true;
	s->want_write = false;
	chardev_tell_writable(c);
	if (chardev_room(c) > 0)
		return true;
	deliver_rest(c);
	say_dropped(c);
	return false;
}

static bool connect_done(struct chardev *c)
{
	const struct sock *s = c->state;
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error)
		return false;
	socket_connected(c);
	return true;
}

static void peer_ready(void *opaque, int ready)
{
	struct chardev *c = opaque;
	struct sock *s = c->state;

	if (s->connecting) {
		if (!connect_done(c))
			socket_disconnect(c);
		return;
	}
	if ((ready & LOOP_READABLE && !socket_receive(c)) || (ready & LOOP_HANGUP && !hung_up(c))) {
		socket_disconnect(c);
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

	if (s->deaf)
		return (ssize_t)n;
	do
		ret = send(s->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (ret < 0 && errno == EINTR);
	if (ret < 0 && errno != EAGAIN) {
		s->deaf = true;
		s->half_open = false; /* its end is to be noticed again */
		ret = (ssize_t)n;
	}
	ret = MAX(ret, 0);
	s->want_write = (size_t)ret < n;
	update_events(c);
	return ret;
}

static void accept_input(struct chardev *c)
{
	const struct sock *s = c->state;

	if (s->owed.len && chardev_room(c) > 0)
		loop_timer_arm_ms(s->owed_timer, 0);
	update_events(c);
}

/* ---- server ---- */

static void socket_accepted(void *opaque, int fd)
{
	struct chardev *c = opaque;
	const struct sock *s = c->state;

	if (s->fd >= 0) { /* came in the same turn, at another address */
		(void)close(fd);
		return;
	}
	take_fd(c, fd);
	socket_connected(c);
}

/* wait=on: the program starts when a peer has connected. */
static int wait_for_peer(struct chardev *c, struct err *err)
{
	const struct sock *s = c->state;
	const struct listen_set *set = &s->listening;
	CLEANUP(cleanup_free) char *what = xasprintf("waiting for a connection on %s", s->name);

	log_info("waiting for connection on: %s", s->name);
	while (s->fd < 0) {
		int ret = host_wait(c->m->host, set->fd, set->n, POLLIN, what, err);
		int fd = ret < 0 ? ret : listen_accept(set);

		if (ret < 0)
			return ret;
		if (fd >= 0)
			socket_accepted(c, fd);
		else if (fd != -EAGAIN)
			return err_set(err, -fd, "chardev '%s': waiting for a connection: %s",
				       c->id, err_text(-fd));
	}
	return 0;
}

static int start_listening(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	struct sock *s = c->state;

	s->listener = listener_new(c->loop, &s->listening, socket_accepted, c);
	return cfg->wait ? wait_for_peer(c, err) : 0;
}

/* ---- client ---- */

static void try_connect(void *opaque)
{
	struct chardev *c = opaque;
	struct sock *s = c->state;
	int fd = address_connect_start(&s->peers, s->next_peer++ % s->peers.n);

	if (fd < 0) {
		loop_timer_arm_ms(s->timer, s->reconnect_ms);
		return;
	}
	take_fd(c, fd);
	s->connecting = true;
	update_events(c);
}

/* What is refused at once is an error; what is not yet decided shows in query-chardev. */
static int connect_later(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	struct sock *s = c->state;
	int fd = address_connect_start(&s->peers, 0);

	if (fd < 0)
		return err_set(err, -fd, "Failed to connect to '%s%s%s': %s",
			       cfg->path ? cfg->path : cfg->host, cfg->path ? "" : ":",
			       cfg->path ? "" : cfg->port, err_text(-fd));
	take_fd(c, fd);
	s->connecting = true;
	update_events(c);
	return 0;
}

static int start_connecting(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	struct sock *s = c->state;
	int fd;

	if (cfg->reconnect_ms) {
		s->reconnect_ms = cfg->reconnect_ms;
		s->timer = loop_timer_new(c->loop, try_connect, c);
		try_connect(c);
		return 0;
	}
	if (cfg->later)
		return connect_later(c, cfg, err);
	fd = address_connect(c->m->host, &s->peers, cfg, err);
	if (fd < 0)
		return fd;
	take_fd(c, fd);
	socket_connected(c);
	return 0;
}

/* ---- life ---- */

/* A descriptor given with fd=: a listening socket for a server, else a connected one. */
static int use_fd(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	CLEANUP(cleanup_free) char *what = xasprintf("chardev '%s'", c->id);
	int type = 0, ret = cfg->later ? 0 : host_claim_fd(c->m->host, cfg->fd, what, err);
	socklen_t len = sizeof(type);

	if (ret < 0)
		return ret;
	if (getsockopt(cfg->fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return err_set(err, EINVAL, "File descriptor '%d' is not a socket", cfg->fd);
	(void)fcntl(cfg->fd, F_SETFD, FD_CLOEXEC);
	if (cfg->server) {
		listen_given(&((struct sock *)c->state)->listening, cfg->fd);
		return start_listening(c, cfg, err);
	}
	(void)fcntl(cfg->fd, F_SETFL, fcntl(cfg->fd, F_GETFL) | O_NONBLOCK);
	take_fd(c, cfg->fd);
	socket_connected(c);
	return 0;
}

static char *make_name(const struct cfg_chardev *cfg, const struct listen_set *set)
{
	const char *role = cfg->server ? ",server=on" : "";
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof(ss);
	char text[ADDRESS_TEXT] = "";

	if (cfg->fd >= 0)
		return xasprintf("fd:%d%s", cfg->fd, role);
	if (cfg->path)
		return xasprintf("unix:%s%s", cfg->path, role);
	/* The port may have been the host's choice. */
	if (set->n && getsockname(set->fd[0], (struct sockaddr *)&ss, &len) == 0)
		address_text(&ss, len, text);
	if (*text)
		return xasprintf("tcp:%s%s", text, role);
	return xasprintf("tcp:%s:%s%s", cfg->host ? cfg->host : "", cfg->port, role);
}

static int open_address(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	struct sock *s = c->state;
	int ret = address_resolve(c->m->host, &s->peers, cfg, err);

	if (ret == 0 && cfg->server)
		ret = address_listen(&s->listening, &s->peers, cfg, err);
	if (ret < 0)
		return ret;
	s->name = make_name(cfg, &s->listening);
	show_name(c);
	return cfg->server ? start_listening(c, cfg, err) : start_connecting(c, cfg, err);
}

static void socket_close(struct chardev *c)
{
	struct sock *s = c->state;

	c->connected = false;
	yank_del(&c->m->yanks, &s->yank);
	loop_timer_free(s->timer);
	loop_timer_free(s->owed_timer);
	buf_free(&s->owed);
	loop_fd_del(s->watch);
	listener_free(s->listener);
	if (s->fd >= 0)
		(void)close(s->fd);
	listen_close(&s->listening);
	free(s->name);
	free(s);
}

static int socket_open(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	struct sock *s = NEW(struct sock);
	int ret;

	s->fd = -1;
	c->state = s;
	yank_add(&c->m->yanks, &s->yank, YANK_CHARDEV, c->id, -1);
	if (cfg->fd >= 0) {
		s->name = make_name(cfg, &s->listening);
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
    .accept_input = accept_input,
    .close = socket_close,
    .disconnect = socket_disconnect,
};
