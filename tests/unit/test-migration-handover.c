/*
 * Who has the guest: every way in which the last messages of a migration can
 * go or be lost, seen from each end with a hand-made other one.
 */
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "migration/incoming/commands.h"
#include "migration/outgoing/return-path.h"
#include "migration/peer/process.h"
#include "tests/unit/check-main.h"
#include "tests/unit/migration-rig.h"
#include "vmm/base/bytes.h"

/* ---- a hand-made end of a socket ---- */

static void send_all(int fd, const void *p, size_t n)
{
	ck_assert_int_eq(send(fd, p, n, MSG_NOSIGNAL), (ssize_t)n);
}

static void send_message(int fd, unsigned type, const void *payload, size_t n)
{
	uint8_t msg[1024];

	put_be16(msg, (uint16_t)type);
	put_be16(msg + 2, (uint16_t)n);
	memcpy(msg + 4, payload, n);
	send_all(fd, msg, 4 + n);
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

static void recv_all(int fd, void *p, size_t n)
{
	ck_assert_int_eq(recv(fd, p, n, MSG_WAITALL), (ssize_t)n);
}

/* A piece of a stream, appended; the PING that ends a pass is answered, as every peer does. */
static void recv_some(int fd, struct buf *b)
{
	static const uint8_t ping[] = {0x08, 0, 2, 0, 4, 0x4d, 0x56, 0x4d, 0x04};
	ssize_t n = recv(fd, buf_room(b, 65536), 65536, 0);

	ck_assert_int_gt(n, 0);
	b->len += (size_t)n;
	if (b->len >= sizeof(ping) &&
	    memcmp(b->data + b->len - sizeof(ping), ping, sizeof(ping)) == 0)
		send_word(fd, RP_PONG, COOKIE_PASS);
}

/* Read a stream up to the end of its description. */
static void recv_stream(int fd, struct buf *b)
{
	while (b->len < 2 || memcmp(b->data + b->len - 2, "]}", 2) != 0 ||
	       !memmem(b->data, b->len, "{\"page_size\"", 12))
		recv_some(fd, b);
}

/* EOF and the description behind it. */
static void recv_eof(int fd)
{
	uint8_t head[6];
	struct buf b = {0};

	recv_all(fd, head, sizeof(head));
	ck_assert_int_eq(head[0], 0x00);
	ck_assert_int_eq(head[1], 0x06);
	recv_all(fd, buf_room(&b, get_be32(head + 2)), get_be32(head + 2));
	buf_free(&b);
}

static void expect_go(int fd)
{
	static const uint8_t go[] = {0x08, 0x4d, 0x02, 0, 0};
	uint8_t got[sizeof(go)];

	recv_all(fd, got, sizeof(got));
	ck_assert_mem_eq(got, go, sizeof(go));
}

/* ---- the source, before a hand-made destination ---- */

struct source {
	struct rig *r;
	int fd; /* the destination's end */
};

enum kind { QEMU, MINIVMM, SINK };

/* Read a stream up to the PING behind its last section; EOF does not follow before the PONG. */
static void recv_sections(int fd)
{
	static const uint8_t ping[] = {0x08, 0, 2, 0, 4, 0x4d, 0x56, 0x4d, 0x03};
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct buf b = {0};

	while (b.len < sizeof(ping) ||
	       memcmp(b.data + b.len - sizeof(ping), ping, sizeof(ping)) != 0)
		recv_some(fd, &b);
	ck_assert_int_eq(poll(&p, 1, 0), 0);
	buf_free(&b);
}

/* A running guest that migrates to us; QEMU: up to the PING in front of EOF, which is not read. */
static struct source source_begin_before_eof(enum kind kind)
{
	struct source s = {.r = rig_new(RS_PRELAUNCH)};
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	s.fd = pair[1];
	rig_fill(s.r, 1);
	rig_run_guest(s.r);
	if (kind == MINIVMM)
		send_word(s.fd, RP_PONG, COOKIE_DESTINATION);
	if (kind != SINK)
		send_word(s.fd, RP_PONG, COOKIE_SOURCE);
	if (kind == MINIVMM)
		send_word(s.fd, RP_PONG, COOKIE_COMPARED);
	ck_assert_int_eq(rig_migrate_fd(s.r, "fd:x", pair[0], NULL), 0);
	if (kind == QEMU)
		recv_sections(s.fd);
	return s;
}

/* The same; everything up to EOF has been read. */
static struct source source_begin(enum kind kind)
{
	struct source s = source_begin_before_eof(kind);
	struct buf b = {0};

	if (kind == QEMU) {
		send_word(s.fd, RP_PONG, COOKIE_LOADED);
		recv_eof(s.fd);
	} else if (kind == MINIVMM) {
		recv_stream(s.fd, &b);
	}
	buf_free(&b);
	return s;
}

/* cont is refused with 'why', until it is forced. */
static void source_stays(struct source *s, const char *why)
{
	struct err err = {0};

	machine_lock(&s->r->m);
	ck_assert_int_eq(machine_start(&s->r->m, &err), -EBUSY);
	ck_assert_msg(strstr(err.msg, why) && strstr(err.msg, "fd:x"), "%s", err.msg);
	ck_assert_int_eq(machine_start_forced(&s->r->m, &err), 0);
	ck_assert_int_eq(machine_check_kept(&s->r->m, &err), 0);
	machine_unlock(&s->r->m);
}

static void source_completed(struct source *s)
{
	rig_await(s->r, MIG_COMPLETED);
	ck_assert_int_eq(rig_state(s->r), RS_POSTMIGRATE);
	ck_assert(s->r->dev.given);
	source_stays(s, "lives there");
	(void)close(s->fd);
	rig_free(s->r);
}

/* The guest runs on here. */
static void source_resumed(struct source *s, const char *why)
{
	struct migration_info info;

	rig_await(s->r, MIG_FAILED);
	info = rig_query(s->r);
	ck_assert_msg(strstr(info.error_desc, why) != NULL, "'%s' is not in: %s", why,
		      info.error_desc);
	rig_await_state(s->r, RS_RUNNING);
	ck_assert(!s->r->dev.given);
	(void)close(s->fd);
	rig_free(s->r);
}

/* The guest stands here and waits for the user. */
static void source_in_doubt(struct source *s)
{
	struct migration_info info;

	rig_await(s->r, MIG_FAILED);
	info = rig_query(s->r);
	ck_assert_msg(strstr(info.error_desc, "did not confirm that it runs") != NULL, "%s",
		      info.error_desc);
	ck_assert_int_eq(rig_state(s->r), RS_POSTMIGRATE);
	source_stays(s, "has not confirmed that it runs there");
	(void)close(s->fd);
	rig_free(s->r);
}

START_TEST(test_qemu_says_it_runs)
{
	struct source s = source_begin(QEMU);

	send_word(s.fd, RP_SHUT, 0);
	source_completed(&s);
}
END_TEST

START_TEST(test_qemu_says_it_failed)
{
	struct source s = source_begin(QEMU);

	send_word(s.fd, RP_SHUT, 1);
	source_resumed(&s, "could not load the guest");
}
END_TEST

/* It may have read EOF and run the guest: who closed the connection is not known. */
START_TEST(test_qemu_closes)
{
	struct source s = source_begin(QEMU);

	(void)shutdown(s.fd, SHUT_RDWR);
	source_in_doubt(&s);
}
END_TEST

/* Until EOF is out everything fails back to the source. */
START_TEST(test_qemu_closes_before_eof)
{
	struct source s = source_begin_before_eof(QEMU);

	(void)shutdown(s.fd, SHUT_RDWR);
	source_resumed(&s, "the destination closed the connection");
}
END_TEST

/* EOF itself is refused by the socket: it is one byte, so it was not sent. */
START_TEST(test_eof_cannot_be_sent)
{
	struct source s = source_begin_before_eof(QEMU);

	(void)shutdown(s.fd, SHUT_RD);
	send_word(s.fd, RP_PONG, COOKIE_LOADED);
	source_resumed(&s, "Broken pipe");
}
END_TEST

START_TEST(test_cancel_before_eof)
{
	struct source s = source_begin_before_eof(QEMU);

	rig_cancel(s.r);
	rig_await(s.r, MIG_CANCELLED);
	ck_assert_int_eq(rig_state(s.r), RS_RUNNING);
	(void)close(s.fd);
	rig_free(s.r);
}
END_TEST

static void ask_reset(struct source *s)
{
	machine_lock(&s->r->m);
	machine_request_reset(&s->r->m, CAUSE_HOST_QMP_SYSTEM_RESET);
	machine_unlock(&s->r->m);
}

static void no_reset_is_pending(struct source *s)
{
	machine_lock(&s->r->m);
	ck_assert(!machine_requested(&s->r->m, REQUEST_RESET));
	machine_unlock(&s->r->m);
}

/* QEMU cannot be told: the state is collected again, behind the reset. */
START_TEST(test_reset_before_eof)
{
	struct source s = source_begin_before_eof(QEMU);

	ask_reset(&s);
	send_word(s.fd, RP_PONG, COOKIE_LOADED);
	recv_sections(s.fd);
	no_reset_is_pending(&s);
	send_word(s.fd, RP_PONG, COOKIE_LOADED);
	recv_eof(s.fd);
	ck_assert_ptr_nonnull(strstr(s.r->events, "RESET"));
	send_word(s.fd, RP_SHUT, 0);
	source_completed(&s);
}
END_TEST

/* Endless resets do not keep the guest stopped for ever: it is continued. */
START_TEST(test_resets_before_eof)
{
	struct source s = source_begin_before_eof(QEMU);

	for (unsigned i = 0; i < 3; i++) {
		ask_reset(&s);
		send_word(s.fd, RP_PONG, COOKIE_LOADED);
		if (i < 2)
			recv_sections(s.fd);
	}
	rig_await_event(s.r, "RESUME");
	recv_sections(s.fd);
	send_word(s.fd, RP_PONG, COOKIE_LOADED);
	recv_eof(s.fd);
	send_word(s.fd, RP_SHUT, 0);
	source_completed(&s);
}
END_TEST

static void expect_go_with_reset(int fd)
{
	static const uint8_t go[] = {0x08, 0x4d, 0x02, 0, 2, 2, CAUSE_HOST_QMP_SYSTEM_RESET};
	uint8_t got[sizeof(go)];

	recv_all(fd, got, sizeof(got));
	ck_assert_mem_eq(got, go, sizeof(go));
}

/* GO carries what was asked for behind EOF; it is carried out there, or here if it comes back. */
START_TEST(test_reset_before_go)
{
	for (uint32_t refused = 0; refused < 2; refused++) {
		struct source s = source_begin(MINIVMM);
		struct peer self;

		peer_self(&self);
		ask_reset(&s);
		send_ready(s.fd, &self);
		expect_go_with_reset(s.fd);
		ck_assert_ptr_null(strstr(s.r->events, "RESET"));
		send_word(s.fd, RP_SHUT, refused);
		if (!refused) {
			rig_await(s.r, MIG_COMPLETED);
			no_reset_is_pending(&s);
			ck_assert_ptr_null(strstr(s.r->events, "RESET"));
			source_completed(&s);
			continue;
		}
		rig_await(s.r, MIG_FAILED);
		rig_await_event(s.r, "RESET");
		source_resumed(&s, "could not load the guest");
	}
}
END_TEST

/* What QMP's 'stop' does while the guest stands still. */
static int ask_stop(struct source *s, struct err *err)
{
	int ret;

	machine_lock(&s->r->m);
	ck_assert_int_eq(s->r->m.state, RS_FINISH_MIGRATE);
	ret = machine_stay_stopped(&s->r->m, err);
	machine_unlock(&s->r->m);
	return ret;
}

/* The guest is here, and stands as it was asked to. */
static void source_paused(struct source *s)
{
	rig_await(s->r, MIG_FAILED);
	rig_await_state(s->r, RS_PAUSED);
	ck_assert_ptr_null(strstr(s->r->events, "RESUME"));
	ck_assert(!s->r->dev.given);
	(void)close(s->fd);
	rig_free(s->r);
}

static void expect_go_with_stop(int fd)
{
	static const uint8_t go[] = {0x08, 0x4d, 0x02, 0, 2, 4, 0};
	uint8_t got[sizeof(go)];

	recv_all(fd, got, sizeof(got));
	ck_assert_mem_eq(got, go, sizeof(go));
}

/* Sections up to the PING: which run state do they bring? */
static bool sections_say(int fd, const char *state)
{
	static const uint8_t ping[] = {0x08, 0, 2, 0, 4, 0x4d, 0x56, 0x4d, 0x03};
	struct buf b = {0};
	bool found;

	while (b.len < sizeof(ping) ||
	       memcmp(b.data + b.len - sizeof(ping), ping, sizeof(ping)) != 0)
		recv_some(fd, &b);
	found = memmem(b.data, b.len, state, strlen(state) + 1);
	buf_free(&b);
	return found;
}

/* QEMU cannot be told: the state is collected again, and says "paused". */
START_TEST(test_stop_before_eof)
{
	struct source s = source_begin_before_eof(QEMU);

	ck_assert_int_eq(ask_stop(&s, NULL), 0);
	send_word(s.fd, RP_PONG, COOKIE_LOADED);
	ck_assert(sections_say(s.fd, "paused"));
	send_word(s.fd, RP_PONG, COOKIE_LOADED);
	recv_eof(s.fd);
	send_word(s.fd, RP_SHUT, 0);
	source_completed(&s);
}
END_TEST

/* The move fails: the guest is not continued. */
START_TEST(test_stop_and_no_move)
{
	struct source s = source_begin_before_eof(QEMU);

	ck_assert_int_eq(ask_stop(&s, NULL), 0);
	(void)shutdown(s.fd, SHUT_RDWR);
	source_paused(&s);
}
END_TEST

/* GO carries it; who does not know it refuses, and the guest is here, paused. */
START_TEST(test_stop_before_go)
{
	for (uint32_t refused = 0; refused < 2; refused++) {
		struct source s = source_begin(MINIVMM);
		struct peer self;

		peer_self(&self);
		ck_assert_int_eq(ask_stop(&s, NULL), 0);
		send_ready(s.fd, &self);
		expect_go_with_stop(s.fd);
		send_word(s.fd, RP_SHUT, refused);
		if (refused)
			source_paused(&s);
		else
			source_completed(&s);
	}
}
END_TEST

/* The destination has the guest, or may have it: it can be stopped there only. */
START_TEST(test_stop_after_go)
{
	struct source s = source_begin(MINIVMM);
	struct err err = {0};
	struct peer self;

	peer_self(&self);
	send_ready(s.fd, &self);
	expect_go(s.fd);
	ck_assert_int_eq(ask_stop(&s, &err), -EBUSY);
	ck_assert_msg(strstr(err.msg, "being handed to fd:x") != NULL, "%s", err.msg);
	send_word(s.fd, RP_SHUT, 1);
	source_resumed(&s, "could not load the guest");
}
END_TEST

START_TEST(test_qemu_and_a_late_cancel)
{
	struct source s = source_begin(QEMU);

	rig_cancel(s.r);
	source_in_doubt(&s);
}
END_TEST

START_TEST(test_minivmm_takes_it)
{
	struct source s = source_begin(MINIVMM);
	struct peer self;

	peer_self(&self);
	send_ready(s.fd, &self);
	expect_go(s.fd);
	send_word(s.fd, RP_SHUT, 0);
	source_completed(&s);
}
END_TEST

START_TEST(test_minivmm_closes_before_ready)
{
	struct source s = source_begin(MINIVMM);

	(void)shutdown(s.fd, SHUT_RDWR);
	source_resumed(&s, "closed the connection before it took the guest");
}
END_TEST

START_TEST(test_minivmm_refuses)
{
	struct source s = source_begin(MINIVMM);

	send_message(s.fd, RP_ERROR, "the disk is\nlocked", 18);
	source_resumed(&s, "the destination refused: the disk is?locked");
}
END_TEST

/* How the machines differ comes in pieces, and is longer than any other sentence. */
START_TEST(test_minivmm_differs)
{
	struct source s = source_begin(MINIVMM);
	struct migration_info info;
	char piece[RP_MAX_PAYLOAD];

	memset(piece, 'x', sizeof(piece));
	piece[1] = '\x1b';
	for (unsigned i = 0; i < 3; i++)
		send_message(s.fd, RP_DIFFERS, piece, sizeof(piece));
	send_message(s.fd, RP_DIFFERS, " end", 4);
	send_message(s.fd, RP_ERROR, "xx", 2);
	rig_await(s.r, MIG_FAILED);
	info = rig_query(s.r);
	ck_assert_int_eq(strncmp(info.error_desc, "the destination refused: x?xx", 29), 0);
	ck_assert_uint_eq(strlen(info.error_desc), 25 + 3 * RP_MAX_PAYLOAD + 4);
	ck_assert_str_eq(info.error_desc + strlen(info.error_desc) - 5, "x end");
	source_resumed(&s, " end");
}
END_TEST

/* A line that would begin at the margin could be taken for one of this program's own. */
START_TEST(test_minivmm_differs_in_lines)
{
	static const char *const pieces[] = {"the machines differ: a", "\n", "    b\n", "c\n    d"};
	struct source s = source_begin(MINIVMM);

	for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
		send_message(s.fd, RP_DIFFERS, pieces[i], (uint16_t)strlen(pieces[i]));
	send_message(s.fd, RP_ERROR, "xx", 2);
	source_resumed(&s, "the destination refused: the machines differ: a\n    b?c\n    d");
}
END_TEST

/* Somebody who never stops is stopped. */
START_TEST(test_minivmm_differs_endlessly)
{
	struct source s = source_begin(MINIVMM);
	char piece[RP_MAX_PAYLOAD];

	memset(piece, 'x', sizeof(piece));
	for (unsigned i = 0; i < 65; i++)
		send_message(s.fd, RP_DIFFERS, piece, sizeof(piece));
	source_resumed(&s, "does not say properly how the machines differ");
}
END_TEST

START_TEST(test_minivmm_refuses_after_go)
{
	struct source s = source_begin(MINIVMM);
	struct peer self;

	peer_self(&self);
	send_ready(s.fd, &self);
	expect_go(s.fd);
	send_word(s.fd, RP_SHUT, 1);
	source_resumed(&s, "could not load the guest");
}
END_TEST

/* The connection breaks, but the process lives: it may run the guest. */
START_TEST(test_connection_breaks_after_go)
{
	for (int other_host = 0; other_host < 2; other_host++) {
		struct source s = source_begin(MINIVMM);
		struct peer p;

		peer_self(&p);
		if (other_host)
			p.boot_id[0] = 'x';
		send_ready(s.fd, &p);
		expect_go(s.fd);
		(void)shutdown(s.fd, SHUT_RDWR);
		source_in_doubt(&s);
	}
}
END_TEST

START_TEST(test_cancel_after_go)
{
	struct source s = source_begin(MINIVMM);
	struct peer self;

	peer_self(&self);
	send_ready(s.fd, &self);
	expect_go(s.fd);
	rig_cancel(s.r);
	source_in_doubt(&s);
}
END_TEST

START_TEST(test_cancel_before_ready)
{
	struct source s = source_begin(MINIVMM);

	rig_cancel(s.r);
	rig_await(s.r, MIG_CANCELLED);
	ck_assert_int_eq(rig_state(s.r), RS_RUNNING);
	(void)close(s.fd);
	rig_free(s.r);
}
END_TEST

/* A process that says who it is and then waits to be killed. */
static pid_t stand_in(struct peer *p)
{
	int pipe_fd[2];
	pid_t pid;

	ck_assert_int_eq(pipe(pipe_fd), 0);
	pid = fork();
	if (pid == 0) {
		peer_self(p);
		(void)!write(pipe_fd[1], p, sizeof(*p));
		for (;;)
			(void)pause();
	}
	ck_assert_int_eq(read(pipe_fd[0], p, sizeof(*p)), (ssize_t)sizeof(*p));
	(void)close(pipe_fd[0]);
	(void)close(pipe_fd[1]);
	return pid;
}

START_TEST(test_destination_killed_before_go)
{
	struct source s = source_begin(MINIVMM);
	struct peer p;
	pid_t pid = stand_in(&p);

	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	send_ready(s.fd, &p);
	source_resumed(&s, "the destination ended before it took the guest");
}
END_TEST

START_TEST(test_destination_killed_after_go)
{
	struct source s = source_begin(MINIVMM);
	struct peer p;
	pid_t pid = stand_in(&p);

	send_ready(s.fd, &p);
	expect_go(s.fd);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	/* its sockets would be closed while it ends, not before */
	ck_assert_int_eq(waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOWAIT), 0);
	(void)shutdown(s.fd, SHUT_RDWR);
	source_resumed(&s, "the destination ended before it ran the guest");
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

START_TEST(test_broken_messages)
{
	static const struct {
		unsigned type;
		size_t n;
		const char *why;
	} cases[] = {
	    {RP_PONG,         5,   "message 2 with 5 bytes instead of 4"       },
	    {RP_SHUT,         0,   "message 1 with 0 bytes instead of 4"       },
	    {RP_REQ_PAGES,    12,  "message 4, which has no place in a precopy"},
	    {RP_REQ_PAGES_ID, 20,  "message 3, which has no place in a precopy"},
	    {RP_RECV_BITMAP,  20,  "message 5, which has no place in a precopy"},
	    {RP_RESUME_ACK,   4,   "message 6, which has no place in a precopy"},
	    {0,               4,   "an unknown message 0"                      },
	    {99,              4,   "an unknown message 99"                     },
	    {RP_PONG,         600, "a message of 600 bytes, at most 512"       },
	    {RP_READY,        3,   "a broken READY"                            },
	    {RP_DIFFERS,      9,   "does not say properly how the machines"    },
	    {RP_DIFFERS,      0,   "does not say properly how the machines"    },
	};
	static const uint8_t zeros[600];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct source s = source_begin(MINIVMM);

		send_message(s.fd, cases[i].type, zeros, cases[i].n);
		source_resumed(&s, cases[i].why);
	}
}
END_TEST

