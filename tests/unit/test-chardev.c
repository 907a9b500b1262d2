/* Chardev back ends against real descriptors: files, sockets, a pseudo terminal. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>
#include <uv.h>

#include "devices/chardev/chardev.h"
#include "tests/unit/bare-machine.h"
#include "tests/unit/check-main.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

/* A front end that writes down what it is told. */
struct front {
	struct chardev *chr;
	struct buf got;
	size_t room;
	int opened, closed, writable, fd;
	size_t bytes_before_fd;
};

static void front_opened(void *opaque)
{
	((struct front *)opaque)->opened++;
}

static void front_closed(void *opaque)
{
	((struct front *)opaque)->closed++;
}

static size_t front_can_read(void *opaque)
{
	return ((struct front *)opaque)->room;
}

static void front_read(void *opaque, const uint8_t *p, size_t n)
{
	struct front *f = opaque;

	ck_assert_uint_le(n, f->room);
	f->room -= n;
	buf_put(&f->got, p, n);
}

static void front_writable(void *opaque)
{
	((struct front *)opaque)->writable++;
}

static void front_receive_fd(void *opaque, int fd)
{
	struct front *f = opaque;

	f->fd = fd;
	f->bytes_before_fd = f->got.len;
}

static const struct chardev_client front_client = {
    .opened = front_opened,
    .closed = front_closed,
    .can_read = front_can_read,
    .read = front_read,
    .writable = front_writable,
    .receive_fd = front_receive_fd,
};

static const struct config cfg;
static struct machine *m;
static struct front front;
static char dir[] = "/tmp/minivmm-chardev-XXXXXX";
static char path[64];

static void setup(const struct cfg_chardev *c)
{
	struct err err = {0};

	m = bare_machine_new(&cfg);
	front = (struct front){.room = SIZE_MAX, .fd = -1};
	front.chr = chardev_new(m, c, &err);
	ck_assert_msg(front.chr != NULL, "%s", err.msg);
	ck_assert_int_eq(chardev_attach(front.chr, &front_client, &front, NULL), 0);
}

static void make_dir(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/x", dir);
}

static void teardown(void)
{
	chardev_free(front.chr);
	buf_free(&front.got);
	bare_machine_free(m);
	(void)unlink(path);
	(void)rmdir(dir);
}

/* Turn the loop until the condition holds. */
#define WAIT_FOR(cond)                                                                             \
	while (!(cond))                                                                            \
	(void)uv_run(loop_uv(m->loop), UV_RUN_ONCE)

