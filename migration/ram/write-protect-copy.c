/*
 * write-protect-copy.c - copies of pages, and what is released behind them (write-protect.c)
 *
 * A page of shared memory that is released stays read-only in the page tables, and the guest's next
 * write enters the kernel to change that, which takes it as long as some hundred writes.  It is
 * changed here instead: for pages that a write waits for, and for all that are swept as
 * long as the guest writes to many.
 */
#include <string.h>
#include <sys/mman.h>

#include "migration/ram/write-protect-internal.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; older ones leave it to the write */
#endif

struct page_copy *wp_reserve_copies(struct write_protect *wp, const struct page_run *run)
{
	uint64_t unit = wp_unit_pages(wp->mem->blocks[run->block]), n;
	struct page_copy *first = NULL, **end = &first;

	for (uint64_t page = run->first; page < run->first + run->n; page += n) {
		uint64_t left = run->first + run->n - page;
		struct page_copy *copy = page_copies_get(&wp->copies, (unsigned)(left / unit));

		n = copy->slots * unit;
		copy->run = (struct page_run){.block = run->block, .first = page, .n = n};
		*end = copy;
		end = &copy->next;
	}
	return first;
}

void wp_copy_and_release(const struct write_protect *wp, const struct page_run *run,
			 struct page_copy *first)
{
	const struct ram_block *b = wp->mem->blocks[run->block];

	for (struct page_copy *c = first; c; c = c->next)
		memcpy(c->content, b->hva + c->run.first * PAGE_BYTES, c->run.n * PAGE_BYTES);
	wp_release_run(wp, run);
	wp_map_writable(wp, run);
}

void wp_map_writable(const struct write_protect *wp, const struct page_run *run)
{
	const struct ram_block *b = wp->mem->blocks[run->block];

	if (b->share && b->page_bytes == PAGE_BYTES) /* of others the kernel sees to it itself */
		(void)madvise(b->hva + run->first * PAGE_BYTES, run->n * PAGE_BYTES,
			      MADV_POPULATE_WRITE);
}

void wp_put_ready(struct write_protect *wp, struct page_copy *first)
{
	while (first) {
		struct page_copy *next = first->next;

		page_copies_ready(&wp->copies, first);
		first = next;
	}
	pthread_cond_signal(&wp->cond);
}
