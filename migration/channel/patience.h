/*
 * patience.h - how long a peer does nothing, on all channels to it together
 *
 * Each wait for the peer is told, and when it goes on: that of a connection that is not
 * accepted yet, of a write, of the source for an answer.  The peer is silent
 * for as long as one of them waits and none of those that wait goes on.
 */
#ifndef MINIVMM_MIGRATION_CHANNEL_PATIENCE_H
#define MINIVMM_MIGRATION_CHANNEL_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

/* All members are atomic; any thread. */
struct patience {
	unsigned waiting; /* channels */
	int64_t moved_ns; /* CLOCK_MONOTONIC: when one of them began or ended a wait */
	uint32_t limit_s; /* after which a wait fails; 0: never; may be set meanwhile */
};

/* 'p' may be NULL here and where the limit is asked for: nothing is counted, and no wait fails. */
void patience_wait(struct patience *p);  /* a channel waits ... */
void patience_go_on(struct patience *p); /* ... and does so no longer */
/* So long has the peer taken nothing; 0 while no channel waits. */
int64_t patience_silence_ns(const struct patience *p);
/* ... and that is too long. */
bool patience_ended(const struct patience *p);
/* 0: for ever */
uint32_t patience_limit_s(const struct patience *p);

#endif