static void *drain_socket(void *opaque)
{
	static const size_t n = 65536;
	char *scrap = malloc(n);
	int fd = *(int *)opaque;

	while (recv(fd, scrap, n, 0) > 0)
		;
	(void)close(fd);
	free(scrap);
	return NULL;
}

/* A peer that only stores the bytes; with return-path that is not enough. */
START_TEST(test_sink)
{
	struct source plain = source_begin(SINK), strict = {.r = rig_new(RS_PRELAUNCH)};
	pthread_t a, b;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	strict.fd = pair[1];
	rig_run_guest(strict.r);
	rig_capability(strict.r, CAP_RETURN_PATH, true);
	ck_assert_int_eq(rig_migrate_fd(strict.r, "fd:x", pair[0], NULL), 0);
	ck_assert_int_eq(pthread_create(&a, NULL, drain_socket, &plain.fd), 0);
	ck_assert_int_eq(pthread_create(&b, NULL, drain_socket, &strict.fd), 0);
	rig_await(plain.r, MIG_COMPLETED);
	ck_assert_int_eq(rig_state(plain.r), RS_POSTMIGRATE);
	rig_await(strict.r, MIG_FAILED);
	ck_assert_ptr_nonnull(strstr(rig_query(strict.r).error_desc, "does not answer"));
	ck_assert_int_eq(rig_state(strict.r), RS_RUNNING);
	ck_assert_int_eq(pthread_join(a, NULL), 0);
	ck_assert_int_eq(pthread_join(b, NULL), 0);
	rig_free(plain.r);
	rig_free(strict.r);
}
END_TEST

