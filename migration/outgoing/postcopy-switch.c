/*
 * postcopy-switch.c - from the guest that runs here to one that runs there
 *
 *     destination is QEMU
 *         S             stops the guest, releases it: can no longer resume by itself
 *         S -> D  DISCARD of what will still come, PING 2, the package {LISTEN, devices,
 *                 PING 3, PING 0x42, RUN}, PING 4, pages
 *         D -> S  PONG 3, PONG 0x42: it has loaded the devices and runs the guest
 *       The package was not sent whole: S resumes.  It was, and D says that it failed, or its
 *       process is known to have ended before PONG 3: S resumes too.  Anything else that
 *       breaks before PONG 3 leaves it open where the guest is: paused.
 *     destination is minivmm
 *         S             stops the guest
 *         S -> D  the same package without RUN, PING 4, pages
 *         D -> S  READY  the devices are loaded, D does not run the guest yet
 *         S             releases it
 *         S -> D  GO, with requests that have come; PING 5
 *         D -> S  PONG 5: it runs the guest
 *       Anything that fails before GO was sent whole: S resumes.  Between GO and PONG 5: as
 *       between the package and PONG 3.
 *
 * Status: device while the package is made, postcopy-device once it is sent, postcopy-active when
 * the guest is known to be there.
 */
#include <errno.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/outgoing/handover.h"
#include "migration/outgoing/outgoing.h"
#include "migration/outgoing/postcopy.h"
#include "migration/outgoing/switchover.h"
#include "migration/ram/postcopy/send.h"
#include "migration/stream/device-state.h"
#include "migration/stream/writer.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/probes.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/vclock.h"

#define DEATH_MS    2000 /* between a process's sockets closing and its end */
#define LOST_MS     1000 /* the same, where nothing but words depends on it */
#define SEND_BUFFER (128 * KiB)

/* ---- the package ---- */

static void put_ping(struct buf *b, uint32_t cookie)
{
	uint8_t payload[4];

	put_be32(payload, cookie);
	buf_command(b, CMD_PING, payload, sizeof(payload));
}

static int put_package(struct outgoing *o)
{
	const struct buf *sections = &o->devices.sections;
	struct buf b = {0}, tail = {0};
	uint8_t n[4];
	int ret;

	put_ping(&tail, COOKIE_PACKAGE);
	put_ping(&tail, COOKIE_STARTED);
	if (!o->rp.minivmm)
		buf_command(&tail, CMD_POSTCOPY_RUN, NULL, 0);
	buf_command(&b, CMD_POSTCOPY_LISTEN, NULL, 0);
	put_be32(n, (uint32_t)(b.len + sections->len + tail.len));
	ret = stream_put_command(o->w, CMD_PACKAGED, n, sizeof(n));
	if (ret == 0)
		ret = writer_put(o->w, b.data, b.len);
	if (ret == 0)
		ret = writer_put(o->w, sections->data, sections->len);
	if (ret == 0)
		ret = writer_put(o->w, tail.data, tail.len);
	buf_free(&b);
	buf_free(&tail);
	return ret;
}

static int put_all(struct outgoing *o)
{
	uint8_t cookie[4];
	int ret = postcopy_send_discards(&o->ram, o->w);

	put_be32(cookie, COOKIE_DISCARDED);
	if (ret == 0)
		ret = stream_put_command(o->w, CMD_PING, cookie, sizeof(cookie));
	if (ret == 0)
		ret = put_package(o);
	return ret == 0 ? writer_flush(o->w) : ret;
}

/* What a request waits for lies in the socket: little of it. */
static void prepare_channel(struct outgoing *o)
{
	channel_bound_silence(o->ch);
	o->ch->cancel_fd = o->deadline.stop_fd; /* channels of multifd are idle from now on */
	if (!o->postcopy->urgent)
		channel_send_buffer(o->ch, SEND_BUFFER);
}

static int send_package(struct outgoing *o, struct err *err)
{
	struct postcopy *pc = o->postcopy;
	bool moved;
	int ret = o->rp.minivmm ? ownership_check(o) : ownership_release(o, err);

	if (ret < 0)
		return ret;
	stats_phase(&o->stats, MIG_PHASE_DEVICES);
	postcopy_send_begin(&o->ram);
	prepare_channel(o);
	ret = switchover_put_start(o, err);
	if (ret == 0)
		ret = postcopy_listen_start(o, err);
	if (ret == 0)
		ret = writer_explain(o->w, put_all(o), err);
	if (ret < 0) {
		postcopy_listen_stop(o);
		ownership_reclaim(o);
		return ret;
	}
	machine_lock(o->m);
	moved = status_move(o->m, &o->status, MIG_DEVICE, MIG_POSTCOPY_DEVICE);
	machine_unlock(o->m);
	if (!moved) /* a minivmm, which waits for GO */
		return err_cancelled(err);
	pc->packaged = true;
	PROBE(switchover_sent, o->w->bytes);
	stats_postcopy(&o->stats);
	if (!o->rp.minivmm)
		pc->pidfd = peer_watch_socket(channel_fd(o->ch));
	return 0;
}

