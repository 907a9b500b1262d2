/*
 * outgoing.c - the migration thread: set-up, and how it ends
 *
 *     setup     connect; header; return path and PING on a two-way channel;
 *               with minivmm at the other end, do the machines fit?
 *               dirty tracking, the list of RAM blocks
 *     active    passes.c, then switchover.c
 *     end       whatever happened: either the destination has the guest, or
 *               it goes on here as if nothing had been (see switchover.c for
 *               the one case in between)
 *
 * The thread waits only in poll(), always with deadline.stop_fd beside it: a
 * cancel and a deadline end every wait.
 */
#include "migration/outgoing/outgoing.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "migration/channel/channel.h"
#include "migration/channel/checksum.h"
#include "migration/channel/open.h"
#include "migration/outgoing/handover.h"
#include "migration/outgoing/report.h"
#include "migration/stream/device-state.h"
#include "migration/stream/wire.h"
#include "migration/stream/writer.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/machine.h"
#include "vmm/vclock.h"

#define NS_PER_MS ((int64_t)1000000)
#define PEER_MS   1000 /* how long the first PONG may take */
#define RETRY_NS  (10 * NS_PER_MS)
#define DISKS_NS  (3000 * NS_PER_MS) /* how long a destination that failed may hold the disks */
/*
 * Both ends work at the same time then, instead of in turn.  Not where a
 * program in between may carry the bytes on slowly: what lies in the queue
 * when the guest is stopped lengthens its pause.
 */
#define SEND_BUFFER_BYTES MiB

void outgoing_init(struct outgoing *o)
{
	o->fd = -1;
	o->cancel_fd = wake_open();
	o->kick_fd = wake_open();
	stats_init(&o->stats);
	(void)deadline_init(&o->deadline, o->cancel_fd); /* stop_fd says whether */
}

/* ---- the other end ---- */

int outgoing_listen(struct outgoing *o, struct err *err)
{
	int ret;

	if (channel_cancelled(o->ch))
		return err_set(err, ECANCELED, "the migration was cancelled");
	if (!o->ch->two_way)
		return 0;
	ret = rp_poll(&o->rp, 0, err);
	if (ret < 0)
		return ret;
	if (o->rp.cause[0] || (o->rp.shut && o->rp.shut_status))
		return rp_refused(&o->rp, err);
	if (o->rp.shut)
		return err_set(err, EPROTO,
			       "the destination said that the guest runs before it had it all");
	if (o->rp.ended)
		return err_set(err, ECONNRESET, "the destination closed the connection");
	return o->multifd ? multifd_send_check(o->multifd, err) : 0;
}

/* QEMU only closes the connection, or says that it failed: its reason is on its stderr. */
static void hint_at_qemu(struct err *err)
{
	struct err was = *err;

	(void)err_set(err, was.errnum,
		      "%.280s (QEMU says why on its stderr; most often its machine differs: "
		      "-M microvm needs ioapic2=off and rtc=on, pit=on, pic=on as here, devices "
		      "-global virtio-mmio.force-legacy=false, and -bios a file of this size)",
		      was.msg);
}

/*
 * What the destination said before it closed the connection tells more than
 * "Broken pipe".
 */
static void prefer_peers_words(struct outgoing *o, struct err *err)
{
	struct err ignored = {0};

	if (!o->ch->two_way)
		return;
	(void)rp_poll(&o->rp, 0, &ignored);
	if (o->rp.cause[0] || (o->rp.shut && o->rp.shut_status))
		(void)rp_refused(&o->rp, err);
	if (o->rp.ponged && !o->rp.minivmm && (o->rp.ended || o->rp.shut))
		hint_at_qemu(err);
}

/*
 * Open the return path and see who is there.  Somebody who does not answer is
 * taken for one who only stores the bytes.
 */