#define SILENCE_MS 1500 /* longer than the patience */

/*
 * A peer that has never answered has been sent all, EOF too: it may be QEMU behind a
 * relay that is slow, so that the guest must not go on here when patience ends.
 */
START_TEST(test_late_peer_and_patience)
{
	struct source s = {.r = rig_new(RS_PRELAUNCH)};
	struct pollfd p = {0}; /* POLLHUP: the source has closed it */
	char scrap[4096];
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	s.fd = p.fd = pair[1];
	rig_parameter(s.r, "x-minivmm-peer-timeout", "1");
	rig_run_guest(s.r);
	ck_assert_int_eq(rig_migrate_fd(s.r, "fd:x", pair[0], NULL), 0);
	while (recv(s.fd, scrap, sizeof(scrap), 0) > 0)
		;
	ck_assert_int_eq(poll(&p, 1, SILENCE_MS), 0);
	ck_assert_int_eq(rig_state(s.r), RS_FINISH_MIGRATE);
	send_word(s.fd, RP_PONG, COOKIE_SOURCE);
	send_word(s.fd, RP_SHUT, 0);
	source_completed(&s);
}
END_TEST

/* ---- the destination, before a hand-made source ---- */

#define HEADER_BYTES 20 /* of a stream: header and configuration */

struct destination {
	struct rig *r;
	int fd; /* the source's end */
};

