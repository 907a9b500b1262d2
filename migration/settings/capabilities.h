/*
 * capabilities.h - MigrationCapability: names, and what is offered here (qmp-surface 3.1)
 */
#ifndef MINIVMM_MIGRATION_CAPABILITIES_H
#define MINIVMM_MIGRATION_CAPABILITIES_H

#include <stdbool.h>

/* In the interface's order. */
enum migration_capability {
	CAP_XBZRLE,
	CAP_RDMA_PIN_ALL,
	CAP_AUTO_CONVERGE,
	CAP_ZERO_BLOCKS,
	CAP_COMPRESS,
	CAP_EVENTS,
	CAP_POSTCOPY_RAM,
	CAP_X_COLO,
	CAP_RELEASE_RAM,
	CAP_BLOCK,
	CAP_RETURN_PATH,
	CAP_PAUSE_BEFORE_SWITCHOVER,
	CAP_MULTIFD,
	CAP_DIRTY_BITMAPS,
	CAP_POSTCOPY_BLOCKTIME,
	CAP_LATE_BLOCK_ACTIVATE,
	CAP_X_IGNORE_SHARED,
	CAP_VALIDATE_UUID,
	CAP_BACKGROUND_SNAPSHOT,
	CAP_ZERO_COPY_SEND,
	CAP_POSTCOPY_PREEMPT,
	CAP_DIRTY_LIMIT,    /* since 8.1 */
	CAP_SWITCHOVER_ACK, /* since 8.1 */
	CAP_MAPPED_RAM,     /* since 9.0 */
	CAP_COUNT
};

struct migration_capability_info {
	const char *name;
	bool offered;              /* false: refused by name when switched on */
	bool unstable, deprecated; /* schema features */
	bool unlisted;             /* by query-migrate-capabilities: managers switch on what is */
	bool must_match;           /* the stream names it, and both ends must agree */
	const char *help;          /* what it does, for the manual; NULL: not offered */
	const char *instead;       /* what to use when it is not offered; may be NULL */
};
extern const struct migration_capability_info migration_capabilities[CAP_COUNT];

/* The capability of that name, or -1. */
int capability_parse(const char *name);

#endif
