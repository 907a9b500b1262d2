/*
 * connections.c - which connection is the main stream, and which carry pages
 *
 * A connection waits in a list until its first four bytes have come.  They are
 * peeked at, so that the reader of the connection finds them again:
 *
 *     the multifd magic      a channel of pages, when there are any
 *     anything else          the main stream, when there is none yet; the
 *                            loader refuses what is no stream
 *     a second main stream   closed, with a warning
 *
 * With a part of the magic the socket stays readable, so the watch pauses and
 * a timer peeks again.  A connection that is silent for too long is dropped;
 * when the list is full, the oldest one makes room.  Each decision calls back,
 * for the load thread may be waiting for channels that have not come.
 */
#include "migration/incoming/connections.h"

#include <errno.h>
#include <stdlib.h>

#include "migration/channel/channel.h"
#include "migration/ram/multifd/multifd.h"
#include "migration/stream/wire.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
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
};

struct connections {
	struct loop *loop;
	const struct connections_ops *ops;
	void *opaque;
	struct list waiting;
	unsigned n;
	bool channels, has_main;
	bool used; /* a peer has sent its first bytes */
	bool told; /* a dropped connection has been reported: once will do */
	uint64_t silence_ms;
};

struct connections *connections_new(struct loop *l, bool channels, uint64_t silence_ms,
				    const struct connections_ops *ops, void *opaque)
{
	struct connections *cs = NEW(struct connections);

	cs->loop = l;
	cs->channels = channels;
	cs->silence_ms = silence_ms;
	cs->ops = ops;
	cs->opaque = opaque;
	list_init(&cs->waiting);
	return cs;
}

static void connection_free(struct connection *c)
{
	loop_fd_del(c->watch);
	loop_timer_free(c->again);
	loop_timer_free(c->silence);
	list_del(&c->link);
	c->cs->n--;
	channel_close(c->ch);
	free(c);
}

void connections_clear(struct connections *cs)
{
	list_for_each_safe (c, &cs->waiting, struct connection, link)
		connection_free(c);
}

void connections_free(struct connections *cs)
{
	if (!cs)
		return;
	connections_clear(cs);
	free(cs);
}

/* The connection begins with these four bytes. */
static void conn_decide(struct connection *c, uint32_t magic)
{
	struct connections *cs = c->cs;
	struct channel *ch = c->ch;

	c->ch = NULL;
	connection_free(c);
	cs->used = true;
	if (magic == MULTIFD_MAGIC && cs->channels) {
		cs->ops->page_channel(cs->opaque, ch);
	} else if (!cs->has_main) { /* the loader refuses what is no stream */
		cs->has_main = true;
		cs->ops->main_stream(cs->opaque, ch);
	} else {
		log_warn("a connection that begins with 0x%08x was refused during the migration",
			 magic);
		channel_close(ch);
	}
	cs->ops->decided(cs->opaque);
}

static void conn_drop(struct connection *c, const char *why)
{
	struct connections *cs = c->cs;

	if (!cs->told)
		log_info("a connection to the incoming migration is dropped: the peer %s", why);
	cs->told = true;
	connection_free(c);
	cs->ops->decided(cs->opaque);
}

static void conn_classify(struct connection *c)
{
	uint8_t magic[4];
	ssize_t n = channel_peek(c->ch, magic, sizeof(magic));

	if (n == (ssize_t)sizeof(magic)) {
		conn_decide(c, get_be32(magic));
	} else if (n > 0) { /* the socket stays readable: peek again later */
		loop_fd_events(c->watch, 0);
		loop_timer_arm_ms(c->again, AGAIN_MS);
	} else if (n == 0 || (n != -EAGAIN && n != -EINTR)) {
		conn_drop(c, "has closed it without a word");
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
	conn_drop(opaque, "has said nothing for too long");
}

void connections_add(struct connections *cs, struct channel *ch)
{
	struct connection *c = NEW(struct connection);

	if (cs->n == CONNECTIONS_MAX)
		conn_drop(container_of(cs->waiting.next, struct connection, link),
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

bool connections_idle(const struct connections *cs)
{
	return cs->n == 0 && !cs->used;
}
