/* test-channel-tcp.c - a reader of a TCP channel that is woken up for many bytes at a time */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check-main.h"
#include "migration/channel/channel.h"
#include "migration/channel/open.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"

#define NEEDED (1000 * KiB)
#define PIECE  (10 * KiB)

struct pair {
	struct channel *writer, *reader;
	int cancel_fd; /* the reader's */
	uint8_t *sent, *got;
	size_t to_send;
	pthread_t thread;
};

static void pair_open(struct pair *p)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
	ck_assert_int_eq(connect(one, (struct sockaddr *)&addr, sizeof(addr)), 0);
	p->cancel_fd = wake_open();
	p->writer = channel_from_socket(one, -1);
	p->reader = channel_from_socket(accept(listener, NULL, NULL), p->cancel_fd);
	(void)close(listener);
	p->sent = xcalloc(1, NEEDED);
	p->got = xcalloc(1, NEEDED);
	for (size_t i = 0; i < NEEDED; i++)
		p->sent[i] = (uint8_t)(i / 7);
}

static void pair_close(struct pair *p)
{
	channel_close(p->writer);
	channel_close(p->reader);
	(void)close(p->cancel_fd);
	free(p->sent);
	free(p->got);
}

/* In pieces far below the mark. */
static void *write_pieces(void *opaque)
{
	struct pair *p = opaque;

	for (size_t at = 0; at < p->to_send; at += MIN(PIECE, p->to_send - at))
		ck_assert_int_eq(
		    channel_write(p->writer, p->sent + at, MIN(PIECE, p->to_send - at), NULL), 0);
	return NULL;
}

static void start_writing(struct pair *p, size_t n)
{
	p->to_send = n;
	ck_assert_int_eq(pthread_create(&p->thread, NULL, write_pieces, p), 0);
}

static int read_needed(struct pair *p, size_t *got)
{
	struct iovec iov = {.iov_base = p->got, .iov_len = NEEDED};

	return channel_readv(p->reader, &iov, 1, NEEDED, got, NULL);
}

/* All bytes, and afterwards a single one wakes the reader up as before. */
START_TEST(many_bytes_then_one)
{
	struct pair p = {0};
	size_t got = 0;
	uint8_t byte;

	pair_open(&p);
	for (int i = 0; i < 3; i++) {
		start_writing(&p, NEEDED);
		ck_assert_int_eq(read_needed(&p, &got), 0);
		(void)pthread_join(p.thread, NULL);
		ck_assert_uint_eq(got, NEEDED);
		ck_assert_mem_eq(p.got, p.sent, NEEDED);
		ck_assert_int_eq(channel_write(p.writer, "x", 1, NULL), 0);
		ck_assert_int_eq(channel_wait(p.reader, POLLIN, -1), 1);
		ck_assert_int_eq(channel_read(p.reader, &byte, 1, NULL), 1);
	}
	pair_close(&p);
}
END_TEST

/* A peer that leaves below the mark has left. */
START_TEST(the_end_comes_before_the_mark)
{
	struct pair p = {0};
	size_t got = 0;

	pair_open(&p);
	start_writing(&p, 100 * KiB);
	(void)pthread_join(p.thread, NULL);
	channel_end_writing(p.writer);
	ck_assert_int_eq(read_needed(&p, &got), 0);
	ck_assert_uint_eq(got, 100 * KiB);
	ck_assert_mem_eq(p.got, p.sent, got);
	pair_close(&p);
}
END_TEST

static void *cancel(void *opaque)
{
	wake_set(*(int *)opaque);
	return NULL;
}

START_TEST(a_cancel_comes_before_the_mark)
{
	struct pair p = {0};
	size_t got = 0;

	pair_open(&p);
	start_writing(&p, 100 * KiB);
	(void)pthread_join(p.thread, NULL);
	ck_assert_int_eq(pthread_create(&p.thread, NULL, cancel, &p.cancel_fd), 0);
	ck_assert_int_eq(read_needed(&p, &got), -ECANCELED);
	(void)pthread_join(p.thread, NULL);
	pair_close(&p);
}
END_TEST

static int option(const struct channel *c, int level, int name)
{
	socklen_t len = sizeof(int);
	int v = -1;

	ck_assert_int_eq(getsockopt(channel_fd(c), level, name, &v, &len), 0);
	return v;
}

/* What the documentation promises: half a minute, idle or not; and only where it is asked for. */
START_TEST(a_lost_peer_is_noticed)
{
	struct pair p;

	pair_open(&p);
	channel_bound_silence(p.writer);
	ck_assert_int_eq(option(p.writer, SOL_SOCKET, SO_KEEPALIVE), 1);
	ck_assert_int_eq(option(p.writer, IPPROTO_TCP, TCP_KEEPIDLE), 10);
	ck_assert_int_eq(option(p.writer, IPPROTO_TCP, TCP_KEEPINTVL), 5);
	ck_assert_int_eq(option(p.writer, IPPROTO_TCP, TCP_KEEPCNT), 4);
	ck_assert_int_eq(option(p.writer, IPPROTO_TCP, TCP_USER_TIMEOUT), 30000);
	ck_assert_int_eq(option(p.reader, SOL_SOCKET, SO_KEEPALIVE), 0);
	ck_assert_int_eq(option(p.reader, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
	pair_close(&p);
}
END_TEST

CHECK_MAIN("channel-tcp", many_bytes_then_one, the_end_comes_before_the_mark,
	   a_cancel_comes_before_the_mark, a_lost_peer_is_noticed)
