/*
 * migration.h - moving a machine's state: what qmp/ and main.c may ask for
 *
 * All functions: main thread, machine lock held, none blocks.  Progress is
 * published as NOTIFY_MIGRATION and NOTIFY_MIGRATION_PASS (whether or not
 * the capability 'events' is on) and read with migration_query().
 */
#ifndef MINIVMM_MIGRATION_H
#define MINIVMM_MIGRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/settings/capabilities.h"
#include "migration/settings/params.h"

struct err;
struct machine;
struct migration;

/* MigrationStatus (qmp-surface 3.4), in the interface's order */
enum migration_status {
	MIG_NONE,
	MIG_SETUP,
	MIG_CANCELLING,
	MIG_CANCELLED,
	MIG_ACTIVE,
	MIG_POSTCOPY_ACTIVE,
	MIG_POSTCOPY_PAUSED,
	MIG_POSTCOPY_RECOVER,
	MIG_COMPLETED,
	MIG_FAILED,
	MIG_COLO,
	MIG_PRE_SWITCHOVER,
	MIG_DEVICE,
	MIG_WAIT_UNPLUG,
	MIG_STATUS_COUNT
};
const char *migration_status_name(enum migration_status s);

/* MigrationStats: bytes unless said otherwise (qmp-surface 3.3) */
struct migration_ram_stats {
	uint64_t transferred, remaining, total;
	uint64_t duplicate, skipped, normal; /* pages */
	uint64_t normal_bytes;
	uint64_t dirty_pages_rate; /* pages/s */
	double mbps;
	uint64_t dirty_sync_count, postcopy_requests;
	uint64_t page_size, multifd_bytes;
	uint64_t pages_per_second;
	uint64_t precopy_bytes, downtime_bytes, postcopy_bytes;
	uint64_t dirty_sync_missed_zero_copy;
};

/* XBZRLECacheStats; rates are of the last pass that sent something (qmp-surface 3.3) */
struct migration_xbzrle_stats {
	uint64_t cache_size, bytes;
	uint64_t pages, cache_miss, overflow; /* pages found in the cache; not found; too changed */
	double cache_miss_rate;               /* misses per page sent */
	double encoding_rate;                 /* bytes of pages found per byte sent for them */
};

/* CompressionStats */
struct migration_compression_stats {
	uint64_t pages, busy; /* compressed; sent as they are since all threads were busy */
	uint64_t compressed_size;
	double busy_rate;        /* busy per page sent */
	double compression_rate; /* bytes of pages per byte sent for them */
};

struct migration_address {
	enum { ADDR_INET, ADDR_UNIX, ADDR_FD } type;
	char host[256], port[8], path[108]; /* path: also the fd's number */
	bool ipv4, ipv6;
};

/* Where an outgoing migration stands; passes are numbered by dirty_sync_count. */
enum migration_phase {
	MIG_PHASE_CONNECT,    /* looking the host up, connecting */
	MIG_PHASE_SETUP,      /* greeting, channels, the list of RAM blocks */
	MIG_PHASE_PASS,       /* pages, while the guest runs */
	MIG_PHASE_PAUSE,      /* stopped, until migrate-continue */
	MIG_PHASE_SWITCHOVER, /* stopped: the last pages */
	MIG_PHASE_DEVICES,
	MIG_PHASE_HAND_OVER, /* all is sent: the destination loads it and takes the guest */
	MIG_PHASE_ENDED,
};

/* The names of these are in qmp/commands/query-migrate.c. */
enum migration_action {
	MIG_ACT_WAIT,
	MIG_ACT_MAX_BANDWIDTH,
	MIG_ACT_DOWNTIME_LIMIT,
	MIG_ACT_DIRTY_LIMIT,
	MIG_ACT_AUTO_CONVERGE,
	MIG_ACT_COMPRESS,
	MIG_ACT_MULTIFD,
	MIG_ACT_MULTIFD_COMPRESSION,
	MIG_ACT_STOP,
};

/* What would make a migration converge. */
struct migration_step {
	enum migration_action action;
	bool has_value;
	uint64_t value;   /* in the unit of the parameter or argument */
	uint64_t cost_ms; /* of the guest's time, estimated; a pause counts threefold */
	char text[192];
};

