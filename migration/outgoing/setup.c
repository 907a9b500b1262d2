/*
 * setup.c - everything in front of the first page
 *
 *     header         magic, configuration
 *     return path    OPEN_RETURN_PATH and PING on a two-way channel: is there a
 *                    destination, and is it minivmm?  With multifd the
 *                    channels for pages are opened here
 *     machines       two minivmm compare their machines (handshake.c)
 *     RAM            encoders, dirty tracking, the list of blocks, the first sync
 *
 * The machine lock is held only where the machine is touched: a peer that does
 * not answer must not hold it up.
 */
#include <errno.h>

#include "migration/channel/channel.h"
#include "migration/outgoing/hints.h"
#include "migration/outgoing/outgoing.h"
#include "migration/outgoing/postcopy.h"
#include "migration/outgoing/rp-wait.h"
#include "migration/stream/device-state.h"
#include "migration/stream/writer.h"
#include "vmm/base/bytes.h"
#include "vmm/machine.h"
#include "vmm/vclock.h"

#define PEER_MS 1000 /* how long the first PONG may take */

/*
 * Open the return path and see what is there.  A peer that does not answer is
 * taken for one that only stores the bytes.
 */
static int rp_handshake(struct outgoing *o, struct err *err)
{
	uint8_t cookie[4];
	int ret;

	put_be32(cookie, COOKIE_SOURCE);
	ret = stream_put_command(o->w, CMD_OPEN_RETURN_PATH, NULL, 0);
	if (ret == 0)
		ret = stream_put_command(o->w, CMD_PING, cookie, sizeof(cookie));
	if (ret < 0)
		return writer_explain(o->w, ret, err);
	ret = postcopy_advise(o, err);
	if (ret == 0)
		ret = outgoing_open_channels(o, err);
	if (ret == 0 && o->set->preempt_pre_7_2)
		ret = postcopy_open_urgent(o, true, err);
	if (ret == 0)
		ret = rp_wait_answer(o, PEER_MS, err);
	/* A QEMU 7.2 waits for it, and says nothing until then. */
	if (ret == 0 && !o->rp.ponged)
		ret = postcopy_open_urgent(o, true, err);
	return ret == 0 ? outgoing_listen(o, err) : ret;
}

int outgoing_load_kernel(struct machine *m, struct err *err)
{
	return m->needs_boot && !machine_running(m) ? machine_reset(m, err) : 0;
}

static int outgoing_set_up_ram(struct outgoing *o, struct err *err)
{
	struct machine *m = o->m;
	uint64_t bytes;
	int ret;

	ret = outgoing_open_file(o, err);
	if (ret < 0)
		return ret;
	ram_save_init(&o->ram, m, o->w, o->checksum ? RAM_ID_CHECKSUM : o->ram_section_id);
	o->ram.ignore_shared = o->caps[CAP_X_IGNORE_SHARED];
	o->ram.stream.runs = o->rp.minivmm;
	if (o->rp.minivmm) /* which says that it has them all before the guest is given up */
		channel_use_splice(o->ch, false);
	machine_lock(m);
	ret = outgoing_load_kernel(m, err);
	if (ret == 0)
		ret = ram_save_encoders(&o->ram, o->caps, &o->set->params,
					&o->set->xbzrle_cache_bytes, err);
	outgoing_use_channels(o);
	if (o->mapped)
		ram_save_map(&o->ram, o->mapped);
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
	ret = outgoing_check_flush(o, err);
	return ret == 0 ? outgoing_sync(o, err) : ret;
}

int outgoing_set_up(struct outgoing *o, struct err *err)
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
	ret = postcopy_check_peer(o, err);
	if (ret == 0)
		ret = handshake_machines(o, err);
	if (ret == 0)
		ret = outgoing_set_up_ram(o, err);
	if (ret < 0)
		return ret;
	machine_lock(m);
	if (!machine_running(m))
		stats_stopped(&o->stats, host_now_ns());
	else if (!o->caps[CAP_POSTCOPY_RAM]) /* there, every page may be asked for */
		hints_start(o);
	active = status_move(m, &o->status, MIG_SETUP, MIG_ACTIVE);
	machine_unlock(m);
	stats_active(&o->stats);
	return active ? 0 : err_set(err, ECANCELED, "the migration was cancelled");
}
