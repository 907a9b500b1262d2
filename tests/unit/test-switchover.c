/*
 * What two ends say about the switchover: SWITCHOVER_START, SWITCHOVER_ACK, the status 'device'.
 * The other end is QEMU, hand-made.
 */
#include <sys/socket.h>

#include "migration/stream/wire.h"
#include "tests/unit/check-main.h"
#include "tests/unit/migration-rig.h"
#include "vmm/base/bytes.h"

/* ---- the other end ---- */

static void say(int fd, unsigned type, const void *payload, size_t n)
{
	uint8_t msg[4 + 8];

	put_be16(msg, (uint16_t)type);
	put_be16(msg + 2, (uint16_t)n);
	memcpy(msg + 4, payload, n);
	ck_assert_int_eq(send(fd, msg, 4 + n, MSG_NOSIGNAL), (ssize_t)(4 + n));
}

static void say_word(int fd, unsigned type, uint32_t v)
{
	uint8_t word[4];

	put_be32(word, v);
	say(fd, type, word, sizeof(word));
}

/* A destination: answers each PING that ends what it has read, runs the guest behind EOF. */
struct peer_end {
	int fd;
	pthread_t thread;
	struct buf stream; /* all up to EOF */
};

static bool ends_with_ping(const struct buf *b, uint32_t cookie)
{
	uint8_t ping[9] = {TAG_COMMAND, 0, CMD_PING, 0, 4};

	put_be32(ping + 5, cookie);
	return b->len >= sizeof(ping) &&
	       memcmp(b->data + b->len - sizeof(ping), ping, sizeof(ping)) == 0;
}

static void *peer_main(void *opaque)
{
	struct peer_end *p = opaque;
	struct buf *b = &p->stream;
	bool loaded = false;
	uint8_t eof;

	while (!loaded) {
		ssize_t n = recv(p->fd, buf_room(b, 65536), 65536, 0);

		if (n <= 0)
			return NULL;
		b->len += (size_t)n;
		if (ends_with_ping(b, COOKIE_PASS))
			say_word(p->fd, RP_PONG, COOKIE_PASS);
		loaded = ends_with_ping(b, COOKIE_LOADED);
	}
	say_word(p->fd, RP_PONG, COOKIE_LOADED);
	if (recv(p->fd, &eof, sizeof(eof), 0) == sizeof(eof) && eof == TAG_EOF)
		say_word(p->fd, RP_SHUT, 0);
	return NULL;
}

/* ---- the source ---- */

#define START "\x08\0\x0b\0\0" /* COMMAND SWITCHOVER_START, no payload */

static struct rig *rig_with(enum runstate state, const char *global)
{
	struct config cfg = {0};

	if (global)
		keyvals_add(&cfg.migration_globals, global, "on");
	return rig_new_with(state, RIG_RAM_BYTES, &cfg);
}

static void rig_end(struct rig *r)
{
	keyvals_fini(&r->cfg.migration_globals);
	rig_free(r);
}

static void source_begin(struct rig *r, struct peer_end *p)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	*p = (struct peer_end){.fd = pair[1]};
	rig_fill(r, 1);
	rig_run_guest(r);
	say_word(p->fd, RP_PONG, COOKIE_SOURCE);
	ck_assert_int_eq(rig_migrate_fd(r, "fd:x", pair[0], NULL), 0);
	ck_assert_int_eq(pthread_create(&p->thread, NULL, peer_main, p), 0);
}

static void peer_close(struct peer_end *p)
{
	(void)pthread_join(p->thread, NULL);
	(void)close(p->fd);
	buf_free(&p->stream);
}

/* The command, or NULL; one only, and only END(ram) behind it. */
static const uint8_t *find_start(const struct buf *b)
{
	const uint8_t *at = memmem(b->data, b->len, START, 5);

	if (!at)
		return NULL;
	ck_assert_int_eq(at[5], TAG_END);
	ck_assert_ptr_null(memmem(at + 1, b->len - (size_t)(at + 1 - b->data), START, 5));
	return at;
}

START_TEST(test_start_is_sent_when_asked_for)
{
	for (int on = 0; on < 2; on++) {
		struct rig *r = rig_with(RS_PRELAUNCH, on ? "send-switchover-start" : NULL);
		struct peer_end p;

		source_begin(r, &p);
		rig_await(r, MIG_COMPLETED);
		(void)pthread_join(p.thread, NULL);
		ck_assert_int_eq(find_start(&p.stream) != NULL, on);
		ck_assert_str_eq(r->events, "setup PASS active PASS STOP device PASS completed");
		(void)close(p.fd);
		buf_free(&p.stream);
		rig_end(r);
	}
}
END_TEST

static void ack_on(struct rig *r)
{
	rig_capability(r, CAP_RETURN_PATH, true);
	rig_capability(r, CAP_SWITCHOVER_ACK, true);
}

