/* dirty-internal.h - what dirty.c and dirty-watch.c share */
#ifndef MINIVMM_DIRTY_INTERNAL_H
#define MINIVMM_DIRTY_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/dirty-provider.h"
#include "vmm/memory/memory.h"

struct dirty_watch;

/* Exists as long as anybody tracks. */
struct dirty {
	const struct dirty_provider *provider;
	/* machine lock, and 'lock' to change them */
	bool taken;                  /* there is a taker of the pages */
	struct dirty_watch *watch;   /* borrowed; NULL: none */
	void (*yield)(void *opaque); /* the taker leaves them to the next one; NULL: does not */
	void *opaque;
	unsigned counted; /* users that only count */
	/* Protects what follows, and the watch's maps; dirty_ring.mutex may be taken under it. */
	pthread_mutex_t lock;
	struct {
		uint64_t *taken;       /* scratch of one sync */
		uint64_t *unprotected; /* reported and not yet protected again */
	} slot[MEMORY_MAX_SLOTS];
	/* owned; what the watch has found that the taker has not been told; NULL: nothing */
	uint64_t *untold[MEMORY_MAX_BLOCKS];
};

/* ---- machine lock held ---- */

/* Have pages tracked, for one more user; and one user less, after its flag is gone. */
int dirty_provider_start(struct machine *m, struct err *err);
void dirty_provider_stop(struct machine *m);
/* The bitmaps are there; freed when nobody needs them.  0 or -ENOMEM. */
int dirty_bitmaps(struct machine *m);

/* ---- d->lock held ---- */

/*
 * Find what was written since the last time: into 'maps' (one a block, NULL entries are left out)
 * and into the watch's.  *added: bits that are new in maps.
 */
int dirty_collect(struct machine *m, uint64_t *const *maps, uint64_t *added, struct err *err);
/* As dirty_protect(). */
void dirty_protect_locked(struct machine *m, const struct ram_block *b, uint64_t first, uint64_t n);

#endif
