/*
 * requests.c - reset, shutdown, power button, panic: asked for on any thread,
 * carried out on the work loop, which may wait for the guest's disks
 *
 * A request is pending until it has been carried out, and is carried out
 * once.  Most of them stop the guest first, which gives the machine lock up:
 * meanwhile a migration may stop the guest for its switchover.  So each looks
 * again when the guest stands still, and what has to wait stays pending:
 *
 *     inmigrate        reset, power button: for the guest that is to come
 *     finish-migrate   all that needs a guest that runs, until the switchover
 *                      has backed out.  Reset and power button are carried out
 *                      where the guest stands, and travel with it, until its
 *                      state has been collected ('frozen'); from then on the
 *                      switchover finds them (migration/outgoing/switchover.c)
 *     handed over      everything: the guest is another machine's
 *     held             everything, until the snapshot is there (hold.h)
 *
 * What ends the program waits for nothing, and is the main loop's.
 */
#include "vmm/requests.h"

#include <errno.h>
#include <unistd.h>

#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/wake.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

bool machine_requested(const struct machine *m, enum request r)
{
	return m->requests.asked[r] != m->requests.done[r];
}

bool machine_holds_vcpus(const struct machine *m)
{
	for (enum request r = REQUEST_PANIC; r < REQUEST_COUNT; r++)
		if (machine_requested(m, r))
			return true;
	return m->resetting || m->ending;
}

static bool ends_program(const struct machine *m)
{
	return !m->actions.no_shutdown || m->exit_forced;
}

static bool must_wait(const struct machine *m, enum request r)
{
	bool in_place = r == REQUEST_RESET || r == REQUEST_POWERDOWN;

	if (r == REQUEST_SHUTDOWN && ends_program(m))
		return false;
	if (m->handed_to || m->state == RS_INMIGRATE || m->hold)
		return true;
	return m->state == RS_FINISH_MIGRATE && (m->requests.frozen || !in_place);
}

/* The guest stops; also one that a 'stop' has paused meanwhile is in state 's' now. */
static void stop_in(struct machine *m, enum runstate s)
{
	struct err err = {0};

	if (machine_stop(m, s) < 0) /* the program ends */
		return;
	if (machine_set_state(m, s, &err) < 0)
		log_error("the guest should be in run state %s: %s", runstate_name(s), err.msg);
}

/* The run state of a guest that was reset while it was stopped. */
static void reset_stopped(struct machine *m)
{
	struct err err = {0};

	if (m->state == RS_FINISH_MIGRATE && m->before_stop != RS_RUNNING)
		m->before_stop = RS_PRELAUNCH;
	if (m->state == RS_FINISH_MIGRATE)
		return;
	if (machine_set_state(m, RS_PRELAUNCH, &err) < 0)
		log_error("the guest was reset: %s", err.msg);
}

/* ---- one function a request; the guest stands still ---- */

static void do_powerdown(struct machine *m)
{
	notify_event(&m->notify, NOTIFY_POWERDOWN, CAUSE_NONE);
	if (m->powerdown)
		m->powerdown(m->powerdown_opaque);
}

static void do_reset(struct machine *m)
{
	enum shutdown_cause cause = m->requests.reset_cause;
	struct err err = {0};

	if (m->actions.no_reboot) {
		machine_request_shutdown(m, cause);
		return;
	}
	if (machine_reset(m, &err) < 0) {
		log_error("cannot reset: %s", err.msg);
		machine_request_stop(m, RS_INTERNAL_ERROR);
		return;
	}
	if (cause != CAUSE_SUBSYSTEM_RESET && cause != CAUSE_SNAPSHOT_LOAD)
		notify_event(&m->notify, NOTIFY_RESET, cause);
	if (!machine_running(m))
		reset_stopped(m);
}

static void do_shutdown(struct machine *m)
{
	if (m->ending)
		return;
	notify_event(&m->notify, NOTIFY_SHUTDOWN, m->requests.shutdown_cause);
	if (!ends_program(m)) {
		stop_in(m, RS_SHUTDOWN);
		return;
	}
	m->ending = true;
	loop_stop(m->loop);
}

static void do_panic(struct machine *m)
{
	static const char *const actions[] = {[PANIC_PAUSE] = "pause",
					      [PANIC_SHUTDOWN] = "poweroff",
					      [PANIC_EXIT_FAILURE] = "poweroff",
					      [PANIC_NONE] = "run"};
	enum cfg_action_panic action = (enum cfg_action_panic)m->actions.panic;
	struct notification n = {.kind = NOTIFY_GUEST_PANICKED, .text = actions[action]};

	notify_publish(&m->notify, &n);
	if (action == PANIC_PAUSE)
		stop_in(m, RS_GUEST_PANICKED);
	else if (action == PANIC_SHUTDOWN)
		machine_request_shutdown(m, CAUSE_GUEST_PANIC);
	else if (action == PANIC_EXIT_FAILURE)
		machine_request_exit(m, 1, CAUSE_GUEST_PANIC);
}

