/*
 * rate.c - three ways to measure
 *
 * page-sampling compares checksums of randomly chosen pages before and after:
 * it costs the guest nothing and counts a page once however often it is
 * written.  dirty-bitmap has KVM log writes for the time and counts the pages
 * of the log: it needs the dirty tracker for itself and is refused while a
 * migration has it, which reports its own rate; a migration that begins ends
 * the measurement early, with what it has found.  dirty-ring counts what each
 * vCPU puts into its ring.
 */
#include "migration/dirty/rate.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <zlib.h>

#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/base/thread.h"
#include "vmm/base/units.h"
#include "vmm/dirty.h"
#include "vmm/machine.h"
#include "vmm/memory/populated.h"
#include "vmm/vcpu.h"

struct sample {
	uint64_t page; /* of the block */
};

struct dirty_rate {
	struct machine *m; /* constant */
	/* under the machine lock; while MEASURING the thread reads what it was asked for */
	struct dirty_rate_info info;
	/* the measuring thread's while MEASURING */
	int64_t rate_mb_s;
	int64_t *vcpu_rate; /* owned */
	/* main thread only */
	struct thread thread;
	/* under mutex: second in the order of locks (vmm/machine.h) */
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	bool ending;
	bool yielded;     /* dirty-bitmap: a migration has the tracker now */
	int64_t since_ns; /* dirty-bitmap: when it began to count, 0: not yet */
};

const char *dirty_rate_status_name(enum dirty_rate_status s)
{
	static const char *const names[] = {"unstarted", "measuring", "measured"};

	return names[s];
}

const char *dirty_rate_mode_name(enum dirty_rate_mode m)
{
	static const char *const names[] = {"page-sampling", "dirty-ring", "dirty-bitmap"};

	return names[m];
}

struct dirty_rate *dirty_rate_new(struct machine *m)
{
	struct dirty_rate *d = NEW(struct dirty_rate);

	d->m = m;
	d->info.mode = DIRTY_RATE_PAGE_SAMPLING;
	pthread_mutex_init(&d->mutex, NULL);
	thread_cond_init(&d->wake);
	return d;
}

static void rate_join(struct dirty_rate *d)
{
	thread_join(&d->thread);
}

void dirty_rate_free(struct dirty_rate *d)
{
	if (!d)
		return;
	pthread_mutex_lock(&d->mutex);
	d->ending = true;
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->mutex);
	rate_join(d);
	free(d->vcpu_rate);
	pthread_cond_destroy(&d->wake);
	pthread_mutex_destroy(&d->mutex);
	free(d);
}

/* Wait for the measuring time; false: the program ends, or a migration wants the tracker.
 * *elapsed_ns is what it took. */
static bool wait_period(struct dirty_rate *d, int64_t *elapsed_ns)
{
	int64_t start = host_now_ns(), end = start + d->info.calc_time_s * 1000000000;
	bool ending;

	pthread_mutex_lock(&d->mutex);
	while (!d->ending && !d->yielded && host_now_ns() < end)
		thread_cond_wait_until(&d->wake, &d->mutex, end);
	ending = d->ending || d->yielded;
	pthread_mutex_unlock(&d->mutex);
	*elapsed_ns = MAX(host_now_ns() - start, 1);
	return !ending;
}

static int64_t mb_per_s(double bytes, int64_t ns)
{
	return (int64_t)(bytes / (double)MiB * 1e9 / (double)ns + 0.5);
}

/* ---- page sampling ---- */

static uint32_t page_sum(const uint8_t *page)
{
	return (uint32_t)crc32(0, page, PAGE_BYTES);
}

