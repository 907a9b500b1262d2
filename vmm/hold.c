/*
 * hold.c - stopping a guest for a snapshot, and what may be done to it meanwhile
 *
 * A guest that runs is stopped as 'stop' does it, in run state save-vm or restore-vm; one that
 * does not run is paused once more (machine_pause() nests), so that whoever resumes it does not
 * make it run.  'hold' keeps machine_start() and the requests away until the guest is let go.
 * m->before_stop says where it goes then: a 'stop' in between makes it 'paused'.
 */
#include "vmm/hold.h"

#include <errno.h>

#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/machine.h"

static const enum runstate states[] = {[HOLD_SAVE] = RS_SAVE_VM, [HOLD_LOAD] = RS_RESTORE_VM};

static int err_cancelled(struct err *err)
{
	return err_set(err, ECANCELED, "it was cancelled");
}

/* Is there a guest that stands or runs here, with its disks, and is nothing else done to it? */
int machine_check_holdable(const struct machine *m, enum machine_hold what, struct err *err)
{
	int ret = m->hold || what == HOLD_SAVE ? machine_check_hold(m, err) : 0;

	if (ret < 0)
		return ret;
	if (m->state == RS_INMIGRATE)
		return err_set(err, EBUSY, "Guest is waiting for an incoming migration");
	if (m->state == RS_FINISH_MIGRATE)
		return err_set(err, EBUSY, "There's a migration process in progress");
	ret = machine_check_memory(m, err);
	if (ret == 0)
		ret = machine_check_kept(m, err);
	if (ret == 0 && m->state == RS_POSTMIGRATE)
		ret =
		    err_set(err, EBUSY,
			    "The guest has been saved or moved, and its disks were let go: 'cont' "
			    "takes them back");
	return ret;
}

/* What was asked of the guest before is part of what is saved. */
static int finish_requests(struct machine *m, int cancel_fd, struct err *err)
{
	int ret = machine_await_requests(m, machine_holds_vcpus, cancel_fd, err);

	return ret == -ECANCELED ? err_cancelled(err) : ret;
}

static void drop_requests(struct machine *m)
{
	static const enum request guests[] = {REQUEST_POWERDOWN, REQUEST_PANIC, REQUEST_STOP,
					      REQUEST_RESET};

	for (size_t i = 0; i < sizeof(guests) / sizeof(*guests); i++)
		machine_request_delivered(m, guests[i]);
}

int machine_hold(struct machine *m, enum machine_hold what, int cancel_fd, struct err *err)
{
	enum runstate before;
	bool ran;
	int ret = machine_check_holdable(m, what, err);

	if (ret == 0 && what == HOLD_SAVE)
		ret = finish_requests(m, cancel_fd, err);
	if (ret == 0) /* the lock was given up */
		ret = machine_check_holdable(m, what, err);
	if (ret < 0)
		return ret;
	m->hold = what;
	before = m->state;
	ran = machine_running(m);
	ret = ran ? machine_stop_cancellable(m, states[what], cancel_fd)
		  : machine_pause_cancellable(m, cancel_fd);
	if (ret == 0 && ran && m->state != states[what]) { /* it has stopped by itself meanwhile */
		before = m->state;
		ran = false;
		ret = machine_pause_cancellable(m, cancel_fd);
	}
	if (ret < 0) {
		m->hold = HOLD_NONE;
		machine_retry_requests(m);
		return err_cancelled(err);
	}
	m->before_stop = before;
	m->hold_stopped = ran;
	if (what == HOLD_LOAD)
		drop_requests(m);
	return 0;
}

int machine_let_go(struct machine *m, struct err *err)
{
	bool stopped = m->hold_stopped;
	struct err why = {0};
	int ret = 0;

	m->hold = HOLD_NONE;
	m->hold_stopped = false;
	if (!stopped) {
		machine_resume(m);
	} else if (m->before_stop == RS_RUNNING) {
		ret = machine_start(m, &why);
		if (ret < 0) {
			(void)err_prefix(&why, ret, "the guest stays paused");
			(void)machine_set_state(m, RS_PAUSED, NULL);
			log_error("%s", why.msg);
		}
	} else {
		ret = machine_set_state(m, m->before_stop, &why);
	}
	machine_retry_requests(m);
	return ret < 0 ? err_set(err, -ret, "%s", why.msg) : 0;
}

void machine_let_go_broken(struct machine *m, const struct err *why)
{
	if (!m->hold_stopped)
		machine_resume(m);
	m->hold = HOLD_NONE;
	m->hold_stopped = false;
	m->broken = *why;
	machine_retry_requests(m);
}

int machine_check_whole(const struct machine *m, struct err *err)
{
	return m->broken.errnum ? err_set(err, EBUSY, "%s", m->broken.msg) : 0;
}

int machine_check_hold(const struct machine *m, struct err *err)
{
	if (m->hold)
		return err_set(err, EBUSY, "A snapshot is being %s: ask again when that has ended",
			       m->hold == HOLD_SAVE ? "saved" : "loaded");
	return machine_check_whole(m, err);
}
