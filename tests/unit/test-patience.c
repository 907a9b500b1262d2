/* test-patience.c - waits for a peer that does nothing end with x-minivmm-peer-timeout */
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/channel/patience.h"
#include "migration/channel/zero-copy.h"
#include "tests/unit/check-main.h"
#include "tests/unit/migration-rig.h"

#define SENT_BYTES (64 * KiB) /* less than TCP takes ahead of what it can send */

/* Nothing waits: an old wait is no silence. */
START_TEST(test_counts_while_waiting)
{
	struct patience p = {.moved_ns = 1, .limit_s = 1};

	ck_assert_int_eq(patience_silence_ns(&p), 0);
	patience_wait(&p);
	ck_assert(!patience_ended(&p));
	p.moved_ns = 1;
	ck_assert(patience_ended(&p));
	patience_wait(&p); /* another one does not make it say something */
	ck_assert(patience_ended(&p));
	patience_go_on(&p);
	ck_assert(!patience_ended(&p));
	patience_go_on(&p);
	p.moved_ns = 1;
	ck_assert(!patience_ended(&p));
}
END_TEST

/* A unix listener that accepts nothing: connect() waits for its backlog. */
START_TEST(test_full_backlog)
{
	struct patience p = {.limit_s = 1};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int caller = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct err err = {0};

	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s/full", rig_dir());
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	ck_assert_int_eq(listen(fd, 0), 0);
	ck_assert_int_eq(connect(caller, (struct sockaddr *)&un, sizeof(un)), 0);
	ck_assert_ptr_null(channel_connect_unix(un.sun_path, -1, &p, &err));
	ck_assert_msg(strstr(err.msg, "no answer for 1 s (x-minivmm-peer-timeout)") != NULL, "%s",
		      err.msg);
	ck_assert_uint_eq(p.waiting, 0);
	(void)close(caller);
	(void)close(fd);
	rig_remove_dir();
}
END_TEST

/* Two ends over tcp, the second one with little room. */
static void tcp_pair(int ends[2])
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int room = 4096, buffer = 4 * MiB;
	socklen_t n = sizeof(in);

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&in, &n), 0);
	ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	ck_assert_int_eq(connect(ends[0], (struct sockaddr *)&in, sizeof(in)), 0);
	ends[1] = accept(fd, NULL, NULL);
	ck_assert_int_ge(ends[1], 0);
	(void)close(fd);
}

/* All fits the sender's buffer, and lies there: the wait for the kernel is one for the peer. */
START_TEST(test_zero_copy_flush)
{
	struct patience p = {.limit_s = 1};
	uint8_t *pages = xcalloc(1, SENT_BYTES);
	struct iovec iov = {.iov_base = pages, .iov_len = SENT_BYTES};
	struct zero_copy z = {0};
	struct err err = {0};
	struct channel *c;
	bool copied;
	int ends[2];

	tcp_pair(ends);
	c = channel_from_socket(ends[0], -1);
	c->patience = &p;
	ck_assert_msg(zero_copy_enable(c, &err) == 0, "%s", err.msg);
	ck_assert_msg(zero_copy_write_all(c, &z, &iov, 1, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(zero_copy_flush(c, &z, &copied, &err), -ETIMEDOUT);
	ck_assert_msg(strstr(err.msg, "has read nothing for 1 s (x-minivmm-peer-timeout)") != NULL,
		      "%s", err.msg);
	ck_assert_uint_eq(p.waiting, 0);
	(void)close(ends[1]);
	channel_close(c);
	free(pages);
}
END_TEST

/* A pipe that holds the whole guest, and a reader that takes nothing. */
static void save_into_pipe(const char *checksum)
{
	struct rig *r = rig_new(RS_PRELAUNCH);
	char path[128], uri[160];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/pipe", rig_dir());
	(void)snprintf(uri, sizeof(uri), "file:%s", path);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	rig_parameter(r, "x-minivmm-peer-timeout", "1");
	rig_parameter(r, "x-minivmm-checksum", checksum);
	rig_run_guest(r);
	ck_assert_int_eq(rig_migrate(r, uri, NULL), 0);
	rig_await(r, MIG_FAILED);
	ck_assert_ptr_nonnull(strstr(rig_query(r).error_desc, "has read nothing for 1 s"));
	rig_await_state(r, RS_RUNNING);
	(void)close(fd);
	rig_free(r);
	rig_remove_dir();
}

START_TEST(test_pipe_is_not_read)
{
	save_into_pipe("off");
}
END_TEST

/* The checksum is a layer on the pipe's channel. */
START_TEST(test_pipe_under_a_layer)
{
	save_into_pipe("on");
}
END_TEST

CHECK_MAIN("patience", test_counts_while_waiting, test_full_backlog, test_zero_copy_flush,
	   test_pipe_is_not_read, test_pipe_under_a_layer)
