/*
 * background.c - the guest as it is at one instant, saved while it runs on
 *
 *     begin     header; disks are flushed; all of memory is protected against writes
 *               while the guest runs (ram/write-protect.h); the list of RAM blocks
 *     instant   the guest stands still: what it has written meanwhile is protected again,
 *               and the devices' state is saved into memory.  It runs on
 *     pages     each once, as it was then; those that the guest is about to write first
 *     end       protection ends; devices, EOF, description
 *
 * The stream has no END of RAM and no question to the other end: RAM comes in PART records,
 * then the devices as they were at the instant.  The address is one that stores
 * the bytes, or a machine that loads them; nothing depends on which, for
 * the guest stays here.  Nothing that fails changes anything for it either.
 *
 * Requests (vmm/requests.h) that come at the instant have the guest continued, and the
 * instant is tried again.
 */
#include <errno.h>

#include "migration/channel/channel.h"
#include "migration/outgoing/handover.h"
#include "migration/outgoing/modes.h"
#include "migration/outgoing/outgoing.h"
#include "migration/outgoing/rp-wait.h"
#include "migration/peer/saved.h"
#include "migration/ram/write-protect.h"
#include "migration/stream/device-state.h"
#include "migration/stream/writer.h"
#include "vmm/base/log.h"
#include "vmm/base/probes.h"
#include "vmm/base/thread.h"
#include "vmm/base/units.h"
#include "vmm/flush.h"
#include "vmm/machine.h"
#include "vmm/vclock.h"

#define RETRY_NS ((int64_t)10000000) /* after a request kept the guest from being stopped */

/* ---- begin ---- */

/* Machine lock held. */
static int background_track(struct outgoing *o, struct err *err)
{
	struct machine *m = o->m;
	int ret = outgoing_load_kernel(m, err);

	if (ret == 0 && o->snapshot && o->snapshot->begin)
		ret = o->snapshot->begin(o->snapshot->opaque, err);
	if (ret == 0)
		ret = machine_flush(m, o->deadline.stop_fd, err); /* less is left for the pause */
	if (ret == 0)
		ret = ram_save_encoders(&o->ram, o->caps, &o->set->params,
					&o->set->xbzrle_cache_bytes, err);
	if (o->mapped)
		ram_save_map(&o->ram, o->mapped);
	return ret == 0 ? ram_save_start(&o->ram, err) : ret;
}

/* A wait for the address ends as well when the guest's page faults cannot be resolved. */
static int background_watch(struct outgoing *o, struct err *err)
{
	int fd = write_protect_watch(&o->ram, o->deadline.stop_fd);

	if (fd < 0)
		return err_set(err, -fd, "cannot watch the guest's page faults: %s", err_text(-fd));
	o->ch->cancel_fd = fd;
	return 0;
}

static int background_set_up_ram(struct outgoing *o, struct err *err)
{
	struct ram_counters none = {0};
	uint64_t bytes;
	int ret = outgoing_open_file(o, err);

	if (ret < 0)
		return ret;
	ram_save_init(&o->ram, o->m, o->w, o->checksum ? RAM_ID_CHECKSUM : o->ram_section_id);
	o->ram.tracker = &tracker_write_protect;
	o->ram.wake_fd = o->kick_fd;
	o->ram.ignore_shared = o->caps[CAP_X_IGNORE_SHARED];
	o->ram.partial = o->snapshot && o->snapshot->mark;
	if (o->snapshot)
		ram_save_note(&o->ram, o->snapshot->index);
	machine_lock(o->m);
	ret = background_track(o, err);
	machine_unlock(o->m);
	if (ret == 0)
		ret = background_watch(o, err);
	bytes = o->w->bytes;
	if (ret == 0)
		ret = ram_save_begin(&o->ram, err);
	if (ret == 0)
		outgoing_count(o, bytes, &none);
	return ret;
}

/* Nothing is protected any more; if that is the cause of the failure, *err says so. */
static int background_release(struct outgoing *o, int ret, struct err *err)
{
	int failed = ret < 0 ? write_protect_check(&o->ram, err) : 0;

	o->ch->cancel_fd = o->deadline.stop_fd;
	write_protect_end(&o->ram);
	return failed < 0 ? failed : ret;
}

static int background_begin(struct outgoing *o, struct err *err)
{
	int ret = outgoing_put_header(o);

	if (ret == 0)
		ret = writer_flush(o->w);
	if (ret < 0)
		return writer_explain(o->w, ret, err);
	ret = background_set_up_ram(o, err);
	if (ret < 0)
		return background_release(o, ret, err);
	machine_lock(o->m);
	if (!status_move(o->m, &o->status, MIG_SETUP, MIG_ACTIVE))
		ret = err_cancelled(err);
	machine_unlock(o->m);
	stats_active(&o->stats);
	return ret;
}

/* ---- the instant ---- */

/* Machine lock held, which is not given up: nothing asks for anything meanwhile. */
static int background_collect(struct outgoing *o, struct err *err)
{
	struct machine *m = o->m;
	int ret = 0;

	if (o->snapshot && o->snapshot->choose)
		ret = o->snapshot->choose(o->snapshot->opaque, &o->ram, err);
	if (ret == 0)
		ret = write_protect_instant(&o->ram, err);
	if (ret == 0)
		ret = m->arch->fetch(m, err);
	if (ret == 0)
		ret = device_state_collect(&o->devices, m, err);
	if (ret == 0 && o->snapshot)
		ret = o->snapshot->instant(o->snapshot->opaque, err);
	return ret;
}

