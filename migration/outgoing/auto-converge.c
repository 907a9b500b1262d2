/*
 * auto-converge.c - when the vCPUs are throttled, and by how much
 *
 * Pages that became dirty and pages that were sent are added up over periods of
 * at least PERIOD_NS, for shorter ones show what the bandwidth limit did.  A
 * period is high when more became dirty than throttle-trigger-threshold percent
 * of what was sent; the second high one makes a step.  A step takes
 * cpu-throttle-initial, later cpu-throttle-increment, percent more of all vCPUs'
 * time, up to max-cpu-throttle; with cpu-throttle-tailslow no more than would
 * bring the two figures into the tolerated relation.  With dirty-limit the first
 * step sets a limit for every vCPU, and dirty/limit.c does the rest.
 */
#include "migration/outgoing/auto-converge.h"

#include "migration/dirty/limit.h"
#include "migration/outgoing/outgoing.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/throttle.h"
#include "vmm/vclock.h"

#define PERIOD_NS    300000000LL /* at least: several windows of the bandwidth limit */
#define HIGH_PERIODS 2U

/* ---- the decision ---- */

bool convergence_due(struct convergence *c, uint8_t trigger, uint64_t dirtied, uint64_t sent)
{
	if (dirtied * 100 <= sent * trigger || ++c->high < HIGH_PERIODS)
		return false;
	c->high = 0;
	return true;
}

/* What would have to be taken away in all, so that only the tolerated share became dirty. */
static uint32_t ideal_throttle(const struct convergence *c, uint8_t trigger, uint64_t dirtied,
			       uint64_t sent)
{
	double left = 100 - c->percent;
	double tolerated = (double)sent * trigger / 100;

	return 100 - (uint32_t)(left * tolerated / (double)dirtied);
}

uint32_t convergence_step(struct convergence *c, const struct convergence_params *p,
			  uint64_t dirtied, uint64_t sent)
{
	uint32_t next = c->percent + p->increment;

	if (!c->percent)
		next = p->initial;
	else if (p->tailslow && dirtied)
		next = MIN(next, ideal_throttle(c, p->trigger, dirtied, sent));
	c->percent = MIN(MAX(next, c->percent), p->max);
	return c->percent;
}

/* ---- a migration's ---- */

int auto_converge_start(struct outgoing *o, struct err *err)
{
	struct auto_converge *s = &o->auto_converge;
	struct machine *m = o->m;
	int ret = 0;

	*s = (struct auto_converge){
	    .on = o->caps[CAP_AUTO_CONVERGE] || o->caps[CAP_DIRTY_LIMIT],
	    .limits = o->caps[CAP_DIRTY_LIMIT],
	    .since_ns = host_now_ns(),
	};
	if (s->on && !s->limits)
		ret = throttle_begin(m, THROTTLE_CONVERGE, err);
	s->on = s->on && ret == 0;
	return ret;
}

static void step_throttle(struct outgoing *o, uint64_t dirtied, uint64_t sent)
{
	const struct migration_params *p = &o->set->params;
	struct auto_converge *s = &o->auto_converge;
	struct convergence_params cp = {
	    .trigger = p->throttle_trigger_threshold,
	    .initial = p->cpu_throttle_initial,
	    .increment = p->cpu_throttle_increment,
	    .max = p->max_cpu_throttle,
	    .tailslow = p->cpu_throttle_tailslow,
	};
	uint32_t percent = convergence_step(&s->c, &cp, dirtied, sent);

	for (unsigned i = 0; i < o->m->n_vcpus; i++)
		throttle_set(o->m, THROTTLE_CONVERGE, i, percent * 10);
	__atomic_store_n(&s->percent, percent, __ATOMIC_RELAXED);
}

static void step_limit(struct outgoing *o)
{
	const struct migration_params *p = &o->set->params;
	struct err err = {0};

	if (dirty_limits_set_all(o->dirty_limits, p->vcpu_dirty_limit, p->x_vcpu_dirty_limit_period,
				 &err) < 0)
		log_warn("the guest is not slowed down: %s", err.msg);
}

void auto_converge_sync(struct outgoing *o, uint64_t dirtied)
{
	struct auto_converge *s = &o->auto_converge;
	int64_t now = host_now_ns();
	uint64_t total, sent;

	s->dirtied += dirtied;
	if (!s->on || now - s->since_ns < PERIOD_NS)
		return;
	total = stats_pages(&o->stats);
	sent = total - s->sent;
	/* The parameters may be changed at any time. */
	machine_lock(o->m);
	if (convergence_due(&s->c, o->set->params.throttle_trigger_threshold, s->dirtied, sent)) {
		if (s->limits)
			step_limit(o);
		else
			step_throttle(o, s->dirtied, sent);
	}
	machine_unlock(o->m);
	s->since_ns = now;
	s->sent = total;
	s->dirtied = 0;
}

void auto_converge_stop(struct outgoing *o)
{
	struct auto_converge *s = &o->auto_converge;

	if (s->on && s->limits)
		dirty_limits_cancel_all(o->dirty_limits);
	else if (s->on)
		throttle_end(o->m, THROTTLE_CONVERGE);
	s->on = false;
	__atomic_store_n(&s->percent, 0, __ATOMIC_RELAXED);
}
