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

struct err;

struct migration_settings {
	struct migration_params params;
	bool caps[CAP_COUNT];
	/* set at creation and then constant */
	bool flush_sections;        /* multifd-flush-after-each-section */
	bool dirty_ring;            /* the machine has one */
	bool send_switchover_start; /* to every destination; QEMU before 10.0 refuses it */
	bool preempt_pre_7_2;       /* x-preempt-pre-7-2 */
	bool fault_float;           /* x-minivmm-fault-float */
	bool postcopy_1g;           /* x-minivmm-postcopy-1g */
	bool switchover_ack_legacy; /* the capability speaks as QEMU 8.1 to 10 does */
	/* atomic */
	uint64_t max_bandwidth, downtime_limit_ms, xbzrle_cache_bytes, switchover_bandwidth;
	uint64_t postcopy_bandwidth;
	/* borrowed; on each connection to a peer in the place of TLS; NULL: what 'tls-creds' says
	 */
	const struct channel_layer *layer;
};

/* 's' is zeroed: all defaults. */
void settings_init(struct migration_settings *s, bool dirty_ring);
/* The parameters have changed: make the atomic copies again. */
void settings_publish(struct migration_settings *s);
/* What the parameters would be with 'set': checked by themselves and by the rules. */
int settings_next_params(const struct migration_settings *s, const struct migration_params_set *set,
			 struct migration_params *next, struct err *err);
/*
 * What the capabilities would be with the n given ones set so; checked by the rules.
 * 'one_connection': an incoming migration has begun that cannot open more.
 */
int settings_next_capabilities(const struct migration_settings *s,
			       const enum migration_capability *caps, const bool *states, size_t n,
			       bool one_connection, bool next[CAP_COUNT], struct err *err);
/* May a migration start with all this? */
int settings_check_start(const struct migration_settings *s, struct err *err);
/* May it use that kind of channel?  'caps': CAP_COUNT of them; 'seekable': a file.  Any thread. */
int settings_check_channel(const bool *caps, bool one_connection, bool seekable, struct err *err);

#endif
