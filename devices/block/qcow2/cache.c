/*
 * cache.c - pieces of L2 tables and refcount blocks in bounded memory
 *
 * Found by a hash of their place, thrown out least recently used first.  A dirty refcount block may
 * be written at any time: counts go up before anything relies on it, and down after nothing does.
 * A dirty L2 table may not (THE ORDER, internal.h): when only such are left all is written back.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/internal.h"
#include "vmm/base/units.h"

#define MIN_PIECES 16U
#define MAX_PIECES 16384U
#define SECTOR     512U /* what is written at least */

static struct qcow2_block **bucket(const struct qcow2_cache *c, const struct qcow2 *q,
				   uint64_t host)
{
	uint64_t n = host / q->piece_bytes * 0x9e3779b97f4a7c15ULL;

	return &c->hash[n >> 40 & c->hash_mask];
}

static uint32_t hash_size(uint32_t n)
{
	uint32_t size = 1;

	while (size < 2 * n)
		size *= 2;
	return size;
}

int qcow2_cache_init(struct qcow2 *q, struct qcow2_cache *c, uint64_t bytes)
{
	uint64_t n = MIN(MAX(bytes / q->piece_bytes, MIN_PIECES), MAX_PIECES);

	*c = (struct qcow2_cache){.n = (uint32_t)n};
	list_init(&c->lru);
	c->hash_mask = hash_size(c->n) - 1;
	c->blocks = calloc(n, sizeof(c->blocks[0]));
	c->hash = calloc(c->hash_mask + 1ULL, sizeof(void *));
	c->memory = aligned_alloc(4096, ALIGN_UP(n * q->piece_bytes, 4096));
	if (!c->blocks || !c->hash || !c->memory) {
		qcow2_cache_fini(c);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		c->blocks[i].data = c->memory + i * q->piece_bytes;
		list_add_tail(&c->lru, &c->blocks[i].lru);
	}
	return 0;
}

void qcow2_cache_fini(struct qcow2_cache *c)
{
	free(c->blocks);
	free(c->hash);
	free(c->memory);
	*c = (struct qcow2_cache){0};
}

static bool is_dirty(const struct qcow2_block *b)
{
	return b->dirty_hi != 0;
}

static void set_clean(struct qcow2_cache *c, struct qcow2_block *b)
{
	if (is_dirty(b))
		c->n_dirty--;
	b->dirty_lo = b->dirty_hi = 0;
}

/* The block holds nothing, and is the first to be taken. */
static void forget(struct qcow2 *q, struct qcow2_cache *c, struct qcow2_block *b)
{
	struct qcow2_block **p = bucket(c, q, b->host);

	while (*p != b)
		p = &(*p)->next;
	*p = b->next;
	set_clean(c, b);
	b->host = 0;
	b->fresh = false;
	list_del(&b->lru);
	b->lru.prev = &c->lru;
	b->lru.next = c->lru.next;
	c->lru.next->prev = &b->lru;
	c->lru.next = &b->lru;
}

static int write_block(struct qcow2 *q, struct qcow2_cache *c, struct qcow2_block *b)
{
	uint32_t lo = ALIGN_DOWN(b->dirty_lo, SECTOR);
	uint32_t hi = MIN(ALIGN_UP(b->dirty_hi, SECTOR), q->piece_bytes);
	int ret = qcow2_pwrite(q, b->data + lo, hi - lo, b->host + lo);

	if (ret == 0)
		set_clean(c, b);
	return ret;
}

static struct qcow2_block *clean_one(struct qcow2_cache *c)
{
	list_for_each (b, &c->lru, struct qcow2_block, lru)
		if (!b->pins && !is_dirty(b))
			return b;
	return NULL;
}