static void do_stop(struct machine *m)
{
	stop_in(m, m->requests.stop_state);
}

/* Must the guest stand still for it? */
static bool needs_pause(const struct machine *m, enum request r)
{
	switch (r) {
	case REQUEST_POWERDOWN:
		return false;
	case REQUEST_SHUTDOWN:
		return !ends_program(m);
	default:
		return true;
	}
}

static void carry_out(struct machine *m, enum request r)
{
	static void (*const run[])(struct machine * m) = {
	    [REQUEST_POWERDOWN] = do_powerdown, [REQUEST_PANIC] = do_panic,
	    [REQUEST_STOP] = do_stop,           [REQUEST_RESET] = do_reset,
	    [REQUEST_SHUTDOWN] = do_shutdown,
	};
	bool pause = needs_pause(m, r);

	if (pause && machine_pause_cancellable(m, m->stuck_fd) < 0) /* gives the lock up */
		return; /* the program ends, or once more when pages come again */
	if (machine_requested(m, r) && !must_wait(m, r)) {
		uint32_t asked = m->requests.asked[r];

		run[r](m);
		m->requests.done[r] = asked;
	}
	if (pause)
		machine_resume(m);
}

/* ---- waiting for them ---- */

struct waiter {
	struct list link;
	int fd; /* eventfd: look again */
};

static void tell_waiters(struct machine *m)
{
	pthread_cond_broadcast(&m->cond);
	list_for_each (w, &m->requests.waiters, struct waiter, link)
		wake_set(w->fd);
}

static int await_requests(struct machine *m, bool (*pending)(const struct machine *m), int fd,
			  int cancel_fd)
{
	int ret = 0;

	while (ret == 0 && pending(m) && !m->ending) {
		machine_retry_requests(m);
		ret = machine_wait(m, fd, cancel_fd);
		wake_clear(fd);
	}
	return m->ending ? -ECANCELED : ret;
}

int machine_await_requests(struct machine *m, bool (*pending)(const struct machine *m),
			   int cancel_fd, struct err *err)
{
	struct waiter w = {.fd = wake_open()};
	int ret;

	if (w.fd < 0)
		return err_set(err, errno, "cannot wait for what the guest has asked for: %s",
			       err_text(errno));
	list_add_tail(&m->requests.waiters, &w.link);
	ret = await_requests(m, pending, w.fd, cancel_fd);
	list_del(&w.link);
	(void)close(w.fd);
	return ret;
}

void machine_stand_in(struct machine *m, int asked_fd)
{
	m->requests.asked_fd = asked_fd;
}

/* ---- carrying them out ---- */

void machine_do_requests(struct machine *m)
{
	if (m->requests.busy)
		return;
	m->requests.busy = true;
	for (enum request r = 0; r < REQUEST_COUNT; r++)
		if (machine_requested(m, r) && !must_wait(m, r))
			carry_out(m, r);
	m->requests.busy = false;
	tell_waiters(m);
}

void machine_do_exit(struct machine *m)
{
	if (machine_requested(m, REQUEST_SHUTDOWN) && ends_program(m))
		carry_out(m, REQUEST_SHUTDOWN);
	tell_waiters(m);
}

static void do_requests(void *opaque)
{
	machine_do_requests(opaque);
}

static void do_exit(void *opaque)
{
	machine_do_exit(opaque);
}

static void post(struct machine *m)
{
	loop_post(m->work, do_requests, m);
	if (m->requests.asked_fd >= 0)
		wake_set(m->requests.asked_fd);
}

void machine_retry_requests(struct machine *m)
{
	if (machine_holds_vcpus(m) || machine_requested(m, REQUEST_POWERDOWN))
		post(m);
}

void machine_request_delivered(struct machine *m, enum request r)
{
	m->requests.done[r] = m->requests.asked[r];
}

/* ---- asking ---- */

static void request_post(struct machine *m, enum request r)
{
	m->requests.asked[r]++;
	post(m);
}

void machine_request_reset(struct machine *m, enum shutdown_cause cause)
{
	m->requests.reset_cause = cause;
	request_post(m, REQUEST_RESET);
}

void machine_request_shutdown(struct machine *m, enum shutdown_cause cause)
{
	m->requests.shutdown_cause = cause;
	request_post(m, REQUEST_SHUTDOWN);
	if (ends_program(m))
		loop_post(m->loop, do_exit, m);
}

void machine_request_exit(struct machine *m, int status, enum shutdown_cause cause)
{
	m->exit_status = status;
	m->exit_forced = true;
	machine_request_shutdown(m, cause);
}

void machine_request_powerdown(struct machine *m)
{
	request_post(m, REQUEST_POWERDOWN);
}

void machine_request_panic(struct machine *m)
{
	request_post(m, REQUEST_PANIC);
}

void machine_request_stop(struct machine *m, enum runstate s)
{
	m->requests.stop_state = s;
	request_post(m, REQUEST_STOP);
}
