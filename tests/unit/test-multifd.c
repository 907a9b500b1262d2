/* Multifd: packets against hostile bytes, compressors there and back, both ends over socket pairs.
 */
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "migration/channel/channel.h"
#include "migration/ram/multifd/multifd.h"
#include "migration/ram/ram.h"
#include "tests/unit/check-main.h"
#include "tests/unit/migration-rig.h"
#include "vmm/base/bytes.h"

#define METHODS 3
#define PACKET  MULTIFD_HEADER_BYTES

static const uint8_t no_uuid[16];

static struct multifd_config config(unsigned channels, enum multifd_compression method)
{
	struct multifd_config cfg = {.channels = channels, .method = method, .level = 1};

	return cfg;
}

/* ---- the first packet ---- */

START_TEST(test_init)
{
	struct multifd_config cfg = config(3, MULTIFD_NONE);
	uint8_t uuid[16] = {1, 2, 3}, p[MULTIFD_INIT_BYTES], expected[MULTIFD_INIT_BYTES] = {0};
	unsigned id = 99;

	multifd_put_init(p, no_uuid, 2);
	put_be32(expected, 0x11223344);
	put_be32(expected + 4, 1);
	expected[24] = 2;
	ck_assert_mem_eq(p, expected, sizeof(p));
	ck_assert_int_eq(multifd_get_init(p, &cfg, &id, NULL), 0);
	ck_assert_uint_eq(id, 2);
	memcpy(cfg.uuid, uuid, sizeof(uuid));
	ck_assert_int_lt(multifd_get_init(p, &cfg, &id, NULL), 0);
	multifd_put_init(p, uuid, 0);
	ck_assert_int_eq(multifd_get_init(p, &cfg, &id, NULL), 0);
}
END_TEST

static const struct {
	size_t at;
	uint8_t value;
	const char *words;
} bad_inits[] = {
    {0,  0x12, "begins with 0x12223344" },
    {7,  2,    "version 2"              },
    {8,  1,    "another UUID"           },
    {23, 1,    "another UUID"           },
    {24, 3,    "'multifd-channels' is 3"},
    {24, 255,  "opens channel 255"      },
};

START_TEST(test_bad_init)
{
	struct multifd_config cfg = config(3, MULTIFD_NONE);
	uint8_t p[MULTIFD_INIT_BYTES];
	struct err err = {0};
	unsigned id = 7;

	multifd_put_init(p, no_uuid, 0);
	p[bad_inits[_i].at] = bad_inits[_i].value;
	ck_assert_int_lt(multifd_get_init(p, &cfg, &id, &err), 0);
	ck_assert_msg(strstr(err.msg, bad_inits[_i].words) != NULL, "%s", err.msg);
	ck_assert_uint_eq(id, 7);
}
END_TEST

/* ---- headers ---- */

static struct multifd_packet packet(uint32_t n_pages)
{
	struct multifd_packet p = {.n_pages = n_pages,
				   .payload_bytes = (uint32_t)(n_pages * PAGE_BYTES)};

	(void)snprintf(p.block, sizeof(p.block), "microvm.ram");
	for (uint32_t i = 0; i < n_pages; i++)
		p.off[i] = i * 2 * PAGE_BYTES;
	return p;
}

START_TEST(test_header)
{
	struct multifd_packet p = packet(128), q;
	uint8_t h[PACKET];

	p.flags = MULTIFD_SYNC;
	p.num = 77;
	multifd_put_header(h, &p);
	ck_assert_uint_eq(get_be32(h + 12), 128);
	ck_assert_str_eq((const char *)h + 64, "microvm.ram");
	ck_assert_uint_eq(get_be64(h + 320 + 8UL * 127), 127 * 2 * PAGE_BYTES);
	ck_assert_int_eq(multifd_get_header(h, MULTIFD_NONE, &q, NULL), 0);
	ck_assert(q.flags == MULTIFD_SYNC && q.n_pages == 128 && q.n_zero == 0 && q.num == 77);
	ck_assert_mem_eq(q.off, p.off, sizeof(p.off));
	p = packet(1);
	p.n_zero = 2;
	p.off[1] = p.off[2] = 5 * PAGE_BYTES;
	multifd_put_header(h, &p);
	ck_assert_int_eq(multifd_get_header(h, MULTIFD_NONE, &q, NULL), 0);
	ck_assert(q.n_pages == 1 && q.n_zero == 2 && q.off[2] == 5 * PAGE_BYTES);
}
END_TEST

/* What a packet without pages says of pages is left over from another one. */
START_TEST(test_stale_fields)
{
	struct multifd_packet p = packet(16), q;
	uint8_t h[PACKET];

	multifd_put_header(h, &p);
	memset(h + 64, 'x', 256);
	put_be64(h + 320, 1);
	put_be32(h + 8, MULTIFD_SYNC | 0x3e);
	put_be32(h + 16, 0);
	for (int m = 0; m < METHODS; m++) {
		ck_assert_int_eq(multifd_get_header(h, (enum multifd_compression)m, &q, NULL), 0);
		ck_assert(q.n_pages == 0 && q.payload_bytes == 0 && q.flags & MULTIFD_SYNC);
	}
}
END_TEST

