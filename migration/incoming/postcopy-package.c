/*
 * postcopy-package.c - the package thread: devices, and the guest runs
 *
 *     load the sections - push them into KVM, probe the disks - tell the source - run the guest
 *
 * QEMU is told by the answer to a PING of the package, minivmm by READY; what can
 * fail has been tried before, because a source may take the guest back until then.  QEMU expects
 * the guest to run when it has said RUN.  A minivmm says GO on the main stream, and learns from
 * the answer to a PING behind it that the guest runs.
 *
 * The load thread fails first when the connection breaks: then the guest does not run here, unless
 * it has begun to.  One flag decides that (runs, given_up).
 */
#include <errno.h>

#include "devices/vmgenid.h"
#include "migration/incoming/arrival.h"
#include "migration/incoming/incoming.h"
#include "migration/incoming/postcopy.h"
#include "migration/peer/process.h"
#include "migration/stream/wire.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/machine.h"
#include "vmm/memory/room.h"

static int push(struct incoming_postcopy *pc, struct err *err)
{
	int ret;

	if (pc->pushed)
		return 0;
	ret = room_check_files(&pc->in->m->mem, err);
	if (ret == 0)
		ret = arrival_push(pc->in, err);
	if (ret == 0)
		ret = vmgenid_kept(pc->in->m, err);
	pc->pushed = ret == 0;
	return ret;
}

int incoming_postcopy_ping(struct incoming_postcopy *pc, bool in_package, uint32_t cookie,
			   struct err *err)
{
	int later = 0;

	if (in_package)
		return push(pc, err);
	if (cookie != COOKIE_RUNS || !pc->loader->commands.minivmm)
		return 0;
	pthread_mutex_lock(&pc->lock);
	if (!pc->went)
		later = err_set(err, EINVAL, "the source asks whether the guest runs, without GO");
	else if (!pc->done)
		later = pc->pong_due = true;
	pthread_mutex_unlock(&pc->lock);
	return later;
}

/* The guest is to run now: -ECANCELED when the load has failed in the meantime. */
static int decide(struct incoming_postcopy *pc, bool await_go)
{
	int ret = 0;

	pthread_mutex_lock(&pc->lock);
	while (await_go && !pc->went && !pc->given_up)
		pthread_cond_wait(&pc->changed, &pc->lock);
	if (pc->given_up)
		ret = -ECANCELED;
	else
		pc->runs = true;
	pthread_mutex_unlock(&pc->lock);
	return ret;
}

/* The source keeps the guest: what had been decided is not so. */
static void undecide(struct incoming_postcopy *pc)
{
	pthread_mutex_lock(&pc->lock);
	pc->runs = false;
	pthread_mutex_unlock(&pc->lock);
}

static int send_ready(struct incoming_postcopy *pc, struct err *err)
{
	struct buf b = {0};
	int ret;

	pthread_mutex_lock(&pc->lock);
	pc->ready = true; /* GO may come at once */
	pthread_mutex_unlock(&pc->lock);
	peer_put_self(&b);
	ret = rp_out_send(&pc->ram->out, RP_READY, b.data, b.len, err);
	buf_free(&b);
	return ret;
}

/* A minivmm has it still, and takes it back when this end says that it cannot have it. */
static int run_by_go(struct incoming_postcopy *pc, struct err *err)
{
	int ret = send_ready(pc, err);

	if (ret == 0)
		ret = decide(pc, true);
	if (ret < 0)
		return ret;
	ret = arrival_take_over(pc->in, &pc->asked, err);
	if (ret < 0)
		undecide(pc);
	return ret;
}

/* There is no way back: a guest whose disks cannot be had is here, and paused. */
static int run_by_run(struct incoming_postcopy *pc, struct err *err)
{
	const struct go_requests none = {0};
	int ret = decide(pc, false);

	if (ret < 0)
		return ret;
	if (arrival_take_over(pc->in, &none, err) < 0) {
		log_error("the guest is here, and paused ('cont' tries again): %s", err->msg);
		arrival_keep(pc->in);
	}
	return 0;
}

static int package_run(struct incoming_postcopy *pc, struct err *err)
{
	const struct command_state *main = &pc->loader->commands;
	struct src in = src_mem(pc->package, pc->package_bytes);
	struct loader *l = &pc->devices;
	int ret;

	loader_init(l, pc->in->m, NULL, &in);
	l->package = true;
	l->commands.ch = main->ch;
	l->commands.caps = main->caps;
	l->commands.return_path = main->return_path;
	l->commands.minivmm = main->minivmm;
	l->commands.out = &pc->ram->out;
	l->commands.postcopy = pc;
	l->commands.package = true;
	ret = loader_records(l, err);
	if (ret == 0)
		ret = push(pc, err);
	if (ret == 0 && !l->commands.run && !main->minivmm)
		ret = err_set(err, EINVAL, "the package has no POSTCOPY_RUN");
	if (ret == 0)
		ret = l->commands.run ? run_by_run(pc, err) : run_by_go(pc, err);
	loader_fini(l);
	return ret;
}

static void answer_runs(struct incoming_postcopy *pc)
{
	uint8_t payload[4];
	bool due;

	pthread_mutex_lock(&pc->lock);
	due = pc->pong_due;
	pc->done = true;
	pthread_cond_broadcast(&pc->changed);
	pthread_mutex_unlock(&pc->lock);
	put_be32(payload, COOKIE_RUNS);
	if (due)
		(void)rp_out_send(&pc->ram->out, RP_PONG, payload, sizeof(payload), NULL);
}

void *incoming_package_thread(void *opaque)
{
	struct incoming_postcopy *pc = opaque;
	struct err err = {0};
	int ret = package_run(pc, &err);

	if (ret < 0)
		incoming_postcopy_fail(pc, ret, &err);
	else
		answer_runs(pc);
	return NULL;
}
