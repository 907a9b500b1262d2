/*
 * requests.c - reset, shutdown, power button, panic: asked for on any thread
 *
 * The work loop carries them out, one after the other: most have to stop the
 * guest, which takes as long as its disks do.  What ends the program does not
 * wait for the guest, and is the main loop's.
 */
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

static void do_reset(struct machine *m)
{
	enum shutdown_cause cause = m->reset_cause;
	struct err err = {0};

	if (m->cfg->no_reboot) {
		machine_request_shutdown(m, cause);
		return;
	}
	if (machine_pause(m) < 0) /* the program ends */
		return;
	if (machine_reset(m, &err) < 0) {
		log_error("cannot reset: %s", err.msg);
		machine_resume(m);
		(void)machine_stop(m, RS_INTERNAL_ERROR);
		return;
	}
	if (cause != CAUSE_SUBSYSTEM_RESET && cause != CAUSE_SNAPSHOT_LOAD)
		notify_event(&m->notify, NOTIFY_RESET, cause);
	if (!machine_running(m))
		(void)machine_set_state(m, RS_PRELAUNCH, NULL);
	machine_resume(m);
}

bool machine_holds_vcpus(const struct machine *m)
{
	return m->reset_pending || m->shutdown_pending || m->stop_pending || m->panic_pending ||
	       m->resetting || m->ending;
}

static bool ends_program(const struct machine *m)
{
	return !m->cfg->no_shutdown || m->exit_forced;
}

static void do_shutdown(struct machine *m)
{
	if (m->ending)
		return;
	notify_event(&m->notify, NOTIFY_SHUTDOWN, m->shutdown_cause);
	if (!ends_program(m)) {
		(void)machine_stop(m, RS_SHUTDOWN);
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
	enum cfg_action_panic action = m->cfg->panic;
	struct notification n = {.kind = NOTIFY_GUEST_PANICKED, .text = actions[action]};

	notify_publish(&m->notify, &n);
	if (action == PANIC_PAUSE)
		(void)machine_stop(m, RS_GUEST_PANICKED);
	else if (action == PANIC_SHUTDOWN)
		machine_request_shutdown(m, CAUSE_GUEST_PANIC);
	else if (action == PANIC_EXIT_FAILURE)
		machine_request_exit(m, 1, CAUSE_GUEST_PANIC);
}

void machine_do_requests(struct machine *m)
{
	if (m->powerdown_pending) {
		m->powerdown_pending = false;
		notify_event(&m->notify, NOTIFY_POWERDOWN, CAUSE_NONE);
		if (m->powerdown)
			m->powerdown(m->powerdown_opaque);
	}
	if (m->panic_pending) {
		m->panic_pending = false;
		do_panic(m);
	}
	if (m->stop_pending) {
		m->stop_pending = false;
		(void)machine_stop(m, m->stop_state);
	}
	/* A machine on its way in or out is not reset under the hands of who moves it. */
	if (m->reset_pending && m->state != RS_INMIGRATE && m->state != RS_FINISH_MIGRATE) {
		m->reset_pending = false;
		do_reset(m);
	}
	if (m->shutdown_pending) {
		m->shutdown_pending = false;
		do_shutdown(m);
	}
	pthread_cond_broadcast(&m->cond);
}

void machine_do_exit(struct machine *m)
{
	if (!m->shutdown_pending || !ends_program(m))
		return;
	m->shutdown_pending = false;
	do_shutdown(m);
	pthread_cond_broadcast(&m->cond);
}

static void do_requests(void *opaque)
{
	machine_do_requests(opaque);
}

static void do_exit(void *opaque)
{
	machine_do_exit(opaque);
}

void machine_request_reset(struct machine *m, enum shutdown_cause cause)
{
	m->reset_pending = true;
	m->reset_cause = cause;
	loop_post(m->work, do_requests, m);
}

void machine_request_shutdown(struct machine *m, enum shutdown_cause cause)
{
	m->shutdown_pending = true;
	m->shutdown_cause = cause;
	if (ends_program(m))
		loop_post(m->loop, do_exit, m);
	else
		loop_post(m->work, do_requests, m);
}

void machine_request_exit(struct machine *m, int status, enum shutdown_cause cause)
{
	m->exit_status = status;
	m->exit_forced = true;
	machine_request_shutdown(m, cause);
}

void machine_request_powerdown(struct machine *m)
{
	m->powerdown_pending = true;
	loop_post(m->work, do_requests, m);
}

void machine_request_panic(struct machine *m)
{
	m->panic_pending = true;
	loop_post(m->work, do_requests, m);
}

void machine_request_stop(struct machine *m, enum runstate s)
{
	m->stop_pending = true;
	m->stop_state = s;
	loop_post(m->work, do_requests, m);
}
