/*
 * writer.c - gathers what a stream consists of into few writes
 *
 * Small pieces are copied into one buffer, large ones (guest pages, device
 * state) are only pointed to.  Both become entries of one iovec, in the order
 * of the stream; neighbours in memory share an entry.  A flush writes the
 * iovec whole.  It happens when the buffer or the iovec is full and wherever
 * the caller wants the peer to see all that has been put.
 *
 * A run of pages that is long enough goes past the iovec: it is flushed, and
 * the pages are spliced into the socket without being copied.
 */
#include "migration/stream/writer.h"

#include <stdlib.h>
#include <string.h>

#include "migration/channel/channel.h"
#include "vmm/base/alloc.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"

#define SPLICE_MIN_BYTES (64 * KiB) /* below, copying costs less than the calls */

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
