/*
 * connections.h - the connections to an incoming migration
 *
 * A migration has connections of several kinds (the main stream, channels of
 * pages), which come in any order, for a network keeps none between them.  Each
 * kind is a row of a table: how many the capabilities ask for, and the magic
 * that it begins with.  connections.c tells which one a connection is.
 */
#ifndef MINIVMM_MIGRATION_CONNECTIONS_H
#define MINIVMM_MIGRATION_CONNECTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct channel;
struct connections;
struct loop;

#define CONNECTION_KINDS_MAX 4

struct connection_kind {
	const char *what; /* for messages, with its article */
	/* The first four bytes; 0: the kind has no magic, and its connection may be silent. */
	uint32_t magic;
	/* How many belong to a migration, as the capabilities and parameters are now; 0: none. */
	unsigned (*expected)(const void *opaque);
	/* Takes the channel, which no descriptor cancels yet.  Not with 'cs' in use. */
	void (*take)(void *opaque, struct channel *ch);
	/* The same for one more than expected.  NULL: it is closed, with a warning. */
	void (*take_surplus)(void *opaque, struct channel *ch);
};

#define CONNECTIONS_MAX        300   /* silent connections; all channels and some */
#define CONNECTIONS_SILENCE_MS 10000 /* how long a connection may say nothing */

/* All functions: the loop's thread, but connections_waiting(): any, with the loop's lock held. */
/*
 * 'kinds' (at most CONNECTION_KINDS_MAX) is borrowed.  decided(opaque) says that
 * one connection less waits.
 */
struct connections *connections_new(struct loop *l, const struct connection_kind *kinds,
				    unsigned n_kinds, uint64_t silence_ms,
				    void (*decided)(void *opaque), void *opaque);
/* Closes connections that are not classified yet; NULL is fine.  Not from a callback. */
void connections_free(struct connections *cs);
/* A peer has connected; takes 'ch'.  May call back. */
void connections_add(struct connections *cs, struct channel *ch);
/* Close all connections that are not classified.  Callbacks may. */
void connections_clear(struct connections *cs);
/* Is a connection not classified yet? */
bool connections_waiting(const struct connections *cs);

#endif
