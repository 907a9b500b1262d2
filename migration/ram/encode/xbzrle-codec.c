/*
 * xbzrle-codec.c - runs of equal and of changed bytes
 *
 * A delta is pairs of (count of equal bytes, count of changed bytes, those
 * bytes).  Counts are one or two bytes, seven bits each, low part first.  The
 * first count of equal bytes may be 0, no other count may; equal bytes at the
 * end of the page are not written.
 */
#include "migration/ram/encode/xbzrle-codec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define VARLEN_MAX 2 /* bytes of a count */

static uint64_t word_at(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* How many bytes from 'at' on are the same in both. */
static size_t equal_run(const uint8_t *a, const uint8_t *b, size_t at, size_t len)
{
	size_t i = at;

	while (len - i >= sizeof(uint64_t)) {
		uint64_t diff = word_at(a + i) ^ word_at(b + i);

		if (diff)
			return i - at + (size_t)__builtin_ctzll(diff) / 8;
		i += sizeof(uint64_t);
	}
	while (i < len && a[i] == b[i])
		i++;
	return i - at;
}

/* How many bytes from 'at' on differ: up to the first equal one. */
static size_t changed_run(const uint8_t *a, const uint8_t *b, size_t at, size_t len)
{
	const uint64_t ones = 0x0101010101010101ULL, tops = 0x8080808080808080ULL;
	size_t i = at;

	while (len - i >= sizeof(uint64_t)) {
		uint64_t diff = word_at(a + i) ^ word_at(b + i);
		uint64_t zero =
		    (diff - ones) & ~diff & tops; /* lowest set top bit: first equal byte */

		if (zero)
			return i - at + (size_t)__builtin_ctzll(zero) / 8;
		i += sizeof(uint64_t);
	}
	while (i < len && a[i] != b[i])
		i++;
	return i - at;
}

static size_t put_count(uint8_t *out, size_t v)
{
	if (v < 0x80) {
		out[0] = (uint8_t)v;
		return 1;
	}
	out[0] = (uint8_t)((v & 0x7f) | 0x80);
	out[1] = (uint8_t)(v >> 7);
	return 2;
}

int xbzrle_encode(const uint8_t *old, const uint8_t *now, size_t len, uint8_t *out, size_t room)
{
	size_t at = 0, n = 0;

	while (at < len) {
		size_t same = equal_run(old, now, at, len), changed;

		at += same;
		if (at == len)
			break;
		changed = changed_run(old, now, at, len);
		if (room - n < VARLEN_MAX)
			return -EOVERFLOW;
		n += put_count(out + n, same);
		if (room - n < VARLEN_MAX)
			return -EOVERFLOW;
		n += put_count(out + n, changed);
		if (room - n < changed)
			return -EOVERFLOW;
		memcpy(out + n, now + at, changed);
		n += changed;
		at += changed;
	}
	return (int)n;
}

/* A count at in[*at]; -EINVAL when it is cut off or longer than two bytes. */
static int get_count(const uint8_t *in, size_t n, size_t *at, size_t *v)
{
	if (*at >= n)
		return -EINVAL;
	*v = in[(*at)++];
	if (*v < 0x80)
		return 0;
	if (*at >= n || in[*at] >= 0x80)
		return -EINVAL;
	*v = (*v & 0x7f) | (size_t)in[(*at)++] << 7;
	return 0;
}

int xbzrle_decode(const uint8_t *in, size_t n, uint8_t *page, size_t len)
{
	size_t at = 0, out = 0;

	while (at < n) {
		size_t same, changed;
		size_t start = at;

		if (get_count(in, n, &at, &same) < 0 || (same == 0 && start != 0))
			return -EINVAL;
		if (get_count(in, n, &at, &changed) < 0 || changed == 0)
			return -EINVAL;
		if (same > len - out || changed > len - out - same || changed > n - at)
			return -EINVAL;
		memcpy(page + out + same, in + at, changed);
		out += same + changed;
		at += changed;
	}
	return 0;
}

/* ---- the cache: direct-mapped by page number ---- */

struct slot {
	uint64_t page_addr, age;
	uint8_t *data; /* owned; NULL: free */
};

struct xbzrle_cache {
	uint64_t bytes;
	size_t n; /* slots, a power of two */
	struct slot *slot;
};

static struct slot *new_slots(uint64_t bytes, struct err *err)
{
	size_t n = bytes / PAGE_BYTES;
	struct slot *slot = NULL;

	if (!bytes || (bytes & (bytes - 1)) || !n) {
		(void)err_set(err, EINVAL,
			      "an xbzrle cache of %" PRIu64 " bytes is no power of two of pages",
			      bytes);
		return NULL;
	}
	if (bytes < (1ULL << 46))
		slot = calloc(n, sizeof(*slot));
	if (!slot)
		(void)err_set(err, ENOMEM, "no memory for an xbzrle cache of %" PRIu64 " bytes",
			      bytes);
	return slot;
}

struct xbzrle_cache *xbzrle_cache_new(uint64_t bytes, struct err *err)
{
	struct slot *slot = new_slots(bytes, err);
	struct xbzrle_cache *c;

	if (!slot)
		return NULL;
	c = NEW(struct xbzrle_cache);
	c->bytes = bytes;
	c->n = bytes / PAGE_BYTES;
	c->slot = slot;
	return c;
}

void xbzrle_cache_free(struct xbzrle_cache *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n; i++)
		free(c->slot[i].data);
	free(c->slot);
	free(c);
}

static struct slot *slot_of(struct xbzrle_cache *c, uint64_t page_addr)
{
	return &c->slot[(page_addr / PAGE_BYTES) & (c->n - 1)];
}

uint8_t *xbzrle_cache_find(struct xbzrle_cache *c, uint64_t page_addr, uint64_t age)
{
	struct slot *s = slot_of(c, page_addr);

	if (!s->data || s->page_addr != page_addr)
		return NULL;
	s->age = age;
	return s->data;
}

uint8_t *xbzrle_cache_insert(struct xbzrle_cache *c, uint64_t page_addr, uint64_t age)
{
	struct slot *s = slot_of(c, page_addr);

	if (s->data && s->page_addr != page_addr && s->age + 1 >= age)
		return NULL;
	if (!s->data)
		s->data = malloc(PAGE_BYTES);
	s->page_addr = page_addr;
	s->age = age;
	return s->data;
}

int xbzrle_cache_resize(struct xbzrle_cache *c, uint64_t bytes, struct err *err)
{
	struct slot *from = c->slot, *slot = new_slots(bytes, err);
	size_t n = c->n;

	if (!slot)
		return -ENOMEM;
	c->slot = slot;
	c->bytes = bytes;
	c->n = bytes / PAGE_BYTES;
	for (size_t i = 0; i < n; i++) {
		struct slot *to = slot_of(c, from[i].page_addr);

		if (!from[i].data)
			continue;
		if (to->data && to->age >= from[i].age) {
			free(from[i].data);
			continue;
		}
		free(to->data);
		*to = from[i];
	}
	free(from);
	return 0;
}

uint64_t xbzrle_cache_bytes(const struct xbzrle_cache *c)
{
	return c->bytes;
}
