/*
 * requests.h - reset, shutdown, power button, panic: asked for on any thread,
 * carried out on the work loop
 *
 * Machine lock held for all of this.
 */
#ifndef MINIVMM_REQUESTS_H
#define MINIVMM_REQUESTS_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/list.h"
#include "vmm/notify.h"
#include "vmm/runstate.h"

struct err;
struct machine;

enum request {
	REQUEST_POWERDOWN,
	REQUEST_PANIC,
	REQUEST_STOP,
	REQUEST_RESET,
	REQUEST_SHUTDOWN,
	REQUEST_COUNT
};

/* A request is pending from the moment it is asked for until it has been carried out. */
struct requests {
	uint32_t asked[REQUEST_COUNT], done[REQUEST_COUNT];
	enum shutdown_cause reset_cause, shutdown_cause;
	enum runstate stop_state;
	bool busy;   /* the work loop is carrying them out */
	bool frozen; /* the guest's state has been collected for a move: what changes it waits */
	bool stopped_late;   /* ... except a 'stop': what was collected says that the guest runs */
	struct list waiters; /* machine_await_requests() */
	int asked_fd;        /* machine_stand_in(); -1: none */
};

bool machine_requested(const struct machine *m, enum request r);
/* A request other than the power button is pending, or the program ends: vCPUs stay outside. */
bool machine_holds_vcpus(const struct machine *m);

/*
 * Ask; carried out by the work loop, soon.  Any thread.  On the work loop
 * machine_do_requests() carries it out at once.  What ends the program is
 * carried out by the main loop, which does not wait; machine_do_exit() does so
 * at once there.
 */
void machine_request_reset(struct machine *m, enum shutdown_cause cause);
void machine_request_shutdown(struct machine *m, enum shutdown_cause cause);
void machine_request_powerdown(struct machine *m);
/* End the program with this status, whatever -no-shutdown says (isa-debug-exit, quit). */
void machine_request_exit(struct machine *m, int status, enum shutdown_cause cause);
/* The guest said that it panicked (pvpanic): GUEST_PANICKED and what -action panic= says. */
void machine_request_panic(struct machine *m);
/* From a vCPU thread: stop the guest in this state (internal-error, guest-panicked). */
void machine_request_stop(struct machine *m, enum runstate s);

/* Work loop.  What has to wait (see requests.c) stays pending. */
void machine_do_requests(struct machine *m);
void machine_do_exit(struct machine *m); /* main loop */
/* What had to wait may be possible now: the work loop looks again.  Any thread. */
void machine_retry_requests(struct machine *m);
/*
 * Wait until pending(m) is false, which may ask for requests only, or the program ends; a request
 * that had to wait is tried again.  Gives the lock up; not on the work loop.  0; -ECANCELED:
 * 'cancel_fd' (borrowed; -1: none) is readable, or the program ends; -errno with *err set.
 */
int machine_await_requests(struct machine *m, bool (*pending)(const struct machine *m),
			   int cancel_fd, struct err *err);
/*
 * A command waits on the work loop, in place of which it calls machine_do_requests() each time
 * this eventfd (borrowed) has been set.  -1: no more.
 */
void machine_stand_in(struct machine *m, int asked_fd);
/* Drop a request: it has been handed to another machine together with the guest. */
void machine_request_delivered(struct machine *m, enum request r);

#endif
