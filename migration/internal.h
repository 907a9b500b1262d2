/*
 * internal.h - struct migration, for the files of this folder
 *
 * Lock: everything is under the machine lock unless its banner says
 * otherwise.
 */
#ifndef MINIVMM_MIGRATION_INTERNAL_H
#define MINIVMM_MIGRATION_INTERNAL_H

#include <stdbool.h>

#include "migration/incoming/incoming.h"
#include "migration/outgoing/outgoing.h"
#include "migration/settings/bitmap-mapping.h"
#include "migration/settings/settings.h"
#include "migration/snapshot/snapshot.h"
#include "migration/stream/globalstate.h"
#include "vmm/base/list.h"
#include "vmm/notify.h"

struct dirty_limits;
struct dirty_rate;
struct loop_fd;
struct machine;

struct migration {
	struct machine *m;
	int wake_fd; /* eventfd: a worker has ended, or a guest has arrived */
	struct loop_fd *wake;
	struct notify_listener listener;
	struct migration_settings set;
	struct outgoing out;
	struct incoming in;
	struct globalstate globalstate;
	struct snapshots snapshots;
	struct list announcers;
	struct dirty_limits *dirty_limits; /* owned */
	struct dirty_rate *dirty_rate;     /* owned */
	bool exit_default;                 /* should a failed incoming migration end the program? */
	struct bitmap_mapping mapping;     /* owned */
	bool logs_dirty;                   /* device-file.h: the dirty log is on, and nobody's */
	const char **blockers;             /* owned; what migration_blockers() has returned last */
};

/* recover.c: 'migrate' with resume; takes fd.  Main loop, machine lock held. */
int migration_resume(struct migration *mg, const struct migration_where *where, int fd,
		     struct err *err);

#endif
