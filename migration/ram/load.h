/*
 * load.h - struct ram_load, for the files that load RAM: load-list.c, load.c
 *
 * The load thread's; multifd's threads look blocks up and place pages.
 */
#ifndef MINIVMM_MIGRATION_RAM_LOAD_H
#define MINIVMM_MIGRATION_RAM_LOAD_H

#include "migration/ram/placer.h"
#include "migration/ram/ram.h"

struct lazy;
struct mapped_load;
struct page_pool;
struct page_source;

#define RAM_LOAD_DROPPED 3 /* names of blobs whose content is dropped */

/* What of the stream goes with a SYNC packet on each multifd channel; the first body tells. */
enum load_flush {
	FLUSH_UNKNOWN,
	FLUSH_SECTION, /* every EOS */
	FLUSH_PASS,    /* every MULTIFD_FLUSH */
};

struct ram_load {
	struct machine *m;
	const struct page_placer *placer;
	struct load_block blocks[MEMORY_MAX_BLOCKS + RAM_LOAD_DROPPED];
	size_t n_blocks;
	bool ignore_shared, take_runs;
	bool checks;                        /* nothing is changed: would it load? */
	bool over;                          /* atomic: ram_load_end() */
	bool listed;                        /* the list of blocks has begun */
	struct load_block *last;            /* named by the last page record */
	const struct load_block *row_block; /* where the last plain page came in ... */
	uint64_t row_next;                  /* ... what would follow it ... */
	uint64_t row_pages;                 /* ... and how many came in a row up to it */
	struct page_pool *unpack;           /* owned; NULL: COMPRESS records are refused */
	struct multifd_recv *multifd;       /* borrowed; NULL: all pages are in the stream */
	enum load_flush flush;
	struct mapped_load *mapped; /* borrowed; NULL: no page has a place in a file */
	struct page_source *index;  /* borrowed; NULL: pages are loaded */
	bool notes;                 /* the index is being made; else pages may come by it later */
	struct lazy *lazy;          /* borrowed; takes blocks whose pages come by the index */
	size_t n_now;               /* blocks in the list that it has not taken */
};

/* The block of that name; NULL: unknown. */
struct load_block *ram_load_find(struct ram_load *l, const char *name);
/* Is the block one that both ends share, and that comes without pages? */
bool ram_load_ignores(const struct ram_load *l, const struct load_block *lb);
/* The list of blocks, 'total' bytes of them (migration-stream 3.2).  0, or -errno with *err set. */
int ram_load_list(struct ram_load *l, struct src *in, uint64_t total, struct err *err);
/* "the stream ends at offset N in WHAT"; always -EIO. */
int ram_load_say_ended(struct src *in, const char *what, struct err *err);

#endif
