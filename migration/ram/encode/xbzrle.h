/* xbzrle.h - the encoder of pages as deltas (migration-stream 3.5) */
#ifndef MINIVMM_MIGRATION_ENCODE_XBZRLE_H
#define MINIVMM_MIGRATION_ENCODE_XBZRLE_H

#include "migration/ram/ram-stream.h"

/* Before any other encoder may take the zero pages: it notes them, and passes them on. */
extern const struct page_encoder encode_zero_noted;
extern const struct page_encoder encode_xbzrle;

/* Gives s->xbzrle a cache of *cache_bytes, which is read atomically from then on. */
int xbzrle_save_start(struct ram_stream *s, const uint64_t *cache_bytes, struct err *err);
/* Deltas are in use: from the second pass on. */
bool xbzrle_active(const struct ram_stream *s);

#endif
