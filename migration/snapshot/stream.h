/*
 * stream.h - the stream in a snapshot: would it load, and load it
 *
 * The machine lock is not held.
 */
#ifndef MINIVMM_MIGRATION_SNAPSHOT_STREAM_H
#define MINIVMM_MIGRATION_SNAPSHOT_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "migration/channel/vmstate.h"

struct err;
struct job;
struct machine;

struct snapshot_source {
	/* set by the caller: .q, .id, .off, .bytes */
	struct vmstate_source from;
	/* its own */
	struct job *j; /* borrowed; NULL: none */
	bool checks;
	uint64_t reported; /* progress that the job has been told */
};

/*
 * Read all of it and hold it against the machine, without changing anything: header, RAM blocks
 * and each record of a page, the sections by name and version, and the description of the machine
 * where a minivmm has saved it.  0, or -errno with *err set; -ECANCELED.
 */
int snapshot_source_check(struct snapshot_source *s, struct machine *m, struct job *j,
			  struct err *err);
/* Into RAM and devices, which have been reset; on failure they are half loaded. */
int snapshot_source_load(struct snapshot_source *s, struct machine *m, struct err *err);
/* The job's progress is what it was to become. */
void snapshot_source_end(struct snapshot_source *s);

#endif
