/*
 * forecast.h - how far a migration is, how long it will take, and what would help
 *
 * Pure functions of figures: stats.c measures, this judges.
 *
 * A pass ends with what the guest wrote while it was sent.  When that is about
 * as much as was sent, the next pass will be no shorter: the migration does
 * not converge.  A guest that goes over the same pages again and again is then
 * measured as dirtying at the very rate of the channel, however fast it
 * writes; hence the margin, and estimates that go by what a pass leaves.
 */
#ifndef MINIVMM_MIGRATION_FORECAST_H
#define MINIVMM_MIGRATION_FORECAST_H

#include <stdbool.h>
#include <stdint.h>

#include "migration/settings/info.h"

struct forecast_figures {
	enum migration_phase phase;
	uint64_t passes;           /* begun */
	uint64_t total, remaining; /* bytes */
	uint64_t skipped;          /* of the total: bytes that need not go */
	uint64_t pass_bytes;       /* that were dirty when the pass began */
	/* Bytes of memory/s, 0: not known yet: written by the guest; sent, in whatever encoding */
	uint64_t dirty, speed;
	uint64_t wire;          /* bytes/s on the channel */
	double page_bytes;      /* on the channel, a page; 0: not known yet */
	bool shrinks;           /* the last pass found less than it had sent */
	uint64_t limit_ms;      /* downtime-limit */
	uint64_t switchover;    /* avail-switchover-bandwidth, bytes/s; 0: as now */
	uint64_t max_bandwidth; /* bytes/s on the channel, 0: none */
	bool held;              /* it is this limit that held the last pass back */
	uint64_t elapsed_ms;    /* since 'migrate' */
	bool throttles;         /* auto-converge or dirty-limit is on */
	unsigned throttle;      /* %, of now; 0: not yet, or dirty-limit */
	unsigned throttle_initial, throttle_increment, throttle_max, throttle_trigger;
	bool ring; /* set-vcpu-dirty-limit is possible */
	unsigned vcpus;
	bool coded;                     /* xbzrle, compress or a multifd method is on */
	bool multifd, multifd_possible; /* on; the address takes several connections */
	unsigned multifd_channels;
	bool postcopy, postcopy_possible; /* the capability is on; the channel goes both ways */
};

/* Did a pass leave less than it sent, by more than chance? */
bool forecast_shrinks(uint64_t dirtied_pages, uint64_t sent_pages);
bool forecast_converges(const struct forecast_figures *f);
/* The pause, if the guest is stopped when this pass has been sent. */
uint64_t forecast_downtime_ms(const struct forecast_figures *f);
/* False: it cannot be told. */
bool forecast_eta_ms(const struct forecast_figures *f, uint64_t *ms);
/* 0 to 99.  May go back: the caller keeps the highest. */
unsigned forecast_percent(const struct forecast_figures *f);
/*
 * What makes it converge at the least cost to the guest; false: nothing has
 * to be done, or it is too early to say.
 */
bool forecast_step(const struct forecast_figures *f, struct migration_step *step);

#endif
