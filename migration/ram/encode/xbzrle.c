/*
 * xbzrle.c - a page as what has changed since it was last sent
 *
 * The cache holds pages as the destination has them.  What makes that true:
 *
 *  - The guest may be writing the page at this moment, so it is copied once,
 *    and the copy is what is compared, cached and sent.  A PAGE record refers
 *    to the cached copy.  That one stays as it is until the record is
 *    flushed: a page goes out at most once between two syncs, which lie
 *    between records, and the cache keeps a slot that was used in this pass.
 *  - A page that goes out as zeros is cached as zeros.
 *  - A page that goes out by another way and stays in the cache is none: only
 *    the last record leaves the cache alone, because nothing follows it.
 *
 * A page that is found unchanged is not sent at all.
 */
#include "migration/ram/encode/xbzrle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/ram/encode/xbzrle-codec.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"

#define WORD_BYTES 8 /* not counted in 'bytes', as the interface has it */

struct xbzrle_save {
	struct xbzrle_cache *cache; /* owned */
	const uint64_t *want_bytes; /* borrowed, atomic: the parameter */
	uint64_t have_bytes;        /* the parameter as it was when last looked at */
	uint8_t now[PAGE_BYTES];    /* the page's copy */
	uint8_t delta[PAGE_BYTES];
};

int xbzrle_save_start(struct ram_stream *s, const uint64_t *cache_bytes, struct err *err)
{
	uint64_t bytes = __atomic_load_n(cache_bytes, __ATOMIC_RELAXED);
	struct xbzrle_cache *cache = xbzrle_cache_new(bytes, err);

	if (!cache)
		return -ENOMEM;
	s->xbzrle = NEW(struct xbzrle_save);
	s->xbzrle->cache = cache;
	s->xbzrle->want_bytes = cache_bytes;
	s->xbzrle->have_bytes = bytes;
	return 0;
}

static void xbzrle_fini(struct ram_stream *s)
{
	if (s->xbzrle)
		xbzrle_cache_free(s->xbzrle->cache);
	free(s->xbzrle);
	s->xbzrle = NULL;
}

bool xbzrle_active(const struct ram_stream *s)
{
	return s->xbzrle && s->passes >= 2;
}

/* Blocks do not overlap in this process: a page's address here names it. */
static uint64_t key_of(const struct page *p)
{
	return (uint64_t)(uintptr_t)(p->block->hva + p->off);
}

/* Follow the parameter.  What was not sent yet may refer to pages that this throws out. */
static int follow_size(struct ram_stream *s)
{
	struct xbzrle_save *x = s->xbzrle;
	uint64_t want = __atomic_load_n(x->want_bytes, __ATOMIC_RELAXED);
	struct err why = {0};
	int ret;

	if (want == x->have_bytes)
		return 0;
	ret = writer_flush(s->w);
	x->have_bytes = want;
	if (ret == 0 && xbzrle_cache_resize(x->cache, want, &why) < 0)
		log_warn("%s: the migration goes on with the cache it has", why.msg);
	return ret;
}

/* ---- zero pages ---- */

static void note_zero(struct ram_stream *s, const struct page *p)
{
	uint8_t *slot;

	if (s->final || p->untouched) /* never touched: never sent with content either */
		return;
	slot = xbzrle_cache_insert(s->xbzrle->cache, key_of(p), s->passes);
	if (slot)
		memset(slot, 0, PAGE_BYTES);
}

static int zero_noted(struct ram_stream *s, const struct page *p)
{
	int ret = encode_zero.encode(s, p);

	if (ret == 1 && xbzrle_active(s))
		note_zero(s, p);
	return ret;
}

const struct page_encoder encode_zero_noted = {.name = "zero", .encode = zero_noted};

/* ---- all others ---- */

/* A page that the cache does not know. */
static int send_new(struct ram_stream *s, const struct page *p)
{
	uint8_t *slot;

	s->count.xbzrle_miss++;
	if (s->final)
		return 0;
	slot = xbzrle_cache_insert(s->xbzrle->cache, key_of(p), s->passes);
	if (!slot)
		return 0;
	memcpy(slot, p->block->hva + p->off, PAGE_BYTES);
	return ram_put_plain(s, p, slot);
}

static int send_delta(struct ram_stream *s, const struct page *p, size_t n)
{
	uint8_t head[3] = {XBZRLE_ENCODING};
	int ret = ram_put_run(s);
	uint64_t before = s->w->bytes;

	if (ret == 0)
		ret = ram_put_page_header(s, p, RAM_FLAG_XBZRLE);
	put_be16(head + 1, (uint16_t)n);
	if (ret == 0)
		ret = writer_put(s->w, head, sizeof(head));
	if (ret == 0)
		ret = writer_put(s->w, s->xbzrle->delta, n);
	s->count.xbzrle_bytes += s->w->bytes - before - WORD_BYTES;
	return ret < 0 ? ret : 1;
}

/* A page that the destination has as 'cached'. */
static int send_known(struct ram_stream *s, const struct page *p, uint8_t *cached)
{
	struct xbzrle_save *x = s->xbzrle;
	int n;

	memcpy(x->now, p->block->hva + p->off, PAGE_BYTES);
	n = xbzrle_encode(cached, x->now, PAGE_BYTES, x->delta, PAGE_BYTES);
	s->count.xbzrle_pages++;
	if (n == 0)
		return 1;
	if (!s->final)
		memcpy(cached, x->now, PAGE_BYTES);
	if (n > 0)
		return send_delta(s, p, (size_t)n);
	s->count.xbzrle_overflow++;
	s->count.xbzrle_bytes += PAGE_BYTES;
	return s->final ? 0 : ram_put_plain(s, p, cached);
}

static int xbzrle_page(struct ram_stream *s, const struct page *p)
{
	uint8_t *cached;
	int ret;

	if (!xbzrle_active(s))
		return 0;
	ret = follow_size(s);
	if (ret < 0)
		return ret;
	cached = xbzrle_cache_find(s->xbzrle->cache, key_of(p), s->passes);
	return cached ? send_known(s, p, cached) : send_new(s, p);
}

const struct page_encoder encode_xbzrle = {
    .name = "xbzrle",
    .encode = xbzrle_page,
    .fini = xbzrle_fini,
};
