/*
 * stream.c - frames over a stream socket: be32 length, frame, be32 length, frame ...
 *
 *            open()           attach()
 *     server: bind, listen -> LISTENING -> accept -> CONNECTED -> lost -> LISTENING
 *     client: resolve ------> CONNECTING -----------> CONNECTED -> lost -> (timer) -> CONNECTING
 *     fd:     check it is one ----------------------> CONNECTED -> lost -> DOWN
 *
 * One peer at a time.  Without a peer frames are dropped, as by a network that
 * is down.  A length that is 0 or above NET_MAX_FRAME ends the connection: the
 * peer does not speak this protocol.
 */
#include "devices/net/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/net/backends.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/inet.h"
#include "vmm/base/iov.h"
#include "vmm/base/listen.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/host.h"
#include "vmm/listener.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define LENGTH_BYTES 4UL
#define MAX_MESSAGE  (LENGTH_BYTES + NET_MAX_FRAME)
#define RECV_BURST   64 /* frames given to the client before others have their turn */

enum stream_state { DOWN, LISTENING, CONNECTING, CONNECTED };

struct stream {
	/* set at creation and then constant */
	struct sockaddr_storage addr; /* client */
	socklen_t addr_bytes;
	char *name;                  /* owned; the address in words */
	struct listen_set listening; /* empty: not a server */
	bool client;
	uint64_t reconnect_ms;
	/* I/O loop (the maker before attach) */
	enum stream_state state;
	int fd; /* the connection, -1: none */
	struct loop_fd *watch;
	struct listener *listener;
	struct loop_timer *timer;
	bool blocked_in;          /* the client has no room for the first frame of in[] */
	size_t in_bytes;          /* received and not delivered */
	size_t out_at, out_bytes; /* of out[]: rest of a frame that the socket did not take */
	uint8_t in[MAX_MESSAGE], out[MAX_MESSAGE];
};

/* ---- addresses ---- */

static int stream_resolve(struct stream *s, const struct cfg_netdev *cfg, struct host *host,
			  struct err *err)
{
	CLEANUP(cleanup_free) char *what = xasprintf("netdev '%s' looks its host up", cfg->id);
	int family = ip_family(cfg->ipv4, cfg->ipv6);
	struct sockaddr_list list;
	int ret = host_lookup(host, &list, cfg->host, cfg->port, family,
			      cfg->server ? AI_PASSIVE : 0, what, err);

	if (ret < 0)
		return ret;
	s->addr = list.addr[0];
	s->addr_bytes = list.len[0];
	s->name =
	    xasprintf(strchr(cfg->host, ':') ? "tcp:[%s]:%s" : "tcp:%s:%s", cfg->host, cfg->port);
	return cfg->server ? listen_inet(&s->listening, &list, family, 0, s->name, err) : 0;
}

static int unix_address(struct stream *s, const struct cfg_netdev *cfg, struct err *err)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&s->addr;
	const char *path = cfg->path;

	s->name = xasprintf("unix:%s", path);
	if (cfg->server)
		return listen_unix(&s->listening, path, err);
	if (strlen(path) >= sizeof(un->sun_path))
		return err_set(err, EINVAL, "UNIX socket path '%s' is too long", path);
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, strlen(path));
	s->addr_bytes = sizeof(*un);
	return 0;
}

static int use_fd(struct stream *s, const struct cfg_netdev *cfg, struct host *host,
		  struct err *err)
{
	CLEANUP(cleanup_free) char *what = xasprintf("netdev '%s'", cfg->id);
	int type, listening = 0, ret = host_claim_fd(host, cfg->fd, what, err);
	socklen_t len = sizeof(type);

