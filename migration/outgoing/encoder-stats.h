/* encoder-stats.h - what the encoders did, as query-migrate shows it (qmp-surface 3.3) */
#ifndef MINIVMM_MIGRATION_ENCODER_STATS_H
#define MINIVMM_MIGRATION_ENCODER_STATS_H

#include <stdint.h>

#include "migration/ram/ram.h"
#include "migration/settings/info.h"

/* Part of struct migration_stats, under its lock. */
struct encoder_stats {
	struct ram_counters now, before; /* as of the last count; when the pass began */
	double cache_miss_rate, encoding_rate, busy_rate, compression_rate;
};

/* Returns how many pages beside ZERO and PAGE records were done since the last call. */
uint64_t encoder_stats_count(struct encoder_stats *es, const struct ram_counters *c);
/* A pass ends: rates of what it sent; a pass that sent nothing leaves them as they are. */
void encoder_stats_pass(struct encoder_stats *es);
void encoder_stats_fill(const struct encoder_stats *es, struct migration_info *info);

#endif
