/*
 * The source of a postcopy before a hand-made destination: what it sends, which pages it sends when
 * they are asked for, what it refuses, and where the guest is after each way to end.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "migration/outgoing/return-path.h"
#include "migration/peer/process.h"
#include "tests/unit/check-main.h"
#include "tests/unit/migration-rig.h"
#include "vmm/base/bytes.h"

/* Pages with content, which only a request brings so early. */
#define FIRST  (513 * PAGE_BYTES)
#define SECOND (258 * PAGE_BYTES)

enum kind { QEMU, MINIVMM };

struct source {
	struct rig *r;
	int fd;       /* the destination's end */
	struct buf b; /* of the stream, from the switch on */
	size_t at;    /* of it, looked at */
};

/* ---- a hand-made end of a socket ---- */

static void send_message(int fd, unsigned type, const void *payload, size_t n)
{
	uint8_t msg[1024];

	put_be16(msg, (uint16_t)type);
	put_be16(msg + 2, (uint16_t)n);
	memcpy(msg + 4, payload, n);
	ck_assert_int_eq(send(fd, msg, 4 + n, MSG_NOSIGNAL), (ssize_t)(4 + n));
}

static void send_word(int fd, unsigned type, uint32_t v)
{
	uint8_t payload[4];

	put_be32(payload, v);
	send_message(fd, type, payload, sizeof(payload));
}

static void send_ready(int fd, const struct peer *p)
{
	struct buf b = {0};

	peer_put(p, &b);
	send_message(fd, RP_READY, b.data, b.len);
	buf_free(&b);
}

static void request(int fd, const char *block, uint64_t off, uint32_t bytes)
{
	struct buf b = {0};

	buf_be64(&b, off);
	buf_be32(&b, bytes);
	if (block)
		buf_str8(&b, block);
	send_message(fd, block ? RP_REQ_PAGES_ID : RP_REQ_PAGES, b.data, b.len);
	buf_free(&b);
}

static void recv_more(struct source *s)
{
	static const uint8_t ping[] = {0x08, 0, 2, 0, 4, 0x4d, 0x56, 0x4d, 0x04};
	ssize_t n = recv(s->fd, buf_room(&s->b, 65536), 65536, 0);

	ck_assert_int_gt(n, 0);
	s->b.len += (size_t)n;
	if (s->b.len >= sizeof(ping) &&
	    !memcmp(s->b.data + s->b.len - sizeof(ping), ping, sizeof(ping)))
		send_word(s->fd, RP_PONG, COOKIE_PASS);
}

/* Until these bytes have come; they are behind s->at then. */
static const uint8_t *expect(struct source *s, const void *p, size_t n)
{
	const uint8_t *found;

	while (!(found = memmem(s->b.data + s->at, s->b.len - s->at, p, n)))
		recv_more(s);
	s->at = (size_t)(found - s->b.data) + n;
	return found;
}

static void expect_ping(struct source *s, uint32_t cookie)
{
	uint8_t ping[9] = {0x08, 0, CMD_PING, 0, 4};

	put_be32(ping + 5, cookie);
	(void)expect(s, ping, sizeof(ping));
}

/* ---- the source ---- */

static void do_start_postcopy(void *opaque)
{
	ck_assert_int_eq(migration_start_postcopy(((struct rig *)opaque)->mg, NULL), 0);
}

/* A running guest whose move has begun, to a destination of that kind. */
static struct source begin(enum kind kind)
{
	struct source s = {.r = rig_new(RS_PRELAUNCH)};
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	s.fd = pair[1];
	rig_fill(s.r, 1);
	rig_capability(s.r, CAP_POSTCOPY_RAM, true);
	rig_parameter(s.r, "max-bandwidth", "1");
	rig_parameter(s.r, "max-postcopy-bandwidth", "1");
	rig_run_guest(s.r);
	if (kind == MINIVMM)
		send_word(s.fd, RP_PONG, COOKIE_DESTINATION);
	send_word(s.fd, RP_PONG, COOKIE_SOURCE);
	if (kind == MINIVMM)
		send_word(s.fd, RP_PONG, COOKIE_COMPARED);
	ck_assert_int_eq(rig_migrate_fd(s.r, "fd:x", pair[0], NULL), 0);
	rig_await(s.r, MIG_ACTIVE);
	return s;
}

