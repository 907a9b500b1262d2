/*
 * page-rate.h - how many pages a second are sent, whatever they become on the wire
 *
 * What is left when the guest stops is counted in pages, and a page takes as
 * long as its encoder and the channel need for it: a page of zeros a
 * microsecond, one that zlib shrinks five, one that it cannot shrink a hundred.
 * Bytes on the wire say little about that, so time is measured a page, over
 * the mix of pages that the guest rewrites.
 *
 * That mix is seen only by a whole pass over what was dirty: a part of a pass
 * may be all zeros.  A figure therefore covers whole passes, as many as it
 * takes to have sent for PAGE_RATE_NS.  The first pass is another mix, all that
 * the guest has.  It gives a figure that is rather too low, because its
 * zeros count as nothing, and holds until a later pass has given a better one.
 *
 * Pure: the caller brings the times.
 */
#ifndef MINIVMM_MIGRATION_PAGE_RATE_H
#define MINIVMM_MIGRATION_PAGE_RATE_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE_RATE_NS       100000000LL /* of sending, in whole passes, make a figure */
#define PAGE_RATE_FIRST_NS 10000000LL  /* make one that is better than the first pass's */

struct page_sum {
	uint64_t pages, zero_pages, bytes; /* bytes: on the wire */
	int64_t ns;                        /* of sending, pauses for the bandwidth limit included */
};

struct page_rate {
	struct page_sum pass;  /* the pass that goes on */
	struct page_sum whole; /* whole passes since the last figure */
	/* the figure */
	double per_second;     /* pages; 0: there is none */
	double bytes_per_page; /* on the wire */
	bool later;            /* of later passes than the first one */
};

/* So much has been sent. */
void page_rate_sent(struct page_rate *r, const struct page_sum *sent);
/* A pass has ended: 'first' or a later one; 'whole': all that was dirty has been sent. */
void page_rate_pass(struct page_rate *r, bool first, bool whole);
/*
 * Pages a second under a bandwidth limit (bytes/s on the wire, 0: none).
 * Before there is a figure: of what has been sent up to now; 0: nothing.
 */
uint64_t page_rate_under(const struct page_rate *r, uint64_t limit);

#endif