static uint64_t next_random(uint64_t *state)
{
	/* xorshift64: only spreads the samples */
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static size_t samples_of(const struct dirty_rate *d, const struct ram_block *b)
{
	uint64_t pages = b->bytes / PAGE_BYTES;
	double want = (double)b->bytes / (double)GiB * (double)d->info.sample_pages;

	return (size_t)MIN(want < 1 ? 1 : (uint64_t)want, pages);
}

/* What is in the sampled pages now; a page that was never touched is zero and stays untouched. */
static void take_sums(const struct ram_block *b, const struct sample *s, size_t n, uint32_t *sums)
{
	static const uint8_t zeros[PAGE_BYTES];
	const uint32_t zero_sum = page_sum(zeros);
	uint64_t *touched = bitmap_new(b->bytes / PAGE_BYTES);

	if (touched)
		ram_populated(b, touched);
	for (size_t i = 0; i < n; i++)
		sums[i] = touched && !bitmap_test(touched, s[i].page)
			      ? zero_sum
			      : page_sum(b->hva + s[i].page * PAGE_BYTES);
	free(touched);
}

/* One page of each of n equal parts of the block, so that writes in order are covered evenly. */
static void choose_pages(const struct ram_block *b, struct sample *s, size_t n, uint64_t *seed)
{
	uint64_t pages = b->bytes / PAGE_BYTES;

	for (size_t i = 0; i < n; i++) {
		uint64_t first = pages * i / n, end = pages * (i + 1) / n;

		s[i].page = first + next_random(seed) % (end - first);
	}
}

struct sampled {
	struct sample *samples; /* owned */
	uint32_t *before, *after;
	size_t n;
};

static void sums_of_all(const struct memory *mem, struct sampled *all, bool after)
{
	for (size_t k = 0; k < mem->n_blocks; k++)
		take_sums(mem->blocks[k], all[k].samples, all[k].n,
			  after ? all[k].after : all[k].before);
}

/* Bytes that changed in one block, estimated from its samples. */
static double changed_bytes(const struct ram_block *b, const struct sampled *s)
{
	size_t changed = 0;

	for (size_t i = 0; i < s->n; i++)
		changed += s->before[i] != s->after[i];
	return (double)b->bytes * (double)changed / (double)s->n;
}

static void measure_sampling(struct dirty_rate *d)
{
	const struct memory *mem = &d->m->mem;
	struct sampled all[MEMORY_MAX_BLOCKS] = {0};
	int64_t start, ns;
	uint64_t seed = 0;
	double bytes = 0;

	(void)!getrandom(&seed, sizeof(seed), 0);
	seed |= 1;
	for (size_t k = 0; k < mem->n_blocks; k++) {
		all[k].n = samples_of(d, mem->blocks[k]);
		all[k].samples = xcalloc(all[k].n, sizeof(struct sample));
		all[k].before = xcalloc(all[k].n, sizeof(uint32_t));
		all[k].after = xcalloc(all[k].n, sizeof(uint32_t));
		choose_pages(mem->blocks[k], all[k].samples, all[k].n, &seed);
	}
	/* Each page is looked at as long after its first look as the others. */
	start = host_now_ns();
	sums_of_all(mem, all, false);
	if (wait_period(d, &ns)) {
		ns = host_now_ns() - start;
		sums_of_all(mem, all, true);
		for (size_t k = 0; k < mem->n_blocks; k++)
			bytes += changed_bytes(mem->blocks[k], &all[k]);
		d->rate_mb_s = mb_per_s(bytes, ns);
	}
	for (size_t k = 0; k < mem->n_blocks; k++) {
		free(all[k].samples);
		free(all[k].before);
		free(all[k].after);
	}
}

/* ---- with the dirty tracker ---- */

/* Pages written since tracking started, or since the last call; protects them again. */
static uint64_t collect_pages(struct machine *m)
{
	uint64_t *maps[MEMORY_MAX_BLOCKS] = {0};
	uint64_t pages = 0;
	bool ok = true;

	for (size_t k = 0; ok && k < m->mem.n_blocks; k++) {
		maps[k] = bitmap_new(m->mem.blocks[k]->bytes / PAGE_BYTES);
		ok = maps[k] != NULL;
	}
	if (ok && dirty_sync(m, maps, &pages, NULL) == 0)
		for (size_t k = 0; k < m->mem.n_blocks; k++)
			dirty_protect(m, m->mem.blocks[k], 0, m->mem.blocks[k]->bytes / PAGE_BYTES);
	for (size_t k = 0; k < m->mem.n_blocks; k++)
		free(maps[k]);
	return pages;
}

/* What has been written since it began to count.  Mutex held. */
static void count_bitmap(struct dirty_rate *d)
{
	int64_t ns = host_now_ns() - d->since_ns;

	if (d->since_ns && !d->yielded)
		d->rate_mb_s = mb_per_s((double)collect_pages(d->m) * PAGE_BYTES, MAX(ns, 1));
	d->since_ns = 0;
}

static void measure_bitmap(struct dirty_rate *d)
{
	int64_t ns;

	pthread_mutex_lock(&d->mutex);
	if (!d->yielded) {
		(void)collect_pages(d->m);
		d->since_ns = host_now_ns();
	}
	pthread_mutex_unlock(&d->mutex);
	if (!wait_period(d, &ns))
		return;
	pthread_mutex_lock(&d->mutex);
	count_bitmap(d);
	pthread_mutex_unlock(&d->mutex);
}

/* A migration begins.  The mutex keeps the measuring thread from the tracker meanwhile. */
static void yield_bitmap(void *opaque)
{
	struct dirty_rate *d = opaque;

	pthread_mutex_lock(&d->mutex);
	count_bitmap(d);
	d->yielded = true;
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->mutex);
	dirty_stop(d->m);
}

static int start_bitmap(struct dirty_rate *d, struct err *err)
{
	d->yielded = false;
	d->since_ns = 0;
	return dirty_start_yielding(d->m, yield_bitmap, d, err);
}

static void stop_bitmap(struct dirty_rate *d)
{
	if (!d->yielded)
		dirty_stop(d->m);
	d->yielded = false;
}

static void vcpu_counts(const struct machine *m, uint64_t *out)
{
	for (unsigned i = 0; i < m->n_vcpus; i++)
		out[i] = __atomic_load_n(&m->vcpus[i]->dirtied_pages, __ATOMIC_RELAXED);
}

