/*
 * blocktime.c - the waits of now in a dense table, and sums of those that are over
 *
 * The table has an entry a waiting thread: some, so that it is searched from end to end.  A thread
 * that was taken out of its wait by a signal faults again: for the same page its wait
 * goes on, for another one the first wait is over, without a page.  A waiter that finds no room
 * is not measured, and who is waiting nevertheless is not affected.
 *
 * While the number of waiting vCPUs is that of all vCPUs, the guest stands still: 'all_since_ns'
 * is when that began.
 */
#include "migration/ram/postcopy/blocktime.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "migration/settings/info.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

#define NS_PER_US   1000U
#define NS_PER_MS   1000000U
#define MAX_WAITERS (MIGRATION_MAX_VCPUS + 65) /* vCPUs, and threads of I/O and of the program */

struct sums {
	uint64_t blocked_ns;            /* all waits */
	uint64_t latency_ns, latencies; /* those that a page has ended */
};

struct waiter {
	uint64_t page;
	uint32_t tid; /* 0: not known; then it is told apart by its page */
	int vcpu;     /* -1: no vCPU's */
	int64_t since_ns;
};

struct vcpu_tid {
	uint32_t tid;
	int vcpu;
};

struct blocktime {
	/* constant */
	size_t n_vcpus;
	struct vcpu_tid tids[MIGRATION_MAX_VCPUS]; /* in order */
	unsigned refs;                             /* atomic */
	pthread_mutex_t lock;
	/* under the lock; n_waiters is also read without */
	size_t n_waiters;
	struct waiter waiters[MAX_WAITERS];
	size_t waiting_vcpus;
	int64_t all_since_ns;
	uint64_t all_ns;
	struct sums vcpus[MIGRATION_MAX_VCPUS], others;
	uint64_t dist[MIGRATION_LATENCY_BUCKETS];
};

static int by_tid(const void *a, const void *b)
{
	uint32_t x = ((const struct vcpu_tid *)a)->tid, y = ((const struct vcpu_tid *)b)->tid;

	return (x > y) - (x < y);
}

struct blocktime *blocktime_new(const uint32_t *tids, size_t n_vcpus)
{
	struct blocktime *b = NEW(struct blocktime);

	b->refs = 1;
	b->n_vcpus = MIN(n_vcpus, (size_t)MIGRATION_MAX_VCPUS);
	for (size_t i = 0; i < b->n_vcpus; i++)
		b->tids[i] = (struct vcpu_tid){tids[i], (int)i};
	qsort(b->tids, b->n_vcpus, sizeof(b->tids[0]), by_tid);
	(void)pthread_mutex_init(&b->lock, NULL);
	return b;
}

struct blocktime *blocktime_ref(struct blocktime *b)
{
	if (b)
		(void)__atomic_add_fetch(&b->refs, 1, __ATOMIC_SEQ_CST);
	return b;
}

void blocktime_unref(struct blocktime *b)
{
	if (!b || __atomic_sub_fetch(&b->refs, 1, __ATOMIC_SEQ_CST))
		return;
	(void)pthread_mutex_destroy(&b->lock);
	free(b);
}

static int vcpu_of(const struct blocktime *b, uint32_t tid)
{
	const struct vcpu_tid key = {tid, 0};
	const struct vcpu_tid *found =
	    tid ? bsearch(&key, b->tids, b->n_vcpus, sizeof(key), by_tid) : NULL;

	return found ? found->vcpu : -1;
}

static uint64_t span(int64_t from_ns, int64_t to_ns)
{
	return to_ns > from_ns ? (uint64_t)(to_ns - from_ns) : 0;
}

static struct sums *sums_of(struct blocktime *b, int vcpu)
{
	return vcpu < 0 ? &b->others : &b->vcpus[vcpu];
}

static unsigned bucket_of(uint64_t ns)
{
	uint64_t us = ns / NS_PER_US;
	unsigned n = us ? 63 - (unsigned)__builtin_clzll(us) : 0;

	return MIN(n, MIGRATION_LATENCY_BUCKETS - 1U);
}

static void set_waiters(struct blocktime *b, size_t n)
{
	/* Pairs with the load in blocktime_placed(). */
	__atomic_store_n(&b->n_waiters, n, __ATOMIC_SEQ_CST);
}

/* ---- lock held ---- */

static void waiter_begin(struct blocktime *b, const struct waiter *w)
{
	b->waiters[b->n_waiters] = *w;
	set_waiters(b, b->n_waiters + 1);
	if (w->vcpu >= 0 && ++b->waiting_vcpus == b->n_vcpus)
		b->all_since_ns = w->since_ns;
}

