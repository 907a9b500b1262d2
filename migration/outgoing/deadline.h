/*
 * deadline.h - the time by which the guest is to be handed over
 *
 * Parameters x-minivmm-deadline (seconds from 'migrate' on, 0: none) and
 * x-minivmm-deadline-policy.  What happens when it passes:
 *
 *     cancel   stop_fd becomes readable.  All waits of a migration - for a
 *              connection, the channel, the other end, migrate-continue, the
 *              next window - look at it as they look at a cancel, so they
 *              all end; the guest goes on here.
 *     force    deadline_forces() turns true, and the migration thread stops
 *              the guest instead of sending another pass.
 *     postcopy deadline_switches() turns true, and the migration thread does
 *              what 'migrate-start-postcopy' has it do.
 *
 * From the moment on at which the destination may run the guest there is no
 * longer a deadline: deadline_end() decides, once, which of the two was first.
 */
#ifndef MINIVMM_MIGRATION_DEADLINE_H
#define MINIVMM_MIGRATION_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

struct deadline {
	/* constant */
	int timer_fd; /* readable once passed, if the policy is to give up */
	int stop_fd;  /* epoll: readable once cancelled, or when the timer is */
	/* machine lock */
	int64_t started_ns; /* 0: no migration, or the guest is no longer ours */
	bool armed;         /* the timer runs, or has run out */
	uint32_t seconds;   /* 0: none */
	uint8_t policy;     /* enum deadline_policy */
	/* atomic */
	int64_t force_ns, switch_ns; /* CLOCK_MONOTONIC, 0: never */
};

/* cancel_fd (borrowed): readable once the migration is cancelled.  0 or -errno. */
int deadline_init(struct deadline *d, int cancel_fd);
void deadline_fini(struct deadline *d);

/* ---- machine lock held ---- */

/* A migration begins now. */
void deadline_start(struct deadline *d, uint32_t seconds, uint8_t policy);
/* Other parameters; they count from the same beginning.  One that has passed stays so. */
void deadline_change(struct deadline *d, uint32_t seconds, uint8_t policy);
/* The migration is to be given up. */
bool deadline_passed(const struct deadline *d);
/* The deadline no longer counts; false when it has passed before. */
bool deadline_end(struct deadline *d);
/* Until then, in ms; false: there is none. */
bool deadline_left(const struct deadline *d, uint64_t *ms);

/* ---- any thread ---- */

/* The guest is to be stopped and handed over, whatever is left. */
bool deadline_forces(const struct deadline *d);
/* The guest is to go to postcopy. */
bool deadline_switches(const struct deadline *d);

#endif
