/*
 * auto-converge.h - slow a guest down that dirties memory faster than it travels
 *
 * Capability auto-converge takes time away from all vCPUs, step by step;
 * capability dirty-limit limits what each vCPU may dirty (dirty/limit.h).
 * Both begin when, in two periods, what became dirty exceeded
 * throttle-trigger-threshold percent of what was sent (migration-stream 3.4).
 * Both are counted in pages: what an encoder makes of a page does not matter.
 */
#ifndef MINIVMM_MIGRATION_AUTOCONVERGE_H
#define MINIVMM_MIGRATION_AUTOCONVERGE_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct outgoing;

/* ---- the decision: pure ---- */

struct convergence_params {
	uint8_t trigger;                 /* percent of the pages sent, 1..100 */
	uint8_t initial, increment, max; /* percent of time taken away */
	bool tailslow;                   /* near the end throttle only as much as is needed */
};

struct convergence {
	unsigned high;    /* periods in which too much became dirty, since the last step */
	uint32_t percent; /* taken away now */
};

/*
 * A period is over, in which so many pages became dirty, and so many were sent
 * in whatever encoding.  Is it time for a step?
 */
bool convergence_due(struct convergence *c, uint8_t trigger, uint64_t dirtied, uint64_t sent);
/* The step: the percentage from now on. */
uint32_t convergence_step(struct convergence *c, const struct convergence_params *p,
			  uint64_t dirtied, uint64_t sent);

/* ---- a migration's ---- */

struct auto_converge {
	bool on;     /* the migration may slow the guest down */
	bool limits; /* by limiting what it dirties */
	struct convergence c;
	uint32_t percent; /* c.percent, atomically, for queries */
	/* the migration thread's: the present period */
	int64_t since_ns;
	uint64_t dirtied, sent; /* pages; sent: in all when it began */
};

/* Set-up: what the capabilities ask for.  Machine lock held. */
int auto_converge_start(struct outgoing *o, struct err *err);
/* Dirty pages were collected, 'dirtied' of them new.  Migration thread, lock not held. */
void auto_converge_sync(struct outgoing *o, uint64_t dirtied);
/* However the migration ended: the guest has all its time again.  Machine lock held. */
void auto_converge_stop(struct outgoing *o);

#endif
