/*
 * switchover.c - the guest stops here and starts there
 *
 * 1. The guest stops.  The last dirty pages are collected, device state is
 *    saved into memory, disks are flushed and given up; all under one hold of
 *    the machine lock, so that nothing changes in between.  Then the bytes go
 *    out without the lock.
 * 2. Hand-over.  At most one end may run the guest, and unless the hosts have
 *    lost each other at the very moment, one does:
 *
 *    destination is minivmm
 *        D -> S  READY   all is loaded and checked; D does not run it yet
 *        S             gives the guest up: cannot resume by itself any more
 *        S -> D  GO      D runs it, whatever happens to the connection
 *        D -> S  SHUT 0  S: completed
 *      The connection breaks before GO was sent: S resumes, D never starts.
 *      It breaks after GO, without SHUT: S asks the host whether D's process
 *      has ended (READY named it; same kernel).  If so S resumes, for a D
 *      that has ended runs nothing.  If not, or if it cannot know, S stays
 *      stopped and says so; a human may continue it.
 *    destination is QEMU
 *        It runs the guest once it has read EOF, and says SHUT 0 after that.
 *        SHUT with an error, or a closed connection: it does not run.
 *    nobody answers (a file at the end of a socket)
 *        S closes its direction and waits for the other to be closed.
 *    one-way channel
 *        Done when the channel is finished: written, synced, exit status 0.
 *
 * A cancel that comes when the destination may run the guest already only
 * ends the waiting: the guest stays stopped here.  A deadline does not count
 * any more by then; it does until a one-way channel is finished.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/internal.h"
#include "migration/peer/saved.h"
#include "migration/stream/stream.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/device.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"
#include "vmm/vclock.h"

#define LATE_PEER_MS 5000  /* how long a first PONG may take before the guest is stopped */
#define DEATH_MS     10000 /* between a process's sockets closing and its end */

static int say_cancelled(struct err *err)
{
	return err_set(err, ECANCELED, "the migration was cancelled");
}

/* ---- 1: stop ---- */

/* Machine lock held; gives it up while vCPUs stop. */
static int stop_guest(struct outgoing *o, struct err *err)
{
	struct machine *m = o->mg->m;

	int64_t now = host_now_ns();

	if (status_get(&o->status) != MIG_ACTIVE)
		return say_cancelled(err);
	/* A reset or the like has to be done where it was asked for: the main loop is about to. */
	if (machine_holds_vcpus(m))
		return -EAGAIN;
	m->before_stop = o->before = m->state;
	machine_stop(m, RS_FINISH_MIGRATE);
	if (m->state != RS_FINISH_MIGRATE) { /* it had stopped, or stopped by itself meanwhile */
		m->before_stop = o->before = m->state;
		if (machine_set_state(m, RS_FINISH_MIGRATE, err) < 0)
			return -EINVAL;
	}
	if (o->before != RS_RUNNING || !machine_holds_vcpus(m)) {
		o->stopped = true;
		stats_stopped(&o->stats, now);
		stats_phase(&o->stats, MIG_PHASE_SWITCHOVER);
		return 0;
	}
	/* It was asked for in the last moment: back, and again. */
	if (o->before != RS_RUNNING) {
		(void)machine_set_state(m, o->before, NULL);
		return -EAGAIN;
	}
	(void)machine_set_state(m, RS_PAUSED, NULL);
	return machine_start(m, err) < 0 ? -EINVAL : -EAGAIN;
}

/* pre-switchover until migrate-continue.  Machine lock held; given up while it waits. */
static int wait_for_continue(struct outgoing *o, struct err *err)
{
	struct machine *m = o->mg->m;
	struct pollfd p[2] = {
	    {.fd = o->deadline.stop_fd, .events = POLLIN},
	    {.fd = o->kick_fd,          .events = POLLIN},
	};

	o->go_on = false;
	if (!status_move(o->mg, &o->status, MIG_ACTIVE, MIG_PRE_SWITCHOVER))
		return say_cancelled(err);
	stats_phase(&o->stats, MIG_PHASE_PAUSE);
	while (!o->go_on && status_get(&o->status) == MIG_PRE_SWITCHOVER &&
	       !deadline_passed(&o->deadline)) {
		machine_unlock(m);
		(void)poll(p, 2, -1);
		wake_clear(o->kick_fd);
		machine_lock(m);
	}
	if (deadline_passed(&o->deadline) ||
	    !status_move(o->mg, &o->status, MIG_PRE_SWITCHOVER, MIG_DEVICE))
		return say_cancelled(err);
	stats_phase(&o->stats, MIG_PHASE_SWITCHOVER);
	return 0;
}

