#include "vmm/throttle.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/thread-name.h"
#include "vmm/machine.h"
#include "vmm/vcpu.h"

struct throttle {
	struct machine *m;
	pthread_t thread;
	int64_t *next_ns; /* owned; when each vCPU's slice ends; the thread's */
	/* under mutex */
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	bool ending;
};

/* How long a vCPU sleeps after a slice. */
static int64_t sleep_ns(uint32_t percent)
{
	return THROTTLE_SLICE_NS * percent / (100 - percent);
}

/* End the slices that are over; returns when the next one will be, INT64_MAX: none is throttled. */
static int64_t end_slices(struct throttle *t)
{
	int64_t now = host_now_ns(), next = INT64_MAX;

	for (unsigned i = 0; i < t->m->n_vcpus; i++) {
		struct vcpu *v = t->m->vcpus[i];
		uint32_t percent = __atomic_load_n(&v->throttle_percent, __ATOMIC_RELAXED);

		if (!percent)
			continue;
		if (now >= t->next_ns[i]) {
			__atomic_store_n(&v->throttle_due, true, __ATOMIC_SEQ_CST);
			vcpu_kick(v);
			t->next_ns[i] = now + THROTTLE_SLICE_NS + sleep_ns(percent);
		}
		next = MIN(next, t->next_ns[i]);
	}
	return next;
}

static void *throttle_main(void *opaque)
{
	struct throttle *t = opaque;

	pthread_mutex_lock(&t->mutex);
	while (!t->ending) {
		int64_t next = end_slices(t);
		struct timespec ts = {.tv_sec = next / 1000000000, .tv_nsec = next % 1000000000};

		if (next == INT64_MAX)
			(void)pthread_cond_wait(&t->wake, &t->mutex);
		else
			(void)pthread_cond_timedwait(&t->wake, &t->mutex, &ts);
	}
	pthread_mutex_unlock(&t->mutex);
	return NULL;
}

struct throttle *throttle_new(struct machine *m, struct err *err)
{
	struct throttle *t = NEW(struct throttle);
	pthread_condattr_t attr;
	int ret;

	t->m = m;
	t->next_ns = xcalloc(m->n_vcpus, sizeof(*t->next_ns));
	pthread_mutex_init(&t->mutex, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->wake, &attr);
	(void)pthread_condattr_destroy(&attr);
	ret = pthread_create(&t->thread, NULL, throttle_main, t);
	if (ret) {
		(void)err_set(err, ret, "cannot start the throttle thread: %s", err_text(ret));
		free(t->next_ns);
		free(t);
		return NULL;
	}
	thread_name(t->thread, "throttle");
	return t;
}

void throttle_free(struct throttle *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->mutex);
	t->ending = true;
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->mutex);
	(void)pthread_join(t->thread, NULL);
	for (unsigned i = 0; i < t->m->n_vcpus; i++)
		__atomic_store_n(&t->m->vcpus[i]->throttle_percent, 0, __ATOMIC_RELAXED);
	pthread_cond_destroy(&t->wake);
	pthread_mutex_destroy(&t->mutex);
	free(t->next_ns);
	free(t);
}

void throttle_set(struct throttle *t, unsigned vcpu, uint32_t percent)
{
	__atomic_store_n(&t->m->vcpus[vcpu]->throttle_percent, MIN(percent, 99U), __ATOMIC_RELAXED);
	pthread_mutex_lock(&t->mutex);
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->mutex);
}

void throttle_sleep(struct vcpu *v)
{
	uint32_t percent = __atomic_load_n(&v->throttle_percent, __ATOMIC_RELAXED);
	struct machine *m = v->m;
	struct timespec ts;
	int64_t end;

	if (!__atomic_exchange_n(&v->throttle_due, false, __ATOMIC_SEQ_CST) || !percent)
		return;
	end = host_now_ns() + sleep_ns(percent);
	ts = (struct timespec){.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};
	while (!m->paused && !m->quitting && host_now_ns() < end)
		(void)pthread_cond_timedwait(&m->cond, &m->lock, &ts);
}