/* The same; all in front of the pages has been read, and the source waits for words about it. */
static struct source switched(enum kind kind)
{
	static const uint8_t listen[] = {0x08, 0, CMD_POSTCOPY_LISTEN, 0, 0};
	static const uint8_t run[] = {0x08, 0, CMD_POSTCOPY_RUN, 0, 0};
	struct source s = begin(kind);
	size_t from;

	loop_call(s.r->m.loop, do_start_postcopy, s.r);
	expect_ping(&s, COOKIE_DISCARDED);
	(void)expect(&s, listen, sizeof(listen));
	from = s.at;
	expect_ping(&s, COOKIE_PACKAGE);
	expect_ping(&s, COOKIE_STARTED);
	expect_ping(&s, COOKIE_PACKAGED);
	ck_assert_int_eq(memmem(s.b.data + from, s.at - from, run, sizeof(run)) != NULL,
			 kind == QEMU);
	rig_await(s.r, MIG_POSTCOPY_DEVICE);
	ck_assert_int_eq(rig_state(s.r), RS_FINISH_MIGRATE);
	return s;
}

/* The same, and the guest is known to run there. */
static struct source active(enum kind kind)
{
	static const uint8_t go[] = {0x08, 0x4d, 0x02, 0, 0};
	struct source s = switched(kind);
	struct peer self;

	if (kind == QEMU) {
		send_word(s.fd, RP_PONG, COOKIE_PACKAGE);
	} else {
		peer_self(&self);
		send_ready(s.fd, &self);
		(void)expect(&s, go, sizeof(go));
		expect_ping(&s, COOKIE_RUNS);
		rig_await(s.r, MIG_POSTCOPY_DEVICE);
		send_word(s.fd, RP_PONG, COOKIE_RUNS);
	}
	rig_await(s.r, MIG_POSTCOPY_ACTIVE);
	return s;
}

static void ended(struct source *s)
{
	if (s->fd >= 0)
		(void)close(s->fd);
	rig_free(s->r);
	buf_free(&s->b);
}

static void says(struct source *s, const char *why)
{
	struct migration_info info = rig_query(s->r);

	ck_assert_msg(strstr(info.error_desc, why) != NULL, "'%s' is not in: %s", why,
		      info.error_desc);
}

/* The guest runs on here. */
static void resumed(struct source *s, const char *why)
{
	rig_await(s->r, MIG_FAILED);
	says(s, why);
	rig_await_state(s->r, RS_RUNNING);
	ck_assert(!s->r->dev.given);
	ended(s);
}

/* It stands here, and the move waits for another connection; the program can end all the same. */
static void paused(struct source *s, const char *why, bool sure)
{
	static const char *const doubt = "has not confirmed that it runs it";
	struct err err = {0};

	rig_await(s->r, MIG_POSTCOPY_PAUSED);
	says(s, why);
	if (!sure)
		says(s, doubt);
	else
		ck_assert_ptr_null(strstr(rig_query(s->r).error_desc, doubt));
	ck_assert_int_eq(rig_state(s->r), RS_FINISH_MIGRATE);
	machine_lock(&s->r->m);
	ck_assert_int_eq(machine_start(&s->r->m, &err), -EBUSY);
	ck_assert_int_eq(machine_check_kept(&s->r->m, &err), -EBUSY);
	machine_unlock(&s->r->m);
	ended(s);
}

static void lift_limit(struct source *s)
{
	rig_parameter(s->r, "max-postcopy-bandwidth", "0");
}

/* END, EOS, a footer, EOF. */
static bool at_end(const struct source *s)
{
	const uint8_t *p = s->b.data + s->b.len;

	return s->b.len > 19 && p[-1] == TAG_EOF && p[-6] == TAG_FOOTER && p[-19] == TAG_END;
}

