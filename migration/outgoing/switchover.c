/*
 * switchover.c - the guest stops, and the last of it is sent
 *
 *     bring     pages that a lazy load has not brought yet
 *     stop      vCPUs and devices stand still, run state finish-migrate; with
 *               pause-before-switchover the client says when to go on
 *     collect   the last dirty pages are found, device state is saved into
 *               memory, disks are released
 *     send      END record, device sections; EOF last, for a destination that
 *               is not minivmm runs the guest once it has read it
 *     hand-over (handover.c)
 *
 * Requests (vmm/requests.h).  A reset, power-off, panic, error or press of the
 * power button that is asked for meanwhile is neither lost nor done twice:
 *
 *     while the guest is being stopped
 *         The guest is continued, the main loop carries the request out, and
 *         the switchover is tried again (-EAGAIN).
 *     until its state is collected, also during pre-switchover
 *         Only reset and power button are possible, for no vCPU runs.  The
 *         main loop carries them out on the guest as it stands, and they are
 *         part of the state that is sent.
 *     until ownership is released
 *         They wait: machine.requests.frozen.  Each step looks for them; the
 *         main loop is let at the guest again, and its state is collected and
 *         sent once more (-ESTALE), for a stream may hold a section twice.
 *         After a few rounds the guest is continued first.
 *         Between EOF and GO a minivmm is at the end of its stream: GO carries
 *         the requests, and the destination carries them out before the guest
 *         runs there.
 *     from then on
 *         reset and power button are refused, with the place of the guest.
 *         Should the guest come back, what GO carried is carried out here.
 *         For a store of bytes this begins with the device sections and ends
 *         with the migration: the guest is here as well.
 *
 *     A 'stop' goes the same ways: it changes the run state that is sent, has it
 *     collected again or goes with GO, and is refused from then on.
 */
#include "migration/outgoing/switchover.h"

#include <errno.h>
#include <poll.h>

#include "migration/channel/channel.h"
#include "migration/outgoing/handover.h"
#include "migration/outgoing/outgoing.h"
#include "migration/outgoing/rp-wait.h"
#include "migration/peer/saved.h"
#include "migration/ram/lazy/page-index.h"
#include "migration/stream/device-state.h"
#include "migration/stream/wire.h"
#include "migration/stream/writer.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/probes.h"
#include "vmm/base/wake.h"
#include "vmm/flush.h"
#include "vmm/machine.h"
#include "vmm/memory/missing.h"
#include "vmm/options/config.h"
#include "vmm/vclock.h"

#define LATE_PEER_MS 5000 /* how long a first PONG may take before the guest is stopped */
#define ACK_MS       200  /* between two passes while the destination has not agreed */
#define ROUNDS       3    /* of collecting while the guest stands still */

/* ---- stop ---- */

/* A request needs the guest to run first.  -EAGAIN once it does; machine lock held. */
static int back_out(struct outgoing *o, struct err *err)
{
	int ret = guest_keep(o, err);

	(void)status_move(o->m, &o->status, MIG_DEVICE, MIG_ACTIVE);
	return ret < 0 ? ret : -EAGAIN;
}

/* Machine lock held; gives it up while vCPUs stop. */
static int stop_guest(struct outgoing *o, struct err *err)
{
	struct machine *m = o->m;
	int64_t now = host_now_ns();

	if (status_get(&o->status) != MIG_ACTIVE)
		return err_cancelled(err);
	if (machine_holds_vcpus(m)) /* the main loop is about to carry it out */
		return -EAGAIN;
	m->before_stop = RS_RUNNING;
	if (machine_stop_cancellable(m, RS_FINISH_MIGRATE, o->deadline.stop_fd) < 0)
		return err_cancelled(err);
	if (m->state != RS_FINISH_MIGRATE) { /* it had stopped, or stopped by itself meanwhile */
		m->before_stop = m->state;
		if (machine_set_state(m, RS_FINISH_MIGRATE, err) < 0)
			return -EINVAL;
	}
	o->stopped = true;
	PROBE(switchover_stopped);
	if (machine_holds_vcpus(m)) /* asked for in the last moment */
		return back_out(o, err);
	stats_stopped(&o->stats, now);
	return 0;
}

