/*
 * loop.h - event loops (libuv)
 *
 * A loop made with a lock holds that lock around every callback it makes:
 *
 *     main      machine lock   chardevs, timers, signals, QMP commands
 *     work      machine lock   requests and commands that may wait
 *     control   control lock   monitors: QMP input and output
 *     io        none           virtqueues, disks, network back ends
 *
 * From another thread one may call loop_post, loop_call and loop_stop, and -
 * with the loop's lock held - loop_fd_events, loop_timer_arm_ms and
 * loop_timer_cancel (a vCPU that writes a device's register).  Everything else
 * belongs to the loop's own thread, or to its maker before the loop runs.
 */
#ifndef MINIVMM_LOOP_H
#define MINIVMM_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/thread.h"

struct err;
struct loop;
struct loop_fd;
struct loop_timer;
struct uv_loop_s;

typedef void loop_fn(void *opaque);

#define LOOP_READABLE 1
#define LOOP_WRITABLE 2
/* The peer of a socket says nothing more, or has gone; level triggered, so ask for it once only. */
#define LOOP_HANGUP 4

/* 'lock' is borrowed and may be NULL.  Returns owned, or NULL with *err set. */
struct loop *loop_new(pthread_mutex_t *lock, struct err *err);
/* Every watcher must be gone.  loop_free(NULL) is fine. */
void loop_free(struct loop *l);
/*
 * A request of libuv's pool is under way that can neither be cancelled nor
 * waited for (a name server that does not answer): loop_free() does not wait,
 * and the program has to end with _exit(), which does not either.
 */
void loop_leave_behind(struct loop *l);
bool loop_left_behind(const struct loop *l);
/* The libuv loop, for code that owns a watcher of its own (process, stream). */
struct uv_loop_s *loop_uv(struct loop *l);

/* Run until loop_stop(); the caller does not hold the lock. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);

/* Run fn(opaque) on the loop's thread, in order of posting, soon.  Any thread. */
void loop_post(struct loop *l, loop_fn *fn, void *opaque);
/* The same, and wait until it has run (at once when called on the loop's thread).  The caller must
 * not hold a lock that the loop's callbacks take. */
void loop_call(struct loop *l, loop_fn *fn, void *opaque);

/* A thread named 'name' that runs the loop until loop_thread_join(), which stops it. */
int loop_thread_start(struct loop *l, const char *name, enum thread_role role, struct err *err);
void loop_thread_join(struct loop *l);
/* The same, but not longer than this; false: a callback still runs, and the loop is its own. */
bool loop_thread_join_ms(struct loop *l, unsigned ms);

/* Call fn(opaque, ready) while fd is ready for what 'events' asks (level triggered); fd is
 * borrowed. */
struct loop_fd *loop_fd_add(struct loop *l, int fd, int events, void (*fn)(void *opaque, int ready),
			    void *opaque);
void loop_fd_events(struct loop_fd *w, int events); /* 0 pauses it */
/* fn is no longer called; NULL is fine; the fd may be closed at once. */
void loop_fd_del(struct loop_fd *w);

/* One-shot timers on CLOCK_MONOTONIC, millisecond grain, rounded up. */
struct loop_timer *loop_timer_new(struct loop *l, loop_fn *fn, void *opaque);
void loop_timer_arm_ms(struct loop_timer *t, uint64_t delay_ms); /* re-arms */
void loop_timer_cancel(struct loop_timer *t);
void loop_timer_free(struct loop_timer *t); /* NULL is fine */

#endif
