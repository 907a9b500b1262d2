/* The stream back end: framing, a slow peer, a broken one, coming and going. */
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/check-main.h"
#include "tests/unit/virtio-backends.h"

struct fix {
	struct machine *m;
	struct net_backend *b;
	struct notify_listener listener;
	int fd; /* the peer's end of a socket pair */
	/* written on the I/O loop, read after wait() */
	uint8_t frame[256]; /* the start of the last one */
	size_t bytes;
	unsigned frames, writable;
	bool full; /* atomic: receive() says -EAGAIN */
	unsigned refused;
	/* main loop */
	char events[256];
};

static void stop(void *opaque)
{
	loop_stop(opaque);
}

/* Until something that a test waits for has happened. */
static void wait_for_event(struct fix *f)
{
	loop_run(f->m->loop);
}

static unsigned count(const unsigned *n)
{
	return __atomic_load_n(n, __ATOMIC_SEQ_CST);
}

static int on_frame(void *opaque, const uint8_t *frame, size_t n)
{
	struct fix *f = opaque;

	if (__atomic_load_n(&f->full, __ATOMIC_SEQ_CST)) {
		f->refused++;
		loop_post(f->m->loop, stop, f->m->loop);
		return -EAGAIN;
	}
	memcpy(f->frame, frame, MIN(n, sizeof(f->frame)));
	f->bytes = n;
	__atomic_fetch_add(&f->frames, 1, __ATOMIC_SEQ_CST);
	loop_post(f->m->loop, stop, f->m->loop);
	return 0;
}

static void on_writable(void *opaque)
{
	struct fix *f = opaque;

	__atomic_fetch_add(&f->writable, 1, __ATOMIC_SEQ_CST);
	loop_post(f->m->loop, stop, f->m->loop);
}

static const struct net_client client = {.receive = on_frame, .writable = on_writable};

static void on_event(void *opaque, const struct notification *n)
{
	struct fix *f = opaque;
	size_t at = strlen(f->events);

	(void)snprintf(f->events + at, sizeof(f->events) - at, "%s %s %s;", n->text,
		       n->kind == NOTIFY_NETDEV_STREAM_CONNECTED ? "up" : "down",
		       n->text2 ? n->text2 : "-");
	loop_stop(f->m->loop);
}

static void attach_on_io(void *opaque)
{
	struct fix *f = opaque;

	ck_assert_int_eq(net_backend_attach(f->b, f->m->io, &client, f, NULL), 0);
}

static void detach_on_io(void *opaque)
{
	net_backend_detach(opaque);
}

static void fix_init(struct fix *f, struct cfg_netdev *cfg)
{
	struct err err = {0};

	*f = (struct fix){.m = guest_machine(), .fd = -1};
	f->listener = (struct notify_listener){.fn = on_event, .opaque = f};
	notify_subscribe(&f->m->notify, &f->listener);
	cfg->type = (char *)(uintptr_t) "stream";
	cfg->id = (char *)(uintptr_t) "n0";
	f->b = net_backend_new(f->m, cfg, &err);
	ck_assert_msg(f->b != NULL, "%s", err.msg);
	loop_call(f->m->io, attach_on_io, f);
}

static void fix_pair(struct fix *f)
{
	struct cfg_netdev cfg = {.addr_type = (char *)(uintptr_t) "fd"};
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	cfg.fd = fds[0];
	fix_init(f, &cfg);
	(void)close(fds[0]);
	f->fd = fds[1];
	wait_for_event(f);
	ck_assert_ptr_nonnull(strstr(f->events, "n0 up fd:"));
	f->events[0] = 0;
}

static void fix_fini(struct fix *f)
{
	loop_call(f->m->io, detach_on_io, f->b);
	net_backend_free(f->b);
	notify_unsubscribe(&f->listener);
	if (f->fd >= 0)
		(void)close(f->fd);
	guest_free(f->m);
}

static void peer_writes(struct fix *f, const void *p, size_t n)
{
	ck_assert_int_eq(write(f->fd, p, n), (ssize_t)n);
}

/* A frame of n bytes 'c' on the wire. */
static uint8_t *message(size_t n, int c)
{
	uint8_t *p = xcalloc(1, n + 4);

	put_be32(p, (uint32_t)n);
	memset(p + 4, c, n);
	return p;
}

struct sending {
	struct fix *f;
	size_t n;
	int ret;
};

static void send_on_io(void *opaque)
{
	struct sending *s = opaque;
	uint8_t *p = message(s->n, 'x');
	struct iovec iov[2] = {
	    {.iov_base = p + 4, .iov_len = 5       },
            {.iov_base = p + 9, .iov_len = s->n - 5}
        };

	s->ret = net_backend_send(s->f->b, iov, 2);
	free(p);
}

