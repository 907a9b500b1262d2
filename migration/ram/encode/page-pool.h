/*
 * page-pool.h - pages through worker threads, and out again in the order they went in
 *
 * A ring of jobs between one owner and some workers: the owner fills the next
 * free job and submits it, a worker does it, the owner takes the results
 * oldest first.  All functions: the owner's thread.
 */
#ifndef MINIVMM_MIGRATION_PAGE_POOL_H
#define MINIVMM_MIGRATION_PAGE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/ram/ram-stream.h"
#include "vmm/base/units.h"

struct err;

/* More than a page that does not compress becomes. */
#define PAGE_PACKED_MAX (PAGE_BYTES + 256)

struct page_job {
	/* a worker's from submit to collect, else the owner's */
	struct page page;
	uint32_t packed_bytes;
	bool failed;
	uint8_t plain[PAGE_BYTES];
	uint8_t packed[PAGE_PACKED_MAX];
};

struct page_work {
	const char *name; /* the threads' */
	/* What one worker needs: made and freed by the owner.  NULL with *err set. */
	void *(*open)(int level, struct err *err);
	void (*close)(void *state);
	void (*run)(void *state, struct page_job *job);
};

struct page_pool;

/* Returns owned, or NULL. */
struct page_pool *page_pool_new(const struct page_work *work, unsigned threads, int level,
				struct err *err);
/* Jobs not yet begun are dropped, the others waited for.  NULL is fine. */
void page_pool_free(struct page_pool *pool);

/* A job to fill; NULL when all are taken. */
struct page_job *page_pool_next(struct page_pool *pool);
/* The job of page_pool_next() is ready to be done. */
void page_pool_submit(struct page_pool *pool);
/*
 * The oldest job that was not released, when it is done.  NULL: there is none
 * or, unless 'wait', it is not done yet.
 */
struct page_job *page_pool_oldest(struct page_pool *pool, bool wait);
/* The job of page_pool_oldest() may be used again. */
void page_pool_release(struct page_pool *pool);
/* Is there a job, not released, for that page? */
bool page_pool_has(const struct page_pool *pool, const struct page *p);

#endif
