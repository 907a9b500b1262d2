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

#include "migration/channel/uri.h"
#include "migration/settings/bitmap-mapping.h"
#include "migration/settings/capabilities.h"
#include "migration/settings/info.h"
#include "migration/settings/params.h"

struct err;
struct machine;
struct migration;

struct dirty_limits;
struct dirty_rate;
struct snapshots;

struct migration *migration_new(struct machine *m, struct err *err);
/*
 * Cancels and joins; before machine_free().  Main thread, the machine lock not
 * held.  A guest that the destination has been given stays given.
 */
void migration_free(struct migration *mg);

struct migrate_args {
	struct migration_where where; /* tcp:H:P unix:P fd:NAME exec:CMD file:P[,offset=N] */
	int fd;                       /* for fd: the descriptor (taken), else -1 */
	bool blk, inc, resume;
};
/* Start an outgoing migration; result by query.  Refusals of qmp-surface 2.2. */
int migration_start(struct migration *mg, const struct migrate_args *args, struct err *err);
/* -EBUSY: the guest is the destination's by postcopy. */
int migration_cancel(struct migration *mg, struct err *err);
/*
 * 'cont' is forced.  Of a postcopy that pauses before the destination has confirmed that it runs
 * the guest: true, it goes on here, from the thread of the migration.
 */
bool migration_take_back(struct migration *mg);
/* migrate-start-postcopy: at the next moment at which it is possible; again is fine. */
int migration_start_postcopy(struct migration *mg, struct err *err);
/*
 * The two that follow: any thread, out of band too; they take no lock but leaves.
 * migrate-pause: cut the connection of a postcopy, at either end, at once.
 */
int migration_pause(struct migration *mg, struct err *err);
/*
 * migrate-recover: a paused postcopy's source comes back there.  'fd' (taken): of fd:, else -1.
 * 'oob': not on the main loop, so that no host's name can be looked up.
 */
int migration_recover(struct migration *mg, const struct migration_where *where, int fd, bool oob,
		      struct err *err);
/* migrate-continue: leave the state 'expected' */
int migration_continue(struct migration *mg, enum migration_status expected, struct err *err);
/* -incoming URI / migrate-incoming; "defer" only arms migrate-incoming.  'from_qmp': may only
 * follow "defer". */
int migration_incoming(struct migration *mg, const struct migration_where *where, int fd,
		       bool from_qmp, struct err *err);
/* It was refused at once, and the program stays for another migrate-incoming. */
void migration_incoming_refused(struct migration *mg, const struct err *why);
/*
 * Should an incoming migration that fails end the program (status 1)?  If not
 * the machine stays in inmigrate and can be asked.  'this_one': only for the
 * attempt that has just begun.
 */
void migration_set_exit_on_error(struct migration *mg, bool on, bool this_one);
/* The last attempt to load a guest has failed: -EBUSY, and why there is nothing to run; or as
 * migration_check_pages(). */
int migration_check_cont(const struct migration *mg, struct err *err);
/* -EIO, and why: pages of a guest that was loaded lazily cannot be read, now. */
int migration_check_pages(const struct migration *mg, struct err *err);
/*
 * -EBUSY, and how much: a part of the guest's memory is still at the source of a postcopy, which
 * may be silent.  Whoever touched it would wait.
 */
int migration_check_complete(const struct migration *mg, struct err *err);
/* A guest is being saved: -EBUSY, and what 'quit' would give up. */
int migration_check_quit(struct migration *mg, struct err *err);
/* The program ends: tell the log which move or save ends with it. */
void migration_report_given_up(struct migration *mg);

void migration_query(struct migration *mg, struct migration_info *info);
/* Reasons why this machine cannot be migrated now; n strings, borrowed until the next call. */
const char *const *migration_blockers(struct migration *mg, size_t *n);

/* Current values; set validates the whole set first and changes nothing when it refuses. */
const struct migration_params *migration_get_params(struct migration *mg);
int migration_set_params(struct migration *mg, const struct migration_params_set *set,
			 struct err *err);
/* block-bitmap-mapping, which is copied; not 'given' until it has been set. */
int migration_set_bitmap_mapping(struct migration *mg, const struct bitmap_mapping *map,
				 struct err *err);
const struct bitmap_mapping *migration_bitmap_mapping(const struct migration *mg);
bool migration_get_capability(struct migration *mg, enum migration_capability c);
int migration_set_capabilities(struct migration *mg, const enum migration_capability *caps,
			       const bool *states, size_t n, struct err *err);
/* Any migration in progress on either side ("busy" of qmp-surface 2). */
bool migration_busy(struct migration *mg);

/* Snapshots of this machine (snapshot/snapshot.h). */
struct snapshots *migration_snapshots(struct migration *mg);

/* What measures (dirty/rate.h) and limits (dirty/limit.h) how fast the guest dirties memory. */
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
