/*
 * hold.h - the guest stands still for a snapshot of it, and goes on after that
 *
 * While a guest is held nobody else runs, resets or stops it: 'cont' is refused in words,
 * requests (requests.h) wait, and a 'stop' says what becomes of the guest when it is let go.
 * A guest that was not running is held too, and keeps its run state.
 *
 * Machine lock held for all of this.
 */
#ifndef MINIVMM_HOLD_H
#define MINIVMM_HOLD_H

#include <stdbool.h>

struct err;
struct machine;

enum machine_hold {
	HOLD_NONE,
	HOLD_SAVE, /* run state save-vm, if it ran */
	HOLD_LOAD, /* restore-vm */
};

/*
 * Hold it: vCPUs and devices stand still, m->before_stop is the run state that it was in.  A
 * guest that runs is stopped (STOP event).  Requests that are pending are carried out first when
 * it is to be saved; they are dropped with the guest when another is to be loaded.  -EBUSY with a
 * sentence: it is held already, moves, or is not here; -ECANCELED: 'cancel_fd' (-1: none) is
 * readable, or the program ends.  Gives the lock up while it waits; not on the main loop, nor on
 * the work loop.
 */
int machine_hold(struct machine *m, enum machine_hold what, int cancel_fd, struct err *err);
/* Could it be held?  The same refusals; nothing changes. */
int machine_check_holdable(const struct machine *m, enum machine_hold what, struct err *err);
/* Let it go: what ran runs on (RESUME event), unless a 'stop' has come meanwhile. */
int machine_let_go(struct machine *m, struct err *err);
/*
 * Let it go, but there is no guest any more, for a load has failed half-way: it is not run before
 * it has been reset or loaded anew.  *why: the sentence that refuses it.
 */
void machine_let_go_broken(struct machine *m, const struct err *why);
/* 0, or -EBUSY with why the guest cannot be run now, for one of these reasons. */
int machine_check_hold(const struct machine *m, struct err *err);
/* -EBUSY: there is no whole guest, for a load has failed. */
int machine_check_whole(const struct machine *m, struct err *err);

#endif
