/*
 * xbzrle-codec.h - delta coding of a page against its last sent content (migration-stream 3.5)
 *
 * Pure functions and a cache; no channel, no guest memory.  One thread at a time.
 */
#ifndef MINIVMM_MIGRATION_RAM_XBZRLE_H
#define MINIVMM_MIGRATION_RAM_XBZRLE_H

#include <stddef.h>
#include <stdint.h>

struct err;

#define XBZRLE_ENCODING 1 /* what a record says of its delta: there is no other */

/*
 * Encode 'now' against 'old' (both 'len' bytes, at most 16383) into at most
 * 'room' bytes at out.  Returns the length, 0 when they are equal, or
 * -EOVERFLOW when it does not fit.
 */
int xbzrle_encode(const uint8_t *old, const uint8_t *now, size_t len, uint8_t *out, size_t room);

/*
 * Apply n bytes of delta to page[0..len).  0, or -EINVAL for bytes that are
 * no delta; the page may then be half changed.
 */
int xbzrle_decode(const uint8_t *in, size_t n, uint8_t *page, size_t len);

/* Last sent pages, by address; a newer page takes the place of an older one at the same slot. */
struct xbzrle_cache;

/* 'bytes' is a power of two of at least one page.  Returns owned, or NULL. */
struct xbzrle_cache *xbzrle_cache_new(uint64_t bytes, struct err *err);
void xbzrle_cache_free(struct xbzrle_cache *c);
/*
 * The cached content of the page at that address (unique over all blocks), or
 * NULL.  'age' is the number of the pass: the slot has been used in it.
 */
uint8_t *xbzrle_cache_find(struct xbzrle_cache *c, uint64_t page_addr, uint64_t age);
/*
 * Room for the page at that address, to be filled by the caller.  A slot that
 * another page used in this or the last pass is kept, and NULL is returned.
 */
uint8_t *xbzrle_cache_insert(struct xbzrle_cache *c, uint64_t page_addr, uint64_t age);
/*
 * Another size; the pages stay, and where two now want the same slot the one
 * used later does.  -ENOMEM: nothing has changed.
 */
int xbzrle_cache_resize(struct xbzrle_cache *c, uint64_t bytes, struct err *err);
uint64_t xbzrle_cache_bytes(const struct xbzrle_cache *c);

#endif