static int rp_handshake(struct outgoing *o, struct err *err)
{
	int64_t until = host_now_ns() + PEER_MS * NS_PER_MS;
	uint8_t cookie[4];
	int ret;

	put_be32(cookie, COOKIE_SOURCE);
	ret = stream_put_command(o->w, CMD_OPEN_RETURN_PATH, NULL, 0);
	if (ret == 0)
		ret = stream_put_command(o->w, CMD_PING, cookie, sizeof(cookie));
	if (ret < 0)
		return writer_explain(o->w, ret, err);
	ret = outgoing_open_channels(o, err);
	if (ret < 0)
		return ret;
	while (!o->rp.ponged && !o->rp.ended) {
		int64_t left = until - host_now_ns();

		if (left <= 0)
			break;
		ret = rp_poll(&o->rp, (int)(left / NS_PER_MS) + 1, err);
		if (ret < 0)
			return ret;
	}
	return outgoing_listen(o, err);
}

/* ---- set-up ---- */

static int open_channel(struct outgoing *o, struct err *err)
{
	int fd = o->fd;

	o->fd = -1;
	o->ch = channel_open(&o->uri, &o->to, fd, true, o->deadline.stop_fd, err);
	if (uri_is_address(o->uri.kind))
		o->ch = channel_with_layer(o->ch, o->set->layer, false, err);
	if (!o->ch)
		return err->errnum == ECANCELED ? -ECANCELED : -EIO;
	o->checksum = o->checksum && !o->ch->two_way;
	if (o->checksum)
		o->ch = channel_checksum_write(o->ch);
	o->ch->patience = &o->patience;
	if (o->uri.kind == URI_UNIX)
		channel_send_buffer(o->ch, SEND_BUFFER_BYTES);
	yank_add(&o->m->yanks, &o->yank, YANK_MIGRATION, "", channel_fd(o->ch));
	o->w = writer_new(o->ch);
	o->rp = (struct return_path){.ch = o->ch};
	return 0;
}

/* A guest that has never run has nothing in memory yet: put its kernel there, for the other side.
 */
static int stage(struct machine *m, struct err *err)
{
	return m->needs_boot && !machine_running(m) ? machine_reset(m, err) : 0;
}

static int outgoing_set_up_ram(struct outgoing *o, struct err *err)
{
	struct machine *m = o->m;
	uint64_t bytes;
	int ret;

	ram_save_init(&o->ram, m, o->w, o->checksum ? RAM_ID_CHECKSUM : o->ram_section_id);
	o->ram.ignore_shared = o->caps[CAP_X_IGNORE_SHARED];
	o->ram.stream.runs = o->rp.minivmm;
	if (o->rp.minivmm) /* which says that it has them all before the guest is given up */
		channel_use_splice(o->ch);
	if (o->rp.minivmm && o->multifd)
		multifd_send_splice(o->multifd);
	machine_lock(m);
	ret = stage(m, err);
	if (ret == 0)
		ret = ram_save_encoders(&o->ram, o->caps, &o->set->params,
					&o->set->xbzrle_cache_bytes, err);
	if (o->multifd)
		ram_save_use(&o->ram, o->multifd);
	if (ret == 0)
		ret = ram_save_start(&o->ram, err);
	if (ret == 0)
		ret = auto_converge_start(o, err);
	machine_unlock(m);
	if (ret == 0)
		ret = handshake_memory(o, err);
	bytes = o->w->bytes;
	if (ret == 0)
		ret = ram_save_begin(&o->ram, err);
	if (ret < 0)
		return ret;
	outgoing_count(o, bytes, &o->ram.stream.count);
	return outgoing_sync(o, err);
}

static int outgoing_set_up(struct outgoing *o, struct err *err)
{
	struct machine *m = o->m;
	bool active;
	int ret = stream_put_header(o->w, m, o->caps);

	if (ret == 0)
		ret = writer_flush(o->w);
	if (ret < 0)
		return writer_explain(o->w, ret, err);
	if (o->ch->two_way) {
		ret = rp_handshake(o, err);
		if (ret < 0)
			return ret;
	}
	ret = handshake_machines(o, err);
	if (ret == 0)
		ret = outgoing_set_up_ram(o, err);
	if (ret < 0)
		return ret;
	machine_lock(m);
	if (!machine_running(m))
		stats_stopped(&o->stats, host_now_ns());
	active = status_move(m, &o->status, MIG_SETUP, MIG_ACTIVE);
	machine_unlock(m);
	stats_active(&o->stats);
	return active ? 0 : err_set(err, ECANCELED, "the migration was cancelled");
}

