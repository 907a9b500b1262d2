/*
 * reader.c - a struct src that is filled from a channel
 *
 * Bytes are read ahead into one buffer and handed out from it.  'fill' moves
 * what is left to the front and reads until enough is there; the end of the
 * stream is no failure, the src just stays shorter.  'scatter' reads past the
 * empty buffer, straight to where the bytes belong; what was read too much is
 * put into the buffer again by 'unread'.  'seek' drops what was read ahead, and goes
 * on elsewhere in the file.  A failed read is final: every later
 * call returns the same error.
 */
#include "migration/stream/reader.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/channel/channel.h"
#include "vmm/base/alloc.h"
#include "vmm/base/list.h"
#include "vmm/machine.h"

/* Small enough to stay in a core's cache between the two copies of what goes through it. */
#define READER_BYTES SRC_UNREAD

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

static ssize_t read_unlocked(struct reader *r, size_t need)
{
	struct src *s = &r->src;
	size_t n = r->exact ? need - (s->len - s->at) : r->cap - s->len;
	ssize_t got;

	let_go(r);
	got = channel_read(r->ch, r->buf + s->len, n, &r->err);
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
		ssize_t got = read_unlocked(r, n);

		if (got < 0) {
			r->failed = (int)got;
			return r->failed;
		}
		if (got == 0) {
			r->ended = true;
			break;
		}
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
	r->ended |= !r->failed && *got < need;
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

static void reader_seek(struct src *s, uint64_t to)
{
	struct reader *r = container_of(s, struct reader, src);

	channel_seek(r->ch, (off_t)((uint64_t)r->start + to));
	s->base = to;
	s->at = s->len = 0;
}

struct reader *reader_new(struct channel *ch, struct machine *m)
{
	struct reader *r = NEW(struct reader);

	r->m = m;
	r->cap = READER_BYTES;
	r->buf = xcalloc(1, r->cap);
	reader_restart(r, ch);
	return r;
}

void reader_restart(struct reader *r, struct channel *ch)
{
	r->ch = ch;
	r->src = (struct src){
	    .data = r->buf,
	    .fill = reader_fill,
	    .scatter = channel_scatters(ch) ? reader_scatter : NULL,
	    .unread = reader_unread,
	};
	r->start = channel_tell(ch);
	r->src.seek = r->start >= 0 ? reader_seek : NULL;
	r->ended = false;
	r->failed = 0;
}

void reader_free(struct reader *r)
{
	if (!r)
		return;
	free(r->buf);
	free(r);
}
