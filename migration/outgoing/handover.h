/* handover.h - which end owns the guest at the end of a migration; migration thread */
#ifndef MINIVMM_MIGRATION_HANDOVER_H
#define MINIVMM_MIGRATION_HANDOVER_H

#include <stdbool.h>

struct err;
struct outgoing;

/* Everything has been sent: 0 when the destination has the guest. */
int handover(struct outgoing *o, struct err *err);

/* -ESTALE when a request has come since the guest's state was collected. */
int ownership_check(struct outgoing *o);
/* The same; if none has, no more are taken: they are refused until the move has ended. */
int ownership_announce(struct outgoing *o);
/*
 * Claim the release: the guest is no longer ours.  -ECANCELED when a cancel or the
 * deadline was first; -ESTALE when a request has come that has to be carried
 * out before, and that the peer cannot take.
 */
int ownership_release(struct outgoing *o, struct err *err);
/* GO, with the requests: none is added to them after ownership was released.  0 or -errno. */
int ownership_put_go(struct outgoing *o);
/* It is certain that the guest does not run there. */
void ownership_reclaim(struct outgoing *o);

/*
 * The guest goes on here as if nothing had been; *err is prefixed when it
 * cannot.  No-op when it was not stopped for the move.  Machine lock held.
 */
int guest_keep(struct outgoing *o, struct err *err);

/*
 * The guest is the destination's ('certain'), may be the destination's, or a
 * store has it as well (o->stored).  Machine lock held.
 */
void guest_leave(struct outgoing *o, bool certain);

/* Always -ECANCELED. */
int err_cancelled(struct err *err);

#endif