/* Machine lock held, machine stopped. */
static int collect(struct outgoing *o, struct err *err)
{
	struct machine *m = o->mg->m;
	int ret = m->arch->fetch(m, err);

	if (ret == 0)
		ret = device_state_collect(&o->devices, m, err);
	if (ret == 0 && (!o->ch->two_way || !o->rp.ponged)) /* it is stored */
		saved_describe(m, &o->devices.json);
	if (ret == 0)
		ret = machine_handover(m, HANDOVER_GIVE, err);
	return ret;
}

static int stop_and_collect(struct outgoing *o, struct err *err)
{
	struct machine *m = o->mg->m;
	int ret;

	machine_lock(m);
	ret = stop_guest(o, err);
	if (ret == 0 && o->caps[CAP_PAUSE_BEFORE_SWITCHOVER])
		ret = wait_for_continue(o, err);
	machine_unlock(m);
	if (ret < 0)
		return ret;
	ret = outgoing_sync(o, err);
	if (ret < 0)
		return ret;
	machine_lock(m);
	ret = collect(o, err);
	machine_unlock(m);
	return ret;
}

/* Claim that the guest is not ours any more; fails when a cancel or the deadline was first. */
static int give(struct outgoing *o, struct err *err)
{
	struct machine *m = o->mg->m;
	enum migration_status s;

	machine_lock(m);
	s = status_get(&o->status);
	o->given =
	    (s == MIG_ACTIVE || s == MIG_DEVICE) && (!o->ch->two_way || deadline_end(&o->deadline));
	machine_unlock(m);
	return o->given ? 0 : say_cancelled(err);
}

static void take_back(struct outgoing *o)
{
	machine_lock(o->mg->m);
	o->given = false;
	machine_unlock(o->mg->m);
}

static int send_rest(struct outgoing *o, struct err *err)
{
	struct ram_counters before = o->ram.stream.count;
	uint64_t bytes = o->w->bytes;
	int ret;

	o->ram.run_limit = RAM_RUN_PAGES; /* no limit holds back what the guest is waiting for */
	ret = ram_save_record(&o->ram, TAG_END, NULL, NULL);
	outgoing_count(o, bytes, &before);
	if (ret < 0)
		return writer_explain(o->w, ret, err);
	ret = outgoing_listen(o, err);
	/* QEMU runs the guest as soon as it has read EOF. */
	if (ret == 0 && o->rp.ponged && !o->rp.minivmm)
		ret = give(o, err);
	if (ret < 0)
		return ret;
	stats_phase(&o->stats, MIG_PHASE_DEVICES);
	ret = device_state_put(&o->devices, o->w, !o->mg->m->cfg->suppress_vmdesc);
	if (ret == 0)
		ret = writer_flush(o->w);
	return writer_explain(o->w, ret, err);
}

/* ---- 2: hand-over ---- */

static bool answered(const struct return_path *rp)
{
	return rp->ponged;
}

static bool ready_or_not(const struct return_path *rp)
{
	return rp->ready || rp->shut || rp->cause[0];
}

static bool decided(const struct return_path *rp)
{
	return rp->shut || rp->cause[0];
}

/* Until done(), the end of the connection, or a time (ms; -1: any). */
static int hear(struct outgoing *o, bool (*done)(const struct return_path *rp), int timeout_ms,
		struct err *err)
{
	int64_t until = host_now_ns() + (int64_t)timeout_ms * 1000000;