static const struct {
	size_t at;
	uint32_t value;
	enum multifd_compression method;
	const char *words;
} bad_headers[] = {
    {0,   0x5145564d, MULTIFD_NONE, "begins with 0x5145564d"                        },
    {4,   0,          MULTIFD_NONE, "version 0"				     },
    {8,   0x40,       MULTIFD_NONE, "device state"                                  },
    {8,   0x80,       MULTIFD_NONE, "unknown flags 0x80"                            },
    {8,   0x80000000, MULTIFD_NONE, "unknown flags"                                 },
    {8,   0x02,       MULTIFD_NONE, "is zlib at the source (0x1) and none"          },
    {8,   0x04,       MULTIFD_ZLIB, "is zstd at the source (0x2) and zlib"          },
    {8,   0x00,       MULTIFD_ZSTD, "is none at the source (0x0) and zstd"          },
    {8,   0x08,       MULTIFD_NONE, "is qpl at the source"                          },
    {8,   0x3e,       MULTIFD_NONE, "is an unknown method at the source"            },
    {12,  129,        MULTIFD_NONE, "room for 129 pages"                            },
    {12,  0xffffffff, MULTIFD_NONE, "room for 4294967295 pages"                     },
    {12,  1,          MULTIFD_NONE, "2 pages and 0 zero pages, room is for 1"       },
    {16,  129,        MULTIFD_NONE, "129 pages"                                     },
    {16,  0x80000000, MULTIFD_NONE, "2147483648 pages"                              },
    {20,  4096,       MULTIFD_NONE, "2 pages announces 4096 bytes"                  },
    {20,  0,          MULTIFD_NONE, "announces 0 bytes"                             },
    {32,  127,        MULTIFD_NONE, "127 zero pages"                                },
    {32,  0xffffffff, MULTIFD_NONE, "4294967295 zero pages"                         },
    {324, 1,          MULTIFD_NONE, "0x1 is no page's start"                        },
    {328, 0xffffffff, MULTIFD_NONE, NULL /* far, but that is the block's business */},
};

START_TEST(test_bad_header)
{
	struct multifd_packet p = packet(2), q;
	struct err err = {0};
	uint8_t h[PACKET];
	int ret;

	multifd_put_header(h, &p);
	put_be32(h + bad_headers[_i].at, bad_headers[_i].value);
	ret = multifd_get_header(h, bad_headers[_i].method, &q, &err);
	if (!bad_headers[_i].words) {
		ck_assert_int_eq(ret, 0);
		return;
	}
	ck_assert_int_lt(ret, 0);
	ck_assert_msg(strstr(err.msg, bad_headers[_i].words) != NULL, "%s", err.msg);
}
END_TEST

START_TEST(test_bad_header_more)
{
	struct multifd_packet p = packet(2), q;
	uint8_t h[PACKET];

	multifd_put_header(h, &p);
	memset(h + 64, 'x', 256);
	ck_assert_int_lt(multifd_get_header(h, MULTIFD_NONE, &q, NULL), 0);
	for (uint32_t bytes = 0; bytes < 2; bytes++) { /* of a compressed payload */
		multifd_put_header(h, &p);
		put_be32(h + 8, 0x02);
		put_be32(h + 20, bytes ? (uint32_t)MULTIFD_MAX_PAYLOAD + 1 : 0);
		ck_assert_int_lt(multifd_get_header(h, MULTIFD_ZLIB, &q, NULL), 0);
	}
	put_be32(h + 20, (uint32_t)MULTIFD_MAX_PAYLOAD);
	ck_assert_int_eq(multifd_get_header(h, MULTIFD_ZLIB, &q, NULL), 0);
}
END_TEST

/* ---- compressors ---- */

struct coder {
	const struct multifd_method *m;
	void *in, *out;
	uint8_t *payload;
	size_t n;
};

static void coder_init(struct coder *c, int method, unsigned level)
{
	c->m = multifd_methods[method];
	c->in = c->m->deflate_new(level, NULL);
	c->out = c->m->inflate_new(NULL);
	c->payload = xcalloc(1, MULTIFD_MAX_PAYLOAD);
	ck_assert(c->in && c->out);
}

static void coder_fini(struct coder *c)
{
	c->m->deflate_free(c->in);
	c->m->inflate_free(c->out);
	free(c->payload);
}

static void deflate_pages(struct coder *c, const uint8_t *pages, size_t n)
{
	struct err err = {0};

	c->n = 0;
	for (size_t i = 0; i < n; i++)
		ck_assert_msg(c->m->deflate_page(c->in, pages + i * PAGE_BYTES, i + 1 == n,
						 c->payload, MULTIFD_MAX_PAYLOAD, &c->n, &err) == 0,
			      "%s", err.msg);
}

/* Into pieces of one page each, or one of all. */
static int inflate_pages(struct coder *c, uint8_t *to, size_t n, bool whole, struct err *err)
{
	struct iovec iov[MULTIFD_PAGES];

	for (size_t i = 0; i < n; i++)
		iov[i] = (struct iovec){to + i * PAGE_BYTES, PAGE_BYTES};
	if (whole)
		iov[0].iov_len = n * PAGE_BYTES;
	return c->m->inflate(c->out, c->payload, c->n, iov, whole ? 1 : (int)n, err);
}

static void fill_pages(uint8_t *p, size_t n, unsigned kind)
{
	unsigned v = kind + 1;

	for (size_t i = 0; i < n * PAGE_BYTES; i++) {
		v = v * 1103515245 + 12345;
		p[i] = (uint8_t)(kind == 0 ? 0 : kind == 1 ? v >> 16 : (i / 7) & (v >> 29));
	}
}