static int outgoing_run(struct outgoing *o, struct err *err)
{
	int ret = outgoing_check_channels(o, err);

	if (ret == 0)
		ret = open_channel(o, err);
	if (ret < 0)
		return ret;
	stats_phase(&o->stats, MIG_PHASE_SETUP);
	ret = outgoing_set_up(o, err);
	while (ret == 0) {
		ret = precopy_iterate(o, err);
		if (ret == 0)
			ret = switchover(o, err);
		if (ret != -EAGAIN)
			break;
		stats_phase(&o->stats, MIG_PHASE_PASS);
		ret = outgoing_sleep(o, host_now_ns() + RETRY_NS, err);
	}
	if (ret < 0)
		ret = outgoing_channels_failure(o, ret, err);
	if (ret < 0 && ret != -ECANCELED)
		prefer_peers_words(o, err);
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
	       machine_handover(m, HANDOVER_TAKE, NULL) == -EBUSY) {
		machine_unlock(m);
		(void)poll(NULL, 0, (int)(RETRY_NS / NS_PER_MS));
		machine_lock(m);
	}
}

/* The guest is the destination's, or a store has it as well.  Machine lock held. */
static void guest_leave(struct outgoing *o, bool certain)
{
	struct machine *m = o->m;
	struct err err = {0};

	/* It lives on in the very memory that is mapped here. */
	m->memory_given = m->memory_given || (certain && o->shared_given);
	m->memory_released = m->memory_released || (certain && o->caps[CAP_RELEASE_RAM]);
	m->requests.frozen = false;
	if (o->stored) {
		machine_set_kept(m);
	} else {
		machine_set_handed(m, o->where, certain);
		/* Those that GO brought; in doubt they stay with the guest that may be here. */
		if (certain) {
			machine_request_delivered(m, REQUEST_POWERDOWN);
			machine_request_delivered(m, REQUEST_RESET);
		}
	}
	if (machine_set_state(m, RS_POSTMIGRATE, &err) < 0)
		log_error("the guest was handed to %s: %s", o->where, err.msg);
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
		guest_leave(o, true);
		stats_ended(&o->stats);
		status_set(m, &o->status, MIG_COMPLETED);
	} else if (o->released) {
		guest_leave(o, false);
		outgoing_fail(o, err);
	} else if (s == MIG_CANCELLING || (ret == -ECANCELED && !late)) {
		if (s != MIG_CANCELLING)
			status_set(m, &o->status, MIG_CANCELLING);
		(void)guest_keep(o, err); /* it says in the log what it cannot do */
		status_set(m, &o->status, MIG_CANCELLED);
	} else {
		outgoing_fail(o, err);
		(void)guest_keep(o, &o->error); /* *err says so too */
	}
}

/* release-ram: nobody looks at it any more.  It may take long: without the lock. */
static void release_memory(struct outgoing *o)
{
	struct err err = {0};

	if (o->caps[CAP_RELEASE_RAM] && memory_release(&o->m->mem, &err) < 0)
		log_warn("%s", err.msg);
}

void *outgoing_thread(void *opaque)
{
	struct outgoing *o = opaque;
	struct machine *m = o->m;
	struct err err = {0};
	int ret = outgoing_run(o, &err);

	/* Before anything is announced: a file that failed is gone, a peer that waits is told. */
	outgoing_close_channels(o);
	yank_del(&m->yanks, &o->yank);
	channel_close(o->ch);
	o->ch = NULL;
	machine_lock(m);
	auto_converge_stop(o);
	ram_save_stop(&o->ram);
	if (ret < 0)
		await_disks(o);
	conclude(o, ret, &err);
	report_outgoing_end(o);
	machine_unlock(m);
	if (ret == 0)
		release_memory(o);
	ram_save_fini(&o->ram);
	writer_free(o->w);
	o->w = NULL;
	device_state_free(&o->devices);
	rp_fini(&o->rp);
	thread_set_done(&o->thread);
	wake_set(o->wake_fd);
	return NULL;
}