/* To the end of the stream, and SHUT. */
static void completes(struct source *s)
{
	lift_limit(s);
	while (!at_end(s))
		recv_more(s);
	send_word(s->fd, RP_SHUT, 0);
	rig_await(s->r, MIG_COMPLETED);
	ck_assert_int_eq(rig_state(s->r), RS_POSTMIGRATE);
	ck_assert(s->r->dev.given);
	ended(s);
}

/* The page's record and its content, as it is here. */
static void expect_page(struct source *s, uint64_t off)
{
	const uint8_t *here = s->r->m.mem.blocks[0]->hva + off;
	struct buf b = {0};

	buf_be64(&b, off | RAM_FLAG_PAGE | RAM_FLAG_CONTINUE);
	buf_put(&b, here, PAGE_BYTES);
	(void)expect(s, b.data, b.len);
	buf_free(&b);
}

/* ---- the ways through ---- */

static void completes_at(enum kind kind)
{
	struct source s = active(kind);

	completes(&s);
}

START_TEST(test_completes)
{
	completes_at(QEMU);
	completes_at(MINIVMM);
}
END_TEST

/* Under a limit that lets nothing else go; the first request names the block. */
static void requests_at(enum kind kind)
{
	struct source s = active(kind);
	struct migration_info info;

	request(s.fd, "pc.bios", 0, PAGE_BYTES);
	request(s.fd, "microvm.ram", RIG_RAM_BYTES - PAGE_BYTES, PAGE_BYTES);
	request(s.fd, NULL, FIRST, PAGE_BYTES);
	expect_page(&s, FIRST);
	request(s.fd, NULL, FIRST, PAGE_BYTES); /* it has gone */
	request(s.fd, NULL, SECOND, 2 * PAGE_BYTES);
	expect_page(&s, SECOND);
	info = rig_query(s.r);
	ck_assert_uint_ge(info.ram.postcopy_requests, 5);
	ck_assert_uint_gt(info.ram.postcopy_bytes, 2 * PAGE_BYTES);
	ck_assert_uint_eq(info.ram.precopy_bytes + info.ram.downtime_bytes +
			      info.ram.postcopy_bytes,
			  info.ram.transferred);
	completes(&s);
}

START_TEST(test_requests)
{
	requests_at(QEMU);
	requests_at(MINIVMM);
}
END_TEST

/* A minivmm that does not run the guest yet may need pages for that. */
START_TEST(test_request_before_go)
{
	struct source s = switched(MINIVMM);

	request(s.fd, "microvm.ram", FIRST, PAGE_BYTES);
	(void)expect(&s, s.r->m.mem.blocks[0]->hva + FIRST, PAGE_BYTES);
	ck_assert_int_eq(rig_query(s.r).status, MIG_POSTCOPY_DEVICE);
	(void)close(s.fd);
	s.fd = -1;
	resumed(&s, "");
}
END_TEST

/* ---- the ways to end ---- */

static void refused_before_it_runs_at(enum kind kind)
{
	struct source s = switched(kind);

	send_word(s.fd, RP_SHUT, 1);
	resumed(&s, "could not load the guest");
}

START_TEST(test_refused_before_it_runs)
{
	refused_before_it_runs_at(QEMU);
	refused_before_it_runs_at(MINIVMM);
}
END_TEST

START_TEST(test_refused_in_words)
{
	struct source s = switched(MINIVMM);

	send_message(s.fd, RP_ERROR, "no such disk", 12); /* SHUT may come too late to be read */
	resumed(&s, "no such disk");
}
END_TEST

START_TEST(test_cut_before_go)
{
	struct source s = switched(MINIVMM);

	(void)close(s.fd);
	s.fd = -1;
	resumed(&s, "");
}
END_TEST

/* A destination that loads for ever keeps the guest from running anywhere. */
START_TEST(test_silent_before_go)
{
	struct source s = switched(MINIVMM);

	rig_parameter(s.r, "x-minivmm-peer-timeout", "1");
	resumed(&s, "has said nothing for 1 s (x-minivmm-peer-timeout)");
}
END_TEST