START_TEST(test_compressors)
{
	size_t bytes = MULTIFD_PAGES * PAGE_BYTES;
	uint8_t *from = xcalloc(1, bytes), *to = xcalloc(1, bytes);
	static const size_t counts[] = {1, 128, 2, 77, 128, 1};
	struct err err = {0};
	struct coder c;

	for (int method = MULTIFD_ZLIB; method <= MULTIFD_ZSTD; method++) {
		for (unsigned level = 0; level <= 9; level += 3) {
			coder_init(&c, method, level);
			/* One stream: each packet goes on where the last one ended. */
			for (unsigned i = 0; i < ARRAY_LEN(counts) * 3; i++) {
				size_t n = counts[i % ARRAY_LEN(counts)];

				fill_pages(from, n, i % 3);
				memset(to, 0xaa, bytes);
				deflate_pages(&c, from, n);
				ck_assert_msg(inflate_pages(&c, to, n, i & 1, &err) == 0, "%s",
					      err.msg);
				ck_assert(memcmp(from, to, n * PAGE_BYTES) == 0);
			}
			coder_fini(&c);
		}
	}
	free(from);
	free(to);
}
END_TEST

enum spoil { SHORTER, LONGER, MORE_PAGES, FEWER_PAGES, GARBAGE, EMPTIED, SPOILS };

START_TEST(test_bad_compressed)
{
	int method = _i / SPOILS + MULTIFD_ZLIB;
	uint8_t *from = xcalloc(4, PAGE_BYTES), *to = xcalloc(6, PAGE_BYTES);
	struct err err = {0};
	struct coder c;
	size_t n = 4;

	coder_init(&c, method, 1);
	fill_pages(from, 4, 1);
	deflate_pages(&c, from, 4);
	switch (_i % SPOILS) {
	case SHORTER:
		c.n -= 100;
		break;
	case LONGER: /* what follows is another page */
		n = 4;
		ck_assert_int_eq(
		    c.m->deflate_page(c.in, from, true, c.payload, MULTIFD_MAX_PAYLOAD, &c.n, NULL),
		    0);
		break;
	case MORE_PAGES:
		n = 5;
		break;
	case FEWER_PAGES:
		n = 3;
		break;
	case GARBAGE:
		memset(c.payload, 0x5a, c.n);
		break;
	case EMPTIED:
		c.n = 1;
		break;
	}
	ck_assert_int_lt(inflate_pages(&c, to, n, false, &err), 0);
	ck_assert_msg(strstr(err.msg, "packet") != NULL, "%s", err.msg);
	coder_fini(&c);
	free(from);
	free(to);
}
END_TEST

/* ---- both ends ---- */

struct ends {
	struct rig *s, *d;
	struct multifd_send *send;
	struct multifd_recv *recv;
	struct ram_load *ram;
	int cancel[2]; /* sender's, receiver's */
	unsigned channels;
};

static struct channel *socket_end(int fd)
{
	return channel_from_socket(fd, -1);
}

