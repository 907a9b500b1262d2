/* internal.h - struct lazy, for the files of this folder */
#ifndef MINIVMM_MIGRATION_RAM_LAZY_INTERNAL_H
#define MINIVMM_MIGRATION_RAM_LAZY_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "migration/ram/lazy/lazy.h"
#include "migration/ram/lazy/source.h"
#include "migration/ram/lazy/working-set.h"
#include "migration/ram/placer-uffd.h"
#include "vmm/base/error.h"
#include "vmm/base/thread.h"
#include "vmm/base/units.h"
#include "vmm/memory/fault-thread.h"
#include "vmm/memory/missing.h"

#define LAZY_READ_PAGES  512U /* of 4 KiB, that are read at a time: a huge page's, at least */
#define LAZY_FAULT_PAGES 16U  /* that are read for a fault: with its neighbours */
#define LAZY_NOTE_NS     10000000000LL /* how long the working set is noted */
#define LAZY_RETRY_NS    1000000000LL

_Static_assert(LAZY_READ_PAGES *PAGE_BYTES >= UFFD_PLACER_MAX_PAGE_BYTES,
	       "a page of the host is read at once");

struct lazy {
	struct missing missing;
	/* set before lazy_begin() and then constant */
	struct memory *mem; /* borrowed */
	struct uffd_placer placer;
	size_t index[MEMORY_MAX_BLOCKS];    /* of placer.blocks: which of the memory's blocks */
	uint64_t *comes[MEMORY_MAX_BLOCKS]; /* owned; of placer.blocks */
	uint64_t total_pages;
	char *notes; /* owned; where the working set is kept; NULL: nowhere */
	/* used by both threads; closed by the eager thread, when the other has ended */
	struct page_source *source; /* owned */
	/* the fault thread's */
	struct fault_thread fault_thread;
	uint8_t *fault_buf;         /* owned */
	struct working_set faulted; /* the eager thread's, when the other has ended */
	/* the eager thread's */
	struct thread eager;
	uint8_t *eager_buf; /* owned */
	struct working_set first;
	int64_t paced_ns; /* until when what was brought so far should have taken */
	/* gives back what memory held before */
	struct thread dropper;
	/* atomic */
	bool hurry; /* the dropper is to end */
	uint64_t faults, rate, first_pages;
	int64_t started_ns, resident_ns;
	/* Leaf; nothing is waited for under it but 'changed'. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop;    /* the eager thread ends */
	bool stalled; /* why: */
	bool lost;    /* ... and nothing will help: the fault thread is gone */
	struct err why;
	/* Held while the owner is called; the machine lock comes behind it. */
	pthread_mutex_t owner_lock;
	struct lazy_owner owner;
};

static inline struct lazy *lazy_of(struct missing *x)
{
	return container_of(x, struct lazy, missing);
}

/* ---- lazy.c ---- */

/*
 * Read pages of placer.blocks[block], whole ones of the host, into 'buf': those that do not come
 * are zero there.
 */
int lazy_read(struct lazy *l, int block, uint64_t page, uint64_t n, uint8_t *buf, struct err *err);
/* Pages cannot be had, or can be again.  Any thread of the session. */
void lazy_set_stalled(struct lazy *l, const struct err *why, bool lost);
bool lazy_is_stalled(struct lazy *l);
/* All has come: end the fault thread, and let go of everything but what may still be asked. */
void lazy_finish(struct lazy *l);

/* ---- eager.c ---- */

void *lazy_eager(void *opaque);

#endif
