/* buffer.c - between records and channels: gathering writes, buffered reads */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/channel/channel.h"
#include "migration/stream/stream.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

#define READER_BYTES MiB

struct writer *writer_new(struct channel *ch)
{
	struct writer *w = NEW(struct writer);

	w->ch = ch;
	w->small = xcalloc(1, WRITER_SMALL_BYTES);
	return w;
}

void writer_free(struct writer *w)
{
	if (!w)
		return;
	free(w->small);
	free(w);
}

int writer_flush(struct writer *w)
{
	int ret = channel_write_all(w->ch, w->iov, w->n_iov, &w->err);

	w->n_iov = 0;
	w->small_len = 0;
	return ret;
}

/* Append an entry, or grow the last one when the bytes follow it in memory. */
static void add_iov(struct writer *w, const void *p, size_t n)
{
	struct iovec *last = w->n_iov > 0 ? &w->iov[w->n_iov - 1] : NULL;

	if (last && (const uint8_t *)last->iov_base + last->iov_len == p)
		last->iov_len += n;
	else
		w->iov[w->n_iov++] = iov_of(p, n);
	w->bytes += n;
}

int writer_put(struct writer *w, const void *p, size_t n)
{
	if (n > WRITER_SMALL_BYTES - w->small_len || w->n_iov == WRITER_IOV) {
		int ret = writer_flush(w);

		if (ret < 0)
			return ret;
		if (n > WRITER_SMALL_BYTES) { /* too large to copy: write it now */
			add_iov(w, p, n);
			return writer_flush(w);
		}
	}
	memcpy(w->small + w->small_len, p, n);
	add_iov(w, w->small + w->small_len, n);
	w->small_len += n;
	return 0;
}

int writer_ref(struct writer *w, const void *p, size_t n)
{
	int ret = w->n_iov == WRITER_IOV ? writer_flush(w) : 0;

	if (ret == 0 && n > 0)
		add_iov(w, p, n);
	return ret;
}

/* ---- reader ---- */

/* Move what is left to the front, so that n bytes fit behind 'at'. */
static void make_room(struct reader *r, size_t n)
{
	struct src *s = &r->src;

	if (s->at < s->len && r->cap - s->at >= n)
		return;
	memmove(r->buf, r->buf + s->at, s->len - s->at);
	s->base += s->at;
	s->len -= s->at;
	s->at = 0;
}

static ssize_t read_unlocked(struct reader *r)
{
	struct src *s = &r->src;
	ssize_t got;

	if (r->locked)
		machine_unlock(r->m);
	got = channel_read(r->ch, r->buf + s->len, r->cap - s->len, &r->err);
	if (r->locked)
		machine_lock(r->m);
	return got;
}

static int reader_fill(struct src *s, size_t n)
{
	struct reader *r = container_of(s, struct reader, src);

	if (r->failed)
		return r->failed;
	if (n > r->cap)
		return -EINVAL;
	make_room(r, n);
	while (s->len - s->at < n) {
		ssize_t got = read_unlocked(r);

		if (got < 0) {
			r->failed = (int)got;
			return r->failed;
		}
		if (got == 0)
			break;
		s->len += (size_t)got;
	}
	return 0;
}

struct reader *reader_new(struct channel *ch, struct machine *m)
{
	struct reader *r = NEW(struct reader);

	r->ch = ch;
	r->m = m;
	r->cap = READER_BYTES;
	r->buf = xcalloc(1, r->cap);
	r->src.data = r->buf;
	r->src.fill = reader_fill;
	return r;
}

void reader_free(struct reader *r)
{
	if (!r)
		return;
	free(r->buf);
	free(r);
}
