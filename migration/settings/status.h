/*
 * status.h - a direction's MigrationStatus (qmp-surface 3.4) and its events
 *
 * A status is an int that changes by compare-and-swap, under the machine lock
 * too (so that its event is in order), and may be read without it.
 */
#ifndef MINIVMM_MIGRATION_STATUS_H
#define MINIVMM_MIGRATION_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "migration/settings/info.h"

struct machine;

/* From one status to the next, with its event; false when it is another one.  Machine lock held. */
bool status_move(struct machine *m, int *status, enum migration_status from,
		 enum migration_status to);
/* The same from any status.  Machine lock held. */
void status_set(struct machine *m, int *status, enum migration_status to);
/* Any thread. */
enum migration_status status_get(const int *status);
/* A migration in this status has not ended. */
bool status_busy(enum migration_status s);
/* The guest has been given to the destination, or is being, and not all of its memory has. */
bool status_is_postcopy(enum migration_status s);
/* NOTIFY_MIGRATION_PASS: a pass begins.  Any thread, the machine lock not held. */
void publish_pass(struct machine *m, uint64_t pass);

#endif
