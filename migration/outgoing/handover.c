/*
 * handover.c - ownership of the guest passes to the destination
 *
 * At most one end may run the guest, and unless the hosts lose each other
 * between GO and its answer, one does:
 *
 *    destination is minivmm
 *        D -> S  READY   all is loaded and checked; D does not run it yet
 *        S             releases the guest: can no longer resume by itself
 *        S -> D  GO      D runs it, whatever happens to the connection; before,
 *                        it carries out the requests that GO brings
 *        D -> S  SHUT 0  S: completed
 *      The connection breaks before GO was sent: S resumes, D never starts.
 *      It breaks after GO, without SHUT: S asks the host whether D's process
 *      has ended (READY named it; same kernel).  If so S resumes, for a D
 *      that has ended runs nothing.  If not, or if it cannot know, S stays
 *      stopped and says so; the user may continue it (x-minivmm-force).
 *    destination is QEMU
 *        S -> D  sections, PING;  D -> S  PONG: they are loaded
 *        S             releases the guest
 *        S -> D  EOF     D runs it, and says SHUT 0 after that
 *      Anything that fails before EOF is out: S resumes.  SHUT with an error:
 *      the same.  A connection that breaks behind EOF says nothing about D.
 *    no answer (a file at the end of a socket)
 *        S closes its direction and waits for the other to be closed.
 *    one-way channel
 *        Done when the channel is finished: written, synced, exit status 0.
 *
 * While the machine has a 'handed_to' the guest can neither run nor be reset
 * here.  A store of bytes is not a machine that runs the guest: once it has
 * them all, the guest may be continued here too.
 *
 * A cancel that comes when the destination may run the guest already only
 * ends the wait: the guest stays stopped here.  A deadline no longer counts by
 * then; for a one-way channel it counts until the channel is finished.
 */
#include "migration/outgoing/handover.h"

#include <errno.h>

#include "migration/channel/channel.h"
#include "migration/outgoing/outgoing.h"
#include "migration/outgoing/rp-wait.h"
#include "migration/stream/device-state.h"
#include "migration/stream/go.h"
#include "migration/stream/wire.h"
#include "migration/stream/writer.h"
#include "vmm/base/alloc.h"
#include "vmm/base/log.h"
#include "vmm/base/probes.h"
#include "vmm/machine.h"
#include "vmm/vclock.h"

#define DEATH_MS 10000 /* between a process's sockets closing and its end */

int err_cancelled(struct err *err)
{
	return err_set(err, ECANCELED, "the migration was cancelled");
}

/* The destination can no longer be asked: the guest stays stopped here. */
static int err_unconfirmed(const char *why, struct err *err)
{
	return err_set(err, ENOTCONN,
		       "the destination was given the guest and did not confirm that it runs "
		       "(" ERR_WITHIN
		       "): it stays stopped here; 'cont' with 'x-minivmm-force' only if it "
		       "does not run there",
		       why);
}

/* ---- ownership ---- */

/* Is what was collected out of date?  Machine lock held. */
static bool requested(const struct machine *m)
{
	return machine_holds_vcpus(m) || machine_requested(m, REQUEST_POWERDOWN) ||
	       m->requests.stopped_late;
}

int ownership_check(struct outgoing *o)
{
	bool asked;

	machine_lock(o->m);
	asked = requested(o->m);
	machine_unlock(o->m);
	return asked ? -ESTALE : 0;
}

int ownership_announce(struct outgoing *o)
{
	struct machine *m = o->m;
	bool asked;

	machine_lock(m);
	asked = requested(m);
	if (!asked)
		machine_set_handed(m, o->where, false);
	machine_unlock(m);
	return asked ? -ESTALE : 0;
}

int ownership_release(struct outgoing *o, struct err *err)
{
	struct machine *m = o->m;
	enum migration_status s;
	int ret = 0;

	machine_lock(m);
	s = status_get(&o->status);
	if (!o->rp.minivmm && !m->handed_to && requested(m))
		ret = -ESTALE;
	else if ((s != MIG_ACTIVE && s != MIG_DEVICE && s != MIG_POSTCOPY_DEVICE) ||
		 (o->ch->two_way && !deadline_end(&o->deadline)))
		ret = err_cancelled(err);
	if (ret == 0) {
		o->released = true;
		machine_set_handed(m, o->where, false);
		PROBE(switchover_released);
	}
	machine_unlock(m);
	return ret;
}

void ownership_reclaim(struct outgoing *o)
{
	machine_lock(o->m);
	o->released = false;
	machine_unlock(o->m);
}

int guest_keep(struct outgoing *o, struct err *err)
{
	struct machine *m = o->m;
	enum runstate to = m->before_stop;
	struct err why = {0};
	int ret;

	if (!o->stopped)
		return 0;
	o->stopped = false;
	m->requests.frozen = m->requests.stopped_late = false;
	machine_set_kept(m);
	ret = machine_handover(m, HANDOVER_ACQUIRE, &why);
	if (ret < 0) {
		(void)err_prefix(&why, ret, "the guest stays paused");
		to = RS_PAUSED;
	}
	if (machine_set_state(m, to == RS_RUNNING ? RS_PAUSED : to, ret < 0 ? NULL : &why) < 0)
		ret = -EINVAL;
	if (ret == 0 && to == RS_RUNNING) {
		ret = machine_start(m, &why);
		if (ret < 0)
			(void)err_prefix(&why, ret, "the guest stays paused");
	}
	PROBE(guest_kept, ret);
	if (ret == 0)
		return 0;
	log_error("%s", why.msg);
	if (err && err->errnum)
		(void)err_prefix(err, 0, ERR_WITHIN "; before that", why.msg);
	else if (err)
		*err = why;
	return ret;
}

