/*
 * fault-thread.h - the thread that resolves page faults of guest memory
 *
 * Reads the faults of one userfault descriptor and gives each to a handler.  The
 * handler resolves it (userfault_copy, _zero, _protect), or notes it for another
 * thread to resolve.  It runs while vCPUs and the I/O thread wait, so it never waits
 * for one of them, takes no lock under which guest memory may be touched
 * (never the machine lock), and touches no page that may be missing or, with
 * a write, protected.
 *
 * The end, in this order:
 *   1. no page is missing any more; or no vCPU runs and no I/O is under way, for good
 *   2. fault_thread_stop(): the thread has ended, the descriptor is open
 *   3. userfault_unregister(), userfault_close()
 */
#ifndef MINIVMM_MEMORY_FAULT_THREAD_H
#define MINIVMM_MEMORY_FAULT_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"
#include "vmm/base/thread.h"

struct userfault;
struct userfault_msg;

/* All on the fault thread. */
struct fault_ops {
	const char *name; /* of the thread; at most 15 bytes */
	/* A fault is passed on and its page comes later: the next is not soon, and the processor
	 * others' until then. */
	bool no_spin;
	/*
	 * A thread waits since it touched msg->hva; the same page may come again, from the same
	 * thread too.  -errno: faults cannot be resolved any more; failed() comes next.
	 */
	int (*handle)(void *opaque, const struct userfault_msg *msg);
	/*
	 * No fault waits: do a piece of what would be to do at faults to come.  False: there is
	 * nothing.  May be NULL.
	 */
	bool (*ahead)(void *opaque);
	/* fault_thread_wake() was called since, or again_ms() has passed; may be NULL. */
	void (*woken)(void *opaque);
	/* How long to wait before woken() at most, from now; -1: until a wake.  May be NULL. */
	int (*again_ms)(void *opaque);
	/*
	 * The thread ends, and who waits for a page goes on waiting: nothing it
	 * could do would be right.  The owner has to be told.
	 */
	void (*failed)(void *opaque, const struct err *why);
};

struct fault_thread {
	/* set at start and then constant */
	const struct userfault *u; /* borrowed */
	const struct fault_ops *ops;
	void *opaque;
	int wake_fd; /* eventfd */
	/* owner */
	struct thread thread;
	/* atomic */
	bool stop, woken;
};

/* Start it on an open descriptor. 0 or -errno. */
int fault_thread_start(struct fault_thread *t, const struct userfault *u,
		       const struct fault_ops *ops, void *opaque, struct err *err);
/* Have woken() called soon.  Any thread. */
void fault_thread_wake(struct fault_thread *t);
/* See above; one that was not started (zeroed) is fine. */
void fault_thread_stop(struct fault_thread *t);

#endif
