/*
 * connections.h - the connections to an incoming migration
 *
 * Connections may come in any order, for a network keeps none between them.
 * The first bytes tell: "QEVM" is the main stream, the multifd magic a channel of
 * pages.  The bytes are peeked at, not taken.  A silent connection is dropped
 * after a while, or sooner when others want the place; a peer that closes
 * without having sent a byte was not the source.
 */
#ifndef MINIVMM_MIGRATION_CONNECTIONS_H
#define MINIVMM_MIGRATION_CONNECTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct channel;
struct connections;
struct loop;

/* The callee takes the channel, which no descriptor cancels yet. */
struct connections_ops {
	void (*main_stream)(void *opaque, struct channel *ch);
	void (*page_channel)(void *opaque, struct channel *ch);
	/* One connection less waits. */
	void (*decided)(void *opaque);
};

#define CONNECTIONS_MAX        300   /* silent connections; all channels and some */
#define CONNECTIONS_SILENCE_MS 10000 /* how long a connection may say nothing */

/* All functions: the loop's thread, but connections_waiting(): any, with the loop's lock held. */
/* 'channels': there are channels of pages; else the first that sends something is the main stream.
 */
struct connections *connections_new(struct loop *l, bool channels, uint64_t silence_ms,
				    const struct connections_ops *ops, void *opaque);
/* Closes connections that are not classified yet; NULL is fine. */
void connections_free(struct connections *cs);
/* A peer has connected; takes 'ch'.  May call back, but for 'decided' never with 'cs' in use. */
void connections_add(struct connections *cs, struct channel *ch);
/* Drop all connections that are not classified. */
void connections_clear(struct connections *cs);
/* Is a connection not classified yet? */
bool connections_waiting(const struct connections *cs);
/* No connection is waiting, and none has ever been classified. */
bool connections_idle(const struct connections *cs);

#endif