/* A whole stream, without commands. */
static void make_stream(struct buf *out)
{
	struct rig *s = rig_new(RS_PRELAUNCH);
	char path[128], uri[160];

	(void)snprintf(path, sizeof(path), "%s/stream", rig_dir());
	(void)snprintf(uri, sizeof(uri), "file:%s", path);
	rig_fill(s, 1);
	rig_run_guest(s);
	ck_assert_int_eq(rig_migrate(s, uri, NULL), 0);
	rig_await(s, MIG_COMPLETED);
	rig_read_file(path, out);
	rig_free(s);
	rig_remove_dir();
}

static void *feed(void *opaque)
{
	const struct buf *b = ((void **)opaque)[0];
	int fd = *(int *)((void **)opaque)[1];

	for (size_t at = 0; at < b->len;) {
		ssize_t n = send(fd, b->data + at, b->len - at, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		at += (size_t)n;
	}
	return NULL;
}

/* Send a stream in which the return path is opened and that cookie sent. */
static struct destination destination_begin(uint32_t cookie)
{
	struct destination d = {.r = rig_new(RS_INMIGRATE)};
	struct buf stream = {0}, b = {0};
	char uri[32];
	void *args[2] = {&b, &d.fd};
	pthread_t t;
	int pair[2];

	make_stream(&stream);
	buf_put(&b, stream.data, HEADER_BYTES);
	buf_put(&b, "\x08\0\1\0\0\x08\0\2\0\4", 10);
	buf_be32(&b, cookie);
	buf_put(&b, stream.data + HEADER_BYTES, stream.len - HEADER_BYTES);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	d.fd = pair[1];
	(void)snprintf(uri, sizeof(uri), "fd:%d", pair[0]);
	ck_assert_int_eq(rig_incoming(d.r, uri, NULL), 0);
	ck_assert_int_eq(pthread_create(&t, NULL, feed, args), 0);
	ck_assert_int_eq(pthread_join(t, NULL), 0);
	buf_free(&stream);
	buf_free(&b);
	return d;
}

static uint32_t expect_word(int fd, unsigned type)
{
	uint8_t msg[8];

	recv_all(fd, msg, sizeof(msg));
	ck_assert_uint_eq(get_be16(msg), type);
	ck_assert_uint_eq(get_be16(msg + 2), 4);
	return get_be32(msg + 4);
}

static void expect_ready(int fd)
{
	uint8_t msg[4 + RP_MAX_PAYLOAD];
	struct peer p, self;
	struct src in;

	ck_assert_uint_eq(expect_word(fd, RP_PONG), COOKIE_DESTINATION);
	ck_assert_uint_eq(expect_word(fd, RP_PONG), COOKIE_SOURCE);
	recv_all(fd, msg, 4);
	ck_assert_uint_eq(get_be16(msg), RP_READY);
	recv_all(fd, msg + 4, get_be16(msg + 2));
	in = src_mem(msg + 4, get_be16(msg + 2));
	peer_self(&self);
	ck_assert_int_eq(peer_get(&p, &in), 0);
	ck_assert_str_eq(p.boot_id, self.boot_id);
	ck_assert_uint_eq(p.pid, self.pid);
	ck_assert_uint_eq(p.start_time, self.start_time);
}

START_TEST(test_destination_waits_for_go)
{
	struct destination d = destination_begin(COOKIE_SOURCE);

	expect_ready(d.fd);
	ck_assert_int_eq(rig_state(d.r), RS_INMIGRATE);
	(void)shutdown(d.fd, SHUT_RDWR);
	rig_await(d.r, MIG_FAILED);
	ck_assert_int_eq(rig_state(d.r), RS_INMIGRATE);
	ck_assert_ptr_nonnull(strstr(rig_query(d.r).error_desc,
				     "closed the connection before it gave the guest away"));
	(void)close(d.fd);
	rig_free(d.r);
}
END_TEST

START_TEST(test_destination_runs_after_go)
{
	struct destination d = destination_begin(COOKIE_SOURCE);

	expect_ready(d.fd);
	send_all(d.fd, "\x08\x4d\x02\0\0", 5);
	(void)close(d.fd); /* it owns the guest, whatever happens now */
	rig_await(d.r, MIG_COMPLETED);
	ck_assert_int_eq(rig_state(d.r), RS_RUNNING);
	rig_free(d.r);
}
END_TEST

/* What GO brings is done before the guest runs; what is unknown is refused. */
START_TEST(test_destination_resets)
{
	struct destination d = destination_begin(COOKIE_SOURCE);

	expect_ready(d.fd);
	send_all(d.fd, "\x08\x4d\x02\0\2\3\3", 7);
	ck_assert_uint_eq(expect_word(d.fd, RP_SHUT), 0);
	rig_await_event(d.r, "RESET");
	ck_assert_ptr_nonnull(strstr(d.r->events, "POWERDOWN"));
	ck_assert_int_eq(rig_state(d.r), RS_RUNNING);
	(void)close(d.fd);
	rig_free(d.r);
}
END_TEST

/* A 'stop' that came too late for the run state that was sent. */
START_TEST(test_destination_stays_stopped)
{
	struct destination d = destination_begin(COOKIE_SOURCE);

	expect_ready(d.fd);
	send_all(d.fd, "\x08\x4d\x02\0\2\4\0", 7);
	ck_assert_uint_eq(expect_word(d.fd, RP_SHUT), 0);
	rig_await(d.r, MIG_COMPLETED);
	ck_assert_int_eq(rig_state(d.r), RS_PAUSED);
	ck_assert_ptr_null(strstr(d.r->events, "RESUME"));
	(void)close(d.fd);
	rig_free(d.r);
}
END_TEST

static void go_is_refused(const char *go)
{
	struct destination d = destination_begin(COOKIE_SOURCE);

	expect_ready(d.fd);
	send_all(d.fd, go, 7);
	rig_await(d.r, MIG_FAILED);
	ck_assert_int_eq(rig_state(d.r), RS_INMIGRATE);
	(void)close(d.fd);
	rig_free(d.r);
}

START_TEST(test_go_with_an_unknown_request)
{
	go_is_refused("\x08\x4d\x02\0\2\x08\0");
}
END_TEST

START_TEST(test_go_with_an_unknown_cause)
{
	go_is_refused("\x08\x4d\x02\0\2\2\x0b");
}
END_TEST

START_TEST(test_destination_confirms)
{
	struct destination d = destination_begin(COOKIE_SOURCE);

	expect_ready(d.fd);
	send_all(d.fd, "\x08\x4d\x02\0\0", 5);
	ck_assert_uint_eq(expect_word(d.fd, RP_SHUT), 0);
	rig_await(d.r, MIG_COMPLETED);
	(void)close(d.fd);
	rig_free(d.r);
}
END_TEST

START_TEST(test_something_else_than_go)
{
	struct destination d = destination_begin(COOKIE_SOURCE);

	expect_ready(d.fd);
	send_all(d.fd, "\x08\0\1\0\0", 5);
	rig_await(d.r, MIG_FAILED);
	ck_assert_int_eq(rig_state(d.r), RS_INMIGRATE);
	(void)close(d.fd);
	rig_free(d.r);
}
END_TEST

START_TEST(test_destination_of_qemu)
{
	struct destination d = destination_begin(1);

	ck_assert_uint_eq(expect_word(d.fd, RP_PONG), 1);
	ck_assert_uint_eq(expect_word(d.fd, RP_SHUT), 0);
	rig_await(d.r, MIG_COMPLETED);
	ck_assert_int_eq(rig_state(d.r), RS_RUNNING);
	(void)close(d.fd);
	rig_free(d.r);
}
END_TEST

CHECK_MAIN("migration-handover", test_qemu_says_it_runs, test_qemu_says_it_failed, test_qemu_closes,
	   test_qemu_closes_before_eof, test_eof_cannot_be_sent, test_cancel_before_eof,
	   test_reset_before_eof, test_resets_before_eof, test_reset_before_go,
	   test_stop_before_eof, test_stop_and_no_move, test_stop_before_go, test_stop_after_go,
	   test_destination_resets, test_destination_stays_stopped, test_go_with_an_unknown_request,
	   test_go_with_an_unknown_cause, test_qemu_and_a_late_cancel, test_minivmm_takes_it,
	   test_minivmm_closes_before_ready, test_minivmm_refuses, test_minivmm_differs,
	   test_minivmm_differs_in_lines, test_minivmm_differs_endlessly,
	   test_minivmm_refuses_after_go, test_connection_breaks_after_go, test_cancel_after_go,
	   test_cancel_before_ready, test_destination_killed_before_go,
	   test_destination_killed_after_go, test_broken_messages, test_sink,
	   test_late_peer_and_patience, test_destination_waits_for_go,
	   test_destination_runs_after_go, test_destination_confirms, test_something_else_than_go,
	   test_destination_of_qemu)