	if (ret < 0)
		return ret;
	if (getsockopt(cfg->fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return err_set(err, EINVAL, "%s: file descriptor %d is not a stream socket",
			       cfg->id, cfg->fd);
	s->name = xasprintf("fd:%d", cfg->fd);
	len = sizeof(listening);
	(void)getsockopt(cfg->fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len);
	if (cfg->server != (listening != 0))
		return err_set(err, EINVAL, "%s: the socket of descriptor %d %s", cfg->id, cfg->fd,
			       listening ? "listens, give server=on" : "does not listen");
	if (cfg->server)
		listen_given(&s->listening, fcntl(cfg->fd, F_DUPFD_CLOEXEC, 3));
	else
		s->fd = fcntl(cfg->fd, F_DUPFD_CLOEXEC, 3);
	(void)fcntl(cfg->fd, F_SETFL, fcntl(cfg->fd, F_GETFL) | O_NONBLOCK);
	return 0;
}

/* ---- opening ---- */

void stream_close(struct net_backend *b)
{
	struct stream *s = b->state;

	if (s->fd >= 0)
		(void)close(s->fd);
	listen_close(&s->listening);
	free(s->name);
	free(s);
	b->state = NULL;
}

static int stream_open(struct net_backend *b, const struct cfg_netdev *cfg, struct err *err)
{
	struct stream *s = NEW(struct stream);
	int ret;

	s->fd = -1;
	s->reconnect_ms = cfg->reconnect_ms;
	b->state = s;
	if (!cfg->addr_type)
		ret = err_set(err, EINVAL, "Parameter 'addr' is missing");
	else if (!strcmp(cfg->addr_type, "fd"))
		ret = use_fd(s, cfg, b->m->host, err);
	else if (!strcmp(cfg->addr_type, "unix"))
		ret = unix_address(s, cfg, err);
	else
		ret = stream_resolve(s, cfg, b->m->host, err);
	s->client = !cfg->server && s->fd < 0;
	if (ret < 0)
		stream_close(b);
	return ret;
}

void stream_open_fd(struct net_backend *b, int fd, const char *name)
{
	struct stream *s = NEW(struct stream);

	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	s->fd = fd;
	s->name = xstrdup(name);
	b->state = s;
}

/* ---- events for QMP ---- */

struct event {
	struct machine *m;
	enum notify_kind kind;
	char *id, *name;
};

static void stream_publish(void *opaque)
{
	struct event *e = opaque;
	struct notification n = {.kind = e->kind, .text = e->id, .text2 = e->name};

	notify_publish(&e->m->notify, &n);
	free(e->id);
	free(e->name);
	free(e);
}

/* On the main loop, which holds the machine lock. */
static void post_event(const struct net_backend *b, enum notify_kind kind)
{
	const struct stream *s = b->state;
	struct event *e = NEW(struct event);

	e->m = b->m;
	e->kind = kind;
	e->id = xstrdup(b->id);
	e->name = xstrdup(s->name);
	loop_post(b->m->loop, stream_publish, e);
}

/* ---- connection: I/O loop ---- */

static void stream_ready(void *opaque, int ready);
static void go_on(void *opaque);

static void watch_events(struct stream *s)
{
	int events = s->blocked_in ? 0 : LOOP_READABLE;

	if (s->out_bytes || s->state == CONNECTING)
		events |= LOOP_WRITABLE;
	loop_fd_events(s->watch, events);
}

static void stream_connected(struct net_backend *b)
{
	struct stream *s = b->state;

	s->state = CONNECTED;
	s->in_bytes = s->out_bytes = s->out_at = 0;
	s->blocked_in = false;
	if (s->listener)
		listener_switch(s->listener, false);
	if (!s->watch)
		s->watch = loop_fd_add(b->io, s->fd, LOOP_READABLE, stream_ready, b);
	watch_events(s);
	post_event(b, NOTIFY_NETDEV_STREAM_CONNECTED);
}

/* The connection is gone or could not be made: what next? */
static void stream_disconnected(struct net_backend *b)
{
	struct stream *s = b->state;
	bool was = s->state == CONNECTED;

	loop_fd_del(s->watch);
	s->watch = NULL;
	if (s->fd >= 0)
		(void)close(s->fd);
	s->fd = -1;
	s->out_bytes = s->in_bytes = 0;
	s->blocked_in = false;
	s->state = s->listener ? LISTENING : DOWN;
	if (s->listener)
		listener_switch(s->listener, true);
	if (s->client && s->reconnect_ms)
		loop_timer_arm_ms(s->timer, s->reconnect_ms);
	if (was) {
		post_event(b, NOTIFY_NETDEV_STREAM_DISCONNECTED);
		b->client->writable(b->client_opaque); /* frames are dropped now, not held */
	}
}

static void accept_peer(void *opaque, int fd)
{
	struct net_backend *b = opaque;
	struct stream *s = b->state;

	if (s->state == CONNECTED) { /* came in the same turn as the first */
		(void)close(fd);
		return;
	}
	s->fd = fd;
	stream_connected(b);
}

static void connect_now(struct net_backend *b)
{
	struct stream *s = b->state;

	s->fd = socket(s->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0) {
		log_warn("netdev %s: cannot make a socket: %s", b->id, err_text(errno));
		stream_disconnected(b);
		return;
	}
	if (connect(s->fd, (const struct sockaddr *)&s->addr, s->addr_bytes) == 0) {
		stream_connected(b);
		return;
	}
	if (errno != EINPROGRESS) {
		log_warn("netdev %s: cannot connect to %s: %s", b->id, s->name, err_text(errno));
		stream_disconnected(b);
		return;
	}
	s->state = CONNECTING;
	s->watch = loop_fd_add(b->io, s->fd, LOOP_WRITABLE, stream_ready, b);
}

static void connect_timer(void *opaque)
{
	connect_now(opaque);
}

static void connect_done(struct net_backend *b)
{
	struct stream *s = b->state;
	int e = 0;
	socklen_t len = sizeof(e);

	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0)
		e = errno;
	if (e) {
		log_warn("netdev %s: cannot connect to %s: %s", b->id, s->name, err_text(e));
		stream_disconnected(b);
		return;
	}
	stream_connected(b);
}

/* ---- frames: I/O loop ---- */

/* Hand complete frames in in[] to the client; false: the peer broke the protocol. */
static bool stream_deliver(struct net_backend *b)
{
	struct stream *s = b->state;
	size_t at = 0;
	bool ok = true;

	for (int i = 0; i < RECV_BURST && s->in_bytes - at >= LENGTH_BYTES; i++) {
		uint32_t n = get_be32(s->in + at);

		ok = n > 0 && n <= NET_MAX_FRAME;
		if (!ok || s->in_bytes - at - LENGTH_BYTES < n)
			break;
		s->blocked_in =
		    b->client->receive(b->client_opaque, s->in + at + LENGTH_BYTES, n) == -EAGAIN;
		if (s->blocked_in)
			break;
		at += LENGTH_BYTES + n;
	}
	s->in_bytes -= at;
	memmove(s->in, s->in + at, s->in_bytes);
	return ok;
}

/* Is there a whole frame in in[] that stream_deliver() left for later? */
static bool frame_waiting(const struct stream *s)
{
	return s->in_bytes >= LENGTH_BYTES && s->in_bytes - LENGTH_BYTES >= get_be32(s->in);
}

static void stream_receive(struct net_backend *b)
{
	struct stream *s = b->state;

	if (s->in_bytes < sizeof(s->in)) {
		ssize_t n = recv(s->fd, s->in + s->in_bytes, sizeof(s->in) - s->in_bytes, 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			stream_disconnected(b);
			return;
		}
		s->in_bytes += (size_t)n;
	}
	go_on(b);
}

static void go_on(void *opaque)
{
	struct net_backend *b = opaque;
	struct stream *s = b->state;

	if (s->state != CONNECTED || s->blocked_in)
		return;
	if (!stream_deliver(b)) {
		log_warn("netdev %s: the peer sent a frame of an impossible length", b->id);
		stream_disconnected(b);
		return;
	}
	watch_events(s);
	if (!s->blocked_in && frame_waiting(s))
		loop_timer_arm_ms(s->timer, 0);
}

static void timer_fired(void *opaque)
{
	struct net_backend *b = opaque;
	const struct stream *s = b->state;

	if (s->state == CONNECTED)
		go_on(b);
	else if (s->client && s->state == DOWN)
		connect_timer(b);
}

static void flush_out(struct net_backend *b)
{
	struct stream *s = b->state;
	ssize_t n = send(s->fd, s->out + s->out_at, s->out_bytes, MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		stream_disconnected(b);
		return;
	}
	s->out_at += (size_t)n;
	s->out_bytes -= (size_t)n;
	if (s->out_bytes)
		return;
	watch_events(s);
	b->client->writable(b->client_opaque);
}

static void stream_ready(void *opaque, int ready)
{
	struct net_backend *b = opaque;
	struct stream *s = b->state;

	if (s->state == CONNECTING) {
		connect_done(b);
		return;
	}
	if (ready & LOOP_WRITABLE && s->out_bytes)
		flush_out(b);
	if (ready & LOOP_READABLE && s->state == CONNECTED && !s->blocked_in)
		stream_receive(b);
}

ssize_t stream_send(struct net_backend *b, const struct iovec *iov, int n_iov)
{
	struct stream *s = b->state;
	uint64_t bytes = iov_bytes(iov, (size_t)n_iov);
	ssize_t n;

	if (s->state != CONNECTED)
		return 0;
	if (s->out_bytes)
		return -EAGAIN;
	if (!bytes || bytes > NET_MAX_FRAME)
		return -EMSGSIZE;
	/* One copy, so that what the socket does not take is at hand. */
	put_be32(s->out, (uint32_t)bytes);
	(void)iov_read(iov, (size_t)n_iov, 0, s->out + LENGTH_BYTES, bytes);
	n = send(s->fd, s->out, LENGTH_BYTES + bytes, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		/* The peer is gone; reading will notice and say so. */
		return -errno;
	}
	s->out_at = n < 0 ? 0 : (size_t)n;
	s->out_bytes = LENGTH_BYTES + bytes - s->out_at;
	if (s->out_bytes)
		watch_events(s);
	return 0;
}

void stream_can_receive(struct net_backend *b)
{
	struct stream *s = b->state;

	if (!s->blocked_in)
		return;
	s->blocked_in = false;
	go_on(b);
}

int stream_attach(struct net_backend *b, struct err *err)
{
	struct stream *s = b->state;

	(void)err;
	s->timer = loop_timer_new(b->io, timer_fired, b);
	if (s->listening.n) {
		s->state = LISTENING;
		s->listener = listener_new(b->io, &s->listening, accept_peer, b);
	} else if (s->fd >= 0) {
		stream_connected(b);
	} else {
		connect_now(b);
	}
	return 0;
}

void stream_detach(struct net_backend *b)
{
	struct stream *s = b->state;

	loop_fd_del(s->watch);
	listener_free(s->listener);
	loop_timer_free(s->timer);
	s->watch = NULL;
	s->listener = NULL;
	s->timer = NULL;
	s->state = DOWN;
}

const struct net_backend_ops net_stream_ops = {
    .type = "stream",
    .open = stream_open,
    .attach = stream_attach,
    .detach = stream_detach,
    .send = stream_send,
    .can_receive = stream_can_receive,
    .close = stream_close,
};
