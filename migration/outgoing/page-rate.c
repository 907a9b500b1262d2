/*
 * page-rate.c - pages a second over whole passes
 *
 * Slices of a pass are summed up.  When a pass has ended whole, its sum joins
 * the sum of earlier whole passes; as soon as that covers PAGE_RATE_NS it becomes
 * the figure, and the next one begins.  A pass that ended early is dropped, for
 * it shows only a part of the mix of pages.  A bandwidth limit is taken into
 * account when the figure is asked for: the bytes that a page takes on the wire
 * bound the pages that the limit lets through.
 */
#include "migration/outgoing/page-rate.h"

#include "vmm/base/units.h"

#define NS_PER_S 1e9

static void page_sum_add(struct page_sum *to, const struct page_sum *s)
{
	to->pages += s->pages;
	to->zero_pages += s->zero_pages;
	to->bytes += s->bytes;
	to->ns += s->ns;
}

void page_rate_sent(struct page_rate *r, const struct page_sum *sent)
{
	page_sum_add(&r->pass, sent);
}

static void set_figure(struct page_rate *r, double pages, const struct page_sum *s)
{
	if (pages <= 0 || s->ns <= 0)
		return;
	r->per_second = pages * NS_PER_S / (double)s->ns;
	r->bytes_per_page = (double)s->bytes / pages;
}

/*
 * As if the pages with content had taken all the time; with nothing but zeros,
 * as many pages as the bytes on the wire would fill.
 */
static double pages_with_content(const struct page_sum *s)
{
	double filled = (double)s->bytes / PAGE_BYTES;

	return MAX((double)(s->pages - MIN(s->zero_pages, s->pages)), filled);
}

void page_rate_pass(struct page_rate *r, bool first, bool whole)
{
	if (first) {
		set_figure(r, pages_with_content(&r->pass), &r->pass);
	} else if (whole) {
		page_sum_add(&r->whole, &r->pass);
		if (r->whole.ns >= (r->later ? PAGE_RATE_NS : PAGE_RATE_FIRST_NS)) {
			set_figure(r, (double)r->whole.pages, &r->whole);
			r->later = true;
			r->whole = (struct page_sum){0};
		}
	}
	r->pass = (struct page_sum){0};
}

uint64_t page_rate_under(const struct page_rate *r, uint64_t limit)
{
	struct page_rate now = *r;

	if (now.per_second <= 0)
		set_figure(&now, (double)now.pass.pages, &now.pass);
	if (limit && now.bytes_per_page > 0)
		now.per_second = MIN(now.per_second, (double)limit / now.bytes_per_page);
	return (uint64_t)now.per_second;
}