/* One that is free, its old content forgotten. */
static int take(struct qcow2 *q, struct qcow2_cache *c, struct qcow2_block **out)
{
	struct qcow2_block *b = clean_one(c);
	int ret = 0;

	if (!b) {
		ret = c == &q->rbc ? qcow2_cache_write(q, c, false) : qcow2_write_back(q);
		b = clean_one(c);
	}
	if (!b)
		return ret < 0 ? ret : -ENOMEM;
	if (b->host)
		forget(q, c, b);
	*out = b;
	return 0;
}

static void insert(struct qcow2 *q, struct qcow2_cache *c, struct qcow2_block *b, uint64_t host)
{
	struct qcow2_block **p = bucket(c, q, host);

	b->host = host;
	b->next = *p;
	*p = b;
}

static void touch(struct qcow2_cache *c, struct qcow2_block *b)
{
	list_del(&b->lru);
	list_add_tail(&c->lru, &b->lru);
	b->pins++;
}

struct qcow2_block *qcow2_block_peek(struct qcow2 *q, struct qcow2_cache *c, uint64_t host)
{
	struct qcow2_block *b = *bucket(c, q, host);

	while (b && b->host != host)
		b = b->next;
	if (b)
		touch(c, b);
	return b;
}

int qcow2_block_get(struct qcow2 *q, struct qcow2_cache *c, uint64_t host, struct qcow2_block **out)
{
	struct qcow2_block *b = qcow2_block_peek(q, c, host);
	int ret;

	if (!b) {
		ret = take(q, c, &b);
		if (ret == 0)
			ret = qcow2_pread(q, b->data, q->piece_bytes, host);
		if (ret < 0)
			return ret;
		insert(q, c, b, host);
		touch(c, b);
	}
	*out = b;
	return 0;
}

int qcow2_block_new(struct qcow2 *q, struct qcow2_cache *c, uint64_t host, struct qcow2_block **out)
{
	struct qcow2_block *b = qcow2_block_peek(q, c, host);
	int ret;

	if (!b) {
		ret = take(q, c, &b);
		if (ret < 0)
			return ret;
		insert(q, c, b, host);
		touch(c, b);
	}
	memset(b->data, 0, q->piece_bytes);
	set_clean(c, b);
	*out = b;
	return 0;
}

void qcow2_block_put(struct qcow2_block *b)
{
	b->pins--;
}

void qcow2_block_dirty(struct qcow2_cache *c, struct qcow2_block *b, uint32_t at, uint32_t bytes)
{
	if (!is_dirty(b)) {
		c->n_dirty++;
		b->dirty_lo = at;
	}
	b->dirty_lo = MIN(b->dirty_lo, at);
	b->dirty_hi = MAX(b->dirty_hi, at + bytes);
}

int qcow2_cache_write(struct qcow2 *q, struct qcow2_cache *c, bool fresh_only)
{
	for (uint32_t i = 0; i < c->n && c->n_dirty; i++) {
		struct qcow2_block *b = &c->blocks[i];
		int ret;

		if (!is_dirty(b) || (fresh_only && !b->fresh))
			continue;
		ret = write_block(q, c, b);
		if (ret < 0)
			return ret;
	}
	return 0;
}

void qcow2_cache_drop(struct qcow2 *q, struct qcow2_cache *c, uint64_t host, uint64_t bytes)
{
	uint64_t end = host + bytes;

	if (bytes / q->piece_bytes > c->n) {
		for (uint32_t i = 0; i < c->n; i++)
			if (c->blocks[i].host >= host && c->blocks[i].host < end)
				forget(q, c, &c->blocks[i]);
		return;
	}
	for (host = ALIGN_DOWN(host, q->piece_bytes); host < end; host += q->piece_bytes) {
		struct qcow2_block *b = qcow2_block_peek(q, c, host);

		if (b) {
			qcow2_block_put(b);
			forget(q, c, b);
		}
	}
}

void qcow2_cache_empty(struct qcow2 *q, struct qcow2_cache *c)
{
	for (uint32_t i = 0; i < c->n; i++)
		if (c->blocks[i].host)
			forget(q, c, &c->blocks[i]);
}
