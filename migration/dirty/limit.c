/*
 * limit.c - hold each vCPU below a rate at which it dirties memory
 *
 * A control loop on a thread of its own.  Every period the counts that the
 * dirty ring keeps for each vCPU are brought up to date; a vCPU whose
 * measurement is long enough (some cycles of running and sleeping have to be in
 * it, or the figure is chance) gets a new share of its time taken away, such
 * that its rate would equal the limit if the rate were proportional to the time
 * that it runs.  A vCPU is given back at most twice the time that it has, for
 * a rate measured while it hardly ran says little.  Near the limit nothing is
 * changed, so that the share does not swing.
 *
 * The thread exists while there is a limit, the user's or a migration's; the
 * lower of the two holds.
 */
#include "migration/dirty/limit.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/thread.h"
#include "vmm/base/units.h"
#include "vmm/dirty.h"
#include "vmm/machine.h"
#include "vmm/throttle.h"
#include "vmm/vcpu.h"

#define PERIOD_MS      500U /* of the user's limits */
#define NEAR           0.05 /* so close to the limit nothing is changed */
#define LEAST_CYCLES   3    /* slices and sleeps in a measurement, at least */
#define LONG_SLICES_NS 100000000LL

struct limited {
	/* under mutex */
	uint64_t user_mb_s, migration_mb_s; /* 0: none */
	uint64_t current_mb_s;              /* measured last */
	/* the thread's */
	uint32_t permille; /* taken away now */
	uint64_t pages;    /* the vCPU's count ... */
	int64_t since_ns;  /* ... at that time */
};

struct dirty_limits {
	struct machine *m;    /* constant */
	struct limited *vcpu; /* owned; one per vCPU, from the first limit on */
	/* machine lock */
	bool working; /* the thread is there, pages are being counted */
	struct thread thread;
	/* under mutex: second in the order of locks (vmm/machine.h), nothing is taken under it */
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	uint64_t period_ms;
	bool ending;
};

uint32_t dirty_limit_adjust(uint32_t permille, double rate, double limit)
{
	double run = 1000 - permille, want = 2 * run;

	if (rate > limit * (1 - NEAR) && rate < limit * (1 + NEAR))
		return permille;
	if (rate > 0) /* a rate says little about a vCPU that has just begun to write: no leaps */
		want = MIN(want, run * limit / rate);
	want = MIN(MAX(want, 1000 - THROTTLE_MAX), 1000);
	return 1000 - (uint32_t)want;
}

struct dirty_limits *dirty_limits_new(struct machine *m)
{
	struct dirty_limits *l = NEW(struct dirty_limits);

	l->m = m;
	l->period_ms = PERIOD_MS;
	pthread_mutex_init(&l->mutex, NULL);
	thread_cond_init(&l->wake);
	return l;
}

/* ---- the thread ---- */

static uint64_t effective(const struct limited *v)
{
	if (!v->user_mb_s || !v->migration_mb_s)
		return v->user_mb_s + v->migration_mb_s;
	return MIN(v->user_mb_s, v->migration_mb_s);
}

/* How long a measurement has to be, so that some slices and sleeps are in it. */
static int64_t least_ns(const struct dirty_limits *l, const struct limited *v)
{
	int64_t cycle = MAX(LONG_SLICES_NS, (int64_t)1000000000 / (1000 - v->permille));

	return MAX((int64_t)l->period_ms * 1000000, v->permille ? LEAST_CYCLES * cycle : 0);
}

/* Mutex held. */
static void adjust_limit(struct dirty_limits *l, unsigned i, int64_t now)
{
	struct limited *v = &l->vcpu[i];
	uint64_t pages = __atomic_load_n(&l->m->vcpus[i]->dirtied_pages, __ATOMIC_RELAXED);
	uint64_t limit = effective(v);
	double rate;

	if (now - v->since_ns < least_ns(l, v))
		return;
	rate = (double)(pages - v->pages) * PAGE_BYTES / (double)MiB * 1e9 /
	       (double)(now - v->since_ns);
	v->current_mb_s = (uint64_t)(rate + 0.5);
	v->pages = pages;
	v->since_ns = now;
	v->permille = limit ? dirty_limit_adjust(v->permille, rate, (double)limit) : 0;
	throttle_set(l->m, THROTTLE_LIMIT, i, v->permille);
}

static void *limit_main(void *opaque)
{
	struct dirty_limits *l = opaque;

	pthread_mutex_lock(&l->mutex);
	while (!l->ending) {
		int64_t next = host_now_ns() + (int64_t)l->period_ms * 1000000;

		thread_cond_wait_until(&l->wake, &l->mutex, next);
		pthread_mutex_unlock(&l->mutex);
		dirty_count_update(l->m);
		pthread_mutex_lock(&l->mutex);
		for (unsigned i = 0; i < l->m->n_vcpus; i++)
			adjust_limit(l, i, host_now_ns());
	}
	pthread_mutex_unlock(&l->mutex);
	return NULL;
}

