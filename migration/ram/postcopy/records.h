/*
 * records.h - RAM records of a guest that runs here already (migration-stream 5.5)
 *
 * One struct a connection: the main stream's, and the preempt channel's.  Each has the block named
 * last, a buffer for small pages in a row that are put in together, and one for a huge page whose
 * parts come one by one.  Its memory: POSTCOPY_GATHER_PAGES, and from the first huge page on that
 * of the largest that has come.
 */
#ifndef MINIVMM_MIGRATION_RAM_POSTCOPY_RECORDS_H
#define MINIVMM_MIGRATION_RAM_POSTCOPY_RECORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "migration/ram/postcopy/postcopy-ram.h"

struct load_block;
struct ram_load;
struct src;

#define POSTCOPY_GATHER_PAGES 64U

/* A mapping of its own: the page, and behind it a bit for each of its parts that has come. */
struct postcopy_huge {
	uint8_t *buf; /* owned; NULL: none has come yet */
	uint64_t *parts;
	uint64_t pages; /* of 4 KiB, that there is room for */
};

struct postcopy_records {
	/* set at creation and then constant; borrowed */
	struct postcopy_ram *ram;
	struct ram_load *load; /* the blocks' names, and their lengths at the source */
	bool urgent;           /* only what was asked for comes: it is put in at once */
	bool runs;             /* RUN records may come */
	/* the connection's thread's */
	bool told;                        /* urgent: that all is here */
	const struct load_block *last;    /* named by the last record; NULL: none yet */
	struct postcopy_block *last_here; /* what it is here; NULL: its content is dropped */
	uint8_t *buf;                     /* owned */
	struct postcopy_huge huge;
	struct postcopy_block *block; /* of what is in a buffer: 'n' pages from 'first' on */
	uint64_t first, n;
	int here;  /* of beside_join() */
	bool zero; /* all parts of the huge page that have come are */
};

/* 'load' must have its list of blocks.  0 or -ENOMEM. */
int postcopy_records_init(struct postcopy_records *r, struct postcopy_ram *ram,
			  struct ram_load *load, bool urgent, struct err *err);
void postcopy_records_fini(struct postcopy_records *r); /* a zeroed one is fine */
/* Another connection: what is in the buffer, and which block was named last, is forgotten. */
void postcopy_records_reset(struct postcopy_records *r);
#define POSTCOPY_RECORDS_CLOSED   1
#define POSTCOPY_RECORDS_ALL_HERE 2
/*
 * Records up to and with EOS: 0.  Or, in front of a record, one of these: the connection ends; an
 * urgent one has brought the last page that was missing, and may be read on, once.  Or -errno with
 * a sentence: -ENOMEM and -ENOSPC when the host has no page.
 */
int postcopy_records_load(struct postcopy_records *r, struct src *in, struct err *err);

#endif
