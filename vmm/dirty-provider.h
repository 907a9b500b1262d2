/* dirty-provider.h - what dirty.c asks of the dirty log or the dirty ring */
#ifndef MINIVMM_DIRTY_PROVIDER_H
#define MINIVMM_DIRTY_PROVIDER_H

#include <stdint.h>

struct err;
struct machine;
struct mem_slot;

/* All calls: as dirty.h says of their namesakes; a slot's bitmap has a bit per 4 KiB page of the
 * slot. */
struct dirty_provider {
	const char *name;
	int (*start)(struct machine *m, struct err *err);
	/* Once before pages are taken, whichever slots they are taken of: find what was written. */
	void (*sync)(struct machine *m);
	/* The pages of slot s that were written, into 'map' (BITMAP_WORDS of its pages). */
	int (*take)(struct machine *m, const struct mem_slot *s, uint64_t *map, struct err *err);
	/* Protect again the pages of 64-page-aligned [first, first + n) whose bit is set in 'map'
	 * (the slot's, words from first on). */
	int (*protect)(struct machine *m, const struct mem_slot *s, uint64_t first, uint64_t n,
		       const uint64_t *map);
	void (*stop)(struct machine *m);
};

extern const struct dirty_provider dirty_log;
extern const struct dirty_provider dirty_ring;

#endif
