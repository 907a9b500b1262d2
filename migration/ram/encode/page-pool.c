/*
 * page-pool.c - a ring of jobs between one owner and some workers
 *
 * Three counts run around the ring: released <= begun <= submitted.  The owner
 * fills the job at 'submitted', a worker takes the one at 'begun', the owner takes results
 * at 'released', oldest first, so that pages leave in the order in which they came
 * although workers finish in any order.  A job belongs to the owner or to one
 * worker, never to both, so its content needs no lock.  Workers are woken only when one is
 * idle, the owner only while it waits.
 */
#include "migration/ram/encode/page-pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/thread.h"

#define JOBS_PER_WORKER 8U

struct page_worker {
	/* set at creation and then constant */
	struct page_pool *pool;
	struct thread thread;
	void *state; /* owned by the pool, used by the thread */
};

struct page_pool {
	/* set at creation and then constant */
	const struct page_work *work;
	struct page_worker *workers; /* owned */
	unsigned n_workers;
	size_t n_jobs;
	pthread_mutex_t lock; /* nothing is taken under it */
	pthread_cond_t some;  /* a job was submitted, or the end has come */
	pthread_cond_t done;  /* the job that the owner waits for is done */
	/* under lock; counts since the beginning, a job's place is the count modulo n_jobs */
	uint64_t submitted, begun;
	bool *finished; /* owned; by place */
	unsigned idle;
	bool awaited, ending;
	/* a worker's while it works on it, else the owner's */
	struct page_job *jobs; /* owned */
	/* the owner's */
	uint64_t released;
};

static struct page_job *take_job(struct page_pool *pool)
{
	while (!pool->ending && pool->begun == pool->submitted) {
		pool->idle++;
		pthread_cond_wait(&pool->some, &pool->lock);
		pool->idle--;
	}
	return pool->ending ? NULL : &pool->jobs[pool->begun++ % pool->n_jobs];
}

static void *worker_thread(void *opaque)
{
	struct page_worker *w = opaque;
	struct page_pool *pool = w->pool;
	struct page_job *job;

	pthread_mutex_lock(&pool->lock);
	while ((job = take_job(pool))) {
		pthread_mutex_unlock(&pool->lock);
		pool->work->run(w->state, job);
		pthread_mutex_lock(&pool->lock);
		pool->finished[job - pool->jobs] = true;
		if (pool->awaited)
			pthread_cond_signal(&pool->done);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static int add_worker(struct page_pool *pool, int level, struct err *err)
{
	struct page_worker *w = &pool->workers[pool->n_workers];
	int ret;

	w->pool = pool;
	w->state = pool->work->open(level, err);
	if (!w->state)
		return -ENOMEM;
	ret = thread_start(&w->thread, pool->work->name, THREAD_HELPER, worker_thread, w, err);
	if (ret < 0) {
		pool->work->close(w->state);
		return ret;
	}
	pool->n_workers++;
	return 0;
}

struct page_pool *page_pool_new(const struct page_work *work, unsigned threads, int level,
				struct err *err)
{
	struct page_pool *pool = NEW(struct page_pool);

	pool->work = work;
	pool->n_jobs = (size_t)threads * JOBS_PER_WORKER;
	pool->workers = xcalloc(threads, sizeof(*pool->workers));
	pool->finished = xcalloc(pool->n_jobs, sizeof(*pool->finished));
	pool->jobs = calloc(pool->n_jobs, sizeof(*pool->jobs));
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->some, NULL);
	pthread_cond_init(&pool->done, NULL);
	if (!pool->jobs) {
		(void)err_set(err, ENOMEM, "no memory for the pages of %u threads", threads);
		page_pool_free(pool);
		return NULL;
	}
	for (unsigned i = 0; i < threads; i++)
		if (add_worker(pool, level, err) < 0) {
			page_pool_free(pool);
			return NULL;
		}
	return pool;
}

void page_pool_free(struct page_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->ending = true;
	pthread_cond_broadcast(&pool->some);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->n_workers; i++) {
		thread_join(&pool->workers[i].thread);
		pool->work->close(pool->workers[i].state);
	}
	pthread_cond_destroy(&pool->some);
	pthread_cond_destroy(&pool->done);
	pthread_mutex_destroy(&pool->lock);
	free(pool->jobs);
	free(pool->finished);
	free(pool->workers);
	free(pool);
}

/* The owner alone writes 'submitted', so it may read it without the lock. */

struct page_job *page_pool_next(struct page_pool *pool)
{
	if (pool->submitted - pool->released == pool->n_jobs)
		return NULL;
	return &pool->jobs[pool->submitted % pool->n_jobs];
}

void page_pool_submit(struct page_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->submitted++;
	if (pool->idle)
		pthread_cond_signal(&pool->some);
	pthread_mutex_unlock(&pool->lock);
}

struct page_job *page_pool_oldest(struct page_pool *pool, bool wait)
{
	size_t place = pool->released % pool->n_jobs;
	bool finished;

	if (pool->released == pool->submitted)
		return NULL;
	pthread_mutex_lock(&pool->lock);
	pool->awaited = wait;
	while (wait && !pool->finished[place])
		pthread_cond_wait(&pool->done, &pool->lock);
	pool->awaited = false;
	finished = pool->finished[place];
	pthread_mutex_unlock(&pool->lock);
	return finished ? &pool->jobs[place] : NULL;
}

void page_pool_release(struct page_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->finished[pool->released % pool->n_jobs] = false;
	pthread_mutex_unlock(&pool->lock);
	pool->released++;
}

bool page_pool_has(const struct page_pool *pool, const struct page *p)
{
	for (uint64_t i = pool->released; i < pool->submitted; i++) {
		const struct page *other = &pool->jobs[i % pool->n_jobs].page;

		if (other->block == p->block && other->off == p->off)
			return true;
	}
	return false;
}
