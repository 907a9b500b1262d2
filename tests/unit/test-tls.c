/*
 * test-tls.c - a channel with TLS on a socket pair: bytes, waiting, the end, and what is not TLS
 *
 * The credentials are anonymous, which need no files.
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check-main.h"
#include "migration/channel/channel.h"
#include "migration/tls/creds.h"
#include "migration/tls/session.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"
#include "vmm/options/options.h"

#define BYTES (3 * MiB + 17)

struct ends {
	int fd[2];
	struct channel *client, *server;
};

static struct channel *end_on(int fd, bool incoming)
{
	struct err err = {0};
	struct cfg_object o;
	struct tls_creds *creds;
	struct channel *c;

	ck_assert_int_eq(options_object(&o,
					incoming ? "tls-creds-anon,id=a,endpoint=server"
						 : "tls-creds-anon,id=a,endpoint=client",
					&err),
			 0);
	creds = tls_creds_new(&o, NULL, &err);
	ck_assert_msg(creds != NULL, "%s", err.msg);
	c = tls_channel_new(channel_from_socket(fd, -1), creds, NULL, NULL, incoming, &err);
	ck_assert_msg(c != NULL, "%s", err.msg);
	tls_creds_unref(creds);
	config_object_fini(&o);
	return c;
}

static void begin(struct ends *e)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, e->fd), 0);
	e->client = end_on(e->fd[0], false);
	e->server = end_on(e->fd[1], true);
}

static void shake(struct ends *e)
{
	int a = -EAGAIN, b = -EAGAIN;

	for (int i = 0; i < 10 && (a || b); i++) {
		a = channel_try_handshake(e->client);
		b = channel_try_handshake(e->server);
	}
	ck_assert_int_eq(a, 0);
	ck_assert_int_eq(b, 0);
}

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 7 + i / 4096);
}

/* In pieces of many sizes, several to a write. */
static void *write_all(void *opaque)
{
	struct channel *c = opaque;
	uint8_t *all = malloc(BYTES);
	size_t at = 0;

	for (size_t i = 0; i < BYTES; i++)
		all[i] = byte_at(i);
	for (size_t n = 1; at < BYTES; n = n * 3 + 5) {
		struct iovec v[3];
		int n_iov = 0;

		for (; n_iov < 3 && at < BYTES; n_iov++) {
			size_t part = MIN(BYTES - at, n % 70000 + (size_t)n_iov * 4096);

			v[n_iov] = iov_of(all + at, part);
			at += part;
		}
		ck_assert_int_eq(channel_write_all(c, v, n_iov, NULL), 0);
	}
	channel_end_writing(c);
	free(all);
	return NULL;
}

/* Both ways at once: each end has a reader and a writer. */
START_TEST(both_ways)
{
	static uint8_t got[BYTES + 1];
	pthread_t writer[2];
	struct ends e;

	begin(&e);
	shake(&e);
	ck_assert_int_eq(pthread_create(&writer[0], NULL, write_all, e.client), 0);
	ck_assert_int_eq(pthread_create(&writer[1], NULL, write_all, e.server), 0);
	for (int i = 0; i < 2; i++) {
		struct iovec v[2] = {iov_of(got, 1000), iov_of(got + 1000, BYTES + 1 - 1000)};
		size_t n = 0;

		ck_assert_int_eq(channel_readv(i ? e.client : e.server, v, 2, BYTES + 1, &n, NULL),
				 0);
		ck_assert_uint_eq(n, BYTES); /* and then the end */
		for (size_t k = 0; k < BYTES; k++)
			ck_assert_uint_eq(got[k], byte_at(k));
	}
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_join(writer[i], NULL), 0);
	channel_close(e.client);
	channel_close(e.server);
}
END_TEST

