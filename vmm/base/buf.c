/*
 * buf.c - appending with amortised growth, reading with every length checked
 *
 * A struct buf doubles its capacity.  A struct src gives out pointers into its
 * own buffer; src_get() and src_skip() take long pieces SRC_PIECE bytes at a
 * time, so that a channel behind 'fill' needs a buffer of that size only.
 */
#include "vmm/base/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"

void buf_free(struct buf *b)
{
	free(b->data);
	*b = (struct buf){0};
}

void buf_clear(struct buf *b)
{
	b->len = 0;
}

uint8_t *buf_room(struct buf *b, size_t n)
{
	if (!b->data || n > b->cap - b->len) {
		size_t cap = b->cap ? b->cap : 256;

		while (cap - b->len < n)
			cap *= 2;
		b->data = xrealloc(b->data, cap);
		b->cap = cap;
	}
	return b->data + b->len;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
	if (!n)
		return;
	memcpy(buf_room(b, n), p, n);
	b->len += n;
}

void buf_zero(struct buf *b, size_t n)
{
	memset(buf_room(b, n), 0, n);
	b->len += n;
}

void buf_u8(struct buf *b, uint8_t v)
{
	*buf_room(b, 1) = v;
	b->len++;
}

void buf_be16(struct buf *b, uint16_t v)
{
	put_be16(buf_room(b, sizeof(v)), v);
	b->len += sizeof(v);
}

void buf_be32(struct buf *b, uint32_t v)
{
	put_be32(buf_room(b, sizeof(v)), v);
	b->len += sizeof(v);
}

void buf_be64(struct buf *b, uint64_t v)
{
	put_be64(buf_room(b, sizeof(v)), v);
	b->len += sizeof(v);
}

void buf_str8(struct buf *b, const char *s)
{
	size_t n = strlen(s);

	assert(n <= UINT8_MAX);
	buf_u8(b, (uint8_t)n);
	buf_put(b, s, n);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	assert(n >= 0);
	va_start(ap, fmt);
	(void)vsnprintf((char *)buf_room(b, (size_t)n + 1), (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

struct src src_mem(const void *p, size_t n)
{
	return (struct src){.data = p, .len = n};
}

uint64_t src_offset(const struct src *s)
{
	return s->base + s->at;
}

const uint8_t *src_peek(struct src *s, size_t n)
{
	if (s->len - s->at < n && s->fill && s->fill(s, n) < 0)
		return NULL;
	return s->len - s->at < n ? NULL : s->data + s->at;
}

const uint8_t *src_take(struct src *s, size_t n)
{
	const uint8_t *p = src_peek(s, n);

	if (p)
		s->at += n;
	return p;
}

/* The largest piece asked of fill at once, so that its buffer can stay small. */
#define SRC_PIECE 4096

int src_get(struct src *s, void *p, size_t n)
{
	uint8_t *out = p;

	while (n > 0) {
		size_t piece = n < SRC_PIECE ? n : SRC_PIECE;
		const uint8_t *in = src_take(s, piece);

		if (!in)
			return -EIO;
		memcpy(out, in, piece);
		out += piece;
		n -= piece;
	}
	return 0;
}

int src_skip(struct src *s, size_t n)
{
	while (n > 0) {
		size_t piece = n < SRC_PIECE ? n : SRC_PIECE;

		if (!src_take(s, piece))
			return -EIO;
		n -= piece;
	}
	return 0;
}

void src_seek(struct src *s, uint64_t to)
{
	s->seek(s, to);
}

int src_u8(struct src *s, uint8_t *v)
{
	const uint8_t *p = src_take(s, 1);

	if (!p)
		return -EIO;
	*v = *p;
	return 0;
}

int src_be16(struct src *s, uint16_t *v)
{
	const uint8_t *p = src_take(s, sizeof(*v));

	if (!p)
		return -EIO;
	*v = get_be16(p);
	return 0;
}

int src_be32(struct src *s, uint32_t *v)
{
	const uint8_t *p = src_take(s, sizeof(*v));

	if (!p)
		return -EIO;
	*v = get_be32(p);
	return 0;
}

int src_be64(struct src *s, uint64_t *v)
{
	const uint8_t *p = src_take(s, sizeof(*v));

	if (!p)
		return -EIO;
	*v = get_be64(p);
	return 0;
}

int src_str8(struct src *s, char out[256])
{
	uint8_t n;

	if (src_u8(s, &n) < 0 || src_get(s, out, n) < 0)
		return -EIO;
	if (memchr(out, 0, n))
		return -EINVAL;
	out[n] = 0;
	return 0;
}
