/*
 * stats.h - the figures of one outgoing migration
 *
 * Fed by the migration thread, read by queries; every function takes the lock
 * itself.  Nothing is taken under it.
 */
#ifndef MINIVMM_MIGRATION_STATS_H
#define MINIVMM_MIGRATION_STATS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "migration/outgoing/encoder-stats.h"
#include "migration/outgoing/page-rate.h"
#include "migration/settings/info.h"

struct forecast_figures;

struct migration_stats {
	pthread_mutex_t lock; /* a leaf (vmm/machine.h) */
	/* under lock; times are CLOCK_MONOTONIC in ns, 0: not yet */
	int64_t started_ns, active_ns, stopped_ns, resumed_ns, ended_ns;
	struct migration_ram_stats ram;
	struct encoder_stats encoders;
	uint64_t active_bytes; /* transferred when it became active */
	int64_t window_ns;     /* since when the rates are being measured */
	uint64_t window_bytes, window_pages;
	uint64_t bandwidth; /* bytes/s on the wire in the last full window, 0: none yet */
	uint64_t pages;     /* sent, whatever they became on the wire */
	struct page_rate rate;
	bool predicted;        /* the guest is being stopped ... */
	uint64_t predicted_ms; /* ... for so long, it was reckoned then */
	int64_t pass_ns;       /* when the last pass began */
	uint64_t pass_pages;   /* that have been sent since */
	uint64_t pass_bytes;   /* that were dirty then */
	uint64_t limit_ms;     /* the downtime limit */
	enum migration_phase phase;
	unsigned percent;
	bool shrinks;    /* the last pass left less than it sent */
	bool held;       /* ... and was held back by the bandwidth limit */
	int64_t held_ns; /* so long, in this pass */
	bool running;    /* the guest, at this moment */
	bool postcopy;   /* ... or at the destination, it may */
};

void stats_init(struct migration_stats *st);
void stats_fini(struct migration_stats *st);
/* A migration begins. */
void stats_start(struct migration_stats *st, uint64_t total_bytes, uint64_t limit_ms);
void stats_limit(struct migration_stats *st, uint64_t limit_ms);
void stats_active(struct migration_stats *st);
void stats_phase(struct migration_stats *st, enum migration_phase phase);
/* The guest does not run since at_ns (CLOCK_MONOTONIC). */
void stats_stopped(struct migration_stats *st, int64_t at_ns);
/* It runs again, here, and the migration goes on: the pause is over. */
void stats_resumed(struct migration_stats *st, int64_t at_ns);
/* The guest runs, or does not, from now on: what bytes are counted as. */
void stats_running(struct migration_stats *st, bool running);
void stats_ended(struct migration_stats *st);
/* The guest may run at the destination from now on, and bytes are of postcopy. */
void stats_postcopy(struct migration_stats *st);
/* The destination has asked for pages. */
void stats_request(struct migration_stats *st);
/* From the start, and from the guest's stop, to the end, or to now. */
void stats_durations(struct migration_stats *st, int64_t *total_ns, int64_t *pause_ns);

/*
 * Bytes of 'ram' sections that went out, from tag to footer, and where the
 * pages stand; after each section.
 */
void stats_sent(struct migration_stats *st, uint64_t bytes, uint64_t zero_pages,
		uint64_t plain_pages, uint64_t remaining_bytes);
/* The same pages by the time that they have taken, whichever way they went. */
void stats_rate(struct migration_stats *st, const struct page_sum *sent);
/* So long has the bandwidth limit held the sender back. */
void stats_held(struct migration_stats *st, int64_t ns);
/* Bytes on multifd channels, to be followed by stats_sent(); rounds that copied, in all. */
void stats_multifd(struct migration_stats *st, uint64_t bytes, uint64_t copied_rounds);
/* Where the encoders' counters stand, before stats_sent() for the same pages. */
void stats_encoders(struct migration_stats *st, const struct ram_counters *c);
/*
 * A pass begins: that many pages became dirty during the last one.  'whole':
 * all that was dirty in that one has been sent.
 */
void stats_pass(struct migration_stats *st, uint64_t dirtied_pages, uint64_t remaining_bytes,
		bool whole);
/* The guest is about to be stopped, for so long as it seems; until the next pass. */
void stats_predict(struct migration_stats *st, uint64_t ms);
/* All pages that have been sent. */
uint64_t stats_pages(struct migration_stats *st);
/* Bytes/s on the wire; before there is a full window, what there is. */
uint64_t stats_bandwidth(struct migration_stats *st);
/* Pages/s of whole passes under that limit (bytes/s on the wire, 0: none): page-rate.h. */
uint64_t stats_page_rate(struct migration_stats *st, uint64_t limit);
/* Pages/s that the guest wrote in the last pass that was long enough to tell. */
uint64_t stats_dirty_rate(struct migration_stats *st);

/* The deadline has passed: in a sentence with the figures; -ETIMEDOUT. */
int stats_err_late(struct migration_stats *st, uint32_t seconds, struct err *err);

/*
 * What query-migrate shows in this status.  'f' says what is set and possible;
 * the measured figures are put into it.
 */
void stats_fill(struct migration_stats *st, struct forecast_figures *f,
		struct migration_info *info);

#endif
