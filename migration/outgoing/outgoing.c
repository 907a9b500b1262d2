/*
 * outgoing.c - the migration thread: it takes an open channel, runs a mode, and ends
 *
 *     begin     the mode's set-up: setup.c for all of them
 *     run       pages, and the switchover
 *     end       whatever happened, either the destination has the guest
 *               (finish), or the guest goes on here as if nothing had been
 *               (undo); handover.c has the one case in between
 *
 * The channel is opened by the stage in front (start.c for an address), on the
 * same thread.  The thread waits only in poll(), always with deadline.stop_fd
 * beside it: a cancel and a deadline end every wait.
 */
#include "migration/outgoing/outgoing.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>

#include "devices/virtio/virtio-devices.h"
#include "migration/channel/channel.h"
#include "migration/outgoing/hints.h"
#include "migration/outgoing/modes.h"
#include "migration/outgoing/postcopy.h"
#include "migration/outgoing/report.h"
#include "migration/stream/writer.h"
#include "vmm/base/buf.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/machine.h"
#include "vmm/memory/room.h"
#include "vmm/options/config.h"
#include "vmm/vclock.h"

#define NS_PER_MS ((int64_t)1000000)
#define RETRY_NS  (10 * NS_PER_MS)
#define DISKS_NS  (3000 * NS_PER_MS) /* how long a destination that failed may hold the disks */

void outgoing_init(struct outgoing *o, int cancel_fd)
{
	o->fd = -1;
	o->cancel_fd = cancel_fd >= 0 ? cancel_fd : wake_open();
	o->kick_fd = wake_open();
	(void)resume_init(&o->resume); /* wake_fd says whether */
	stats_init(&o->stats);
	(void)deadline_init(&o->deadline, o->cancel_fd); /* stop_fd says whether */
}

/* ---- the other end ---- */

static const char *on_off(bool on)
{
	return on ? "on" : "off";
}

/* QEMU only closes the connection, or says that it failed: its reason is on its stderr. */
static void hint_at_qemu(const struct outgoing *o, struct err *err)
{
	CLEANUP(buf_free) struct buf hints = {0};
	const struct config *cfg = o->m->cfg;
	struct err was = *err;

	machine_lock(o->m);
	virtio_hints(o->m, &hints);
	machine_unlock(o->m);
	if (o->flush_unproven)
		(void)err_set(err, was.errnum,
			      ERR_WITHIN
			      " (QEMU says why on its stderr: its RAM may differ, or it is "
			      "older than 8.1 and refuses flag 0x200 of multifd: then start this "
			      "program with -global migration.multifd-flush-after-each-section=on)",
			      was.msg);
	else if (o->start_sent)
		(void)err_set(err, was.errnum,
			      ERR_WITHIN
			      " (QEMU says why on its stderr; before 10.0 it refuses what "
			      "-global migration.send-switchover-start=on sends: \"MIG_CMD 0xb\")",
			      was.msg);
	else if (hints.len)
		(void)err_set(err, was.errnum,
			      "%.300s (%.*s; what else may be wrong QEMU says on its stderr)",
			      was.msg, (int)hints.len, (const char *)hints.data);
	else
		(void)err_set(
		    err, was.errnum,
		    ERR_WITHIN
		    " (QEMU says why on its stderr; most often its machine differs: "
		    "-M microvm needs ioapic2=%s, rtc=%s, pit=%s, pic=%s as here, devices "
		    "-global virtio-mmio.force-legacy=%s, and -bios a file of this size)",
		    was.msg, on_off(cfg->ioapic2), on_off(cfg->rtc), on_off(cfg->pit),
		    on_off(cfg->pic), on_off(o->m->board.legacy_virtio));
}

/*
 * What the destination said before it closed the connection tells more than
 * "Broken pipe".
 */
static void prefer_peers_words(struct outgoing *o, struct err *err)
{
	struct err ignored = {0};

	if (!o->ch || !o->ch->two_way)
		return;
	(void)rp_poll(&o->rp, 0, &ignored);
	if (o->rp.cause[0] || (o->rp.shut && o->rp.shut_status))
		(void)rp_refused(&o->rp, err);
	if (o->rp.ponged && !o->rp.minivmm && (o->rp.ended || o->rp.shut))
		hint_at_qemu(o, err);
}

