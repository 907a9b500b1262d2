/*
 * throttle.h - take a share of a vCPU's time away
 *
 * A throttled vCPU runs for slices of 10 ms and sleeps between them.  Used by
 * migration (auto-converge, dirty limit) to slow down who dirties memory.
 */
#ifndef MINIVMM_THROTTLE_H
#define MINIVMM_THROTTLE_H

#include <stdint.h>

struct err;
struct machine;
struct throttle;
struct vcpu;

#define THROTTLE_SLICE_NS 10000000LL

/* A thread that ends slices; there may be one per machine.  Returns owned, or NULL. */
struct throttle *throttle_new(struct machine *m, struct err *err);
/* All vCPUs run freely again.  NULL is fine.  The caller may hold the machine lock. */
void throttle_free(struct throttle *t);
/* The vCPU sleeps 'percent' (0..99) of the time from now on.  Any thread. */
void throttle_set(struct throttle *t, unsigned vcpu, uint32_t percent);

/* On the vCPU's thread, machine lock held (given up meanwhile): sleep if a slice has ended. */
void throttle_sleep(struct vcpu *v);

#endif