static void ends_init(struct ends *e, unsigned channels, enum multifd_compression method)
{
	struct multifd_config cfg = config(channels, method);
	struct err err = {0};

	e->channels = channels;
	e->s = rig_new(RS_PRELAUNCH);
	e->d = rig_new(RS_INMIGRATE);
	e->ram = ram_load_new(&e->d->m);
	for (int i = 0; i < 2; i++)
		e->cancel[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	e->send = multifd_send_new(&cfg, e->cancel[0], &err);
	e->recv = multifd_recv_new(&cfg, e->cancel[1], NULL, NULL, &err);
	ck_assert(e->send && e->recv);
	for (unsigned i = 0; i < channels; i++) {
		int fd[2];

		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
		ck_assert_msg(multifd_send_add(e->send, socket_end(fd[0]), &err) == 0, "%s",
			      err.msg);
		multifd_recv_add(e->recv, socket_end(fd[1]));
	}
}

static void ends_fini(struct ends *e)
{
	multifd_send_free(e->send);
	multifd_recv_free(e->recv);
	ram_load_free(e->ram);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(close(e->cancel[i]), 0);
	rig_free(e->s);
	rig_free(e->d);
}

static void sync_ends(struct ends *e)
{
	struct err err = {0};

	ck_assert_int_eq(multifd_send_sync(e->send), 0);
	ck_assert_msg(multifd_recv_sync(e->recv, e->ram, &err) == 0, "%s", err.msg);
}

START_TEST(test_two_ends)
{
	static const unsigned numbers[] = {1, 2, 5, 255};
	struct ends e;

	ends_init(&e, numbers[_i / METHODS], (enum multifd_compression)(_i % METHODS));
	sync_ends(&e);
	for (unsigned pass = 0; pass < 3; pass++) { /* every page once a round, the newest stays */
		rig_fill(e.s, pass * 50 + 1);
		for (size_t b = 0; b < 2; b++)
			for (uint64_t off = 0; off < rig_block(e.s, b)->bytes; off += PAGE_BYTES)
				ck_assert_int_eq(
				    multifd_send_page(e.send, rig_block(e.s, b), off, false), 0);
		sync_ends(&e);
		for (size_t b = 0; b < 2; b++)
			ck_assert(memcmp(rig_block(e.s, b)->hva, rig_block(e.d, b)->hva,
					 rig_block(e.s, b)->bytes) == 0);
	}
	if (_i % METHODS == MULTIFD_NONE)
		ck_assert_uint_gt(multifd_send_bytes(e.send), 3 * (RIG_RAM_BYTES + RIG_BIOS_BYTES));
	ck_assert_int_eq(multifd_send_failure(e.send, NULL), 0);
	ck_assert_int_eq(multifd_send_check(e.send, NULL), 0);
	ck_assert_int_eq(multifd_recv_failure(e.recv, NULL), 0);
	ends_fini(&e);
}
END_TEST

/*
 * Zero pages go in packets, also those that nobody has touched and that must not be read; of a
 * packet that has no others there is only the header.
 */
START_TEST(test_zero_pages)
{
	enum { PAGES = 2 * MULTIFD_PAGES };
	struct multifd_pages pages;
	struct ends e;
	uint8_t *from, *to;

	ends_init(&e, 2, (enum multifd_compression)_i);
	multifd_send_zero_pages(e.send);
	from = rig_block(e.s, 0)->hva;
	to = rig_block(e.d, 0)->hva;
	memset(from, 0, PAGES * PAGE_BYTES);
	for (unsigned i = 0; i < MULTIFD_PAGES; i += 3)
		memset(from + i * PAGE_BYTES, (int)i + 1, PAGE_BYTES);
	memset(to, 0xee, PAGES * PAGE_BYTES);
	memset(from + 5 * PAGE_BYTES, 0x77, PAGE_BYTES); /* as if: it is taken for zero unread */
	sync_ends(&e);
	for (uint64_t i = 0; i < PAGES; i++)
		ck_assert_int_eq(
		    multifd_send_page(e.send, rig_block(e.s, 0), i * PAGE_BYTES, i == 5), 0);
	ck_assert_int_eq(multifd_send_drain(e.send), 0);
	pages = multifd_send_pages(e.send);
	ck_assert_uint_eq(pages.normal, (MULTIFD_PAGES + 2) / 3);
	ck_assert_uint_eq(pages.normal + pages.zero, PAGES);
	ck_assert_uint_eq(multifd_send_pending(e.send), 0);
	sync_ends(&e);
	memset(from + 5 * PAGE_BYTES, 0, PAGE_BYTES);
	ck_assert(memcmp(from, to, PAGES * PAGE_BYTES) == 0);
	ck_assert_int_eq(multifd_recv_finish(e.recv, NULL), 0);
	ends_fini(&e);
}
END_TEST

/* The receiver is gone: the next page, or the one after some, says so. */
START_TEST(test_sender_without_receiver)
{
	struct err err = {0};
	struct ends e;
	int ret = 0;

	ends_init(&e, 2, MULTIFD_NONE);
	sync_ends(&e);
	multifd_recv_stop(e.recv);
	rig_fill(e.s, 1);
	for (uint64_t off = 0; ret == 0; off = (off + PAGE_BYTES) % RIG_RAM_BYTES)
		ret = multifd_send_page(e.send, rig_block(e.s, 0), off, false);
	ck_assert_int_eq(multifd_send_failure(e.send, &err), ret);
	ck_assert_msg(strstr(err.msg, "multifd channel ") == err.msg, "%s", err.msg);
	ck_assert_int_lt(multifd_send_sync(e.send), 0);
	ends_fini(&e);
}
END_TEST

/* Without a reader: cancelling ends the wait. */
START_TEST(test_cancelled_sender)
{
	struct multifd_config cfg = config(2, MULTIFD_NONE);
	int cancel = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), fd[2][2], ret = 0;
	struct rig *s = rig_new(RS_PRELAUNCH);
	struct multifd_send *send = multifd_send_new(&cfg, cancel, NULL);
	uint64_t sent = 0;

	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd[i]), 0);
		ck_assert_int_eq(multifd_send_add(send, socket_end(fd[i][0]), NULL), 0);
	}
	for (uint64_t off = 0; ret == 0; off = (off + PAGE_BYTES) % RIG_RAM_BYTES) {
		/* More than the batches hold: the threads are at work, or wait for their sockets.
		 */
		if (++sent == 8 * MULTIFD_PAGES)
			ck_assert_int_eq(eventfd_write(cancel, 1), 0);
		ret = multifd_send_page(send, rig_block(s, 0), off, false);
	}
	ck_assert_int_eq(ret, -ECANCELED);
	multifd_send_free(send);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(close(fd[i][1]), 0);
	ck_assert_int_eq(close(cancel), 0);
	rig_free(s);
}
END_TEST

START_TEST(test_cancelled_receiver)
{
	struct err err = {0};
	struct ends e;

	ends_init(&e, 2, MULTIFD_NONE);
	sync_ends(&e);
	ck_assert_int_eq(eventfd_write(e.cancel[1], 1), 0);
	ck_assert_int_eq(multifd_recv_sync(e.recv, e.ram, &err), -ECANCELED);
	ends_fini(&e);
}
END_TEST

/* ---- a receiver and whatever bytes ---- */

struct victim {
	struct rig *d;
	struct multifd_recv *recv;
	struct ram_load *ram;
	int cancel, fd;
};

