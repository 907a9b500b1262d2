/*
 * postcopy.c - the guest runs at the destination before all of its memory is there
 *
 *     precopy    as precopy.c does it, until migrate-start-postcopy; without that command it also
 *                ends as a precopy
 *     switch     the guest stops; the destination learns which pages will still come, gets the
 *                devices' state in one piece, and runs the guest (postcopy-switch.c)
 *     pages      the sweep sends all that is left, what the guest waits for goes first
 *                (postcopy-pages.c)
 *     end        the destination says that it has everything: completed
 *
 * Threads.  The migration thread sweeps, and sends what is asked for too where there is one
 * connection.  The listener (postcopy-listen.c) reads what the destination says;
 * with postcopy-preempt it sends what is asked for over the second connection.
 *
 * Once the guest may run there it cannot go on here.  A connection that breaks then only
 * interrupts the migration: everything that has not gone is kept, the status is
 * postcopy-paused, and it goes on over a new connection (postcopy-recover.c).
 */
#include "migration/outgoing/postcopy.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/outgoing/connect.h"
#include "migration/outgoing/handover.h"
#include "migration/outgoing/modes.h"
#include "migration/outgoing/outgoing.h"
#include "migration/stream/writer.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/machine.h"

bool postcopy_wanted(const struct outgoing *o)
{
	return __atomic_load_n(&o->start_postcopy, __ATOMIC_RELAXED) ||
	       deadline_switches(&o->deadline);
}

/* ---- the object ---- */

static int postcopy_new(struct outgoing *o, struct err *err)
{
	struct postcopy *pc;

	if (o->postcopy)
		return 0;
	pc = NEW(struct postcopy);
	pc->o = o;
	pc->pidfd = -1;
	pthread_mutex_init(&pc->lock, NULL);
	pthread_mutex_init(&pc->urgent_lock, NULL);
	pc->wake_fd = wake_open();
	o->postcopy = pc;
	return pc->wake_fd < 0 ? err_set(err, EMFILE, "cannot make an eventfd for postcopy") : 0;
}

static void close_urgent(struct postcopy *pc)
{
	channel_close(pc->urgent);
	pc->urgent = NULL;
	writer_free(pc->urgent_w);
	pc->urgent_w = NULL;
}

void postcopy_close(struct outgoing *o)
{
	if (!o->postcopy)
		return;
	postcopy_listen_stop(o);
	close_urgent(o->postcopy);
}

void postcopy_free(struct outgoing *o)
{
	struct postcopy *pc = o->postcopy;

	if (!pc)
		return;
	if (pc->pidfd >= 0)
		(void)close(pc->pidfd);
	if (pc->wake_fd >= 0)
		(void)close(pc->wake_fd);
	pthread_mutex_destroy(&pc->urgent_lock);
	pthread_mutex_destroy(&pc->lock);
	free(pc);
	o->postcopy = NULL;
}

void postcopy_attach(struct outgoing *o, struct channel *ch)
{
	o->ch = ch;
	ch->patience = &o->patience;
	yank_add(&o->m->yanks, &o->yank, YANK_MIGRATION, "", channel_fd(ch));
	o->w = writer_new(ch);
	rp_fini(&o->rp);
	o->rp = (struct return_path){.ch = ch, .ponged = true, .minivmm = o->rp.minivmm};
	o->ram.stream.w = o->w;
	o->ram.stream.last_block = NULL;
}

void postcopy_detach(struct outgoing *o)
{
	yank_del(&o->m->yanks, &o->yank);
	channel_close(o->ch);
	o->ch = NULL;
	writer_free(o->w);
	o->w = NULL;
	close_urgent(o->postcopy);
}

/* ---- set-up ---- */

int postcopy_advise(struct outgoing *o, struct err *err)
{
	const struct memory *mem = &o->m->mem;
	uint64_t sizes = 0;
	uint8_t payload[16];
	int ret;

	if (!o->caps[CAP_POSTCOPY_RAM])
		return 0;
	for (size_t i = 0; i < mem->n_blocks; i++)
		sizes |= mem->blocks[i]->page_bytes;
	put_be64(payload, sizes);
	put_be64(payload + 8, PAGE_BYTES);
	ret = stream_put_command(o->w, CMD_POSTCOPY_ADVISE, payload, sizeof(payload));
	return writer_explain(o->w, ret, err);
}