static int connect_unix(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(sun.sun_path, path, strlen(path));
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

static void send_text(int fd, const char *s)
{
	ck_assert_int_eq(write(fd, s, strlen(s)), (ssize_t)strlen(s));
}

static void expect_text(int fd, const char *s)
{
	char text[64] = "";

	ck_assert_int_eq(read(fd, text, strlen(s)), (ssize_t)strlen(s));
	ck_assert_str_eq(text, s);
}

static const struct cfg_chardev unix_server = {
    .type = (char *)"socket", .id = (char *)"c0", .path = path, .fd = -1, .server = true};

START_TEST(null_takes_all)
{
	struct cfg_chardev c = {.type = (char *)"null", .id = (char *)"n", .fd = -1};
	struct err err = {0};

	setup(&c);
	ck_assert_int_eq(front.opened, 1);
	ck_assert_int_eq(chardev_write(front.chr, (const uint8_t *)"abc", 3), 3);
	ck_assert_int_eq(chardev_attach(front.chr, &front_client, &front, &err), -EBUSY);
	ck_assert_str_eq(front.chr->filename, "null");
	teardown();
}
END_TEST

START_TEST(file_is_written)
{
	struct cfg_chardev c = {.type = (char *)"file", .id = (char *)"f", .path = path, .fd = -1};
	char text[16] = "";
	int fd;

	make_dir();
	setup(&c);
	ck_assert_int_eq(chardev_write(front.chr, (const uint8_t *)"abc", 3), 3);
	chardev_free(front.chr);
	c.append = true;
	front.chr = chardev_new(m, &c, NULL);
	ck_assert_int_eq(chardev_write(front.chr, (const uint8_t *)"def", 3), 3);
	fd = open(path, O_RDONLY);
	ck_assert_int_eq(read(fd, text, sizeof(text) - 1), 6);
	ck_assert_str_eq(text, "abcdef");
	(void)close(fd);
	teardown();
}
END_TEST

START_TEST(server_one_at_a_time)
{
	int a, b;

	make_dir();
	setup(&unix_server);
	ck_assert_int_eq(front.opened, 0);
	ck_assert_int_eq(chardev_write(front.chr, (const uint8_t *)"lost", 4), 4);
	a = connect_unix();
	b = connect_unix(); /* waits in the backlog */
	ck_assert_int_ge(a, 0);
	ck_assert_int_ge(b, 0);
	WAIT_FOR(front.opened == 1);
	ck_assert_msg(strstr(front.chr->filename, "unix:") == front.chr->filename &&
			  strstr(front.chr->filename, ",server=on"),
		      "%s", front.chr->filename);
	send_text(b, "second");
	send_text(a, "first");
	WAIT_FOR(front.got.len == 5);
	ck_assert_mem_eq(front.got.data, "first", 5);
	ck_assert_int_eq(chardev_write(front.chr, (const uint8_t *)"reply", 5), 5);
	expect_text(a, "reply");
	(void)close(a);
	WAIT_FOR(front.opened == 2 && front.got.len == 11);
	ck_assert_int_eq(front.closed, 1);
	ck_assert_mem_eq(front.got.data + 5, "second", 6);
	(void)close(b);
	WAIT_FOR(front.closed == 2);
	ck_assert_msg(strstr(front.chr->filename, "disconnected:unix:") == front.chr->filename,
		      "%s", front.chr->filename);
	teardown();
	ck_assert_int_ne(access(path, F_OK), 0); /* the socket's file is gone */
}
END_TEST

START_TEST(input_waits_for_room)
{
	int a;

	make_dir();
	setup(&unix_server);
	front.room = 2;
	a = connect_unix();
	send_text(a, "abcd");
	WAIT_FOR(front.got.len == 2);
	front.room = 1;
	chardev_accept_input(front.chr);
	WAIT_FOR(front.got.len == 3);
	front.room = 10;
	chardev_accept_input(front.chr);
	(void)close(a);
	WAIT_FOR(front.closed == 1); /* what was sent before the end comes first */
	ck_assert_uint_eq(front.got.len, 4);
	teardown();
}
END_TEST

START_TEST(output_waits_for_room)
{
	static uint8_t block[4096], sink[65536];
	size_t sent = 0, got = 0;
	ssize_t n;
	int a;

	make_dir();
	setup(&unix_server);
	a = connect_unix();
	WAIT_FOR(front.opened == 1);
	while ((n = chardev_write(front.chr, block, sizeof(block))) > 0)
		sent += (size_t)n;
	ck_assert_int_eq(n, 0);
	while (got < sent)
		got += (size_t)read(a, sink, sizeof(sink));
	WAIT_FOR(front.writable == 1);
	ck_assert_int_gt(chardev_write(front.chr, block, 1), 0);
	(void)close(a);
	WAIT_FOR(front.closed == 1);
	teardown();
}
END_TEST

/* A peer that leaves while the front end does not read is noticed when it is written to. */
START_TEST(broken_peer)
{
	int a;

	make_dir();
	setup(&unix_server);
	a = connect_unix();
	WAIT_FOR(front.opened == 1);
	front.room = 0;
	chardev_accept_input(front.chr);
	(void)close(a);
	ck_assert_int_eq(chardev_write(front.chr, (const uint8_t *)"x", 1), 1);
	ck_assert_int_eq(front.closed, 0); /* not from within the write */
	WAIT_FOR(front.closed == 1);
	teardown();
}
END_TEST

/* A peer that reads nothing, asks for more and leaves makes room for the next one. */
START_TEST(deaf_peer)
{
	static uint8_t block[4096];
	int a, b;

	make_dir();
	setup(&unix_server);
	a = connect_unix();
	WAIT_FOR(front.opened == 1);
	front.room = 0; /* as a monitor whose replies wait */
	chardev_accept_input(front.chr);
	while (chardev_write(front.chr, block, sizeof(block)) > 0)
		;
	send_text(a, "more");
	(void)close(a);
	b = connect_unix();
	WAIT_FOR(front.opened == 2);
	ck_assert_int_eq(front.closed, 1);
	ck_assert_int_eq(front.writable, 1); /* it was told that its output has gone */
	ck_assert_uint_eq(front.got.len, 0);
	ck_assert_int_eq(chardev_write(front.chr, (const uint8_t *)"hello", 5), 5);
	expect_text(b, "hello");
	(void)close(b);
	teardown();
}
END_TEST

/* Half of it closed is not gone: a client may read the replies to its last words. */
START_TEST(half_open_peer)
{
	static uint8_t block[4096], sink[65536];
	size_t sent = 0, got = 0;
	ssize_t n;
	int a;

	make_dir();
	setup(&unix_server);
	a = connect_unix();
	WAIT_FOR(front.opened == 1);
	front.room = 0;
	chardev_accept_input(front.chr);
	while ((n = chardev_write(front.chr, block, sizeof(block))) > 0)
		sent += (size_t)n;
	send_text(a, "last");
	ck_assert_int_eq(shutdown(a, SHUT_WR), 0);
	for (int i = 0; i < 10; i++)
		(void)uv_run(loop_uv(m->loop), UV_RUN_NOWAIT);
	ck_assert_int_eq(front.closed, 0);
	while (got < sent)
		got += (size_t)read(a, sink, sizeof(sink));
	WAIT_FOR(front.writable == 1);
	front.room = 10;
	chardev_accept_input(front.chr);
	WAIT_FOR(front.closed == 1);
	ck_assert_mem_eq(front.got.data, "last", 4);
	(void)close(a);
	teardown();
}
END_TEST

/* What was typed on a line belongs to the guest, which takes it when it likes. */
START_TEST(line_outlives_peer)
{
	struct chardev_client line = front_client;
	uint8_t text[1000];
	int a, b;

	make_dir();
	setup(&unix_server);
	chardev_detach(front.chr);
	line.line = true;
	ck_assert_int_eq(chardev_attach(front.chr, &line, &front, NULL), 0);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)i;
	front.room = 3;
	a = connect_unix();
	ck_assert_int_eq(write(a, text, sizeof(text)), sizeof(text));
	(void)close(a);
	b = connect_unix();
	send_text(b, "next");
	WAIT_FOR(front.opened == 2);
	ck_assert_uint_eq(front.got.len, 3);
	while (front.got.len < sizeof(text)) {
		front.room = 16; /* a FIFO's worth */
		chardev_accept_input(front.chr);
		while (front.room > 0 && front.got.len < sizeof(text)) /* a timer's turn */
			(void)uv_run(loop_uv(m->loop), UV_RUN_NOWAIT);
	}
	front.room = 4;
	chardev_accept_input(front.chr);
	WAIT_FOR(front.got.len == sizeof(text) + 4);
	ck_assert_mem_eq(front.got.data, text, sizeof(text));
	ck_assert_mem_eq(front.got.data + sizeof(text), "next", 4);
	(void)close(b);
	teardown();
}
END_TEST

