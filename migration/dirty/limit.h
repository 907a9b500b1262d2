/*
 * limit.h - limit how fast each vCPU dirties memory (qmp-surface 2.1)
 *
 * A thread reads off the dirty ring what each vCPU dirties and has
 * vmm/throttle.c take as much time away as keeps it below its limit.  A vCPU
 * may be limited by the user and by a migration (capability dirty-limit): the
 * lower limit holds.
 *
 * Functions: machine lock held; any thread but the one above; none blocks for
 * longer than it takes vCPUs to leave the guest.
 */
#ifndef MINIVMM_MIGRATION_DIRTY_LIMIT_H
#define MINIVMM_MIGRATION_DIRTY_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

struct dirty_limits;
struct err;
struct machine;

#define DIRTY_LIMIT_ALL (-1) /* for a vCPU's index */

struct dirty_limits *dirty_limits_new(struct machine *m);
void dirty_limits_free(struct dirty_limits *l); /* NULL is fine; vCPUs run freely again */

/* The user's limits, MB/s; 0 takes a limit away. */
int dirty_limits_set(struct dirty_limits *l, int64_t vcpu, uint64_t mb_s, struct err *err);
/* The limit that the user has set (0: none) and the rate measured last. */
uint64_t dirty_limits_get(struct dirty_limits *l, unsigned vcpu, uint64_t *current_mb_s);

/* A migration's limit for all vCPUs, looked after every period_ms. */
int dirty_limits_set_all(struct dirty_limits *l, uint64_t mb_s, uint64_t period_ms,
			 struct err *err);
void dirty_limits_cancel_all(struct dirty_limits *l);

/*
 * The decision, pure: a vCPU from which 'permille' of its time is taken
 * dirties 'rate' where 'limit' is allowed (same unit, limit > 0); what to take
 * from now on.
 */
uint32_t dirty_limit_adjust(uint32_t permille, double rate, double limit);

#endif
