/*
 * rate.h - how fast the guest dirties its memory (qmp-surface 2.1, 3.5)
 *
 * A measurement runs on a thread of its own; one at a time per machine.
 * Functions: main thread, machine lock held; none blocks, but for free.
 */
#ifndef MINIVMM_MIGRATION_DIRTY_RATE_H
#define MINIVMM_MIGRATION_DIRTY_RATE_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct machine;
struct dirty_rate;

enum dirty_rate_status { DIRTY_RATE_UNSTARTED, DIRTY_RATE_MEASURING, DIRTY_RATE_MEASURED };
enum dirty_rate_mode { DIRTY_RATE_PAGE_SAMPLING, DIRTY_RATE_RING, DIRTY_RATE_BITMAP };

#define DIRTY_RATE_SAMPLES 512 /* default, pages per GiB */

struct dirty_rate_args {
	int64_t calc_time_s; /* 1..60 */
	bool has_sample_pages;
	int64_t sample_pages; /* per GiB, 128..16384 */
	enum dirty_rate_mode mode;
};

struct dirty_rate_info {
	enum dirty_rate_status status;
	enum dirty_rate_mode mode;
	int64_t rate_mb_s;    /* measured only */
	int64_t start_time_s; /* CLOCK_MONOTONIC */
	int64_t calc_time_s;
	uint64_t sample_pages; /* 0 unless page sampling */
	const int64_t
	    *vcpu_rate_mb_s; /* ring mode, measured: one per vCPU; borrowed until the next start */
	unsigned n_vcpus;
};

struct dirty_rate *dirty_rate_new(struct machine *m);
void dirty_rate_free(
    struct dirty_rate *d); /* ends a measurement; the caller does not hold the lock */
int dirty_rate_start(struct dirty_rate *d, const struct dirty_rate_args *args, struct err *err);
void dirty_rate_query(const struct dirty_rate *d, struct dirty_rate_info *info);

const char *dirty_rate_status_name(enum dirty_rate_status s);
const char *dirty_rate_mode_name(enum dirty_rate_mode m);

#endif