static void begin_measuring(struct dirty_limits *l)
{
	if (!l->vcpu)
		l->vcpu = xcalloc(l->m->n_vcpus + 1, sizeof(*l->vcpu));
	for (unsigned i = 0; i < l->m->n_vcpus; i++) {
		l->vcpu[i].permille = 0;
		l->vcpu[i].current_mb_s = 0;
		l->vcpu[i].since_ns = host_now_ns();
		l->vcpu[i].pages =
		    __atomic_load_n(&l->m->vcpus[i]->dirtied_pages, __ATOMIC_RELAXED);
	}
}

static int dirty_limit_start(struct dirty_limits *l, struct err *err)
{
	int ret = dirty_count_start(l->m, err);

	if (ret < 0)
		return ret;
	ret = throttle_begin(l->m, THROTTLE_LIMIT, err);
	if (ret == 0) {
		begin_measuring(l);
		l->ending = false;
		ret = thread_start(&l->thread, "dirty-limit", THREAD_HELPER, limit_main, l, err);
		if (ret < 0)
			throttle_end(l->m, THROTTLE_LIMIT);
	}
	if (ret < 0) {
		dirty_count_stop(l->m);
		return ret;
	}
	l->working = true;
	return 0;
}

static void dirty_limit_stop(struct dirty_limits *l)
{
	pthread_mutex_lock(&l->mutex);
	l->ending = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->mutex);
	thread_join(&l->thread);
	throttle_end(l->m, THROTTLE_LIMIT);
	dirty_count_stop(l->m);
	l->working = false;
}

/* ---- setting limits ---- */

static bool any_limit(const struct dirty_limits *l)
{
	for (unsigned i = 0; l->vcpu && i < l->m->n_vcpus; i++)
		if (effective(&l->vcpu[i]))
			return true;
	return false;
}

void dirty_limits_free(struct dirty_limits *l)
{
	if (!l)
		return;
	if (l->working)
		dirty_limit_stop(l);
	pthread_cond_destroy(&l->wake);
	pthread_mutex_destroy(&l->mutex);
	free(l->vcpu);
	free(l);
}

int dirty_limits_set(struct dirty_limits *l, int64_t vcpu, uint64_t mb_s, struct err *err)
{
	int ret = 0;

	if (vcpu != DIRTY_LIMIT_ALL && (vcpu < 0 || vcpu >= (int64_t)l->m->n_vcpus))
		return err_set(err, EINVAL, "incorrect cpu index specified");
	if (mb_s && !l->m->ring)
		return err_set(err, ENOTSUP,
			       "dirty page limit feature requires KVM with accelerator property "
			       "'dirty-ring-size' set");
	if (mb_s && !l->working)
		ret = dirty_limit_start(l, err);
	if (ret < 0 || !l->vcpu)
		return ret;
	pthread_mutex_lock(&l->mutex);
	for (unsigned i = 0; i < l->m->n_vcpus; i++)
		if (vcpu == DIRTY_LIMIT_ALL || i == vcpu)
			l->vcpu[i].user_mb_s = mb_s;
	pthread_mutex_unlock(&l->mutex);
	if (l->working && !any_limit(l))
		dirty_limit_stop(l);
	return 0;
}

uint64_t dirty_limits_get(struct dirty_limits *l, unsigned vcpu, uint64_t *current_mb_s)
{
	uint64_t limit;

	if (!l->vcpu)
		return 0;
	pthread_mutex_lock(&l->mutex);
	limit = l->vcpu[vcpu].user_mb_s;
	*current_mb_s = l->vcpu[vcpu].current_mb_s;
	pthread_mutex_unlock(&l->mutex);
	return limit;
}

static void set_all(struct dirty_limits *l, uint64_t mb_s, uint64_t period_ms)
{
	pthread_mutex_lock(&l->mutex);
	for (unsigned i = 0; i < l->m->n_vcpus; i++)
		l->vcpu[i].migration_mb_s = mb_s;
	l->period_ms = period_ms;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->mutex);
}

int dirty_limits_set_all(struct dirty_limits *l, uint64_t mb_s, uint64_t period_ms, struct err *err)
{
	int ret = l->working ? 0 : dirty_limit_start(l, err);

	if (ret == 0)
		set_all(l, mb_s, period_ms);
	return ret;
}

void dirty_limits_cancel_all(struct dirty_limits *l)
{
	if (!l->working)
		return;
	set_all(l, 0, PERIOD_MS);
	if (!any_limit(l))
		dirty_limit_stop(l);
}