/* pre-switchover until migrate-continue.  Machine lock held; given up while it waits. */
static int wait_for_continue(struct outgoing *o, struct err *err)
{
	struct machine *m = o->m;
	struct pollfd p[2] = {
	    {.fd = o->deadline.stop_fd, .events = POLLIN},
	    {.fd = o->kick_fd,          .events = POLLIN},
	};

	o->go_on = false;
	if (!status_move(o->m, &o->status, MIG_ACTIVE, MIG_PRE_SWITCHOVER))
		return err_cancelled(err);
	stats_phase(&o->stats, MIG_PHASE_PAUSE);
	while (!o->go_on && status_get(&o->status) == MIG_PRE_SWITCHOVER &&
	       !deadline_passed(&o->deadline)) {
		machine_unlock(m);
		(void)poll(p, 2, -1);
		wake_clear(o->kick_fd);
		machine_lock(m);
	}
	return deadline_passed(&o->deadline) ? err_cancelled(err) : 0;
}

/* 'device', as QEMU says since 10.0 also without pre-switchover.  Machine lock held. */
static int enter_device(struct outgoing *o, struct err *err)
{
	bool paused = o->caps[CAP_PAUSE_BEFORE_SWITCHOVER];

	if (!status_move(o->m, &o->status, paused ? MIG_PRE_SWITCHOVER : MIG_ACTIVE, MIG_DEVICE))
		return err_cancelled(err);
	stats_phase(&o->stats, MIG_PHASE_SWITCHOVER);
	return 0;
}

static bool bring_stops(void *opaque)
{
	const struct outgoing *o = opaque;

	return status_get(&o->status) != MIG_ACTIVE || deadline_passed(&o->deadline);
}

/* Pages may still come from a disk's image (a snapshot's), and the disks are about to go. */
static int bring_pages(struct outgoing *o, struct err *err)
{
	int ret = memory_bring_missing(&o->m->mem, bring_stops, o);

	if (ret == -ECANCELED)
		return err_cancelled(err);
	return ret < 0
		   ? err_set(err, -ret, "the guest's memory cannot be brought: %s", err_text(-ret))
		   : 0;
}

static int switchover_stop(struct outgoing *o, struct err *err)
{
	struct machine *m = o->m;
	int ret;

	PROBE(switchover_begin, ram_save_left_pages(&o->ram));
	machine_lock(m);
	ret = machine_flush(m, o->deadline.stop_fd, err); /* while it runs: less is left then */
	if (ret == 0)
		ret = stop_guest(o, err);
	if (ret == 0 && o->caps[CAP_PAUSE_BEFORE_SWITCHOVER])
		ret = wait_for_continue(o, err);
	if (ret == 0)
		ret = enter_device(o, err);
	machine_unlock(m);
	return ret;
}

/* ---- collect ---- */

static bool is_asked_in_place(const struct machine *m)
{
	return machine_requested(m, REQUEST_RESET) || machine_requested(m, REQUEST_POWERDOWN);
}

/* From here on requests wait; those that have come are carried out before.  Machine lock held. */
static int switchover_freeze(struct outgoing *o, struct err *err)
{
	struct machine *m = o->m;
	int ret;

	m->requests.frozen = false;
	machine_retry_requests(m);
	ret = machine_await_requests(m, is_asked_in_place, o->deadline.stop_fd, err);
	if (ret < 0)
		return ret == -ECANCELED ? err_cancelled(err) : ret;
	if (machine_holds_vcpus(m))
		return back_out(o, err);
	m->requests.frozen = true;
	m->requests.stopped_late = false;
	return 0;
}

