#include "migration/outgoing/encoder-stats.h"

#include "vmm/base/units.h"

/* Pages that were neither ZERO nor PAGE records.  An overflow was a PAGE record, too. */
static uint64_t other_pages(const struct ram_counters *c)
{
	return c->compress_pages + c->xbzrle_pages - c->xbzrle_overflow;
}

static uint64_t all_pages(const struct ram_counters *c)
{
	return c->duplicate + c->normal + other_pages(c);
}

uint64_t encoder_stats_count(struct encoder_stats *es, const struct ram_counters *c)
{
	uint64_t n = other_pages(c) - other_pages(&es->now);

	es->now = *c;
	return n;
}

static double ratio(uint64_t of, uint64_t to)
{
	return to ? (double)of / (double)to : 0;
}

void encoder_stats_pass(struct encoder_stats *es)
{
	const struct ram_counters *n = &es->now, *b = &es->before;
	uint64_t pages = all_pages(n) - all_pages(b);

	if (!pages)
		return;
	es->cache_miss_rate = ratio(n->xbzrle_miss - b->xbzrle_miss, pages);
	es->encoding_rate = ratio((n->xbzrle_pages - b->xbzrle_pages) * PAGE_BYTES,
				  n->xbzrle_bytes - b->xbzrle_bytes);
	es->busy_rate = ratio(n->compress_busy - b->compress_busy, pages);
	es->compression_rate = ratio((n->compress_pages - b->compress_pages) * PAGE_BYTES,
				     n->compress_bytes - b->compress_bytes);
	es->before = *n;
}

void encoder_stats_fill(const struct encoder_stats *es, struct migration_info *info)
{
	const struct ram_counters *n = &es->now;

	info->xbzrle = (struct migration_xbzrle_stats){
	    .bytes = n->xbzrle_bytes,
	    .pages = n->xbzrle_pages,
	    .cache_miss = n->xbzrle_miss,
	    .overflow = n->xbzrle_overflow,
	    .cache_miss_rate = es->cache_miss_rate,
	    .encoding_rate = es->encoding_rate,
	};
	info->compression = (struct migration_compression_stats){
	    .pages = n->compress_pages,
	    .busy = n->compress_busy,
	    .compressed_size = n->compress_bytes,
	    .busy_rate = es->busy_rate,
	    .compression_rate = es->compression_rate,
	};
}