static int send_frame(struct fix *f, size_t n)
{
	struct sending s = {.f = f, .n = n};

	loop_call(f->m->io, send_on_io, &s);
	return s.ret;
}

static void can_receive_on_io(void *opaque)
{
	net_backend_can_receive(opaque);
}

START_TEST(frames_in_pieces)
{
	struct fix f;
	uint8_t *p = message(100, 'a');

	fix_pair(&f);
	for (size_t i = 0; i < 103; i++) /* every cut of the stream */
		peer_writes(&f, p + i, 1);
	guest_sync(f.m);
	ck_assert_uint_eq(count(&f.frames), 0);
	peer_writes(&f, p + 103, 1);
	wait_for_event(&f);
	ck_assert_uint_eq(count(&f.frames), 1);
	ck_assert_uint_eq(f.bytes, 100);
	ck_assert_mem_eq(f.frame, p + 4, 100);
	free(p);
	fix_fini(&f);
}
END_TEST

START_TEST(many_frames_at_once)
{
	struct fix f;
	uint8_t all[300 * 5];

	fix_pair(&f);
	for (unsigned i = 0; i < 300; i++) {
		put_be32(all + 5UL * i, 1);
		all[5 * i + 4] = (uint8_t)i;
	}
	peer_writes(&f, all, sizeof(all));
	do
		wait_for_event(&f);
	while (count(&f.frames) < 300);
	ck_assert_uint_eq(f.frame[0], (uint8_t)299);
	fix_fini(&f);
}
END_TEST

START_TEST(sends_with_length)
{
	struct fix f;
	uint8_t got[104], *want = message(100, 'x');

	fix_pair(&f);
	ck_assert_int_eq(send_frame(&f, 100), 0);
	ck_assert_int_eq(recv(f.fd, got, sizeof(got), MSG_WAITALL), 104);
	ck_assert_mem_eq(got, want, 104);
	ck_assert_int_eq(send_frame(&f, NET_MAX_FRAME + 1), -EMSGSIZE);
	free(want);
	fix_fini(&f);
}
END_TEST

START_TEST(slow_peer)
{
	struct fix f;
	uint8_t *buf = xcalloc(1, 60004);
	unsigned sent = 0;

	fix_pair(&f);
	while (send_frame(&f, 60000) == 0)
		sent++;
	ck_assert_uint_gt(sent, 0);
	ck_assert_uint_eq(count(&f.writable), 0);
	for (unsigned i = 0; i < sent; i++) { /* no byte is lost or doubled */
		ck_assert_int_eq(recv(f.fd, buf, 60004, MSG_WAITALL), 60004);
		ck_assert_uint_eq(get_be32(buf), 60000);
		ck_assert_uint_eq(buf[60003], 'x');
	}
	wait_for_event(&f);
	ck_assert_uint_eq(count(&f.writable), 1);
	ck_assert_int_eq(send_frame(&f, 60000), 0);
	free(buf);
	fix_fini(&f);
}
END_TEST

START_TEST(slow_guest)
{
	struct fix f;
	uint8_t *p = message(50, 'b');

	fix_pair(&f);
	__atomic_store_n(&f.full, true, __ATOMIC_SEQ_CST);
	peer_writes(&f, p, 54);
	peer_writes(&f, p, 54);
	wait_for_event(&f);
	ck_assert_uint_eq(f.refused, 1);
	ck_assert_uint_eq(count(&f.frames), 0);
	__atomic_store_n(&f.full, false, __ATOMIC_SEQ_CST);
	loop_call(f.m->io, can_receive_on_io, f.b);
	while (count(&f.frames) < 2)
		wait_for_event(&f);
	ck_assert_uint_eq(f.bytes, 50);
	free(p);
	fix_fini(&f);
}
END_TEST

START_TEST(impossible_lengths)
{
	static const uint32_t lengths[] = {0, NET_MAX_FRAME + 1, UINT32_MAX};

	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		struct fix f;
		uint8_t p[8];

		fix_pair(&f);
		put_be32(p, lengths[i]);
		peer_writes(&f, p, 4);
		while (!f.events[0])
			wait_for_event(&f);
		ck_assert_msg(!strncmp(f.events, "n0 down", 7), "%s", f.events);
		ck_assert_int_eq(send_frame(&f, 100), 0); /* no peer: dropped */
		ck_assert_int_eq(read(f.fd, p, 1), 0);
		fix_fini(&f);
	}
}
END_TEST

START_TEST(peer_leaves_with_half_a_frame_under_way)
{
	struct fix f;

	fix_pair(&f);
	while (send_frame(&f, 60000) == 0)
		;
	peer_writes(&f, "\0\0", 2);
	(void)close(f.fd);
	f.fd = -1;
	while (!f.events[0] || !count(&f.writable))
		wait_for_event(&f);
	ck_assert_int_eq(send_frame(&f, 60000), 0);
	fix_fini(&f);
}
END_TEST