/* A readable descriptor is not yet something to read; what was read ahead is. */
START_TEST(waiting)
{
	uint8_t got[8];
	struct ends e;

	begin(&e);
	ck_assert_int_eq(channel_try_handshake(e.client), -EAGAIN); /* its greeting lies there */
	ck_assert_int_eq(channel_wait(e.server, POLLIN, 0), 0);
	ck_assert_int_eq(channel_peek(e.server, got, 4), -EAGAIN);
	shake(&e);
	ck_assert_int_eq(channel_wait(e.server, POLLIN, 1), 0);
	ck_assert_int_eq(channel_write(e.client, "abcd", 4, NULL), 0);
	ck_assert_int_eq(channel_write(e.client, "efgh", 4, NULL), 0);
	ck_assert_int_eq(channel_wait(e.server, POLLIN, -1), 1);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(channel_peek(e.server, got, 4), 4);
	ck_assert_mem_eq(got, "abcd", 4);
	ck_assert_int_eq(channel_read(e.server, got, 2, NULL), 2);
	ck_assert_int_eq(channel_read(e.server, got, 8, NULL), 2);
	ck_assert_uint_gt(channel_pending(e.server), 0); /* the descriptor has nothing */
	ck_assert_int_eq(channel_wait(e.server, POLLIN, -1), 1);
	ck_assert_int_eq(channel_read(e.server, got, 8, NULL), 4);
	ck_assert_mem_eq(got, "efgh", 4);
	ck_assert_uint_eq(channel_pending(e.server), 0);
	channel_close(e.client);
	channel_close(e.server);
}
END_TEST

/* With a farewell, and without one. */
START_TEST(ends)
{
	uint8_t got[8];
	struct ends e;

	for (int polite = 0; polite < 2; polite++) {
		begin(&e);
		shake(&e);
		ck_assert_int_eq(channel_write(e.client, "abcd", 4, NULL), 0);
		if (polite)
			channel_end_writing(e.client);
		else
			channel_shut_down(e.client);
		ck_assert_int_eq(channel_read(e.server, got, 8, NULL), 4);
		for (int i = 0; i < 2; i++) {
			ck_assert_int_eq(channel_wait(e.server, POLLIN, -1), 1);
			ck_assert_int_eq(channel_read(e.server, got, 8, NULL), 0);
		}
		channel_close(e.client);
		channel_close(e.server);
	}
}
END_TEST

/* A peer that is no TLS: the stream's own magic, or what begins like a record and is none. */
START_TEST(not_tls)
{
	static const struct {
		const char *bytes, *says;
	} rows[] = {
	    {"QEVM\0\0\0\3and more of it",        "does not use it on this connection"},
	    {"\x16\3\1\0\x10garbage, garbage, .", "TLS: "                             },
	    {"\x17\3\3\0\4abcd, and more",        "TLS: "                             },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = {0};
		struct channel *c;
		int fd[2];

		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
		c = end_on(fd[1], true);
		ck_assert_int_eq(send(fd[0], rows[i].bytes, 20, 0), 20);
		ck_assert_int_eq(shutdown(fd[0], SHUT_WR), 0);
		ck_assert_int_lt(channel_handshake(c, &err), 0);
		ck_assert_ptr_nonnull(strstr(err.msg, rows[i].says));
		channel_close(c);
		(void)close(fd[0]);
	}
}
END_TEST

/* A record that was changed on its way: the reader is told, and is given nothing of it. */
START_TEST(changed)
{
	uint8_t raw[256], got[8];
	struct err err = {0};
	struct ends e;
	ssize_t n;

	begin(&e);
	shake(&e);
	ck_assert_int_eq(channel_write(e.client, "abcd", 4, NULL), 0);
	n = recv(e.fd[1], raw, sizeof(raw), 0);
	ck_assert_int_gt(n, 8);
	raw[n - 1] ^= 1;
	ck_assert_int_eq(send(e.fd[0], raw, (size_t)n, 0), n);
	ck_assert_int_lt(channel_read(e.server, got, 8, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "TLS: the record with the source failed"));
	ck_assert_int_lt(channel_write(e.server, "x", 1, NULL), 0);
	channel_close(e.client);
	channel_close(e.server);
}
END_TEST

CHECK_MAIN("tls", both_ways, waiting, ends, not_tls, changed)
