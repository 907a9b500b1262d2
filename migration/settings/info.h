/* info.h - where a migration stands, in the figures that query-migrate shows (qmp-surface 3.3) */
#ifndef MINIVMM_MIGRATION_INFO_H
#define MINIVMM_MIGRATION_INFO_H

#include <stdbool.h>
#include <stdint.h>

#include "migration/channel/address.h"

/*
 * MigrationStatus (qmp-surface 3.4), in the interface's order; some exist only in QEMU
 * 10.0 (postcopy-recover-setup) and 11.1 (postcopy-device, failing)
 */
enum migration_status {
	MIG_NONE,
	MIG_SETUP,
	MIG_CANCELLING,
	MIG_CANCELLED,
	MIG_ACTIVE,
	MIG_POSTCOPY_DEVICE,
	MIG_POSTCOPY_ACTIVE,
	MIG_POSTCOPY_PAUSED,
	MIG_POSTCOPY_RECOVER_SETUP,
	MIG_POSTCOPY_RECOVER,
	MIG_COMPLETED,
	MIG_FAILING,
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

/* Where an outgoing migration stands; passes are numbered by dirty_sync_count. */
enum migration_phase {
	MIG_PHASE_CONNECT,    /* looking the host up, connecting */
	MIG_PHASE_SETUP,      /* greeting, channels, the list of RAM blocks */
	MIG_PHASE_PASS,       /* pages, while the guest runs */
	MIG_PHASE_PAUSE,      /* stopped, until migrate-continue */
	MIG_PHASE_SWITCHOVER, /* stopped: the last pages */
	MIG_PHASE_DEVICES,
	MIG_PHASE_POSTCOPY,  /* the guest runs there, or is about to: the rest of its pages */
	MIG_PHASE_HAND_OVER, /* all is sent: the destination loads it and takes the guest */
	MIG_PHASE_ENDED,
	MIG_PHASE_SILENT, /* shown in the place of one above: the destination does nothing */
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
	MIG_ACT_POSTCOPY,     /* the capability is on */
	MIG_ACT_POSTCOPY_RAM, /* ... is not */
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

/* A guest that ran before all of its memory was there; times since the load began. */
struct migration_lazy_stats {
	uint64_t resume_us; /* until it could run */
	bool has_resident_us;
	uint64_t resident_us;      /* until all was there */
	uint64_t total, remaining; /* bytes of pages with content */
	uint64_t faults;           /* pages that were waited for */
	uint64_t working_set;      /* bytes that came first, since an earlier load had noted them */
	bool stalled;              /* pages cannot be read */
};

#define MIGRATION_MAX_VCPUS       255
#define MIGRATION_LATENCY_BUCKETS 24

/*
 * How long threads waited for pages of a postcopy.  A latency is the time until a page was there
 * that had to be asked for; a blocktime is also that of waits which go on.
 */
struct migration_blocktime {
	unsigned vcpus;
	uint32_t blocktime_ms; /* while all vCPUs waited at once */
	uint32_t vcpu_blocktime_ms[MIGRATION_MAX_VCPUS];
	uint64_t latency_ns; /* mean, 0: none */
	uint64_t vcpu_latency_ns[MIGRATION_MAX_VCPUS];
	uint64_t other_latency_ns; /* ... of threads that are no vCPU's */
	/* How many took [2^n, 2^(n+1)) microseconds; the first also less, the last also more. */
	uint64_t latency_dist[MIGRATION_LATENCY_BUCKETS];
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
	bool has_blocktime; /* more of it than how latencies were distributed */
	const struct migration_blocktime *blocktime; /* NULL: no postcopy; borrowed as error_desc */
	bool has_lazy; /* shown as "x-minivmm-lazy", also of a guest that moves on */
	struct migration_lazy_stats lazy;
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

#endif
