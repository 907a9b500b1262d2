/*
 * compress.h - pages as independent zlib streams, by threads (migration-stream 3.6)
 *
 * The one home of zlib for COMPRESS records, both ways.
 */
#ifndef MINIVMM_MIGRATION_COMPRESS_H
#define MINIVMM_MIGRATION_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/ram/ram-stream.h"

struct err;
struct page_pool;

/* ---- sending ---- */

/*
 * Before any other encoder: lets no page of another block overtake the pages
 * that are still being worked on.
 */
extern const struct page_encoder encode_block_order;
extern const struct page_encoder encode_compress;

int compress_save_start(struct ram_stream *s, unsigned threads, int level, bool wait,
			struct err *err);

/* ---- receiving: the load thread's ---- */

/* Bytes that a COMPRESS record may have. */
size_t decompress_max_bytes(void);
struct page_pool *decompress_new(unsigned threads, struct err *err);
/* Hand over a page's record; n is at most decompress_max_bytes(). */
int decompress_page(struct page_pool *pool, const struct page *p, const uint8_t *packed, size_t n,
		    struct err *err);
/* Wait until no worker writes that page any longer (NULL: any page). */
int decompress_sync(struct page_pool *pool, const struct page *p, struct err *err);

#endif