static int connect_to(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

START_TEST(server_takes_one_after_another)
{
	struct fix f;
	char path[64], want[160];
	struct cfg_netdev cfg = {
	    .addr_type = (char *)(uintptr_t) "unix", .path = path, .fd = -1, .server = true};
	uint8_t *p = message(20, 'c');

	(void)snprintf(path, sizeof(path), "/tmp/minivmm-test-%ld.sock", (long)getpid());
	fix_init(&f, &cfg);
	for (unsigned i = 1; i <= 2; i++) {
		f.events[0] = 0;
		f.fd = connect_to(path);
		while (!f.events[0])
			wait_for_event(&f);
		peer_writes(&f, p, 24);
		while (count(&f.frames) < i)
			wait_for_event(&f);
		(void)close(f.fd);
		f.fd = -1;
		while (!strstr(f.events, "down"))
			wait_for_event(&f);
		(void)snprintf(want, sizeof(want), "n0 up unix:%s;n0 down unix:%s;", path, path);
		ck_assert_str_eq(f.events, want);
	}
	free(p);
	fix_fini(&f);
	(void)unlink(path);
}
END_TEST

START_TEST(client_tries_again)
{
	struct fix f;
	char path[64];
	struct cfg_netdev cfg = {
	    .addr_type = (char *)(uintptr_t) "unix", .path = path, .fd = -1, .reconnect_ms = 20};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(path, sizeof(path), "/tmp/minivmm-test-%ld.sock", (long)getpid());
	(void)unlink(path);
	fix_init(&f, &cfg); /* no listener: that is not an error */
	ck_assert_int_eq(send_frame(&f, 100), 0);
	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	while (!f.events[0])
		wait_for_event(&f);
	ck_assert_msg(!strncmp(f.events, "n0 up unix:", 11), "%s", f.events);
	f.fd = accept(fd, NULL, NULL);
	ck_assert_int_eq(send_frame(&f, 100), 0);
	(void)close(fd);
	(void)unlink(path);
	fix_fini(&f);
}
END_TEST

START_TEST(tcp_both_ways)
{
	struct cfg_netdev server = {.addr_type = (char *)(uintptr_t) "inet",
				    .host = (char *)(uintptr_t) "127.0.0.1",
				    .port = (char *)(uintptr_t) "0",
				    .fd = -1,
				    .server = true};
	struct fix f;

	fix_init(&f, &server); /* any port: that it listens is all there is to see */
	fix_fini(&f);
	server.host = (char *)(uintptr_t) "::1";
	server.server = false;
	server.port = (char *)(uintptr_t) "1";
	fix_init(&f, &server); /* refused, and alive */
	ck_assert_int_eq(send_frame(&f, 100), 0);
	fix_fini(&f);
}
END_TEST

START_TEST(what_cannot_be_opened)
{
	static const struct {
		struct cfg_netdev cfg;
		const char *says;
	} cases[] = {
	    {{.type = (char *)(uintptr_t) "vde", .fd = -1},
	     "netdev type 'vde' is not supported (tap, stream, user, passt)"                },
	    {{.type = (char *)(uintptr_t) "stream", .fd = -1}, "Parameter 'addr' is missing"},
	    {{.type = (char *)(uintptr_t) "stream",
	      .addr_type = (char *)(uintptr_t) "fd",
	      .fd = 999},
	     "n0: file descriptor 999 is not a stream socket"                               },
	    {{.type = (char *)(uintptr_t) "stream",
	      .addr_type = (char *)(uintptr_t) "unix",
	      .path = (char *)(uintptr_t) "/nope/s",
	      .server = true,
	      .fd = -1},
	     "Failed to bind socket to /nope/s: No such file or directory"                  },
	    {{.type = (char *)(uintptr_t) "tap", .fd = 999},
	     "n0: Can't use file descriptor 999: Bad file descriptor"                       },
	    {{.type = (char *)(uintptr_t) "tap", .fd = 0},
	     "n0: file descriptor 0 is not a TAP interface"                                 },
	};
	struct machine *m = guest_machine();

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cfg_netdev cfg = cases[i].cfg;
		struct err err = {0};

		cfg.id = (char *)(uintptr_t) "n0";
		ck_assert_ptr_null(net_backend_new(m, &cfg, &err));
		ck_assert_str_eq(err.msg, cases[i].says);
	}
	guest_free(m);
}
END_TEST

CHECK_MAIN("net-stream", frames_in_pieces, many_frames_at_once, sends_with_length, slow_peer,
	   slow_guest, impossible_lengths, peer_leaves_with_half_a_frame_under_way,
	   server_takes_one_after_another, client_tries_again, tcp_both_ways, what_cannot_be_opened)
