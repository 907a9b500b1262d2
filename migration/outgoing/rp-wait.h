/* rp-wait.h - waiting for what the destination says; migration thread, machine lock not held */
#ifndef MINIVMM_MIGRATION_RP_WAIT_H
#define MINIVMM_MIGRATION_RP_WAIT_H

#include <stdbool.h>

struct err;
struct outgoing;

/*
 * Until done(), or the end of the connection, or for timeout_ms (-1: any time):
 * 0, who asks looks which it was.  -ECANCELED: cancelled, or too late.
 * -ETIMEDOUT: x-minivmm-peer-timeout; not once the guest may run there, and
 * not where timeout_ms is given.
 */
int rp_wait(struct outgoing *o, bool (*done)(const struct outgoing *o), int timeout_ms,
	    struct err *err);

/* Has it refused the guest, or said that it runs? */
bool rp_decided(const struct outgoing *o);

/* A first PONG, for so long; the comparison; PONG behind a pass, behind the last section. */
int rp_wait_answer(struct outgoing *o, int timeout_ms, struct err *err);
/* SWITCHOVER_ACK, for so long; not longer than until a deadline forces. */
int rp_wait_agreed(struct outgoing *o, int timeout_ms, struct err *err);
int rp_wait_compared(struct outgoing *o, struct err *err);
int rp_wait_passed(struct outgoing *o, struct err *err);
int rp_wait_passed_for(struct outgoing *o, int timeout_ms, struct err *err);
int rp_wait_loaded(struct outgoing *o, struct err *err);

#endif