static int switchover_collect(struct outgoing *o, struct err *err)
{
	struct machine *m = o->m;
	int ret;

	machine_lock(m);
	ret = switchover_freeze(o, err);
	machine_unlock(m);
	if (ret == 0)
		ret = outgoing_sync(o, err);
	if (ret < 0)
		return ret;
	machine_lock(m);
	ret = machine_flush(m, o->deadline.stop_fd, err);
	if (ret == 0)
		ret = m->arch->fetch(m, err);
	if (ret == 0)
		ret = device_state_collect(&o->devices, m, err);
	if (ret == 0 && (!o->ch->two_way || !o->rp.ponged)) /* it is stored */
		saved_describe(m, &o->devices.json);
	if (ret == 0)
		ret = machine_handover(m, HANDOVER_RELEASE, err);
	machine_unlock(m);
	if (ret == 0)
		PROBE(switchover_collected, o->devices.sections.len);
	return ret;
}

/* ---- send ---- */

static int send_ram(struct outgoing *o, struct err *err)
{
	struct ram_counters before = o->ram.stream.count;
	uint64_t bytes = o->w->bytes;
	int ret;

	o->ram.run_limit = RAM_RUN_PAGES; /* no limit holds back what the guest is waiting for */
	ret = ram_save_record(&o->ram, TAG_END, NULL, NULL);
	outgoing_count(o, bytes, &before);
	if (ret < 0)
		return writer_explain(o->w, ret, err);
	return outgoing_listen(o, err);
}

static int put_eof(struct outgoing *o)
{
	static const uint8_t eof = TAG_EOF;

	return writer_put(o->w, &eof, sizeof(eof));
}

static int put_description(struct outgoing *o)
{
	return o->m->cfg->suppress_vmdesc ? 0 : device_state_describe(&o->devices, o->w);
}

int outgoing_put_header(struct outgoing *o)
{
	const struct buf *mark = o->snapshot ? o->snapshot->mark : NULL;
	int ret = stream_put_header(o->w, o->m, o->caps);

	return ret == 0 && mark ? writer_put(o->w, mark->data, mark->len) : ret;
}

static int put_index_piece(void *opaque, const void *p, size_t n)
{
	return writer_put(opaque, p, n);
}

/* Behind the stream, where QEMU does not read; without it the stream is read whole. */
static int put_index(struct outgoing *o)
{
	struct page_index *index = o->snapshot ? o->snapshot->index : NULL;
	int ret = index ? page_index_complete(index, o->w->bytes) : 0;

	if (ret < 0)
		log_info("%s has no index of its pages, and has to be read whole when it is "
			 "loaded: %s",
			 o->where,
			 ret == -ENOSPC ? "they lie too scattered in it" : "a page came twice");
	return index && ret == 0 ? page_index_write(index, put_index_piece, o->w) : 0;
}

int outgoing_put_devices(struct outgoing *o, struct err *err)
{
	int ret = device_state_put(&o->devices, o->w);

	if (ret == 0)
		ret = put_eof(o);
	if (ret == 0)
		ret = put_description(o);
	if (ret == 0)
		ret = put_index(o);
	if (ret == 0)
		ret = writer_flush(o->w);
	return writer_explain(o->w, ret, err);
}

/*
 * QEMU runs the guest as soon as it has read EOF.  Everything in front of it
 * is known to be loaded before ownership is released, so that what can fail
 * fails back to the source; EOF is one byte, written whole or not at all.
 */
static int send_devices_to_qemu(struct outgoing *o, struct err *err)
{
	uint8_t cookie[4];
	int ret = device_state_put(&o->devices, o->w);

	put_be32(cookie, COOKIE_LOADED);
	o->rp.loaded = false;
	if (ret == 0)
		ret = stream_put_command(o->w, CMD_PING, cookie, sizeof(cookie));
	if (ret < 0)
		return writer_explain(o->w, ret, err);
	ret = rp_wait_loaded(o, err);
	if (ret == 0)
		ret = ownership_release(o, err);
	if (ret < 0)
		return ret;
	ret = put_eof(o);
	if (ret == 0)
		ret = writer_flush(o->w);
	if (ret < 0) {
		ownership_reclaim(o);
		return writer_explain(o->w, ret, err);
	}
	/* QEMU drops the description; whether the connection stands is seen by waiting for SHUT. */
	if (put_description(o) == 0)
		(void)writer_flush(o->w);
	return 0;
}

