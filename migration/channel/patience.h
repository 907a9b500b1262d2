/*
 * patience.h - how long a peer takes nothing, on all channels to it together
 *
 * A channel whose write has to wait says so, and when it goes on.  The peer is
 * silent for as long as some channel waits and none of those that wait goes on.
 */
#ifndef MINIVMM_MIGRATION_CHANNEL_PATIENCE_H
#define MINIVMM_MIGRATION_CHANNEL_PATIENCE_H

#include <stdint.h>

/* All members are atomic; any thread. */
struct patience {
	unsigned waiting; /* channels */
	int64_t moved_ns; /* CLOCK_MONOTONIC: when one of them began or ended a wait */
	uint32_t limit_s; /* after which a wait fails with -ETIMEDOUT; 0: never */
};

void patience_wait(struct patience *p);  /* a channel waits ... */
void patience_go_on(struct patience *p); /* ... and does so no longer */
/* So long has the peer taken nothing; 0 while no channel waits. */
int64_t patience_silence_ns(const struct patience *p);

#endif
