/*
 * connections.h - who has connected to an incoming migration
 *
 * Connections may come in any order, for a network keeps none between them.
 * What they begin with says what they are: "QEVM" the main stream, the multifd
 * magic a channel of pages.  The bytes are only looked at, not taken.  Who says
 * nothing is dropped after a while, or sooner when others want the place; who
 * leaves without a word was not the source.
 */
#ifndef MINIVMM_MIGRATION_ARRIVALS_H
#define MINIVMM_MIGRATION_ARRIVALS_H

#include <stdbool.h>
#include <stdint.h>

struct arrivals;
struct channel;
struct loop;

/* The channel is given, without a descriptor that would cancel it. */
struct arrivals_ops {
	void (*main_stream)(void *opaque, struct channel *ch);
	void (*page_channel)(void *opaque, struct channel *ch);
	/* One less to wait for. */
	void (*decided)(void *opaque);
};

#define ARRIVALS_MAX        300   /* silent connections; all channels and some */
#define ARRIVALS_SILENCE_MS 10000 /* how long a connection may say nothing */

/* All functions: the loop's thread, but arrivals_waiting(): any, with the loop's lock held. */
/* 'channels': there are channels of pages; else the first who says something is the main stream. */
struct arrivals *arrivals_new(struct loop *l, bool channels, uint64_t silence_ms,
			      const struct arrivals_ops *ops, void *opaque);
/* Closes those of whom nothing is known yet; NULL is fine. */
void arrivals_free(struct arrivals *a);
/* Somebody has connected; takes 'ch'.  May call back, but for 'decided' never with 'a' in use. */
void arrivals_add(struct arrivals *a, struct channel *ch);
/* Drop all who have not said what they are. */
void arrivals_clear(struct arrivals *a);
/* Is there anybody who has not said what they are? */
bool arrivals_waiting(const struct arrivals *a);
/* Nobody is waiting, and nobody has ever said a word. */
bool arrivals_idle(const struct arrivals *a);

#endif