static void send_with_fd(int sock, const char *s, int fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (void *)s, .iov_len = strlen(s)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *h = CMSG_FIRSTHDR(&msg);

	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &fd, sizeof(fd));
	ck_assert_int_eq(sendmsg(sock, &msg, 0), (ssize_t)strlen(s));
}

START_TEST(descriptors)
{
	int a, p[2];

	make_dir();
	setup(&unix_server);
	ck_assert_int_eq(pipe(p), 0);
	a = connect_unix();
	send_text(a, "one");
	WAIT_FOR(front.got.len == 3);
	send_with_fd(a, "two", p[1]);
	WAIT_FOR(front.got.len == 6);
	ck_assert_uint_eq(front.bytes_before_fd, 3);
	ck_assert_int_ge(front.fd, 0);
	ck_assert_int_eq(fcntl(front.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	send_text(front.fd, "through");
	expect_text(p[0], "through");
	(void)close(front.fd);
	(void)close(a);
	(void)close(p[0]);
	(void)close(p[1]);
	teardown();
}
END_TEST

/* The port is the host's choice and shows in the name. */
static int connect_tcp(const char *filename)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	unsigned port = 0;

	ck_assert_int_eq(sscanf(filename, "disconnected:tcp:127.0.0.1:%u,server=on", &port), 1);
	sin.sin_port = htons((uint16_t)port);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	return fd;
}

START_TEST(tcp_server)
{
	struct cfg_chardev c = {.type = (char *)"socket",
				.id = (char *)"t",
				.host = (char *)"127.0.0.1",
				.port = (char *)"0",
				.fd = -1,
				.server = true};
	int a;

	setup(&c);
	a = connect_tcp(front.chr->filename);
	send_text(a, "hello");
	WAIT_FOR(front.got.len == 5);
	ck_assert_msg(strstr(front.chr->filename, " <-> 127.0.0.1:") != NULL, "%s",
		      front.chr->filename);
	(void)close(a);
	WAIT_FOR(front.closed == 1);
	teardown();
}
END_TEST

static int listen_unix(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(sun.sun_path, path, strlen(path));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	return fd;
}

START_TEST(client)
{
	struct cfg_chardev c = unix_server;
	int l, a;

	make_dir();
	l = listen_unix();
	c.server = false;
	setup(&c);
	ck_assert_int_eq(front.opened, 1);
	a = accept(l, NULL, NULL);
	send_text(a, "hi");
	WAIT_FOR(front.got.len == 2);
	(void)close(a);
	WAIT_FOR(front.closed == 1);
	(void)close(l);
	teardown();
}
END_TEST

/* Without a listener at first; later with one, and again after the connection is lost. */
START_TEST(client_reconnects)
{
	struct cfg_chardev c = unix_server;
	int l, a;

	make_dir();
	c.server = false;
	c.reconnect_ms = 20;
	setup(&c);
	ck_assert_int_eq(front.opened, 0);
	l = listen_unix();
	WAIT_FOR(front.opened == 1);
	a = accept(l, NULL, NULL);
	(void)close(a);
	WAIT_FOR(front.closed == 1);
	WAIT_FOR(front.opened == 2);
	(void)close(l);
	teardown();
}
END_TEST

static void *connect_when_possible(void *opaque)
{
	int *fd = opaque;

	while ((*fd = connect_unix()) < 0)
		(void)sched_yield();
	return NULL;
}

START_TEST(server_waits)
{
	struct cfg_chardev c = unix_server;
	pthread_t t;
	int fd = -1;

	make_dir();
	c.wait = true;
	ck_assert_int_eq(pthread_create(&t, NULL, connect_when_possible, &fd), 0);
	setup(&c);
	ck_assert_int_eq(front.opened, 1);
	(void)pthread_join(t, NULL);
	(void)close(fd);
	teardown();
}
END_TEST

START_TEST(given_descriptor)
{
	struct cfg_chardev c = {.type = (char *)"socket", .id = (char *)"d"};
	int p[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
	c.fd = p[0];
	setup(&c);
	ck_assert_int_eq(front.opened, 1);
	send_text(p[1], "x");
	WAIT_FOR(front.got.len == 1);
	(void)close(p[1]);
	WAIT_FOR(front.closed == 1);
	teardown();
}
END_TEST

static void refuse(struct cfg_chardev c, const char *why)
{
	struct err err = {0};

	ck_assert_ptr_null(chardev_new(m, &c, &err));
	ck_assert_msg(strstr(err.msg, why) != NULL, "'%s' does not say '%s'", err.msg, why);
}

START_TEST(refusals)
{
	static char long_path[200];

	memset(long_path, 'a', sizeof(long_path) - 1);
	m = bare_machine_new(&cfg);
	refuse((struct cfg_chardev){.type = (char *)"zz", .fd = -1},
	       "'zz' is not a valid char driver name");
	refuse((struct cfg_chardev){.type = (char *)"file", .fd = -1}, "no filename given");
	refuse((struct cfg_chardev){.type = (char *)"file", .path = (char *)"/nope/x", .fd = -1},
	       "Could not open '/nope/x': No such file or directory");
	refuse(
	    (struct cfg_chardev){
		.type = (char *)"socket", .path = (char *)"/nope/x", .fd = -1, .server = true},
	    "Failed to bind socket to /nope/x: No such file or directory");
	refuse((struct cfg_chardev){.type = (char *)"socket", .path = (char *)"/nope/x", .fd = -1},
	       "Failed to connect to '/nope/x': No such file or directory");
	refuse((struct cfg_chardev){.type = (char *)"socket", .path = long_path, .fd = -1},
	       "too long");
	refuse((struct cfg_chardev){.type = (char *)"socket", .id = (char *)"s", .fd = -1},
	       "needs path=");
	refuse((struct cfg_chardev){.type = (char *)"socket", .fd = 999},
	       "File descriptor '999' is not a socket");
	bare_machine_free(m);
}
END_TEST

/* ---- stdio: descriptors 0 and 1 of the test's own process ---- */

static const struct cfg_chardev stdio_cfg = {.type = (char *)"stdio", .id = (char *)"io", .fd = -1};

START_TEST(stdio_pipes)
{
	int in[2], out[2];

	ck_assert_int_eq(pipe(in), 0);
	ck_assert_int_eq(pipe(out), 0);
	(void)dup2(in[0], 0);
	(void)dup2(out[1], 1);
	setup(&stdio_cfg);
	send_text(in[1], "a\001xb"); /* no terminal: Ctrl-a is a byte like any other */
	WAIT_FOR(front.got.len == 4);
	ck_assert_int_eq(fcntl(0, F_GETFL) & O_NONBLOCK, 0); /* others may share it */
	ck_assert_int_eq(chardev_write(front.chr, (const uint8_t *)"out", 3), 3);
	expect_text(out[0], "out");
	(void)close(in[1]);
	teardown();
	ck_assert_int_eq(fcntl(0, F_GETFL) & O_NONBLOCK, 0); /* as it was */
}
END_TEST

START_TEST(stdio_file)
{
	int fd;

	make_dir();
	fd = open(path, O_RDWR | O_CREAT, 0600);
	send_text(fd, "from a file");
	(void)lseek(fd, 0, SEEK_SET);
	(void)dup2(fd, 0);
	(void)close(fd);
	setup(&stdio_cfg);
	WAIT_FOR(front.got.len == 11);
	ck_assert_mem_eq(front.got.data, "from a file", 11);
	teardown();
}
END_TEST

START_TEST(stdio_terminal)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	struct termios before, raw, after;
	int slave;

	ck_assert_int_eq(grantpt(master), 0);
	ck_assert_int_eq(unlockpt(master), 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	ck_assert_int_ge(slave, 0);
	(void)dup2(slave, 0);
	(void)dup2(slave, 1);
	ck_assert_int_eq(tcgetattr(0, &before), 0);
	setup(&stdio_cfg);
	ck_assert_int_eq(tcgetattr(0, &raw), 0);
	ck_assert_int_eq(raw.c_lflag, before.c_lflag); /* the program is not up yet */
	chardev_start(front.chr);
	ck_assert_int_eq(tcgetattr(0, &raw), 0);
	ck_assert_int_eq(raw.c_lflag & (ICANON | ECHO | ISIG), 0);

	send_text(master, "a\001\001\003b"); /* Ctrl-a twice is one, Ctrl-c is the guest's */
	WAIT_FOR(front.got.len == 4);
	ck_assert_mem_eq(front.got.data, "a\001\003b", 4);

	front.room = 0; /* a guest that takes nothing can still be left */
	chardev_accept_input(front.chr);
	send_text(master, "kept\001x");
	WAIT_FOR(m->exit_forced);
	ck_assert_int_eq(m->exit_status, 0);
	machine_request_delivered(m, REQUEST_SHUTDOWN);
	front.room = 10;
	chardev_accept_input(front.chr);
	WAIT_FOR(front.got.len == 8);
	ck_assert_mem_eq(front.got.data + 4, "kept", 4);
	teardown();
	ck_assert_int_eq(tcgetattr(0, &after), 0);
	ck_assert_int_eq(after.c_lflag & (ICANON | ECHO | ISIG),
			 before.c_lflag & (ICANON | ECHO | ISIG));
}
END_TEST

START_TEST(all_by_id)
{
	struct cfg_chardev cs[2] = {
	    {.type = (char *)"null", .id = (char *)"a", .fd = -1},
	    {.type = (char *)"null", .id = (char *)"b", .fd = -1}
        };
	struct config two = {.chardevs = cs, .n_chardevs = 2};
	struct chardevs all = {0};
	struct err err = {0};

	m = bare_machine_new(&two);
	ck_assert_int_eq(chardevs_open(&all, m, NULL), 0);
	ck_assert_ptr_eq(chardevs_find(&all, "b"), all.v[1]);
	ck_assert_ptr_null(chardevs_find(&all, "c"));
	chardevs_close(&all);
	cs[1].id = cs[0].id;
	ck_assert_int_lt(chardevs_open(&all, m, &err), 0);
	chardevs_close(&all);
	bare_machine_free(m);
}
END_TEST

CHECK_MAIN("chardev", null_takes_all, file_is_written, server_one_at_a_time, input_waits_for_room,
	   output_waits_for_room, broken_peer, deaf_peer, half_open_peer, line_outlives_peer,
	   descriptors, tcp_server, client, client_reconnects, server_waits, given_descriptor,
	   refusals, stdio_pipes, stdio_file, stdio_terminal, all_by_id)