static void measure_ring(struct dirty_rate *d)
{
	uint64_t *before = xcalloc(d->m->n_vcpus + 1, sizeof(*before));
	uint64_t *after = xcalloc(d->m->n_vcpus + 1, sizeof(*after));
	uint64_t pages = 0;
	int64_t ns;

	dirty_count_update(d->m);
	vcpu_counts(d->m, before);
	if (wait_period(d, &ns)) {
		dirty_count_update(d->m);
		vcpu_counts(d->m, after);
		for (unsigned i = 0; i < d->m->n_vcpus; i++) {
			pages += after[i] - before[i];
			d->vcpu_rate[i] = mb_per_s((double)(after[i] - before[i]) * PAGE_BYTES, ns);
		}
		d->rate_mb_s = mb_per_s((double)pages * PAGE_BYTES, ns);
	}
	free(before);
	free(after);
}

static int start_ring(struct dirty_rate *d, struct err *err)
{
	return dirty_count_start(d->m, err);
}

static void stop_ring(struct dirty_rate *d)
{
	dirty_count_stop(d->m);
}

static const struct {
	void (*measure)(struct dirty_rate *d);
	int (*start)(struct dirty_rate *d, struct err *err); /* machine lock held; may be NULL */
	void (*stop)(struct dirty_rate *d);
} modes[] = {
    [DIRTY_RATE_PAGE_SAMPLING] = {measure_sampling, NULL,         NULL       },
    [DIRTY_RATE_RING] = {measure_ring,     start_ring,   stop_ring  },
    [DIRTY_RATE_BITMAP] = {measure_bitmap,   start_bitmap, stop_bitmap},
};

static void stop_tracking(struct dirty_rate *d)
{
	if (modes[d->info.mode].stop)
		modes[d->info.mode].stop(d);
}

static void *rate_main(void *opaque)
{
	struct dirty_rate *d = opaque;

	modes[d->info.mode].measure(d);
	machine_lock(d->m);
	stop_tracking(d);
	d->info.rate_mb_s = d->rate_mb_s;
	d->info.status = DIRTY_RATE_MEASURED;
	machine_unlock(d->m);
	return NULL;
}

static int check_args(const struct dirty_rate *d, const struct dirty_rate_args *a, struct err *err)
{
	if (a->calc_time_s < 1 || a->calc_time_s > 60)
		return err_set(err, EINVAL, "calc-time is out of range[1, 60].");
	if (a->has_sample_pages && a->mode == DIRTY_RATE_RING)
		return err_set(err, EINVAL, "either sample-pages or dirty-ring can be specified.");
	if (a->has_sample_pages && (a->sample_pages < 128 || a->sample_pages > 16384))
		return err_set(err, EINVAL, "sample-pages is out of range[128, 16384].");
	if (d->info.status == DIRTY_RATE_MEASURING)
		return err_set(err, EBUSY, "the dirty rate is already being measured.");
	if ((a->mode == DIRTY_RATE_RING && !d->m->ring) ||
	    (a->mode == DIRTY_RATE_BITMAP && d->m->ring))
		return err_set(err, ENOTSUP, "mode %s is not enabled, use other method instead.",
			       dirty_rate_mode_name(a->mode));
	if (a->mode == DIRTY_RATE_BITMAP && dirty_taken(d->m))
		return err_set(
		    err, EBUSY,
		    "mode %s cannot be used while a migration tracks dirty pages: query-migrate "
		    "reports its rate, or use page-sampling",
		    dirty_rate_mode_name(a->mode));
	return 0;
}

int dirty_rate_start(struct dirty_rate *d, const struct dirty_rate_args *a, struct err *err)
{
	int ret = check_args(d, a, err);

	if (ret == 0)
		ret = machine_check_memory(d->m, err);
	if (ret < 0)
		return ret;
	rate_join(d); /* the last one has finished */
	ret = modes[a->mode].start ? modes[a->mode].start(d, err) : 0;
	if (ret < 0)
		return ret;
	free(d->vcpu_rate);
	d->vcpu_rate = xcalloc(d->m->n_vcpus, sizeof(*d->vcpu_rate));
	d->info = (struct dirty_rate_info){
	    .status = DIRTY_RATE_MEASURING,
	    .mode = a->mode,
	    .start_time_s = host_now_ns() / 1000000000,
	    .calc_time_s = a->calc_time_s,
	};
	d->rate_mb_s = 0;
	if (a->mode == DIRTY_RATE_PAGE_SAMPLING)
		d->info.sample_pages =
		    a->has_sample_pages ? (uint64_t)a->sample_pages : DIRTY_RATE_SAMPLES;
	ret = thread_start(&d->thread, "dirty-rate", THREAD_HELPER, rate_main, d, err);
	if (ret < 0) {
		stop_tracking(d);
		d->info.status = DIRTY_RATE_UNSTARTED;
	}
	return ret;
}

void dirty_rate_query(const struct dirty_rate *d, struct dirty_rate_info *info)
{
	*info = d->info;
	if (info->status == DIRTY_RATE_MEASURED && info->mode == DIRTY_RATE_RING) {
		info->vcpu_rate_mb_s = d->vcpu_rate;
		info->n_vcpus = d->m->n_vcpus;
	}
}
