/*
 * lazy.h - a saved guest runs before all of its memory has been read
 *
 * The load thread prepares a session (ram/lazy/lazy.h) and starts it; from then on it tells what
 * happens from its own thread: status postcopy-active until all is there, then completed;
 * postcopy-paused while pages cannot be read, with the guest stopped.
 */
#ifndef MINIVMM_MIGRATION_INCOMING_LAZY_H
#define MINIVMM_MIGRATION_INCOMING_LAZY_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct incoming;
struct lazy;
struct loader;
struct migration_info;

/* ---- load thread ---- */

/* Pages may come later, if the parameters and the host allow; else the log says why not. */
void incoming_lazy_prepare(struct incoming *in, struct loader *l, bool direct);
/* All else has been loaded: from now on guest memory may be touched.  0 or -errno. */
int incoming_lazy_begin(struct incoming *in, struct loader *l, struct err *err);
/*
 * The same for a guest that comes from elsewhere: the session (taken) is the memory's.  'from':
 * what messages call that; 'since': when its load began.  No other session is under way.
 */
int incoming_lazy_adopt(struct incoming *in, struct lazy *lazy, const char *from, int64_t since,
			struct err *err);
/* A guest is loaded all at once in place of one whose pages came later, all of them. */
void incoming_lazy_forget(struct incoming *in);
/* The guest is about to run.  Machine lock held. */
int incoming_lazy_run(struct incoming *in, struct err *err);
/*
 * The guest has arrived: the status is that of its load from now on, which may have ended or
 * stalled already.  Machine lock held.
 */
void incoming_lazy_show(struct incoming *in);
/* It runs, if it is to.  Machine lock held. */
void incoming_lazy_resumed(struct incoming *in);
/*
 * The load has failed, whatever had begun: nothing of it comes into memory any more.  Waits for a
 * read that is under way.  The machine lock is not held.
 */
void incoming_lazy_abort(struct incoming *in);

/* ---- main thread ---- */

/* Nothing of 'in' is used by a session any more.  The machine lock is not held. */
void incoming_lazy_fini(struct incoming *in);
/* The rest: machine lock held.  Parameters have changed. */
void incoming_lazy_follow(struct incoming *in);
/* Which load it was, of those that were adopted; *us: when all was there, if it is. */
uint64_t incoming_lazy_number(const struct incoming *in, bool *has_resident, uint64_t *us);
void incoming_lazy_query(const struct incoming *in, struct migration_info *info);
/*
 * Wait until all is there, without a limit of bandwidth; the lock is given up meanwhile, not on the
 * main loop.  'stop' (may be NULL) is asked whenever m->cond is signalled, as a job does it: not 0
 * ends it.  -EIO when pages cannot be read.
 */
int incoming_lazy_await(struct incoming *in, int (*stop)(void *opaque), void *opaque,
			struct err *err);
/* -EIO when pages of the guest's memory cannot be read, with the sentence why. */
int incoming_lazy_check(const struct incoming *in, struct err *err);

#endif
