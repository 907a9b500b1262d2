/*
 * throttle.c - the thread that ends the slices of throttled vCPUs
 *
 * A vCPU that is throttled by p of a thousand runs for a slice and then sleeps
 * for slice * p / (1000 - p), so that the sleep is p of the whole.  The
 * throttle thread knows when each slice ends; it sets 'throttle_due' and kicks
 * the vCPU, which sleeps on its own thread in throttle_sleep(), with the
 * machine lock given up.  A pause, the end of the program and a throttle of 0
 * end a sleep early.
 *
 * The thread exists from the first throttle_begin() to the last throttle_end().
 */
#include "vmm/throttle.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/thread.h"
#include "vmm/machine.h"
#include "vmm/vcpu.h"

#define SLICE_NS 10000000LL
#define LEAST_NS 1000000LL
#define FEW      900U /* from here on slices become shorter, so that sleeps do not get too long */

struct throttle {
	struct machine *m;
	struct thread thread;
	bool user[THROTTLE_USERS]; /* machine lock: has begun */
	int64_t *next_ns;          /* owned; when each vCPU's slice ends; the thread's */
	/* under mutex: second in the order of locks (machine.h) */
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	uint32_t *want[THROTTLE_USERS]; /* owned; permille by vCPU */
	bool ending;
};

static int64_t slice_ns(uint32_t permille)
{
	int64_t left = SLICE_NS * (1000 - permille) / (1000 - FEW);

	return permille <= FEW ? SLICE_NS : MAX(left, LEAST_NS);
}

/* How long a vCPU sleeps after a slice. */
static int64_t sleep_ns(uint32_t permille)
{
	return slice_ns(permille) * permille / (1000 - permille);
}

/* End the slices that are over; returns when the next one will be, INT64_MAX: none is throttled. */
static int64_t end_slices(struct throttle *t)
{
	int64_t now = host_now_ns(), next = INT64_MAX;

	for (unsigned i = 0; i < t->m->n_vcpus; i++) {
		struct vcpu *v = t->m->vcpus[i];
		uint32_t permille = __atomic_load_n(&v->throttle, __ATOMIC_RELAXED);

		if (!permille)
			continue;
		if (now >= t->next_ns[i]) {
			__atomic_store_n(&v->throttle_due, true, __ATOMIC_SEQ_CST);
			vcpu_kick(v);
			t->next_ns[i] = now + slice_ns(permille) + sleep_ns(permille);
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

		if (next == INT64_MAX)
			(void)pthread_cond_wait(&t->wake, &t->mutex);
		else
			thread_cond_wait_until(&t->wake, &t->mutex, next);
	}
	pthread_mutex_unlock(&t->mutex);
	return NULL;
}

static void throttle_destroy(struct throttle *t)
{
	pthread_cond_destroy(&t->wake);
	pthread_mutex_destroy(&t->mutex);
	for (int u = 0; u < THROTTLE_USERS; u++)
		free(t->want[u]);
	free(t->next_ns);
	free(t);
}

static struct throttle *throttle_create(struct machine *m, struct err *err)
{
	struct throttle *t = NEW(struct throttle);

	t->m = m;
	t->next_ns = xcalloc(m->n_vcpus + 1, sizeof(*t->next_ns));
	for (int u = 0; u < THROTTLE_USERS; u++)
		t->want[u] = xcalloc(m->n_vcpus + 1, sizeof(*t->want[u]));
	pthread_mutex_init(&t->mutex, NULL);
	thread_cond_init(&t->wake);
	if (thread_start(&t->thread, "throttle", THREAD_HELPER, throttle_main, t, err) == 0)
		return t;
	throttle_destroy(t);
	return NULL;
}

int throttle_begin(struct machine *m, enum throttle_user user, struct err *err)
{
	if (!m->throttle)
		m->throttle = throttle_create(m, err);
	if (!m->throttle)
		return -EAGAIN;
	m->throttle->user[user] = true;
	return 0;
}

static bool any_user(const struct throttle *t)
{
	for (int u = 0; u < THROTTLE_USERS; u++)
		if (t->user[u])
			return true;
	return false;
}

void throttle_end(struct machine *m, enum throttle_user user)
{
	struct throttle *t = m->throttle;

	if (!t || !t->user[user])
		return;
	for (unsigned i = 0; i < m->n_vcpus; i++)
		throttle_set(m, user, i, 0);
	pthread_cond_broadcast(&m->cond); /* ends the sleep of a vCPU that this user throttled */
	t->user[user] = false;
	if (any_user(t))
		return;
	pthread_mutex_lock(&t->mutex);
	t->ending = true;
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->mutex);
	thread_join(&t->thread);
	throttle_destroy(t);
	m->throttle = NULL;
}

void throttle_set(struct machine *m, enum throttle_user user, unsigned vcpu, uint32_t permille)
{
	struct throttle *t = m->throttle;
	uint32_t most = 0;

	pthread_mutex_lock(&t->mutex);
	t->want[user][vcpu] = MIN(permille, THROTTLE_MAX);
	for (int u = 0; u < THROTTLE_USERS; u++)
		most = MAX(most, t->want[u][vcpu]);
	__atomic_store_n(&m->vcpus[vcpu]->throttle, most, __ATOMIC_RELAXED);
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->mutex);
}

void throttle_sleep(struct vcpu *v)
{
	uint32_t permille = __atomic_load_n(&v->throttle, __ATOMIC_RELAXED);
	struct machine *m = v->m;
	int64_t end;

	if (!__atomic_exchange_n(&v->throttle_due, false, __ATOMIC_SEQ_CST) || !permille)
		return;
	end = host_now_ns() + sleep_ns(permille);
	while (!m->paused && !m->quitting && host_now_ns() < end &&
	       __atomic_load_n(&v->throttle, __ATOMIC_RELAXED))
		thread_cond_wait_until(&m->cond, &m->lock, end);
}