void guest_leave(struct outgoing *o, bool certain)
{
	struct machine *m = o->m;
	struct err err = {0};

	/* The guest goes on in the memory that is mapped here. */
	m->memory_given = m->memory_given || (certain && o->shared_given);
	m->memory_released = m->memory_released || (certain && o->caps[CAP_RELEASE_RAM]);
	m->requests.frozen = m->requests.stopped_late = false;
	if (o->stored) {
		machine_set_kept(m);
	} else {
		machine_set_handed(m, o->where, certain);
		/* GO carried them; in doubt they stay with the guest that may be here. */
		if (certain) {
			machine_request_delivered(m, REQUEST_POWERDOWN);
			machine_request_delivered(m, REQUEST_RESET);
		}
	}
	if (machine_set_state(m, RS_POSTMIGRATE, &err) < 0)
		log_error("the guest was handed to %s: %s", o->where, err.msg);
}

/* ---- the return path ---- */

static bool rp_ready_or_not(const struct outgoing *o)
{
	return o->rp.ready || rp_decided(o);
}

static bool rp_answered_or_decided(const struct outgoing *o)
{
	return o->rp.ponged || rp_decided(o);
}

static bool rp_has_refused(const struct outgoing *o)
{
	return o->rp.cause[0] || (o->rp.shut && o->rp.shut_status);
}

/* ---- one function for each kind of peer ---- */

/* GO has been sent.  pidfd: the destination's process, or -1. */
static int wait_for_shut(struct outgoing *o, int pidfd, struct err *err)
{
	struct err why = {0};
	int ret = rp_wait(o, rp_decided, -1, &why);

	if (o->rp.shut && !o->rp.shut_status)
		return 0;
	if (rp_has_refused(o)) {
		ownership_reclaim(o);
		return rp_refused(&o->rp, err);
	}
	if (ret < 0)
		return err_unconfirmed(why.msg, err);
	if (pidfd >= 0 && peer_ended(pidfd, DEATH_MS)) {
		ownership_reclaim(o);
		return err_set(err, ECONNRESET, "the destination ended before it ran the guest");
	}
	return err_unconfirmed("the connection broke", err);
}

int ownership_put_go(struct outgoing *o)
{
	struct machine *m = o->m;
	struct buf b = {0};
	int ret;

	machine_lock(m);
	go_requests_put(m, &b);
	machine_unlock(m);
	ret = stream_put_command(o->w, CMD_GO, b.data, (uint16_t)b.len);
	buf_free(&b);
	return ret;
}

static int hand_to_minivmm(struct outgoing *o, struct err *err)
{
	CLEANUP(cleanup_close) int pidfd = -1;
	int ret = rp_wait(o, rp_ready_or_not, -1, err);

	if (ret < 0)
		return ret;
	if (rp_has_refused(o))
		return rp_refused(&o->rp, err);
	if (!o->rp.ready)
		return err_set(err, ECONNRESET,
			       "the destination closed the connection before it took the guest");
	pidfd = peer_watch(&o->rp.peer);
	if (pidfd == -ESRCH)
		return err_set(err, ECONNRESET, "the destination ended before it took the guest");
	ret = o->multifd ? multifd_send_check(o->multifd, err) : 0;
	if (ret == 0)
		ret = ownership_release(o, err);
	if (ret < 0)
		return ret;
	ret = ownership_put_go(o);
	if (ret < 0) { /* a GO that was not sent whole is none */
		ownership_reclaim(o);
		return writer_explain(o->w, ret, err);
	}
	return wait_for_shut(o, pidfd, err);
}

/* It has been sent EOF. */
static int hand_to_qemu(struct outgoing *o, struct err *err)
{
	return wait_for_shut(o, -1, err);
}

/* The peer has never answered: it stores the bytes, or is very slow. */
static int hand_to_sink(struct outgoing *o, struct err *err)
{
	int ret;

	channel_end_writing(o->ch);
	ret = rp_wait(o, rp_answered_or_decided, -1, err);
	if (ret < 0)
		return ret;
	if (rp_has_refused(o))
		return rp_refused(&o->rp, err);
	if (o->rp.minivmm) /* it waits for a GO that can no longer be sent */
		return err_set(err, ETIMEDOUT,
			       "the destination answered too late to be given the guest");
	if (o->rp.ponged || o->rp.shut) { /* it has EOF, and runs the guest when it gets there */
		ret = ownership_release(o, err);
		return ret == 0 ? hand_to_qemu(o, err) : ret;
	}
	if (o->rp.reset)
		return err_set(err, ECONNRESET,
			       "the other end closed the connection before it had read everything");
	if (o->caps[CAP_RETURN_PATH])
		return err_set(err, ECONNRESET,
			       "the other end closed the connection without saying that the guest "
			       "runs, which the capability 'return-path' asks for");
	o->stored = true;
	return ownership_release(o, err);
}

/* From here on a cancel is too late, unless finishing takes its time and heeds it. */
static int finish_one_way(struct outgoing *o, struct err *err)
{
	int ret = ownership_release(o, err);

	if (ret < 0)
		return ret;
	o->stored = true;
	ret = channel_finish(o->ch, err);
	if (ret < 0)
		ownership_reclaim(o);
	return ret;
}

int handover(struct outgoing *o, struct err *err)
{
	stats_phase(&o->stats, MIG_PHASE_HAND_OVER);
	PROBE(switchover_sent, o->w->bytes);
	if (!o->ch->two_way)
		return finish_one_way(o, err);
	if (o->rp.minivmm)
		return hand_to_minivmm(o, err);
	return o->released ? hand_to_qemu(o, err) : hand_to_sink(o, err);
}