/* Until there has been that pass. */
static void await_pass(struct rig *r, uint64_t n)
{
	machine_lock(&r->m);
	for (;;) {
		struct migration_info info;

		migration_query(r->mg, &info);
		if (info.ram.dirty_sync_count >= n)
			break;
		ck_assert(!rig_ended(r));
		pthread_cond_wait(&r->changed, &r->m.lock);
	}
	machine_unlock(&r->m);
}

/* As QEMU 8.1 to 10: the guest runs on until the destination has agreed. */
START_TEST(test_source_waits_for_ack)
{
	struct rig *r = rig_with(RS_PRELAUNCH, "switchover-ack-legacy");
	struct peer_end p;

	ack_on(r);
	source_begin(r, &p);
	await_pass(r, 4);
	ck_assert_int_eq(rig_state(r), RS_RUNNING);
	say(p.fd, RP_SWITCHOVER_ACK, "", 0);
	rig_await(r, MIG_COMPLETED);
	peer_close(&p);
	rig_end(r);
}
END_TEST

START_TEST(test_cancel_while_waiting_for_ack)
{
	struct rig *r = rig_with(RS_PRELAUNCH, "switchover-ack-legacy");
	struct peer_end p;

	ack_on(r);
	source_begin(r, &p);
	await_pass(r, 4);
	rig_cancel(r);
	rig_await(r, MIG_CANCELLED);
	ck_assert_int_eq(rig_state(r), RS_RUNNING);
	peer_close(&p);
	rig_end(r);
}
END_TEST

/* A guest that stands still has nothing to wait for. */
START_TEST(test_stopped_guest_needs_no_ack)
{
	struct rig *r = rig_with(RS_PRELAUNCH, "switchover-ack-legacy");
	struct peer_end p;

	ack_on(r);
	source_begin(r, &p);
	await_pass(r, 3);
	machine_lock(&r->m);
	machine_stop(&r->m, RS_PAUSED);
	machine_unlock(&r->m);
	rig_await(r, MIG_COMPLETED);
	peer_close(&p);
	rig_end(r);
}
END_TEST

/* As QEMU 11: nothing is waited for, and a message that comes all the same does no harm. */
START_TEST(test_ack_is_not_waited_for)
{
	for (int sent = 0; sent < 2; sent++) {
		struct rig *r = rig_with(RS_PRELAUNCH, NULL);
		struct peer_end p;

		ack_on(r);
		source_begin(r, &p);
		if (sent)
			say(p.fd, RP_SWITCHOVER_ACK, "", 0);
		rig_await(r, MIG_COMPLETED);
		peer_close(&p);
		rig_end(r);
	}
}
END_TEST

/* ---- the destination ---- */

static const uint8_t opening[] = {0x51, 0x45, 0x56, 0x4d, 0,   0,   0,   3,   7, 0, 0, 0,
				  7,    'm',  'i',  'c',  'r', 'o', 'v', 'm', 8, 0, 1, 0,
				  0,    8,    0,    2,    0,   4,   0,   0,   0, 1};

static void first_message(struct rig *d, uint8_t got[4])
{
	char uri[32];
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	(void)snprintf(uri, sizeof(uri), "fd:%d", pair[0]);
	ck_assert_int_eq(rig_incoming(d, uri, NULL), 0);
	ck_assert_int_eq(send(pair[1], opening, sizeof(opening), MSG_NOSIGNAL), sizeof(opening));
	ck_assert_int_eq(recv(pair[1], got, 4, MSG_WAITALL), 4);
	(void)close(pair[1]);
	rig_await(d, MIG_FAILED);
}

/* To a source that waits for it, at once and in front of PONG; QEMU 11 would never get over it. */
START_TEST(test_destination_agrees)
{
	static const struct {
		const char *global;
		bool capability;
		unsigned first;
	} cases[] = {
	    {NULL,		    false, RP_PONG          },
	    {NULL,		    true,  RP_PONG          },
	    {"switchover-ack-legacy", false, RP_PONG          },
	    {"switchover-ack-legacy", true,  RP_SWITCHOVER_ACK},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct rig *d = rig_with(RS_INMIGRATE, cases[i].global);
		uint8_t got[4];

		if (cases[i].capability)
			ack_on(d);
		first_message(d, got);
		ck_assert_uint_eq(get_be16(got), cases[i].first);
		ck_assert_uint_eq(get_be16(got + 2), cases[i].first == RP_PONG ? 4 : 0);
		rig_end(d);
	}
}
END_TEST

CHECK_MAIN("switchover", test_start_is_sent_when_asked_for, test_source_waits_for_ack,
	   test_cancel_while_waiting_for_ack, test_stopped_guest_needs_no_ack,
	   test_ack_is_not_waited_for, test_destination_agrees)