int postcopy_check_peer(const struct outgoing *o, struct err *err)
{
	if (!o->caps[CAP_POSTCOPY_RAM] || !o->multifd || !o->flush_sections || !o->rp.ponged ||
	    o->rp.minivmm)
		return 0;
	return err_set(err, ENOTSUP,
		       "QEMU before 8.1, which multifd-flush-after-each-section=on is for, ends "
		       "by itself at the end of a postcopy with multifd, and the guest with it: "
		       "switch one of 'multifd' and 'postcopy-ram' off");
}

int postcopy_open_urgent(struct outgoing *o, bool early, struct err *err)
{
	struct postcopy *pc;
	int ret;

	if (!o->caps[CAP_POSTCOPY_PREEMPT] || (o->postcopy && o->postcopy->urgent))
		return 0;
	ret = postcopy_new(o, err);
	if (ret < 0)
		return ret;
	pc = o->postcopy;
	pc->urgent = outgoing_connect(o, &o->uri, &o->to, -1, &o->tls, o->deadline.stop_fd, err);
	if (!pc->urgent)
		return err->errnum == ECANCELED
			   ? -ECANCELED
			   : err_prefix(err, -EIO,
					"the connection of postcopy-preempt (is it on at the "
					"destination too?)");
	channel_bound_silence(pc->urgent);
	pc->urgent_w = writer_new(pc->urgent);
	pc->urgent_early = early;
	return 0;
}

static int postcopy_begin(struct outgoing *o, struct err *err)
{
	if (!o->ch->two_way)
		return err_set(
		    err, EINVAL,
		    "postcopy-ram needs a destination that can ask for pages: tcp:, unix: "
		    "or a socket in fd:");
	return outgoing_set_up(o, err);
}

/* ---- run ---- */

static int postcopy_prepare(struct outgoing *o, struct err *err)
{
	int ret = postcopy_new(o, err);

	if (!__atomic_exchange_n(&o->start_postcopy, true, __ATOMIC_RELAXED))
		log_notice("the deadline (x-minivmm-deadline) has passed: the guest goes to "
			   "postcopy");
	return ret == 0 ? postcopy_switch(o, err) : ret;
}

/* The guest may run there, or is about to: until all of it is. */
static int postcopy_move(struct outgoing *o, struct err *err)
{
	struct postcopy *pc = o->postcopy;
	int ret;

	for (;;) {
		struct postcopy_news news;

		ret = postcopy_pages(o, err);
		news = postcopy_news(pc);
		postcopy_listen_stop(o);
		if (ret == 0 || ret == -ECANCELED)
			return ret;
		ret = postcopy_failed(o, ret, &news, err);
		if (ret == 0)
			ret = postcopy_await_resume(o, err);
		if (ret < 0)
			return ret;
	}
}

static int postcopy_run(struct outgoing *o, struct err *err)
{
	int ret;

	do {
		ret = precopy_iterate(o, err);
		if (ret == 0)
			ret = postcopy_wanted(o) ? postcopy_prepare(o, err) : switchover(o, err);
	} while (ret == -EAGAIN && (ret = precopy_go_on(o, err)) == 0);
	if (ret == 0 && o->postcopy && o->postcopy->packaged)
		ret = postcopy_move(o, err);
	if (o->postcopy)
		postcopy_listen_stop(o);
	return ret;
}

/* Machine lock held. */
static void postcopy_finish(struct outgoing *o, bool certain)
{
	bool confirmed = o->postcopy && o->postcopy->confirmed;

	guest_leave(o, certain);
	if (confirmed)
		machine_set_handed(o->m, o->where, true);
}

const struct migration_mode postcopy_mode = {
    .name = "postcopy",
    .check = outgoing_check_channels,
    .begin = postcopy_begin,
    .run = postcopy_run,
    .finish = postcopy_finish,
    .undo = guest_keep,
};