/* What query-migrate shows; has_* say which members are there. */
struct migration_info {
	enum migration_status status;
	bool has_times, has_setup, has_expected, has_downtime, has_ram;
	uint64_t total_time_ms, setup_time_ms, expected_downtime_ms, downtime_ms;
	struct migration_ram_stats ram;
	bool has_xbzrle, has_compression;
	struct migration_xbzrle_stats xbzrle;
	struct migration_compression_stats compression;
	const char *error_desc;    /* "" : none; borrowed, until the machine lock is given up */
	uint32_t throttle_percent; /* of the vCPUs' time, taken away by auto-converge; 0: none */
	bool has_address;
	struct migration_address address;
	/* beyond QEMU, shown as "x-minivmm" while a migration runs or after it */
	bool has_progress;
	enum migration_phase phase;
	unsigned percent; /* never runs backwards within one migration */
	bool converges;   /* the last pass left less than it sent, or what fits */
	uint64_t predicted_downtime_ms;
	bool has_eta, has_deadline, has_step;
	uint64_t eta_ms, deadline_ms; /* from now */
	struct migration_step step;   /* the cheapest one */
};

struct dirty_limits;
struct dirty_rate;

struct migration *migration_new(struct machine *m, struct err *err);
/*
 * Cancels and joins; before machine_free().  Main thread, the machine lock not
 * held.  A guest that the destination has been given stays given.
 */
void migration_free(struct migration *mg);

struct migrate_args {
	const char *uri; /* tcp:H:P unix:P fd:NAME exec:CMD file:P[,offset=N] */
	int fd;          /* for fd: the descriptor (taken), else -1 */
	bool blk, inc, resume;
};
/* Start an outgoing migration; result by query.  Refusals of qmp-surface 2.2. */
int migration_start(struct migration *mg, const struct migrate_args *args, struct err *err);
void migration_cancel(struct migration *mg);
/* migrate-continue: leave the state 'expected' */
int migration_continue(struct migration *mg, enum migration_status expected, struct err *err);
/* -incoming URI / migrate-incoming; "defer" only arms migrate-incoming.  'from_qmp': may only
 * follow "defer". */
int migration_incoming(struct migration *mg, const char *uri, int fd, bool from_qmp,
		       struct err *err);
/*
 * Should an incoming migration that fails end the program (status 1)?  If not
 * the machine stays in inmigrate and can be asked.  'this_one': only for the
 * attempt that has just begun.
 */
void migration_set_exit_on_error(struct migration *mg, bool on, bool this_one);
/* The last attempt to load a guest has failed: -EBUSY, and why there is nothing to run. */
int migration_check_cont(const struct migration *mg, struct err *err);
/* A guest is being saved: -EBUSY, and what 'quit' would give up. */
int migration_check_quit(struct migration *mg, struct err *err);
/* The program ends: tell the log which move or save ends with it. */
void migration_say_given_up(struct migration *mg);

void migration_query(struct migration *mg, struct migration_info *info);
/* Reasons why this machine cannot be migrated now; n strings, borrowed until the next call. */
const char *const *migration_blockers(struct migration *mg, size_t *n);

/* Current values; set validates the whole set first and changes nothing when it refuses. */
const struct migration_params *migration_get_params(struct migration *mg);
int migration_set_params(struct migration *mg, const struct migration_params_set *set,
			 struct err *err);
bool migration_get_capability(struct migration *mg, enum migration_capability c);
int migration_set_capabilities(struct migration *mg, const enum migration_capability *caps,
			       const bool *states, size_t n, struct err *err);
/* Any migration in progress on either side ("busy" of qmp-surface 2). */
bool migration_busy(struct migration *mg);

/* What measures (dirty-rate.h) and limits (dirty-limit.h) how fast the guest dirties memory. */
struct dirty_rate *migration_dirty_rate(struct migration *mg);
struct dirty_limits *migration_dirty_limits(struct migration *mg);

/* announce-self: RARP and virtio-net announcements in rounds; ms. */
struct announce_args {
	uint64_t initial_ms, max_ms, rounds, step_ms;
	const char *const *interfaces; /* NULL: all */
	size_t n_interfaces;
	const char *id; /* NULL or a name; a later call of the same id replaces this one */
};
int migration_announce(struct migration *mg, const struct announce_args *args, struct err *err);

#endif
