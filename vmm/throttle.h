/*
 * throttle.h - take a share of a vCPU's time away
 *
 * A throttled vCPU runs for slices of 10 ms (down to 1 ms when little is left
 * to it) and sleeps between them.  There are two users, auto-converge and the
 * dirty limit; the one that wants more decides.
 */
#ifndef MINIVMM_THROTTLE_H
#define MINIVMM_THROTTLE_H

#include <stdint.h>

struct err;
struct machine;
struct vcpu;

#define THROTTLE_MAX 999U /* of a thousand */

enum throttle_user { THROTTLE_CONVERGE, THROTTLE_LIMIT, THROTTLE_USERS };

/* ---- machine lock held ---- */

/* The user may throttle from now on; it takes nothing yet. */
int throttle_begin(struct machine *m, enum throttle_user user, struct err *err);
/* It no longer throttles; one that has not begun is fine. */
void throttle_end(struct machine *m, enum throttle_user user);

/* ---- any thread, between the two ---- */

/* The vCPU sleeps 'permille' (0..THROTTLE_MAX) of the time from now on. */
void throttle_set(struct machine *m, enum throttle_user user, unsigned vcpu, uint32_t permille);

/* On the vCPU's thread, machine lock held (given up meanwhile): sleep if a slice has ended. */
void throttle_sleep(struct vcpu *v);

#endif