int postcopy_switch(struct outgoing *o, struct err *err)
{
	int ret = switchover_prepare(o, err);

	if (ret == 0 && !o->rp.ponged)
		ret = err_set(err, ETIMEDOUT,
			      "the destination does not answer, and postcopy needs one that does");
	if (ret == 0)
		ret = postcopy_open_urgent(o, false, err);
	return ret == 0 ? switchover_send(o, send_package, err) : ret;
}

/* ---- the steps behind it ---- */

static int give_guest(struct outgoing *o, const struct postcopy_news *news, struct err *err)
{
	struct postcopy *pc = o->postcopy;
	uint8_t cookie[4];
	int ret;

	pc->pidfd = peer_watch(&news->peer);
	if (pc->pidfd == -ESRCH)
		return err_set(err, ECONNRESET, "the destination ended before it took the guest");
	ret = ownership_release(o, err);
	if (ret < 0)
		return ret;
	ret = ownership_put_go(o);
	if (ret == 0)
		ret = writer_flush(o->w);
	if (ret < 0) { /* a GO that was not sent whole is none */
		ownership_reclaim(o);
		return writer_explain(o->w, ret, err);
	}
	pc->gone = true;
	put_be32(cookie, COOKIE_RUNS);
	ret = stream_put_command(o->w, CMD_PING, cookie, sizeof(cookie));
	if (ret == 0)
		ret = writer_flush(o->w);
	return writer_explain(o->w, ret, err);
}

void postcopy_confirm(struct outgoing *o)
{
	o->postcopy->confirmed = true;
	machine_lock(o->m);
	machine_set_handed(o->m, o->where, true);
	(void)status_move(o->m, &o->status, MIG_POSTCOPY_DEVICE, MIG_POSTCOPY_ACTIVE);
	machine_unlock(o->m);
	PROBE(switchover_end, 0);
	stats_resumed(&o->stats, host_now_ns());
}

static int confirm(struct outgoing *o)
{
	postcopy_confirm(o);
	return 0;
}

int postcopy_step(struct outgoing *o, const struct postcopy_news *news, struct err *err)
{
	struct postcopy *pc = o->postcopy;

	if (pc->confirmed)
		return 0;
	if (!o->rp.minivmm)
		return news->loaded ? confirm(o) : 0;
	if (!pc->gone)
		return news->ready ? give_guest(o, news, err) : 0;
	return news->runs ? confirm(o) : 0;
}

/* ---- failures ---- */

int postcopy_err_lost(struct outgoing *o, struct err *err)
{
	return err_set(err, ECONNRESET,
		       "the destination's program has ended, and the guest with it: what is here "
		       "is the guest as it was before it ran there, with %.1f MB that it had not "
		       "got yet; 'cont' with 'x-minivmm-force' runs that",
		       (double)(ram_save_left_pages(&o->ram) * PAGE_BYTES) / 1e6);
}

/* Machine lock held. */
static void set_paused(struct outgoing *o, const struct err *err)
{
	bool sure = o->postcopy->confirmed;

	o->error = *err;
	if (!sure)
		(void)err_set(&o->error, err->errnum,
			      "the destination was given the guest and has not confirmed that it "
			      "runs it (" ERR_WITHIN
			      "): 'cont' with 'x-minivmm-force' only if it does not run there",
			      err->msg);
	status_set(o->m, &o->status, MIG_POSTCOPY_PAUSED);
	log_notice("the move to %.300s is interrupted: " ERR_WITHIN
		   "; migrate-recover there and 'migrate' with 'resume' here go on with it",
		   o->where, o->error.msg);
}

int postcopy_failed(struct outgoing *o, int ret, const struct postcopy_news *news, struct err *err)
{
	int said = postcopy_news_failure(news, err);
	struct postcopy *pc = o->postcopy;

	/* The listener has shut the socket down for it, which is what *err may say. */
	if (said < 0)
		ret = said;
	if (!o->released)
		return ret;
	if (!pc->confirmed && news->refused) {
		ownership_reclaim(o);
		return ret;
	}
	if (pc->pidfd >= 0 && peer_ended(pc->pidfd, pc->confirmed ? LOST_MS : DEATH_MS)) {
		if (pc->confirmed)
			return postcopy_err_lost(o, err);
		ownership_reclaim(o);
		return err_set(err, ECONNRESET, "the destination ended before it ran the guest");
	}
	machine_lock(o->m);
	set_paused(o, err);
	machine_unlock(o->m);
	return 0;
}
