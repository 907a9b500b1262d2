/*
 * settings.h - the capabilities and parameters of one machine, as they are set now
 *
 * Lock: machine lock.  The limits are atomic copies of parameters, for threads
 * that follow a change without the lock.
 */
#ifndef MINIVMM_MIGRATION_SETTINGS_H
#define MINIVMM_MIGRATION_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "migration/settings/capabilities.h"
#include "migration/settings/params.h"

struct migration_settings {
	struct migration_params params;
	bool caps[CAP_COUNT];
	/* atomic */
	uint64_t max_bandwidth, downtime_limit_ms, xbzrle_cache_bytes;
	const struct channel_layer *layer; /* borrowed; on each socket to a peer; NULL: none */
};

#endif