static void outgoing_attach(struct outgoing *o, struct channel *ch)
{
	o->ch = ch;
	ch->patience = &o->patience;
	if (!o->snapshot)
		yank_add(&o->m->yanks, &o->yank, YANK_MIGRATION, "", channel_fd(ch));
	o->w = writer_new(ch);
	o->rp = (struct return_path){.ch = ch};
	stats_phase(&o->stats, MIG_PHASE_SETUP);
}

static int outgoing_run(struct outgoing *o, struct err *err)
{
	int ret = o->mode->begin(o, err);

	if (ret == 0)
		ret = o->mode->run(o, err);
	hints_stop(o);
	if (ret < 0)
		ret = outgoing_channels_failure(o, ret, err);
	if (ret < 0 && ret != -ECANCELED)
		prefer_peers_words(o, err);
	/* Whatever failed, "Bad address" perhaps: this is why. */
	if (ret < 0 && ret != -ECANCELED && !o->released)
		(void)room_check_files(&o->m->mem, err);
	return ret;
}

/* ---- the end ---- */

/*
 * A destination that has just failed, or been killed, may be about to close the
 * disks: wait a little for them.  Machine lock held; given up meanwhile.
 */
static void await_disks(struct outgoing *o)
{
	struct machine *m = o->m;
	int64_t until = host_now_ns() + DISKS_NS;

	while (o->stopped && !o->released && host_now_ns() < until &&
	       machine_handover(m, HANDOVER_ACQUIRE, NULL) == -EBUSY) {
		machine_unlock(m);
		(void)poll(NULL, 0, (int)(RETRY_NS / NS_PER_MS));
		machine_lock(m);
	}
}

static void outgoing_fail(struct outgoing *o, const struct err *err)
{
	o->error = *err;
	if (err->errnum == EREMOTEIO)
		o->error_text = rp_refused_text(&o->rp);
	status_set(o->m, &o->status, MIG_FAILED);
}

/* Decide, once, how it ended.  Machine lock held. */
static void conclude(struct outgoing *o, int ret, struct err *err)
{
	struct machine *m = o->m;
	enum migration_status s = status_get(&o->status);
	bool late = ret == -ECANCELED && s != MIG_CANCELLING && deadline_passed(&o->deadline);

	(void)deadline_end(&o->deadline);
	if (ret < 0 && late)
		(void)stats_err_late(&o->stats, o->deadline.seconds, err);
	stats_phase(&o->stats, MIG_PHASE_ENDED);
	if (ret == 0) {
		o->mode->finish(o, true);
		stats_ended(&o->stats);
		status_set(m, &o->status, MIG_COMPLETED);
	} else if (o->released) {
		o->mode->finish(o, false);
		outgoing_fail(o, err);
	} else if (s == MIG_CANCELLING || (ret == -ECANCELED && !late)) {
		if (s != MIG_CANCELLING)
			status_set(m, &o->status, MIG_CANCELLING);
		(void)o->mode->undo(o, err); /* it says in the log what it cannot do */
		status_set(m, &o->status, MIG_CANCELLED);
	} else {
		outgoing_fail(o, err);
		(void)o->mode->undo(o, &o->error); /* *err says so too */
	}
}

/* release-ram: the memory is no longer used.  Freeing it may take long: without the lock. */
static void release_memory(struct outgoing *o)
{
	struct err err = {0};

	if (o->caps[CAP_RELEASE_RAM] && memory_release(&o->m->mem, &err) < 0)
		log_warn("%s", err.msg);
}

void outgoing_thread(struct outgoing *o, struct channel *ch, int ret, struct err *err)
{
	struct machine *m = o->m;

	if (ret == 0) {
		outgoing_attach(o, ch);
		ret = outgoing_run(o, err);
	}
	/* Before anything is announced: a file that failed is gone, a peer that waits is told. */
	postcopy_close(o);
	outgoing_close_channels(o);
	yank_del(&m->yanks, &o->yank);
	channel_close(o->ch);
	o->ch = NULL;
	machine_lock(m);
	auto_converge_stop(o);
	ram_save_stop(&o->ram);
	if (ret < 0)
		await_disks(o);
	conclude(o, ret, err);
	report_outgoing_end(o);
	machine_unlock(m);
	if (ret == 0)
		release_memory(o);
	ram_save_fini(&o->ram);
	writer_free(o->w);
	o->w = NULL;
	postcopy_free(o);
	device_state_free(&o->devices);
	rp_fini(&o->rp);
	(void)malloc_trim(0); /* this thread's arena has held the bitmaps and buffers */
	thread_set_done(&o->thread);
	wake_set(o->wake_fd);
}
