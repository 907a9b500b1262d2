/*
 * postcopy-end.c - behind the main stream: all is here, or something broke
 *
 *     the stream has ended   the package thread has, too; what is missing may be on its way on the
 *                            preempt channel; all pages are here: the session ends, SHUT
 *     it broke, and the guest does not run here     as a load that fails; the source has the guest
 *     it broke, and it does                         paused, until another connection comes
 *
 * Nothing lets go of the blocks while the guest runs and a page is missing.
 */
#include <errno.h>

#include "migration/channel/channel.h"
#include "migration/incoming/incoming.h"
#include "migration/incoming/postcopy.h"
#include "migration/incoming/report.h"
#include "migration/ram/postcopy/blocktime.h"
#include "migration/settings/info.h"
#include "migration/stream/reader.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/machine.h"
#include "vmm/memory/missing.h"
#include "vmm/vclock.h"

/* Another thread's failure is the cause, where there is one. */
static int first_failure(struct incoming_postcopy *pc, int ret, struct err *err)
{
	pthread_mutex_lock(&pc->lock);
	if (pc->failed && pc->failed != -ECANCELED) {
		ret = pc->failed;
		*err = pc->why;
	}
	pthread_mutex_unlock(&pc->lock);
	return ret;
}

/* The source has sent all: the guest runs, and what it asked for last is here. */
static int await_all(struct incoming_postcopy *pc, struct err *err)
{
	uint64_t left;
	int ret = 0;

	pthread_mutex_lock(&pc->lock);
	if (!pc->runs && !pc->went && pc->loader->commands.minivmm) {
		pthread_mutex_unlock(&pc->lock);
		return err_set(err, EPROTO, "the source has sent all, but not GO");
	}
	while (!pc->failed && !pc->done)
		pthread_cond_wait(&pc->changed, &pc->lock);
	while (!pc->failed && (pc->preempt.ch || pc->preempt_due) && !pc->preempt_done &&
	       postcopy_ram_left(pc->ram))
		pthread_cond_wait(&pc->changed, &pc->lock);
	ret = pc->failed;
	if (ret && err)
		*err = pc->why;
	pthread_mutex_unlock(&pc->lock);
	left = postcopy_ram_left(pc->ram);
	if (ret == 0 && left)
		ret = err_set(err, EPROTO,
			      "the source says that it has sent all, and %llu pages have not come",
			      (unsigned long long)left);
	return ret;
}

/* ---- it fails, or pauses ---- */

/* True: the guest will not run here. */
static bool give_up(struct incoming_postcopy *pc)
{
	bool up;

	pthread_mutex_lock(&pc->lock);
	up = pc->given_up = !pc->runs;
	pthread_cond_broadcast(&pc->changed);
	pthread_mutex_unlock(&pc->lock);
	return up;
}

static void let_go_of_channel(struct incoming_postcopy *pc)
{
	(void)postcopy_ram_attach(pc->ram, NULL, NULL);
}

/* No guest has run in the memory: whoever waits for a page, to load a device, goes on. */
static void end_session(struct incoming_postcopy *pc)
{
	struct incoming *in = pc->in;

	incoming_preempt_stop(pc, true);
	let_go_of_channel(pc);
	postcopy_ram_disown(pc->ram);
	pc->loader->commands.out = NULL;
	pc->loader->postcopy = NULL;
	memory_set_missing(&in->m->mem, NULL);
	thread_join(&pc->thread);
	machine_set_stuck(in->m, false);
}

static void set_paused(struct incoming_postcopy *pc, const struct err *err)
{
	struct incoming *in = pc->in;

	machine_lock(in->m);
	in->error = *err;
	log_error("postcopy pauses, with %llu MiB of the guest's memory at the source "
		  "(migrate-recover goes on): %s",
		  (unsigned long long)((postcopy_ram_left(pc->ram) * PAGE_BYTES + MiB - 1) / MiB),
		  err->msg);
	status_set(in->m, &in->status, MIG_POSTCOPY_PAUSED);
	wake_set(in->wake_fd); /* listening ends */
	machine_unlock(in->m);
}

