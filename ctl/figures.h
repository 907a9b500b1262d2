/*
 * figures.h - what query-migrate says at one moment, as numbers (qmp-surface 3.3)
 *
 * The peer may be minivmm or any QEMU: what it does not say is 0, and false in the has_* beside it.
 * A member of another kind than it should have counts as absent; nothing here fails.
 */
#ifndef MINIVMM_CTL_FIGURES_H
#define MINIVMM_CTL_FIGURES_H

#include <stdbool.h>
#include <stdint.h>

struct json_object;

#define FIGURES_BUCKETS 24 /* of postcopy-latency-dist: [2^n, 2^(n+1)) us */

struct figures {
	char status[24]; /* "none": there was no migration */
	char phase[20];  /* of x-minivmm; "" where the peer has none */
	char error[512]; /* error-desc, or "" */
	bool has_ram, has_total_time, has_setup, has_expected, has_downtime, has_throttle;
	bool has_progress, has_eta, has_step, has_latency, has_dist, has_blocktime, has_lazy;
	bool converges;

	/* ram */
	uint64_t transferred, remaining, total; /* bytes */
	uint64_t normal, duplicate;             /* pages */
	uint64_t page_bytes;                    /* 4096 where it is not said */
	uint64_t dirty_pages_rate;              /* pages a second */
	uint64_t passes;                        /* dirty-sync-count */
	uint64_t precopy_bytes, downtime_bytes, postcopy_bytes, multifd_bytes;
	uint64_t postcopy_requests;
	double mbps; /* of 10^6 bits a second, as the peer has it */

	uint64_t total_ms, setup_ms, expected_ms, downtime_ms;
	unsigned throttle_percent;

	/* x-minivmm */
	unsigned percent;
	uint64_t eta_ms, predicted_ms;
	char step[160]; /* the cheapest step in words */

	/* waits for missing pages, of the end that had them */
	uint64_t latency_ns; /* mean */
	uint64_t dist[FIGURES_BUCKETS];
	uint64_t blocktime_ms;

	/* x-minivmm-lazy */
	uint64_t lazy_resume_us, lazy_resident_us, lazy_total, lazy_remaining, lazy_faults;
};

/* From the "return" of query-migrate; anything else gives the figures of no migration. */
void figures_read(struct figures *f, const struct json_object *info);
/* Has it ended, one way or the other (completed, failed, cancelled)? */
bool figures_ended(const struct figures *f);
/* Waits that the distribution counts, all buckets together. */
uint64_t figures_waits(const struct figures *f);

#endif