/* The machine is paused: is it by us?  Machine lock held. */
static bool background_stop(struct outgoing *o)
{
	struct machine *m = o->m;
	bool ran = machine_running(m);

	m->before_stop = m->state; /* what the stream says */
	if (!ran)
		return false;
	m->state = RS_PAUSED;
	PROBE(run_state, runstate_name(m->state));
	notify_event(&m->notify, NOTIFY_STOP, CAUSE_NONE);
	return true;
}

static int background_go_on(struct outgoing *o, bool stopped, int64_t since, struct err *err)
{
	struct machine *m = o->m;
	int ret;

	if (!stopped) {
		machine_resume(m); /* which only takes our pause back */
		return 0;
	}
	ret = machine_start(m, err);
	if (ret < 0)
		return err_prefix(err, ret, "the guest stays paused");
	stats_stopped(&o->stats, since);
	stats_resumed(&o->stats, host_now_ns());
	return 0;
}

/* -EAGAIN: something else is to be done to the guest first.  Machine lock held; given up. */
static int background_instant(struct outgoing *o, struct err *err)
{
	struct machine *m = o->m;
	int64_t now = host_now_ns();
	struct err why = {0};
	bool stopped;
	int ret, back;

	if (status_get(&o->status) != MIG_ACTIVE)
		return err_cancelled(err);
	if (machine_holds_vcpus(m))
		return -EAGAIN;
	if (machine_pause_cancellable(m, o->deadline.stop_fd) < 0)
		return err_cancelled(err);
	if (machine_holds_vcpus(m)) { /* asked for in the last moment */
		machine_resume(m);
		return -EAGAIN;
	}
	stopped = background_stop(o);
	ret = background_collect(o, err);
	back = background_go_on(o, stopped, now, &why);
	if (back < 0) {
		log_error("%s", why.msg);
		if (ret == 0 && err)
			*err = why;
	}
	if (ret == 0)
		saved_describe(m, &o->devices.json);
	return ret < 0 ? ret : back;
}

static int background_pause(struct outgoing *o, struct err *err)
{
	for (;;) {
		int ret = 0;

		if (o->snapshot && o->snapshot->near)
			ret = o->snapshot->near(o->snapshot->opaque, &o->ram, err);
		if (ret == 0)
			ret = write_protect_rearm(&o->ram, err);
		if (ret < 0)
			return ret;
		machine_lock(o->m);
		ret = background_instant(o, err);
		machine_unlock(o->m);
		if (ret == -EAGAIN)
			ret = outgoing_sleep(o, host_now_ns() + RETRY_NS, err);
		else
			return ret;
		if (ret < 0)
			return ret;
	}
}

/* ---- pages, and the end ---- */

static int background_pages(struct outgoing *o, struct err *err)
{
	struct ram_counters before;
	uint64_t bytes;
	int ret = 0;

	thread_give_way(); /* what a vCPU waits for is the fault thread's, which does not */
	outgoing_slices_begin(o);
	while (ret == 0 && ram_save_left_pages(&o->ram)) {
		ret = outgoing_listen(o, err);
		if (ret == 0)
			ret = outgoing_slice(o, err);
	}
	if (ret == 0) /* a snapshot whose last pages were lost is none */
		ret = write_protect_check(&o->ram, err);
	if (ret < 0 || !o->mapped)
		return ret;
	bytes = o->w->bytes;
	before = o->ram.stream.count;
	ret = ram_save_last(&o->ram); /* the bitmaps */
	outgoing_count(o, bytes, &before);
	return writer_explain(o->w, ret, err);
}

/* It is safe: written and in place, or the other end has read it all. */
static int background_finish(struct outgoing *o, struct err *err)
{
	int ret;

	stats_phase(&o->stats, MIG_PHASE_HAND_OVER);
	if (!o->ch->two_way)
		return channel_finish(o->ch, err);
	channel_end_writing(o->ch);
	ret = rp_wait(o, rp_decided, -1, err);
	if (ret == 0 && o->rp.reset)
		ret = err_set(err, ECONNRESET,
			      "the other end closed the connection before it had read everything");
	return ret;
}

static int background_run(struct outgoing *o, struct err *err)
{
	int ret = background_pause(o, err);

	if (ret == 0 && o->ram.partial)
		write_protect_look_again(&o->ram);
	if (ret == 0)
		ret = background_pages(o, err);
	ret = background_release(o, ret, err); /* the guest need not wait for the channel's end */
	if (ret < 0)
		return ret;
	stats_phase(&o->stats, MIG_PHASE_DEVICES);
	ret = outgoing_put_devices(o, err);
	return ret == 0 ? background_finish(o, err) : ret;
}

/* The guest has run on, and does. */
static void background_done(struct outgoing *o, bool certain)
{
	(void)o;
	(void)certain;
}

static int background_undo(struct outgoing *o, struct err *err)
{
	(void)o;
	(void)err;
	return 0;
}

const struct migration_mode background_mode = {
    .name = "background-snapshot",
    .check = outgoing_check_channels,
    .begin = background_begin,
    .run = background_run,
    .finish = background_done,
    .undo = background_undo,
};
