/*
 * channel-filter.h - a channel on another one, for tests: each write is a frame, its bytes XORed
 *
 * It stands for what encryption does to a channel: several frames may come
 * with one read, so that bytes are there which poll() does not show, and a
 * frame that the channel below takes only in part is finished by later attempts.
 */
#ifndef MINIVMM_TESTS_CHANNEL_FILTER_H
#define MINIVMM_TESTS_CHANNEL_FILTER_H

#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "migration/channel/channel.h"
#include "migration/channel/open.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/bytes.h"
#include "vmm/base/units.h"

#define FILTER_HEAD  2
#define FILTER_FRAME 60000
#define FILTER_READ  (256 * KiB)

struct filter_layer {
	struct channel_layer layer;
	uint8_t key;
	unsigned frames, ready_unseen; /* atomic: read; times that 'pending' ended a wait */
};

struct filter {
	struct channel ch;
	struct filter_layer *l;
	struct buf raw, plain; /* read and not yet a whole frame; transformed and not yet read */
	struct buf out;        /* a frame on its way down */
	size_t out_at, taken;
};

static inline struct filter *filter_of(const struct channel *c)
{
	return (struct filter *)(uintptr_t)c; /* ch comes first */
}

static inline void filter_drop(struct buf *b, size_t n)
{
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
}

static inline void filter_xor(const struct filter *f, uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] ^= f->l->key;
}

/* One attempt to have more: what the channel below says. */
static inline ssize_t filter_fill(struct filter *f)
{
	uint8_t *room = buf_room(&f->raw, FILTER_READ);
	ssize_t got = channel_try_read(f->ch.below, room, FILTER_READ);

	if (got <= 0)
		return got;
	f->raw.len += (size_t)got;
	while (f->raw.len >= FILTER_HEAD) {
		size_t n = get_be16(f->raw.data);

		if (f->raw.len < FILTER_HEAD + n)
			break;
		filter_xor(f, f->raw.data + FILTER_HEAD, n);
		buf_put(&f->plain, f->raw.data + FILTER_HEAD, n);
		filter_drop(&f->raw, FILTER_HEAD + n);
		(void)__atomic_fetch_add(&f->l->frames, 1, __ATOMIC_RELAXED);
	}
	return got;
}

static inline ssize_t filter_peek(struct channel *c, void *buf, size_t n)
{
	struct filter *f = filter_of(c);
	ssize_t ret = 1;

	while (f->plain.len < n && ret > 0)
		ret = filter_fill(f);
	if (f->plain.len == 0)
		return ret;
	n = MIN(n, f->plain.len);
	memcpy(buf, f->plain.data, n);
	return (ssize_t)n;
}

static inline ssize_t filter_read(struct channel *c, void *buf, size_t n)
{
	struct filter *f = filter_of(c);
	ssize_t ret = 1;

	while (f->plain.len == 0 && ret > 0)
		ret = filter_fill(f);
	if (f->plain.len == 0)
		return ret;
	n = MIN(n, f->plain.len);
	memcpy(buf, f->plain.data, n);
	filter_drop(&f->plain, n);
	return (ssize_t)n;
}

static inline void filter_frame(struct filter *f, const struct iovec *iov, int n_iov)
{
	uint8_t head[FILTER_HEAD];

	buf_clear(&f->out);
	buf_put(&f->out, head, sizeof(head));
	for (int i = 0; i < n_iov; i++)
		buf_put(&f->out, iov[i].iov_base,
			MIN(iov[i].iov_len, FILTER_HEAD + FILTER_FRAME - f->out.len));
	f->taken = f->out.len - FILTER_HEAD;
	put_be16(f->out.data, (uint16_t)f->taken);
	filter_xor(f, f->out.data + FILTER_HEAD, f->taken);
	f->out_at = 0;
}

static inline ssize_t filter_writev(struct channel *c, struct iovec *iov, int n_iov)
{
	struct filter *f = filter_of(c);

	if (f->out_at == f->out.len)
		filter_frame(f, iov, n_iov);
	while (f->out_at < f->out.len) {
		struct iovec rest = iov_of(f->out.data + f->out_at, f->out.len - f->out_at);
		ssize_t n = channel_try_writev(c->below, &rest, 1);

		if (n < 0)
			return n;
		f->out_at += (size_t)n;
	}
	return (ssize_t)f->taken;
}

static inline size_t filter_pending(const struct channel *c)
{
	const struct filter *f = filter_of(c);

	if (f->plain.len)
		(void)__atomic_fetch_add(&f->l->ready_unseen, 1, __ATOMIC_RELAXED);
	return f->plain.len;
}

static inline void filter_end_writing(struct channel *c)
{
	channel_end_writing(c->below);
}

static inline void filter_close(struct channel *c)
{
	struct filter *f = filter_of(c);

	channel_close(c->below);
	buf_free(&f->raw);
	buf_free(&f->plain);
	buf_free(&f->out);
	free(f);
}

static const struct channel_ops filter_ops = {
    .kind = "filter",
    .read = filter_read,
    .writev = filter_writev,
    .peek = filter_peek,
    .pending = filter_pending,
    .end_writing = filter_end_writing,
    .close = filter_close,
};

static inline struct channel *filter_put_on(const struct channel_layer *l, struct channel *below,
					    bool incoming, struct err *err)
{
	struct filter *f = NEW(struct filter);

	(void)incoming;
	(void)err;
	f->l = (struct filter_layer *)(uintptr_t)l;
	channel_put_above(&f->ch, &filter_ops, below);
	return &f->ch;
}

#endif
