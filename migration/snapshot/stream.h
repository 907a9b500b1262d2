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
#include "migration/snapshot/chain.h"

struct block_node;
struct err;
struct lazy;
struct job;
struct machine;
struct page_index;

struct snapshot_source {
	/* set by the caller: .q, .id, .off, .bytes */
	struct vmstate_source from;
	struct block_node *lazily_from; /* its node; pages may come later; NULL: at once */
	/* its own, but for 'lazy' after the load: the caller's, who takes it */
	struct lazy *lazy;              /* NULL: pages are loaded at once */
	struct job *j;                  /* borrowed; NULL: none */
	struct snapshot_chain chain;    /* it, and what it stands on */
	uint64_t before;                /* bytes that were read in front of the present stream */
	const struct page_index *index; /* the session's; NULL: pages are noted by the check */
	bool checks;
	uint64_t reported; /* progress that the job has been told */
};

/*
 * Read it and hold it against the machine, without changing anything: header, RAM blocks, the
 * sections by name and version, and the description of the machine where a minivmm has saved it.
 * The same for all that it stands on.  Pages that may come later are passed over where the stream
 * has an index of them; else each record of a page is checked, and if they may come later it is
 * found where each one is.  0, or -errno with *err set; -ECANCELED.
 */
int snapshot_source_check(struct snapshot_source *s, struct machine *m, struct job *j,
			  struct err *err);
/*
 * Into RAM and devices, which have been reset; on failure they are half loaded.  With s->lazy set
 * blocks of RAM are missing, and that session brings them when it has begun.
 */
int snapshot_source_load(struct snapshot_source *s, struct machine *m, struct err *err);
/* The job's progress is what it was to become; a session that was not taken is freed. */
void snapshot_source_end(struct snapshot_source *s);

#endif
