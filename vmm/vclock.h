/*
 * vclock.h - the virtual clock: nanoseconds of guest running time
 *
 * Stops with the machine.  The PIT's and LAPIC's times in the stream are on
 * it; section "timer" carries it over (machine-microvm 3.5).
 */
#ifndef MINIVMM_VCLOCK_H
#define MINIVMM_VCLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct vms_desc;

struct vclock {
	/* under the machine lock */
	bool running;
	int64_t offset_ns; /* virtual minus CLOCK_MONOTONIC while running; the clock itself while
			      stopped */
	/* wire image, valid during save and load */
	int64_t cpu_ticks_offset, cpu_clock_offset;
};

int64_t vclock_now_ns(const struct vclock *c);
void vclock_start(struct vclock *c);
void vclock_stop(struct vclock *c);

/* CLOCK_MONOTONIC in ns. */
int64_t host_now_ns(void);
/* The host's time of day (CLOCK_REALTIME): ns since 1970. */
uint64_t host_realtime_ns(void);

extern const struct vms_desc vclock_vmstate; /* over struct vclock */

#endif
