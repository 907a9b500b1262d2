/* engine.h - the outgoing engine at work for a snapshot: its stream into an image's area */
#ifndef MINIVMM_MIGRATION_SNAPSHOT_ENGINE_H
#define MINIVMM_MIGRATION_SNAPSHOT_ENGINE_H

#include <stdint.h>

#include "migration/channel/vmstate.h"
#include "migration/outgoing/outgoing.h"

struct migration_mode;

/* Settings of its own: what a user has switched on for moves plays no part in a snapshot. */
struct snapshot_engine {
	struct migration_settings set;
	struct outgoing out;
	uint64_t total_bytes;     /* of guest memory that go: all, unless set at the instant */
	struct vmstate_area area; /* .saving is set by the caller, at the instant at the latest */
};

/*
 * 'e' is zeroed.  'cancel_fd' (borrowed; -1: none) ends it; 'where' is for messages.  0, or -errno
 * with *err set; snapshot_engine_fini() in any case.
 */
int snapshot_engine_init(struct snapshot_engine *e, struct machine *m, uint32_t ram_section_id,
			 const struct outgoing_snapshot *s, int cancel_fd, const char *where,
			 struct err *err);
/*
 * Write the stream, in the way of 'mode'.  Machine lock not held; a thread that may wait.
 * 0: it is all in the area (area.bytes).  -errno with *err set; -ECANCELED.
 */
int snapshot_engine_run(struct snapshot_engine *e, const struct migration_mode *mode,
			struct err *err);
void snapshot_engine_fini(struct snapshot_engine *e);
/* How long the guest stood still for it, after the run. */
int64_t snapshot_engine_pause_ns(struct snapshot_engine *e);

/* Bytes of guest memory: of all, and of those that have been saved.  The engine's thread. */
uint64_t snapshot_engine_total(const struct snapshot_engine *e);
uint64_t snapshot_engine_done(const struct snapshot_engine *e);

#endif