static void victim_connect(struct victim *v)
{
	int fd[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	multifd_recv_add(v->recv, socket_end(fd[1]));
	v->fd = fd[0];
}

static void victim_init(struct victim *v, unsigned channels, enum multifd_compression method)
{
	struct multifd_config cfg = config(channels, method);

	v->d = rig_new(RS_INMIGRATE);
	v->ram = ram_load_new(&v->d->m);
	v->cancel = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	v->recv = multifd_recv_new(&cfg, v->cancel, NULL, NULL, NULL);
	victim_connect(v);
}

static void victim_fini(struct victim *v)
{
	multifd_recv_free(v->recv);
	ram_load_free(v->ram);
	ck_assert_int_eq(close(v->cancel), 0);
	ck_assert_int_eq(close(v->fd), 0);
	rig_free(v->d);
}

static void put(const struct victim *v, const void *p, size_t n)
{
	ck_assert_int_eq(write(v->fd, p, n), (ssize_t)n);
}

static void put_init(const struct victim *v, unsigned id)
{
	uint8_t init[MULTIFD_INIT_BYTES];

	multifd_put_init(init, no_uuid, id);
	put(v, init, sizeof(init));
}

static void put_packet(const struct victim *v, const struct multifd_packet *p)
{
	uint8_t h[PACKET];

	multifd_put_header(h, p);
	put(v, h, sizeof(h));
}

static void put_sync(const struct victim *v)
{
	struct multifd_packet p = {.flags = MULTIFD_SYNC};

	put_packet(v, &p);
}

static void expect_failure(struct victim *v, const char *words)
{
	struct err err = {0};

	ck_assert_int_lt(multifd_recv_sync(v->recv, v->ram, &err), 0);
	ck_assert_msg(strstr(err.msg, words) != NULL, "%s", err.msg);
	ck_assert_int_lt(multifd_recv_failure(v->recv, NULL), 0);
}

/* As a 7.2 source does, and as a 9.0 one: SYNC with pages, empty packets, zero pages in packets. */
START_TEST(test_other_senders)
{
	struct multifd_packet p = packet(2), empty = {0};
	uint8_t *pages = xcalloc(2, PAGE_BYTES), *ram;
	struct victim v;

	victim_init(&v, 1, MULTIFD_NONE);
	ram = rig_block(v.d, 0)->hva;
	memset(ram + 4 * PAGE_BYTES, 0x77, PAGE_BYTES);
	put_init(&v, 0);
	put_sync(&v);
	ck_assert_int_eq(multifd_recv_sync(v.recv, v.ram, NULL), 0);
	put_packet(&v, &empty);
	p.flags = MULTIFD_SYNC;
	p.n_zero = 1;
	p.off[2] = 4 * PAGE_BYTES;
	put_packet(&v, &p);
	memset(pages, 0x33, 2 * PAGE_BYTES);
	put(&v, pages, 2 * PAGE_BYTES);
	put_packet(&v, &empty);
	ck_assert_int_eq(multifd_recv_sync(v.recv, v.ram, NULL), 0);
	ck_assert_mem_eq(ram, pages, PAGE_BYTES);
	ck_assert_mem_eq(ram + 2 * PAGE_BYTES, pages, PAGE_BYTES);
	ck_assert(ram[PAGE_BYTES] == 0 && ram[4 * PAGE_BYTES] == 0);
	victim_fini(&v);
	free(pages);
}
END_TEST

/* Runs mark their pages without atomics: no channel may do so at the same time. */
START_TEST(test_runs_beside_channels)
{
	struct victim v;
	struct buf b = {0};
	struct err err = {0};
	struct src in;

	victim_init(&v, 1, MULTIFD_NONE);
	ram_load_take_runs(v.ram);
	ram_load_use(v.ram, v.recv);
	put_init(&v, 0);
	buf_be64(&b, 0 | RAM_FLAG_RUN);
	buf_str8(&b, "microvm.ram");
	buf_be32(&b, 1);
	buf_put(&b, (const uint8_t[PAGE_BYTES]){1}, PAGE_BYTES);
	in = src_mem(b.data, b.len);
	ck_assert_int_eq(ram_load_body(v.ram, &in, &err), -EINVAL);
	ck_assert_msg(strstr(err.msg, "a run of pages beside multifd channels"), "%s", err.msg);
	buf_free(&b);
	victim_fini(&v);
}
END_TEST

/* ---- where the main stream has its sync rounds, and the end ---- */

static int load_words(struct victim *v, struct err *err, uint64_t first, uint64_t second)
{
	struct buf b = {0};
	struct src in;
	int ret;

	buf_be64(&b, first);
	buf_be64(&b, second);
	in = src_mem(b.data, b.len);
	ret = ram_load_body(v->ram, &in, err);
	buf_free(&b);
	return ret;
}

static void put_page(struct victim *v, uint64_t off, uint8_t fill)
{
	struct multifd_packet p = packet(1);
	uint8_t page[PAGE_BYTES];

	p.off[0] = off;
	memset(page, fill, sizeof(page));
	put_packet(v, &p);
	put(v, page, sizeof(page));
}

static void expect_finish(struct victim *v, const char *words)
{
	struct err err = {0};
	int ret = multifd_recv_finish(v->recv, &err);

	ck_assert_msg(ret == (words ? -EINVAL : 0), "%d %s", ret, err.msg);
	ck_assert_msg(!words || strstr(err.msg, words), "%s", err.msg);
}

#define FLUSH RAM_FLAG_MULTIFD_FLUSH
#define EOS   RAM_FLAG_EOS

static void victim_begin(struct victim *v, bool pass)
{
	struct err err = {0};

	victim_init(v, 1, MULTIFD_NONE);
	ram_load_use(v->ram, v->recv);
	put_init(v, 0);
	put_sync(v);
	if (pass)
		ck_assert_msg(load_words(v, &err, FLUSH, EOS) == 0, "%s", err.msg);
	else
		ck_assert_msg(load_words(v, &err, EOS, EOS) == 0, "%s", err.msg);
}

/* The EOS of a record asks for nothing then; a newer copy is placed behind an older one. */
START_TEST(test_flush_of_a_pass)
{
	struct err err = {0};
	struct victim v;

	victim_begin(&v, true);
	put_page(&v, 0, 1);
	ck_assert_int_eq(load_words(&v, &err, EOS, 0), 0);
	ck_assert_int_eq(load_words(&v, &err, EOS, 0), 0);
	put_sync(&v);
	ck_assert_int_eq(load_words(&v, &err, FLUSH, EOS), 0);
	put_page(&v, 0, 2);
	put_sync(&v);
	put_sync(&v);
	ck_assert_int_eq(load_words(&v, &err, FLUSH, FLUSH | EOS), -EINVAL);
	ck_assert_msg(strstr(err.msg, "unknown combination of flags 0x210"), "%s", err.msg);
	ck_assert_int_eq(load_words(&v, &err, FLUSH, EOS), 0);
	ck_assert_uint_eq(rig_block(v.d, 0)->hva[0], 2);
	expect_finish(&v, NULL);
	victim_fini(&v);
}
END_TEST

START_TEST(test_flush_of_a_section)
{
	struct err err = {0};
	struct victim v;

	victim_begin(&v, false);
	put_page(&v, 0, 1);
	put_sync(&v);
	ck_assert_int_eq(load_words(&v, &err, EOS, 0), 0);
	ck_assert_uint_eq(rig_block(v.d, 0)->hva[0], 1);
	expect_finish(&v, NULL);
	ck_assert_int_eq(load_words(&v, &err, FLUSH, EOS), -EINVAL);
	ck_assert_msg(strstr(err.msg, "had begun without"), "%s", err.msg);
	victim_fini(&v);
}
END_TEST

/* The flush is none of a page's words: it has no offset, and no block of the record before. */
START_TEST(test_broken_flush)
{
	static const uint64_t words[] = {FLUSH | PAGE_BYTES, FLUSH | RAM_FLAG_CONTINUE,
					 FLUSH | RAM_FLAG_PAGE, FLUSH | RAM_FLAG_ZERO};
	struct err err = {0};
	struct victim v;

	victim_begin(&v, true);
	ck_assert_int_eq(load_words(&v, &err, words[_i], EOS), -EINVAL);
	victim_fini(&v);
}
END_TEST

START_TEST(test_flush_without_multifd)
{
	struct rig *d = rig_new(RS_INMIGRATE);
	struct victim v = {.d = d, .ram = ram_load_new(&d->m)};
	struct err err = {0};

	ck_assert_int_eq(load_words(&v, &err, FLUSH, EOS), -EINVAL);
	ck_assert_msg(strstr(err.msg, "'multifd' must be the same on both sides"), "%s", err.msg);
	ram_load_free(v.ram);
	rig_free(d);
}
END_TEST

/* A source that flushes has channels: without them the guest is not whole. */
START_TEST(test_flush_without_channels)
{
	struct multifd_config cfg = config(2, MULTIFD_NONE);
	struct rig *d = rig_new(RS_INMIGRATE);
	int cancel = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct victim v = {.d = d,
			   .ram = ram_load_new(&d->m),
			   .recv = multifd_recv_new(&cfg, cancel, NULL, NULL, NULL)};
	struct err err = {0};

	ram_load_use(v.ram, v.recv);
	ck_assert_int_eq(load_words(&v, &err, FLUSH, EOS), -EINVAL);
	ck_assert_msg(strstr(err.msg, "opened 0 of 2 multifd channels"), "%s", err.msg);
	multifd_recv_free(v.recv);
	ram_load_free(v.ram);
	ck_assert_int_eq(close(cancel), 0);
	rig_free(d);
}
END_TEST

static void end_late_page(struct victim *v)
{
	put_page(v, 0, 1);
}

static void end_late_zero(struct victim *v)
{
	struct multifd_packet p = packet(0);

	p.n_zero = 1;
	put_packet(v, &p);
}

static void end_more_syncs(struct victim *v)
{
	put_sync(v);
}

static void end_empty(struct victim *v)
{
	struct multifd_packet p = {0};

	put_packet(v, &p);
}

static void end_closed(struct victim *v)
{
	ck_assert_int_eq(shutdown(v->fd, SHUT_WR), 0);
}

static void end_cut(struct victim *v)
{
	put(v, "\x11\x22", 2);
	ck_assert_int_eq(shutdown(v->fd, SHUT_WR), 0);
}

static void end_late_and_closed(struct victim *v)
{
	end_late_zero(v);
	end_closed(v);
}

/* What comes behind the last sync round of the main stream. */
static const struct {
	void (*put)(struct victim *v);
	int ret;
	const char *words;
} ends[] = {
    {end_late_page,       -EINVAL, "channel 0 brings pages behind the last synchronisation"},
    {end_late_zero,       -EINVAL, "channel 0 brings pages behind the last synchronisation"},
    {end_late_and_closed, -EINVAL, "channel 0 brings pages behind the last synchronisation"},
    {end_more_syncs,      -EINVAL, "channel 0 has synchronised more often than"            },
    {end_empty,           0,       ""						      },
    {end_closed,          0,       ""						      },
    {end_cut,             -EIO,    "ends in the middle of a packet"                        },
};

START_TEST(test_ends)
{
	struct err err = {0};
	struct victim v;
	int ret;

	victim_begin(&v, true);
	put_sync(&v);
	ck_assert_int_eq(load_words(&v, &err, FLUSH, EOS), 0);
	ends[_i].put(&v);
	ret = multifd_recv_finish(v.recv, &err);
	ck_assert_msg(ret == ends[_i].ret, "%d %s", ret, err.msg);
	ck_assert_msg(strstr(err.msg, ends[_i].words) != NULL, "%s", err.msg);
	victim_fini(&v);
}
END_TEST

static void no_sync_first(struct victim *v)
{
	struct multifd_packet p = packet(1);

	put_packet(v, &p);
}

static void unknown_block(struct victim *v)
{
	struct multifd_packet p = packet(1);

	put_sync(v);
	ck_assert_int_eq(multifd_recv_sync(v->recv, v->ram, NULL), 0);
	memcpy(p.block, "nope", 5);
	put_packet(v, &p);
}

static void beyond(struct victim *v)
{
	struct multifd_packet p = packet(1);

	put_sync(v);
	ck_assert_int_eq(multifd_recv_sync(v->recv, v->ram, NULL), 0);
	p.off[0] = RIG_RAM_BYTES;
	put_packet(v, &p);
}

static void zero_beyond(struct victim *v)
{
	struct multifd_packet p = packet(0);

	put_sync(v);
	ck_assert_int_eq(multifd_recv_sync(v->recv, v->ram, NULL), 0);
	p.n_zero = 1;
	p.off[0] = UINT64_MAX - PAGE_BYTES + 1;
	put_packet(v, &p);
}

static void cut_in_header(struct victim *v)
{
	put(v, "\x11\x22\x33\x44", 4);
	ck_assert_int_eq(shutdown(v->fd, SHUT_WR), 0);
}

static void cut_in_pages(struct victim *v)
{
	struct multifd_packet p = packet(2);

	put_sync(v);
	ck_assert_int_eq(multifd_recv_sync(v->recv, v->ram, NULL), 0);
	put_packet(v, &p);
	put(v, &p, 100);
	ck_assert_int_eq(shutdown(v->fd, SHUT_WR), 0);
}

static void closed(struct victim *v)
{
	ck_assert_int_eq(shutdown(v->fd, SHUT_WR), 0);
}

static void bad_packet(struct victim *v)
{
	uint8_t h[PACKET];

	memset(h, 0xff, sizeof(h));
	put(v, h, sizeof(h));
}

static const struct {
	void (*attack)(struct victim *v);
	const char *words;
} attacks[] = {
    {no_sync_first, "before the list of RAM blocks"         },
    {unknown_block, "unknown RAM block 'nope'"              },
    {beyond,        "0x400000 is beyond RAM block"          },
    {zero_beyond,   "0xfffffffffffff000 is beyond RAM block"},
    {cut_in_header, "ends in the middle of a packet"        },
    {cut_in_pages,  "ends in the middle of a packet"        },
    {bad_packet,    "a packet begins with 0xffffffff"       },
};

START_TEST(test_attacks)
{
	struct victim v;

	victim_init(&v, 1, MULTIFD_NONE);
	put_init(&v, 0);
	attacks[_i].attack(&v);
	expect_failure(&v, attacks[_i].words);
	victim_fini(&v);
}
END_TEST

START_TEST(test_closed_before_sync)
{
	struct err err = {0};
	struct victim v;

	victim_init(&v, 1, MULTIFD_NONE);
	put_init(&v, 0);
	closed(&v);
	ck_assert_int_lt(multifd_recv_sync(v.recv, v.ram, &err), 0);
	ck_assert_str_eq(err.msg, "multifd channel 0: the source closed the connection");
	victim_fini(&v);
}
END_TEST

START_TEST(test_cut_first_packet)
{
	struct victim v;

	victim_init(&v, 1, MULTIFD_NONE);
	put(&v, "\x11\x22\x33\x44", 4);
	closed(&v);
	expect_failure(&v, "ends in its first packet");
	victim_fini(&v);
}
END_TEST

START_TEST(test_same_number_twice)
{
	struct victim v;
	int first;

	victim_init(&v, 2, MULTIFD_NONE);
	put_init(&v, 1);
	first = v.fd;
	victim_connect(&v);
	put_init(&v, 1);
	expect_failure(&v, "another one has the same number 1");
	ck_assert_int_eq(close(first), 0);
	victim_fini(&v);
}
END_TEST

START_TEST(test_too_many)
{
	struct victim v;
	int first;

	victim_init(&v, 1, MULTIFD_NONE);
	put_init(&v, 0);
	first = v.fd;
	victim_connect(&v);
	expect_failure(&v, "more than 1 multifd channels");
	ck_assert_int_eq(close(first), 0);
	victim_fini(&v);
}
END_TEST

/* It comes when all are there and at work: another source has taken the wrong address. */
START_TEST(test_one_of_another_source)
{
	struct victim v;
	struct err err = {0};
	uint8_t byte;
	int first, other;

	victim_init(&v, 1, MULTIFD_NONE);
	put_init(&v, 0);
	put_sync(&v);
	ck_assert_msg(multifd_recv_sync(v.recv, v.ram, &err) == 0, "%s", err.msg);
	first = v.fd;
	victim_connect(&v);
	other = v.fd;
	v.fd = first;
	put_sync(&v);
	ck_assert_msg(multifd_recv_sync(v.recv, v.ram, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(read(other, &byte, 1), 0);
	ck_assert_int_eq(close(other), 0);
	victim_fini(&v);
}
END_TEST

START_TEST(test_bad_payload)
{
	struct multifd_packet p = packet(2);
	uint8_t junk[64];
	struct victim v;

	victim_init(&v, 1, _i ? MULTIFD_ZSTD : MULTIFD_ZLIB);
	put_init(&v, 0);
	put_sync(&v);
	ck_assert_int_eq(multifd_recv_sync(v.recv, v.ram, NULL), 0);
	p.flags = _i ? 4 : 2;
	p.payload_bytes = sizeof(junk);
	put_packet(&v, &p);
	memset(junk, 0x5a, sizeof(junk));
	put(&v, junk, sizeof(junk));
	expect_failure(&v, _i ? "no zstd data" : "no zlib data");
	victim_fini(&v);
}
END_TEST

/* No channel comes: the source has them off. */
START_TEST(test_plain_source)
{
	struct multifd_config cfg = config(2, MULTIFD_NONE);
	struct rig *d = rig_new(RS_INMIGRATE);
	struct ram_load *ram = ram_load_new(&d->m);
	int cancel = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct multifd_recv *recv = multifd_recv_new(&cfg, cancel, NULL, NULL, NULL);

	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(multifd_recv_sync(recv, ram, NULL), 0);
	multifd_recv_free(recv);
	ram_load_free(ram);
	ck_assert_int_eq(close(cancel), 0);
	rig_free(d);
}
END_TEST

/* ---- whole migrations ---- */

START_TEST(test_migration)
{
	static const char *const names[] = {"none", "zlib", "zstd"};
	struct rig *s = rig_new(RS_PRELAUNCH), *d = rig_new(RS_INMIGRATE);
	struct rig *both[] = {s, d};
	struct migration_info info;
	char uri[128];

	for (int i = 0; i < 2; i++) {
		rig_capability(both[i], CAP_MULTIFD, true);
		rig_parameter(both[i], "multifd-channels", "3");
		rig_parameter(both[i], "multifd-compression", names[_i]);
	}
	rig_fill(s, 7);
	memset(rig_block(d, 0)->hva + 5 * PAGE_BYTES, 0xee, PAGE_BYTES); /* must become zero */
	rig_run_guest(s);
	(void)snprintf(uri, sizeof(uri), "unix:%s/s", rig_dir());
	ck_assert_int_eq(rig_incoming(d, uri, NULL), 0);
	ck_assert_int_eq(rig_migrate(s, uri, NULL), 0);
	rig_await(s, MIG_COMPLETED);
	rig_await(d, MIG_COMPLETED);
	rig_check_same(s, d);
	info = rig_query(s);
	ck_assert_uint_eq(info.ram.normal + info.ram.duplicate + info.ram.skipped,
			  info.ram.total / PAGE_BYTES);
	ck_assert_uint_eq(info.ram.transferred, info.ram.precopy_bytes + info.ram.downtime_bytes +
						    info.ram.multifd_bytes);
	ck_assert_uint_gt(info.ram.multifd_bytes, 3 * (MULTIFD_INIT_BYTES + PACKET));
	rig_free(s);
	rig_free(d);
	rig_remove_dir();
}
END_TEST

START_TEST(test_rules)
{
	enum migration_capability caps[] = {CAP_MULTIFD, CAP_ZERO_COPY_SEND};
	bool both[] = {true, true}, zero[] = {false, true};
	struct migration_params_set set = {0};
	struct rig *r = rig_new(RS_PRELAUNCH);
	struct err err = {0};

	machine_lock(&r->m);
	ck_assert_int_lt(migration_set_capabilities(r->mg, caps, zero, 2, &err), 0);
	ck_assert_str_eq(err.msg,
			 "Zero copy only available for non-compressed non-TLS multifd migration");
	ck_assert_int_eq(migration_set_capabilities(r->mg, caps, both, 2, NULL), 0);
	ck_assert_int_eq(migration_params_parse(&set, migration_params_find("multifd-compression"),
						"zstd", NULL),
			 0);
	ck_assert_int_lt(migration_set_params(r->mg, &set, NULL), 0);
	ck_assert_uint_eq(migration_get_params(r->mg)->multifd_compression, MULTIFD_NONE);
	machine_unlock(&r->m);
	rig_free(r);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("multifd");
	TCase *tc = tcase_create("multifd");
	SRunner *r;
	int failed;

	tcase_set_timeout(tc, 60); /* a guard against hangs, not a speed limit */
	tcase_add_test(tc, test_init);
	tcase_add_loop_test(tc, test_bad_init, 0, ARRAY_LEN(bad_inits));
	tcase_add_test(tc, test_header);
	tcase_add_test(tc, test_stale_fields);
	tcase_add_loop_test(tc, test_bad_header, 0, ARRAY_LEN(bad_headers));
	tcase_add_test(tc, test_bad_header_more);
	tcase_add_test(tc, test_compressors);
	tcase_add_loop_test(tc, test_bad_compressed, 0, 2 * SPOILS);
	tcase_add_loop_test(tc, test_two_ends, 0, 4 * METHODS);
	tcase_add_test(tc, test_sender_without_receiver);
	tcase_add_test(tc, test_cancelled_sender);
	tcase_add_test(tc, test_cancelled_receiver);
	tcase_add_test(tc, test_other_senders);
	tcase_add_test(tc, test_flush_of_a_pass);
	tcase_add_test(tc, test_flush_of_a_section);
	tcase_add_loop_test(tc, test_broken_flush, 0, 4);
	tcase_add_test(tc, test_flush_without_multifd);
	tcase_add_test(tc, test_flush_without_channels);
	tcase_add_loop_test(tc, test_ends, 0, ARRAY_LEN(ends));
	tcase_add_loop_test(tc, test_zero_pages, 0, METHODS);
	tcase_add_loop_test(tc, test_attacks, 0, ARRAY_LEN(attacks));
	tcase_add_test(tc, test_closed_before_sync);
	tcase_add_test(tc, test_cut_first_packet);
	tcase_add_test(tc, test_same_number_twice);
	tcase_add_test(tc, test_too_many);
	tcase_add_test(tc, test_one_of_another_source);
	tcase_add_loop_test(tc, test_bad_payload, 0, 2);
	tcase_add_test(tc, test_runs_beside_channels);
	tcase_add_test(tc, test_plain_source);
	tcase_add_loop_test(tc, test_migration, 0, METHODS);
	tcase_add_test(tc, test_rules);
	suite_add_tcase(suite, tc);
	r = srunner_create(suite);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
