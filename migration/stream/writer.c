/* buffer.c - between records and channels: gathering writes, buffered reads */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/channel/channel.h"
#include "migration/stream/stream.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

#define SPLICE_MIN_BYTES (64 * KiB) /* below, copying costs less than the calls */
/* Small enough to stay in a core's cache between the two copies of what goes through it. */
#define READER_BYTES SRC_UNREAD

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

int writer_explain(const struct writer *w, int ret, struct err *err)
{
	if (ret < 0 && err)
		*err = w->err;
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

int writer_pages(struct writer *w, const void *p, size_t n)
{
	size_t done = 0;
	int ret;

	if (n < SPLICE_MIN_BYTES || !channel_splices(w->ch))
		return writer_ref(w, p, n);
	ret = writer_flush(w);
	if (ret == 0)
		ret = channel_splice(w->ch, p, n, &done, &w->err);
	w->bytes += done;
	return ret < 0 || done == n ? ret : writer_ref(w, (const uint8_t *)p + done, n - done);
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

/* Around what may wait for the peer. */
static void let_go(const struct reader *r)
{
	if (r->locked)
		machine_unlock(r->m);
}

static void hold_again(const struct reader *r)
{
	if (r->locked)
		machine_lock(r->m);
}

static ssize_t read_unlocked(struct reader *r)
{
	struct src *s = &r->src;
	ssize_t got;

	let_go(r);
	got = channel_read(r->ch, r->buf + s->len, r->cap - s->len, &r->err);
	hold_again(r);
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

static int reader_scatter(struct src *s, struct iovec *iov, int n_iov, size_t need, size_t *got)
{
	struct reader *r = container_of(s, struct reader, src);

	if (r->failed)
		return r->failed;
	assert(s->at == s->len);
	let_go(r);
	r->failed = channel_readv(r->ch, iov, n_iov, need, got, &r->err);
	hold_again(r);
	s->base += s->at + (r->failed ? 0 : *got);
	s->at = s->len = 0;
	return r->failed;
}

static uint8_t *reader_unread(struct src *s, size_t n)
{
	struct reader *r = container_of(s, struct reader, src);

	assert(s->at == s->len && n <= r->cap);
	s->base += s->at;
	s->base -= n;
	s->at = 0;
	s->len = n;
	return r->buf;
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
	r->src.scatter = channel_scatters(ch) ? reader_scatter : NULL;
	r->src.unread = reader_unread;
	return r;
}

void reader_free(struct reader *r)
{
	if (!r)
		return;
	free(r->buf);
	free(r);
}
