/*
 * modes.h - the ways to move a guest, a row each
 *
 * outgoing_thread() calls the row with an open channel.  A mode is a choice of
 * tracker, order of pages and sink, and of the moment at which the guest stops; what
 * it has in common with the others is in engine.c, setup.c and handover.c.
 */
#ifndef MINIVMM_MIGRATION_MODES_H
#define MINIVMM_MIGRATION_MODES_H

#include <stdbool.h>

struct err;
struct outgoing;

/* Migration thread; the machine lock is not held unless said otherwise. */
struct migration_mode {
	const char *name;
	/* May the migration go to o->uri?  Before the channel is opened. */
	int (*check)(const struct outgoing *o, struct err *err);
	/* The channel is open: all that comes before the first page; status 'active' at the end. */
	int (*begin)(struct outgoing *o, struct err *err);
	/* 0: the destination has the guest, or the store all bytes. */
	int (*run)(struct outgoing *o, struct err *err);
	/*
	 * The guest is no longer ours ('certain'), or may not be.  Machine
	 * lock held.
	 */
	void (*finish)(struct outgoing *o, bool certain);
	/* The guest goes on here; *err is prefixed when it cannot.  Machine lock held. */
	int (*undo)(struct outgoing *o, struct err *err);
};

extern const struct migration_mode precopy_mode;    /* precopy.c */
extern const struct migration_mode postcopy_mode;   /* postcopy.c */
extern const struct migration_mode background_mode; /* background.c */

/*
 * Passes over RAM until what is left fits the downtime limit, and a pass more would not make it
 * much less; or until postcopy is wanted.
 */
int precopy_iterate(struct outgoing *o, struct err *err);
/* The guest has not been stopped, or runs again (-EAGAIN): 0 when it may be tried again. */
int precopy_go_on(struct outgoing *o, struct err *err);

/* The mode that these capabilities (CAP_COUNT of them) ask for. */
const struct migration_mode *mode_of(const bool *caps);

#endif