/* From here on a connection that comes is another one's. */
static int pause_move(struct incoming_postcopy *pc, struct err *err)
{
	struct channel *ch = pc->loader->reader->ch;

	channel_shut_down(ch); /* a request that is being written fails */
	let_go_of_channel(pc);
	incoming_preempt_stop(pc, true);
	thread_join(&pc->thread);
	postcopy_records_reset(&pc->records);
	incoming_postcopy_disconnect(pc);
	set_paused(pc, err);
	pthread_mutex_lock(&pc->lock);
	pc->failed = 0;
	wake_clear(pc->failed_fd);
	pthread_mutex_unlock(&pc->lock);
	pc->resumed = true;
	return incoming_postcopy_await_resume(pc, err);
}

/* ---- it is complete ---- */

static int complete(struct incoming_postcopy *pc, struct err *err)
{
	struct incoming *in = pc->in;
	/* Those of a connection that was lost had brought all by the switch. */
	int ret = pc->resumed ? 0 : incoming_finish_channels(in, err);

	if (ret < 0)
		return ret;
	incoming_preempt_stop(pc, true);
	recover_listen_stop(&in->recover);
	thread_join(&pc->thread);
	let_go_of_channel(pc);
	postcopy_ram_disown(pc->ram);
	pc->loader->commands.out = NULL;
	pc->loader->postcopy = NULL;
	machine_lock(in->m);
	in->postcopy_requests = __atomic_load_n(&pc->ram->requests, __ATOMIC_RELAXED);
	in->postcopy = NULL;
	machine_unlock(in->m);
	memory_set_missing(&in->m->mem, NULL);
	machine_set_stuck(in->m, false);
	machine_lock(in->m);
	in->error = (struct err){0};
	status_set(in->m, &in->status, MIG_COMPLETED);
	report_incoming_resident(in);
	pthread_cond_broadcast(&in->m->cond);
	machine_unlock(in->m);
	wake_set(in->wake_fd);
	return 0;
}

int incoming_postcopy_finish(struct incoming_postcopy *pc, int ret, bool *kept, struct err *err)
{
	*kept = false;
	for (;;) {
		if (ret == 0)
			ret = await_all(pc, err);
		if (ret == 0)
			ret = complete(pc, err);
		if (ret == 0)
			return 0;
		ret = first_failure(pc, ret, err);
		if (give_up(pc)) {
			end_session(pc);
			return ret;
		}
		ret = wake_is_set(pc->in->cancel_fd) ? -ECANCELED : pause_move(pc, err);
		if (ret == -ECANCELED)
			break;
		if (ret == 0)
			ret = loader_records(pc->loader, err);
		else if (ret > 0)
			ret = 0;
	}
	*kept = true; /* the memory keeps the session until vCPUs have stopped */
	let_go_of_channel(pc);
	incoming_preempt_stop(pc, true);
	thread_join(&pc->thread);
	postcopy_ram_disown(pc->ram);
	pc->loader->commands.out = NULL;
	return -ECANCELED;
}

/* ---- questions ---- */

void incoming_postcopy_query(struct incoming *in, struct migration_info *info)
{
	if (!in->blocktime || info->status == MIG_FAILED)
		return;
	blocktime_read(in->blocktime, host_now_ns(), &in->waits);
	info->blocktime = &in->waits;
	info->has_blocktime = in->blocktime_on;
}

void incoming_postcopy_report_end(const struct incoming *in)
{
	if (incoming_postcopy_begun(in->postcopy))
		report_incoming_torn(in, postcopy_ram_left(in->postcopy->ram));
}

int incoming_postcopy_check(const struct incoming *in, struct err *err)
{
	enum migration_status s = status_get(&in->status);

	if (!in->postcopy || (s != MIG_POSTCOPY_PAUSED && s != MIG_POSTCOPY_RECOVER))
		return 0;
	return err_set(err, EIO,
		       "a part of the guest's memory is still at the source, and the connection is "
		       "lost (migrate-recover goes on): %s",
		       in->error.msg);
}