	while (!done(&o->rp) && !o->rp.ended) {
		int64_t left = timeout_ms < 0 ? -1 : (until - host_now_ns()) / 1000000;
		int ret;

		if (timeout_ms >= 0 && left <= 0)
			break;
		ret = rp_poll(&o->rp, (int)left, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static bool refused(const struct outgoing *o)
{
	return o->rp.cause[0] || (o->rp.shut && o->rp.shut_status);
}

/* Nobody will tell us: the guest stays stopped here. */
static int say_unconfirmed(const char *why, struct err *err)
{
	return err_set(err, ENOTCONN,
		       "the destination was given the guest and did not confirm that it runs (%s): "
		       "it stays stopped here; 'cont' only if it does not run there",
		       why);
}

/* GO has been sent.  pidfd: the destination's process, or -1. */
static int wait_for_shut(struct outgoing *o, int pidfd, struct err *err)
{
	struct err why = {0};
	int ret = hear(o, decided, -1, &why);

	if (o->rp.shut && !o->rp.shut_status)
		return 0;
	if (refused(o)) {
		take_back(o);
		return rp_refused(&o->rp, err);
	}
	if (ret < 0)
		return say_unconfirmed(why.msg, err);
	if (pidfd >= 0 && peer_ended(pidfd, DEATH_MS)) {
		take_back(o);
		return err_set(err, ECONNRESET, "the destination ended before it ran the guest");
	}
	return say_unconfirmed("the connection broke", err);
}

static int hand_to_minivmm(struct outgoing *o, struct err *err)
{
	CLEANUP(cleanup_close) int pidfd = -1;
	int ret = hear(o, ready_or_not, -1, err);

	if (ret < 0)
		return ret;
	if (refused(o))
		return rp_refused(&o->rp, err);
	if (!o->rp.ready)
		return err_set(err, ECONNRESET,
			       "the destination closed the connection before it took the guest");
	pidfd = peer_watch(&o->rp.peer);
	if (pidfd == -ESRCH)
		return err_set(err, ECONNRESET, "the destination ended before it took the guest");
	ret = o->multifd ? multifd_send_check(o->multifd, err) : 0;
	if (ret == 0)
		ret = give(o, err);
	if (ret < 0)
		return ret;
	ret = stream_put_command(o->w, CMD_GO, NULL, 0);
	if (ret < 0) { /* a GO that was not sent whole is none */
		take_back(o);
		return writer_explain(o->w, ret, err);
	}
	return wait_for_shut(o, pidfd, err);
}

static int hand_to_qemu(struct outgoing *o, struct err *err)
{
	struct err why = {0};
	int ret = hear(o, decided, -1, &why);

	if (o->rp.shut && !o->rp.shut_status)
		return 0;
	if (ret < 0)
		return say_unconfirmed(why.msg, err);
	take_back(o);
	if (refused(o))
		return rp_refused(&o->rp, err);
	return err_set(err, ECONNRESET,
		       "the destination closed the connection without saying that the guest runs");
}

/* The peer has never answered: it stores the bytes, or is very slow. */
static int hand_to_sink(struct outgoing *o, struct err *err)
{
	int ret;

	channel_end_writing(o->ch);
	ret = hear(o, decided, -1, err);
	if (ret < 0)
		return ret;
	if (refused(o))
		return rp_refused(&o->rp, err);
	if (o->rp.shut)
		return give(o, err);
	if (o->rp.ponged)
		return err_set(err, ETIMEDOUT,
			       "the destination answered too late to be given the guest");
	if (o->rp.reset)
		return err_set(err, ECONNRESET,
			       "the other end closed the connection before it had read everything");
	if (o->caps[CAP_RETURN_PATH])
		return err_set(err, ECONNRESET,
			       "the other end closed the connection without saying that the guest "
			       "runs, which the capability 'return-path' asks for");
	return give(o, err);
}

/* From here on a cancel is too late, unless finishing takes its time and heeds it. */
static int finish_one_way(struct outgoing *o, struct err *err)
{
	int ret = give(o, err);

	if (ret < 0)
		return ret;
	ret = channel_finish(o->ch, err);
	if (ret < 0)
		take_back(o);
	return ret;
}

static int hand_over(struct outgoing *o, struct err *err)
{
	stats_phase(&o->stats, MIG_PHASE_HAND_OVER);
	if (!o->ch->two_way)
		return finish_one_way(o, err);
	if (o->rp.minivmm)
		return hand_to_minivmm(o, err);
	return o->rp.ponged ? hand_to_qemu(o, err) : hand_to_sink(o, err);
}

/* Who is at the other end must be known before the guest stops. */
static int await_peer(struct outgoing *o, struct err *err)
{
	int ret;

	if (!o->ch->two_way || o->rp.ponged || o->waited)
		return 0;
	o->waited = true;
	ret = hear(o, answered, LATE_PEER_MS, err);
	if (ret < 0)
		return ret;
	if (!o->rp.ponged && o->caps[CAP_RETURN_PATH])
		return err_set(
		    err, ETIMEDOUT,
		    "the destination does not answer, which the capability 'return-path' "
		    "asks for");
	return -EAGAIN; /* the guest has run on meanwhile */
}

int switchover(struct outgoing *o, struct err *err)
{
	int ret = await_peer(o, err);

	if (ret == 0)
		ret = stop_and_collect(o, err);
	if (ret == 0)
		ret = send_rest(o, err);
	if (ret == 0)
		ret = hand_over(o, err);
	return ret;
}