/* The last one takes its place. */
static void waiter_end(struct blocktime *b, size_t i, int64_t now_ns, bool by_page)
{
	const struct waiter w = b->waiters[i];
	uint64_t ns = span(w.since_ns, now_ns);
	struct sums *sums = sums_of(b, w.vcpu);

	b->waiters[i] = b->waiters[b->n_waiters - 1];
	set_waiters(b, b->n_waiters - 1);
	if (w.vcpu >= 0 && b->waiting_vcpus-- == b->n_vcpus)
		b->all_ns += span(b->all_since_ns, now_ns);
	sums->blocked_ns += ns;
	if (!by_page)
		return;
	sums->latency_ns += ns;
	sums->latencies++;
	b->dist[bucket_of(ns)]++;
}

/* Of that thread, or n_waiters. */
static size_t waiter_find(const struct blocktime *b, uint64_t page, uint32_t tid)
{
	size_t i = 0;

	while (i < b->n_waiters &&
	       (b->waiters[i].tid != tid || (tid == 0 && b->waiters[i].page != page)))
		i++;
	return i;
}

/* ---- any thread ---- */

void blocktime_fault(struct blocktime *b, uint64_t page, uint32_t tid, int64_t now_ns)
{
	const struct waiter w = {page, tid, vcpu_of(b, tid), now_ns};
	size_t i;

	pthread_mutex_lock(&b->lock);
	i = waiter_find(b, page, tid);
	if (i == b->n_waiters || b->waiters[i].page != page) {
		if (i < b->n_waiters)
			waiter_end(b, i, now_ns, false);
		if (b->n_waiters < MAX_WAITERS)
			waiter_begin(b, &w);
	}
	pthread_mutex_unlock(&b->lock);
}

void blocktime_drop(struct blocktime *b, uint64_t page, uint32_t tid)
{
	size_t i;

	pthread_mutex_lock(&b->lock);
	i = waiter_find(b, page, tid);
	if (i < b->n_waiters && b->waiters[i].page == page)
		waiter_end(b, i, b->waiters[i].since_ns, false);
	pthread_mutex_unlock(&b->lock);
}

void blocktime_placed(struct blocktime *b, uint64_t first, uint64_t n, int64_t now_ns)
{
	/* Pairs with set_waiters(): a waiter that is missed here finds the page when it looks. */
	if (__atomic_load_n(&b->n_waiters, __ATOMIC_SEQ_CST) == 0)
		return;
	pthread_mutex_lock(&b->lock);
	for (size_t i = b->n_waiters; i-- > 0;)
		if (b->waiters[i].page - first < n)
			waiter_end(b, i, now_ns, true);
	pthread_mutex_unlock(&b->lock);
}

static uint32_t ms_of(uint64_t ns)
{
	return (uint32_t)MIN(ns / NS_PER_MS, (uint64_t)UINT32_MAX);
}

static uint64_t mean(const struct sums *s)
{
	return s->latencies ? s->latency_ns / s->latencies : 0;
}

void blocktime_read(struct blocktime *b, int64_t now_ns, struct migration_blocktime *out)
{
	struct sums all;
	uint64_t ns[MIGRATION_MAX_VCPUS];

	*out = (struct migration_blocktime){.vcpus = (unsigned)b->n_vcpus};
	pthread_mutex_lock(&b->lock);
	all = b->others;
	for (size_t i = 0; i < b->n_vcpus; i++) {
		const struct sums *s = &b->vcpus[i];

		ns[i] = s->blocked_ns;
		all.latency_ns += s->latency_ns;
		all.latencies += s->latencies;
		out->vcpu_latency_ns[i] = mean(s);
	}
	for (size_t i = 0; i < b->n_waiters; i++)
		if (b->waiters[i].vcpu >= 0)
			ns[b->waiters[i].vcpu] += span(b->waiters[i].since_ns, now_ns);
	for (size_t i = 0; i < b->n_vcpus; i++)
		out->vcpu_blocktime_ms[i] = ms_of(ns[i]);
	out->blocktime_ms = ms_of(b->all_ns + (b->n_vcpus && b->waiting_vcpus == b->n_vcpus
						   ? span(b->all_since_ns, now_ns)
						   : 0));
	out->latency_ns = mean(&all);
	out->other_latency_ns = mean(&b->others);
	memcpy(out->latency_dist, b->dist, sizeof(b->dist));
	pthread_mutex_unlock(&b->lock);
}