/* The guest stands still: QEMU since 10.0 wants to know, or need not; earlier ones refuse it. */
int switchover_put_start(struct outgoing *o, struct err *err)
{
	if (!o->set->send_switchover_start || o->start_sent)
		return 0;
	o->start_sent = true; /* not again when state is collected again */
	return writer_explain(o->w, stream_put_command(o->w, CMD_SWITCHOVER_START, NULL, 0), err);
}

static int send_rest(struct outgoing *o, struct err *err)
{
	int ret = switchover_put_start(o, err);

	if (ret == 0)
		ret = send_ram(o, err);
	if (ret == 0) /* once more than needed: it is cheap here, and sections follow */
		ret = ownership_check(o);
	if (ret < 0)
		return ret;
	stats_phase(&o->stats, MIG_PHASE_DEVICES);
	if (o->rp.minivmm) /* it waits for GO behind EOF: all at once */
		return outgoing_put_devices(o, err);
	if (o->rp.ponged)
		return send_devices_to_qemu(o, err);
	ret = ownership_announce(o);
	return ret == 0 ? outgoing_put_devices(o, err) : ret;
}

/* The kind of the peer has to be known before the guest stops. */
static int rp_wait_pong(struct outgoing *o, struct err *err)
{
	int ret;

	if (!o->ch->two_way || o->rp.ponged || o->waited)
		return 0;
	o->waited = true;
	ret = rp_wait_answer(o, LATE_PEER_MS, err);
	if (ret < 0)
		return ret;
	if (!o->rp.ponged && o->caps[CAP_RETURN_PATH])
		return err_set(
		    err, ETIMEDOUT,
		    "the destination does not answer, which the capability 'return-path' "
		    "asks for");
	return -EAGAIN; /* the guest has run on meanwhile */
}

/* Is there a destination that has to agree, and has not?  A guest that is stopped waits for nobody.
 */
static bool needs_ack(struct outgoing *o)
{
	bool runs;

	if (!o->caps[CAP_SWITCHOVER_ACK] || !o->set->switchover_ack_legacy || o->rp.minivmm ||
	    o->rp.acked || deadline_forces(&o->deadline))
		return false;
	machine_lock(o->m);
	runs = machine_running(o->m);
	machine_unlock(o->m);
	return runs;
}

/* switchover-ack of QEMU 8.1 to 10: the guest runs on until the destination agrees. */
static int rp_wait_ack(struct outgoing *o, struct err *err)
{
	int ret;

	if (!needs_ack(o))
		return 0;
	if (!o->missed_ack)
		log_notice(
		    "the move to %.300s waits for SWITCHOVER_ACK, for 'switchover-ack' is on "
		    "(QEMU 8.1 to 10 send it, 11 only with -global "
		    "migration.switchover-ack-legacy=on)",
		    o->where);
	o->missed_ack = true;
	ret = rp_wait_agreed(o, ACK_MS, err);
	return ret < 0 ? ret : -EAGAIN; /* the guest has run on meanwhile */
}

int switchover_prepare(struct outgoing *o, struct err *err)
{
	int ret = rp_wait_pong(o, err);

	if (ret == 0)
		ret = rp_wait_ack(o, err);
	return ret == 0 ? bring_pages(o, err) : ret;
}

int switchover_send(struct outgoing *o, int (*send)(struct outgoing *o, struct err *err),
		    struct err *err)
{
	int ret = switchover_stop(o, err);

	if (ret < 0)
		return ret;
	for (unsigned round = 0; round < ROUNDS; round++) {
		ret = switchover_collect(o, err);
		if (ret == 0)
			ret = send(o, err);
		if (ret != -ESTALE)
			return ret;
	}
	machine_lock(o->m);
	ret = back_out(o, err);
	machine_unlock(o->m);
	return ret;
}

int switchover(struct outgoing *o, struct err *err)
{
	int ret = switchover_prepare(o, err);

	if (ret == 0)
		ret = switchover_send(o, send_rest, err);
	if (ret == 0)
		ret = handover(o, err);
	PROBE(switchover_end, ret);
	return ret;
}
