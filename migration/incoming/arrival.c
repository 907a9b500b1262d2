/* arrival.c - from loaded state to a guest that runs (arrival.h) */
#include "migration/incoming/arrival.h"

#include "migration/incoming/incoming.h"
#include "migration/incoming/lazy.h"
#include "migration/incoming/postcopy.h"
#include "migration/incoming/report.h"
#include "migration/peer/shared-memory.h"
#include "migration/stream/go.h"
#include "vmm/base/log.h"
#include "vmm/base/wake.h"
#include "vmm/machine.h"
#include "vmm/vclock.h"

/* Will the guest run here at once? */
static bool will_run(const struct incoming *in)
{
	const struct globalstate *g = in->globalstate;

	return in->m->autostart && (!g->received || g->state == RS_RUNNING);
}

/* late-block-activate leaves the disks of a guest that arrives paused alone until 'cont'. */
static bool wants_disks(const struct incoming *in)
{
	return will_run(in) || !in->set->caps[CAP_LATE_BLOCK_ACTIVATE];
}

/* Are pages of its memory still to come? */
static bool comes_later(const struct incoming *in)
{
	return in->lazy || incoming_postcopy_begun(in->postcopy);
}

int arrival_push(struct incoming *in, struct err *err)
{
	struct machine *m = in->m;
	int ret;

	if (comes_later(in) && m->arch->touch)
		m->arch->touch(m);
	machine_lock(m);
	ret = m->arch->push(m, err);
	if (ret == 0 && wants_disks(in))
		ret = machine_handover(m, HANDOVER_PROBE, err);
	machine_unlock(m);
	return ret;
}

/* The run state that the guest arrives in (migration-stream 7.3).  Machine lock held. */
static int enter_state(struct incoming *in, struct err *err)
{
	struct machine *m = in->m;
	const struct globalstate *g = in->globalstate;
	int ret = wants_disks(in) ? machine_handover(m, HANDOVER_ACQUIRE, err) : 0;

	if (ret < 0)
		return ret;
	m->needs_boot = false;
	in->arrived = true;
	if (will_run(in))
		return machine_start(m, err);
	if (g->received && g->state != RS_RUNNING)
		return machine_set_state(m, g->state, err);
	return machine_set_state(m, RS_PAUSED, err);
}

/* Machine lock held. */
static void arrived(struct incoming *in)
{
	in->resumed_ns = host_now_ns();
	if (in->lazy)
		incoming_lazy_show(in);
	else if (!incoming_postcopy_begun(in->postcopy)) /* it may have stayed a precopy */
		status_set(in->m, &in->status, MIG_COMPLETED);
	report_incoming_done(in);
}

int arrival_take_over(struct incoming *in, const struct go_requests *asked, struct err *err)
{
	struct machine *m = in->m;
	int ret;

	machine_lock(m);
	shared_commit(m, true); /* from GO on, whatever happens */
	go_requests_ask(asked, m);
	if (asked->stop) /* which the run state that came before does not know */
		globalstate_replace(in->globalstate, RS_PAUSED);
	ret = incoming_lazy_run(in, err);
	if (ret == 0 && incoming_postcopy_begun(in->postcopy))
		status_set(m, &in->status, MIG_POSTCOPY_ACTIVE);
	if (ret == 0)
		ret = enter_state(in, err);
	if (ret < 0) {
		in->arrived = false;
		(void)machine_handover(m, HANDOVER_RELEASE, NULL);
		go_requests_drop(asked, m); /* the source takes all of it back */
	} else {
		arrived(in);
	}
	machine_unlock(m);
	wake_set(in->wake_fd); /* listening ends */
	return ret;
}

void arrival_keep(struct incoming *in)
{
	struct machine *m = in->m;

	machine_lock(m);
	m->needs_boot = false;
	in->arrived = true;
	(void)machine_set_state(m, RS_PAUSED, NULL);
	arrived(in);
	machine_unlock(m);
}
