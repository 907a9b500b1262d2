/*
 * connections.c - which connection is the main stream, and which carry pages
 *
 * What a connection can be follows from the capabilities and from what has come
 * already: each kind has a number that is expected.  The number is asked for
 * anew until a first connection is taken, and is fixed from then on.
 *
 *     one kind is left       a connection is of that kind
 *     several are left       its first four bytes, the magic, decide
 *     none is left           refused with a sentence; a kind may want its surplus
 *                            itself, to fail the migration with a better one
 *
 * Where the count decides, the bytes are awaited all the same if the kind has a
 * magic: its peer sends it at once, so that a connection that says nothing is not
 * the source's, and must not take the source's place.  A kind without magic
 * may stay silent for long: no byte is awaited as soon as nothing else is left.  A
 * connection that cannot be peeked at is decided by the count alone, in the order of
 * the table.
 *
 *     a known magic          that kind, or its refusal
 *     any other bytes        the only kind that is left, when nothing has been
 *                            taken: there is no migration yet that a stranger
 *                            could harm, and the loader tells in words what is
 *                            wrong with the stream; otherwise refused
 *
 * The bytes are peeked at, so that the reader of the connection finds them again.
 * Where a connection has a layer that has to agree with the peer first (TLS), that
 * comes before all this: a peer that is not let in is no connection of any kind.
 * With a part of the magic the socket stays readable, so the watch pauses and
 * a timer peeks again.  A connection that is silent for too long is dropped;
 * when the list is full, the oldest one makes room.  Each decision calls back,
 * for the load thread may be waiting for channels that have not come.
 */
#include "migration/incoming/connections.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "migration/channel/channel.h"
#include "migration/stream/wire.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/list.h"
#include "vmm/base/log.h"
#include "vmm/loop.h"

#define AGAIN_MS 10 /* when only a part of the magic has come */

struct connection {
	struct list link;
	struct connections *cs;
	struct channel *ch; /* owned */
	struct loop_fd *watch;
	struct loop_timer *again;   /* only a part of the magic has come */
	struct loop_timer *silence; /* time is up */
	bool shaken;                /* what its layers need has been agreed with the peer */
};

struct connections {
	/* set at creation and then constant; borrowed */
	struct loop *loop;
	const struct connection_kind *kinds;
	unsigned n_kinds;
	void (*decided)(void *opaque);
	void *opaque;
	uint64_t silence_ms;
	/* the loop's thread, its lock held */
	struct list waiting;
	unsigned n; /* of 'waiting' */
	bool begun; /* one has been taken, and 'expected' is fixed */
	unsigned expected[CONNECTION_KINDS_MAX], taken[CONNECTION_KINDS_MAX];
	bool told; /* a dropped connection has been reported: once will do */
};

struct connections *connections_new(struct loop *l, const struct connection_kind *kinds,
				    unsigned n_kinds, uint64_t silence_ms,
				    void (*decided)(void *opaque), void *opaque)
{
	struct connections *cs = NEW(struct connections);

	assert(n_kinds <= CONNECTION_KINDS_MAX);
	cs->loop = l;
	cs->kinds = kinds;
	cs->n_kinds = n_kinds;
	cs->silence_ms = silence_ms;
	cs->decided = decided;
	cs->opaque = opaque;
	list_init(&cs->waiting);
	return cs;
}

/* Out of the list; returns its channel, owned. */
static struct channel *connection_release(struct connection *c)
{
	struct channel *ch = c->ch;

	loop_fd_del(c->watch);
	loop_timer_free(c->again);
	loop_timer_free(c->silence);
	list_del(&c->link);
	c->cs->n--;
	free(c);
	return ch;
}

void connections_clear(struct connections *cs)
{
	list_for_each_safe (c, &cs->waiting, struct connection, link)
		channel_close(connection_release(c));
}

void connections_free(struct connections *cs)
{
	if (!cs)
		return;
	connections_clear(cs);
	free(cs);
}

/* ---- what can it be? ---- */

static unsigned expected(const struct connections *cs, unsigned k)
{
	return cs->begun ? cs->expected[k] : cs->kinds[k].expected(cs->opaque);
}

static bool has_room(const struct connections *cs, unsigned k)
{
	return cs->taken[k] < expected(cs, k);
}

/* The first kind of which a connection may still come, n_kinds: none. */
static unsigned first_left(const struct connections *cs)
{
	unsigned k = 0;

	while (k < cs->n_kinds && !has_room(cs, k))
		k++;
	return k;
}

/* The one kind that is left; n_kinds: there is none, or several. */
static unsigned only_left(const struct connections *cs)
{
	unsigned first = first_left(cs), k = first + 1;

	while (k < cs->n_kinds && !has_room(cs, k))
		k++;
	return k < cs->n_kinds ? cs->n_kinds : first;
}

/* Is a connection decided without a byte? */
static bool needs_no_byte(const struct connections *cs)
{
	unsigned k = only_left(cs);

	return k < cs->n_kinds && !cs->kinds[k].magic;
}

/* What begins with these bytes, whether or not it is expected; n_kinds: nothing that is known. */
static unsigned kind_of(const struct connections *cs, uint32_t magic)
{
	unsigned k = 0;

	while (k < cs->n_kinds && (!cs->kinds[k].magic || cs->kinds[k].magic != magic))
		k++;
	if (k < cs->n_kinds)
		return k;
	return cs->begun ? cs->n_kinds : only_left(cs);
}

/* ---- decisions; each ends the connection ---- */

