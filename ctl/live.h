/*
 * live.h - the live line of a move: what its figures mean, in words
 *
 *     pass 3  62 %  1.2 GiB/s  dirtied 300 MiB/s  pause 12 ms  0:14 left
 *     pass 9  93 %  110 MiB/s  dirtied 812 MiB/s  pause 4.1 s  does not converge: --auto-converge
 *
 * Of minivmm phase, percent, time left and advice are its own (x-minivmm); of QEMU they are worked
 * out of the figures that it has.  Pure: no clock, no terminal.
 */
#ifndef MINIVMM_CTL_LIVE_H
#define MINIVMM_CTL_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/figures.h"

struct live {
	/* what was last told */
	char phase[40];    /* "pass 3", "postcopy", "peer silent" */
	unsigned percent;  /* of all looks the highest */
	uint64_t rate;     /* bytes a second */
	uint64_t dirty;    /* bytes a second */
	uint64_t pause_ms; /* expected */
	uint64_t eta_ms;   /* where it is known */
	bool has_eta, has_pause, converges;
	char step[200];     /* the cheapest step when it does not converge; "" */
	uint64_t silent_ms; /* since the last answer; 0: it answers */
	/* from look to look */
	uint64_t last_ms, last_bytes;
};

/* Take one look, at now_ms of any clock that does not go back; silent_ms is 0 then. */
void live_take(struct live *v, const struct figures *f, uint64_t now_ms);
/* The line, at most columns - 1 wide: what does not fit is left out from the end. */
void live_line(const struct live *v, char *out, size_t n, unsigned columns);

#endif