/* A QEMU may have the guest by then, and nobody knows the process. */
START_TEST(test_cut_before_pong)
{
	struct source s = switched(QEMU);

	(void)close(s.fd);
	s.fd = -1;
	paused(&s, "", false);
}
END_TEST

static void cut_when_it_runs_at(enum kind kind)
{
	struct source s = active(kind);

	(void)close(s.fd);
	s.fd = -1;
	paused(&s, "", true);
}

START_TEST(test_cut_when_it_runs)
{
	cut_when_it_runs_at(QEMU);
	cut_when_it_runs_at(MINIVMM);
}
END_TEST

/* The destination's process has ended between GO and its word that the guest runs. */
START_TEST(test_ended_behind_go)
{
	static const uint8_t go[] = {0x08, 0x4d, 0x02, 0, 0};
	struct source s;
	struct peer child;
	int hold[2], told[2];
	pid_t pid;

	ck_assert_int_eq(pipe2(hold, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(told, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		char c;

		(void)close(hold[1]);
		peer_self(&child);
		_exit(write(told[1], &child, sizeof(child)) != sizeof(child) ||
		      read(hold[0], &c, 1) < 0);
	}
	ck_assert_int_eq(read(told[0], &child, sizeof(child)), sizeof(child));
	s = switched(MINIVMM);
	send_ready(s.fd, &child);
	(void)expect(&s, go, sizeof(go));
	(void)close(hold[1]);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	(void)close(s.fd);
	s.fd = -1;
	resumed(&s, "ended before it ran the guest");
	(void)close(hold[0]);
	(void)close(told[0]);
	(void)close(told[1]);
}
END_TEST

START_TEST(test_cut_behind_go)
{
	static const uint8_t go[] = {0x08, 0x4d, 0x02, 0, 0};
	struct source s = switched(MINIVMM);
	struct peer self;

	peer_self(&self);
	send_ready(s.fd, &self);
	(void)expect(&s, go, sizeof(go));
	(void)close(s.fd);
	s.fd = -1;
	paused(&s, "", false);
}
END_TEST

/* The user knows that it does not run there. */
START_TEST(test_taken_back)
{
	struct source s = switched(QEMU);

	(void)close(s.fd);
	s.fd = -1;
	rig_await(s.r, MIG_POSTCOPY_PAUSED);
	machine_lock(&s.r->m);
	ck_assert(migration_take_back(s.r->mg));
	machine_unlock(&s.r->m);
	rig_await(s.r, MIG_CANCELLED);
	rig_await_state(s.r, RS_RUNNING);
	ended(&s);
}
END_TEST

START_TEST(test_not_taken_back)
{
	struct source s = active(QEMU);

	machine_lock(&s.r->m);
	ck_assert(!migration_take_back(s.r->mg));
	machine_unlock(&s.r->m);
	(void)close(s.fd);
	s.fd = -1;
	rig_await(s.r, MIG_POSTCOPY_PAUSED);
	machine_lock(&s.r->m);
	ck_assert(!migration_take_back(s.r->mg));
	machine_unlock(&s.r->m);
	ended(&s);
}
END_TEST

static void shut_too_early_at(enum kind kind)
{
	struct source s = active(kind);

	send_word(s.fd, RP_SHUT, 0);
	paused(&s, "before it had it all", true);
}

START_TEST(test_shut_too_early)
{
	shut_too_early_at(QEMU);
	shut_too_early_at(MINIVMM);
}
END_TEST

static void cut_at_the_end_at(enum kind kind)
{
	static const uint8_t end = TAG_END;
	struct source s = active(kind);

	lift_limit(&s);
	(void)expect(&s, &end, 1);
	(void)close(s.fd);
	s.fd = -1;
	paused(&s, "", true);
}

START_TEST(test_cut_at_the_end)
{
	cut_at_the_end_at(QEMU);
	cut_at_the_end_at(MINIVMM);
}
END_TEST

START_TEST(test_cancelled_before_go)
{
	struct source s = switched(MINIVMM);

	rig_cancel(s.r);
	rig_await(s.r, MIG_CANCELLED);
	rig_await_state(s.r, RS_RUNNING);
	ended(&s);
}
END_TEST

static void cannot_be_cancelled_at(bool runs)
{
	struct source s = runs ? active(QEMU) : switched(QEMU);
	struct err err = {0};

	machine_lock(&s.r->m);
	ck_assert_int_eq(migration_cancel(s.r->mg, &err), -EBUSY);
	machine_unlock(&s.r->m);
	ck_assert_msg(strstr(err.msg, "migrate-recover") != NULL, "%s", err.msg);
	if (!runs)
		send_word(s.fd, RP_PONG, COOKIE_STARTED);
	rig_await(s.r, MIG_POSTCOPY_ACTIVE);
	completes(&s);
}

START_TEST(test_cannot_be_cancelled)
{
	cannot_be_cancelled_at(false);
	cannot_be_cancelled_at(true);
}
END_TEST

/* ---- what is refused ---- */

static const struct {
	const char *block;
	uint64_t off;
	uint32_t bytes;
	const char *why;
} bad_requests[] = {
    {NULL,          0,			   PAGE_BYTES,     "before it has named a RAM block"   },
    {"vga.vram",    0,			   PAGE_BYTES,     "'vga.vram', which there is none of"},
    {"microvm.ram", 1,			   PAGE_BYTES,     "no pages of it"                    },
    {"microvm.ram", 0,			   PAGE_BYTES - 1, "no pages of it"                    },
    {"microvm.ram", 0,			   0,              "no pages of it"                    },
    {"microvm.ram", RIG_RAM_BYTES,               PAGE_BYTES,     "no pages of it"                    },
    {"microvm.ram", RIG_RAM_BYTES - PAGE_BYTES,  2 * PAGE_BYTES, "no pages of it"                    },
    {"microvm.ram", UINT64_MAX - PAGE_BYTES + 1, PAGE_BYTES,     "no pages of it"                    },
};

static void bad_request_at(size_t i)
{
	struct source s = active(QEMU);

	request(s.fd, bad_requests[i].block, bad_requests[i].off, bad_requests[i].bytes);
	paused(&s, bad_requests[i].why, true);
}

START_TEST(test_bad_request)
{
	for (size_t i = 0; i < ARRAY_LEN(bad_requests); i++)
		bad_request_at(i);
}
END_TEST

START_TEST(test_bad_name)
{
	static const uint8_t message[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 9, 'm'};
	struct source s = active(QEMU);

	send_message(s.fd, RP_REQ_PAGES_ID, message, sizeof(message));
	paused(&s, "without a proper name", true);
}
END_TEST

/* Pages are asked for while none can be. */
static void request_in_precopy_at(enum kind kind)
{
	struct source s = begin(kind);

	request(s.fd, "microvm.ram", 0, PAGE_BYTES);
	resumed(&s, "which has no place");
}

START_TEST(test_request_in_precopy)
{
	request_in_precopy_at(QEMU);
	request_in_precopy_at(MINIVMM);
}
END_TEST

/* A destination that does not read must not make the source keep more and more requests. */
START_TEST(test_flood)
{
	struct source s = switched(MINIVMM);
	struct buf b = {0};

	buf_be16(&b, RP_REQ_PAGES_ID);
	buf_be16(&b, 13 + 11);
	buf_be64(&b, 0);
	buf_be32(&b, RIG_RAM_BYTES);
	buf_str8(&b, "microvm.ram");
	for (unsigned i = 0; i < 20000; i++)
		if (send(s.fd, b.data, b.len, MSG_NOSIGNAL) < 0)
			break;
	buf_free(&b);
	resumed(&s, "pages at a time");
}
END_TEST

CHECK_MAIN("postcopy-source", test_completes, test_requests, test_request_before_go,
	   test_refused_before_it_runs, test_refused_in_words, test_cut_before_go,
	   test_silent_before_go, test_cut_before_pong, test_cut_when_it_runs, test_ended_behind_go,
	   test_cut_behind_go, test_taken_back, test_not_taken_back, test_shut_too_early,
	   test_cut_at_the_end, test_cancelled_before_go, test_cannot_be_cancelled,
	   test_bad_request, test_bad_name, test_request_in_precopy, test_flood)