static void conn_take(struct connection *c, unsigned k)
{
	struct connections *cs = c->cs;
	struct channel *ch = connection_release(c);

	for (unsigned i = 0; i < cs->n_kinds && !cs->begun; i++)
		cs->expected[i] = cs->kinds[i].expected(cs->opaque);
	cs->begun = true;
	cs->taken[k]++;
	cs->kinds[k].take(cs->opaque, ch);
}

/* One too many of a kind. */
static void conn_surplus(struct connection *c, unsigned k)
{
	struct connections *cs = c->cs;
	const struct connection_kind *kind = &cs->kinds[k];
	unsigned n = expected(cs, k);
	struct channel *ch = connection_release(c);

	if (n && kind->take_surplus) {
		kind->take_surplus(cs->opaque, ch);
		return;
	}
	if (n)
		log_warn("a connection to the incoming migration was refused: it is %s, and %s",
			 kind->what, n == 1 ? "that is here already" : "all of these are here");
	else
		log_warn("a connection to the incoming migration was refused: it is %s, and with "
			 "the capabilities that are set here none is expected",
			 kind->what);
	channel_close(ch);
}

static void conn_refuse(struct connection *c, uint32_t magic)
{
	log_warn("a connection to the incoming migration was refused: it begins with 0x%08x%s, as "
		 "nothing does that is expected here",
		 magic, magic >> 16 == TLS_HELLO ? " (TLS: is 'tls-creds' to be set here?)" : "");
	channel_close(connection_release(c));
}

static void conn_drop(struct connection *c, const char *why)
{
	struct connections *cs = c->cs;
	struct err err = {0};

	if (channel_explain(c->ch, &err)) {
		log_warn("a connection to the incoming migration was refused: %s", err.msg);
		channel_close(connection_release(c));
		return;
	}

	if (!cs->told)
		log_info("a connection to the incoming migration is dropped: the peer %s", why);
	cs->told = true;
	channel_close(connection_release(c));
}

/* The oldest one whose peer is known; NULL: there is none. */
static struct connection *oldest_shaken(const struct connections *cs)
{
	list_for_each (c, &cs->waiting, struct connection, link)
		if (c->shaken)
			return c;
	return NULL;
}

/* Those that have waited become what needs no byte, the oldest one first. */
static void reconsider(struct connections *cs)
{
	struct connection *c;

	while (needs_no_byte(cs) && (c = oldest_shaken(cs)))
		conn_take(c, only_left(cs));
	cs->decided(cs->opaque);
}

/* It begins with these four bytes. */
static void conn_decide(struct connection *c, uint32_t magic)
{
	struct connections *cs = c->cs;
	unsigned k = kind_of(cs, magic);

	if (k == cs->n_kinds)
		conn_refuse(c, magic);
	else if (has_room(cs, k))
		conn_take(c, k);
	else
		conn_surplus(c, k);
	reconsider(cs);
}

/* Its bytes cannot be seen without taking them. */
static void conn_decide_unseen(struct connection *c)
{
	struct connections *cs = c->cs;
	unsigned k = first_left(cs);

	if (k < cs->n_kinds)
		conn_take(c, k);
	else
		conn_drop(c, "is one too many");
	reconsider(cs);
}

static void conn_end(struct connection *c, const char *why)
{
	struct connections *cs = c->cs;

	conn_drop(c, why);
	reconsider(cs);
}

/* ---- waiting for the first bytes ---- */

/* Its layers have agreed with the peer on what they need.  Not yet, or it is gone: false. */
static bool conn_shake(struct connection *c)
{
	int ret = c->shaken ? 0 : channel_try_handshake(c->ch);

	if (ret == -EAGAIN || ret == -EINTR)
		return false;
	if (ret < 0) {
		conn_end(c, "has closed it without a word");
		return false;
	}
	c->shaken = true;
	return true;
}

static void conn_classify(struct connection *c)
{
	uint8_t magic[4];
	ssize_t n;

	if (!conn_shake(c))
		return;
	if (needs_no_byte(c->cs)) {
		reconsider(c->cs);
		return;
	}
	n = channel_peek(c->ch, magic, sizeof(magic));
	if (n == (ssize_t)sizeof(magic)) {
		conn_decide(c, get_be32(magic));
	} else if (n == -EOPNOTSUPP) {
		conn_decide_unseen(c);
	} else if (n > 0) { /* the socket stays readable: peek again later */
		loop_fd_events(c->watch, 0);
		loop_timer_arm_ms(c->again, AGAIN_MS);
	} else if (n == 0 || (n != -EAGAIN && n != -EINTR)) {
		conn_end(c, "has closed it without a word");
	}
}

static void conn_readable(void *opaque, int ready)
{
	(void)ready;
	conn_classify(opaque);
}

static void conn_retry(void *opaque)
{
	struct connection *c = opaque;

	loop_fd_events(c->watch, LOOP_READABLE);
	conn_classify(c);
}

static void conn_timeout(void *opaque)
{
	conn_end(opaque, "has said nothing for too long");
}

void connections_add(struct connections *cs, struct channel *ch)
{
	struct connection *c = NEW(struct connection);

	if (cs->n == CONNECTIONS_MAX)
		conn_end(container_of(cs->waiting.next, struct connection, link),
			 "says nothing, and others wait for its place");
	c->cs = cs;
	c->ch = ch;
	c->watch = loop_fd_add(cs->loop, channel_fd(ch), LOOP_READABLE, conn_readable, c);
	c->again = loop_timer_new(cs->loop, conn_retry, c);
	c->silence = loop_timer_new(cs->loop, conn_timeout, c);
	loop_timer_arm_ms(c->silence, cs->silence_ms);
	list_add_tail(&cs->waiting, &c->link);
	cs->n++;
	conn_classify(c); /* the first bytes may be there already */
}

bool connections_waiting(const struct connections *cs)
{
	return cs->n > 0;
}
