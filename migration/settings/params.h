/*
 * params.h - MigrationParameters as one table (qmp-surface 3.2)
 *
 * The table parses and checks migrate-set-parameters, writes
 * query-migrate-parameters and the schema, and lists the names in the manual.
 */
#ifndef MINIVMM_MIGRATION_PARAMS_H
#define MINIVMM_MIGRATION_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum multifd_compression { MULTIFD_NONE, MULTIFD_ZLIB, MULTIFD_ZSTD };
enum zero_page_detection { ZERO_PAGES_NONE, ZERO_PAGES_LEGACY, ZERO_PAGES_MULTIFD };
enum migration_kind { MODE_NORMAL };
enum load_clock { LOAD_CLOCK_FREEZE, LOAD_CLOCK_ADVANCE };
enum deadline_policy { DEADLINE_CANCEL, DEADLINE_FORCE, DEADLINE_POSTCOPY };

struct migration_params {
	uint64_t announce_initial, announce_max, announce_rounds, announce_step;
	uint8_t compress_level, compress_threads;
	bool compress_wait_thread;
	uint8_t decompress_threads, throttle_trigger_threshold, cpu_throttle_initial;
	uint8_t cpu_throttle_increment;
	bool cpu_throttle_tailslow;
	uint8_t max_cpu_throttle;
	char tls_creds[256], tls_hostname[256], tls_authz[256];
	uint64_t max_bandwidth, downtime_limit;
	uint32_t x_checkpoint_delay;
	bool block_incremental;
	uint8_t multifd_channels;
	uint64_t xbzrle_cache_size, max_postcopy_bandwidth;
	uint8_t multifd_compression; /* enum multifd_compression */
	uint8_t multifd_zlib_level, multifd_zstd_level;
	uint8_t zero_page_detection; /* enum zero_page_detection; since 9.0 */
	uint64_t x_vcpu_dirty_limit_period, vcpu_dirty_limit; /* ms; MB/s; since 8.1 */
	uint8_t mode;                                         /* enum migration_kind; since 8.2 */
	uint64_t avail_switchover_bandwidth; /* bytes/s, 0: as measured; since 8.2 */
	bool direct_io;                      /* since 9.1 */
	/* ours: seconds from 'migrate' on, 0: none; enum deadline_policy */
	uint32_t deadline;
	uint8_t deadline_policy;
	uint32_t
	    peer_timeout;   /* ours: seconds in which the destination does nothing, 0: for ever */
	bool checksum;      /* ours: of a saved guest, at its end */
	uint8_t load_clock; /* ours: enum load_clock, of a guest that is loaded from a file */
	bool lazy_load;     /* ours: of a saved guest, where it is possible */
	uint64_t lazy_rate; /* ours: bytes/s of what is not waited for, 0: all that goes */
};

enum param_kind {
	PARAM_BOOL,
	PARAM_U8,
	PARAM_U32,
	PARAM_U64,
	PARAM_SIZE,
	PARAM_STR_OR_NULL,
	PARAM_ENUM
};

struct migration_param_info {
	const char *name; /* with dashes */
	enum param_kind kind;
	size_t offset; /* in struct migration_params */
	uint64_t min, max, initial;
	const char *phrase;        /* "a value between 0 and 9": what the range error says */
	const char *const *values; /* PARAM_ENUM, NULL-terminated */
	/* false: any value but the initial one is refused by name ('instead' says what to use) */
	bool offered;
	bool unstable, deprecated; /* schema features */
	const char *instead;
	const char *help; /* what it is, for the manual; NULL: not offered */
};

/* Ends with a NULL name. */
extern const struct migration_param_info migration_param_table[];
#define MIGRATION_MAX_PARAMS 40

/* New values of some parameters: set[i] says whether row i of the table is given in 'value'. */
struct migration_params_set {
	bool given[MIGRATION_MAX_PARAMS];
	struct migration_params value;
};

void migration_params_init(struct migration_params *p);
/*
 * Check every given value, in the table's order, against what 'p' would
 * become; then take them all over.  A refusal changes nothing.
 */
int migration_params_apply(struct migration_params *p, const struct migration_params_set *set,
			   struct err *err);
/* The row of that name, or -1. */
int migration_params_find(const char *name);
/* Put a value written as text (a -global) into 'set'. */
int migration_params_parse(struct migration_params_set *set, int row, const char *text,
			   struct err *err);
/* The number a row holds in 'p'; not for strings. */
uint64_t migration_params_number(const struct migration_params *p, int row);

#endif
