/*
 * vmstate.c - a stream into a snapshot's VM state, and out of it
 *
 * What is written is gathered in a buffer and goes into the image in pieces of PIECE_BYTES, or of a
 * cluster where that is more, which begin at multiples of it: whole clusters, so that none has to
 * be filled up from elsewhere.  More is no faster, for a piece is still in the processor's cache
 * when it is written. The rest is written by finish.  Reading goes to the image as it is asked for,
 * for the reader behind it has a buffer of its own.
 */
#include "migration/channel/vmstate.h"

#include <errno.h>
#include <stdlib.h>

#include "devices/block/qcow2/qcow2.h"
#include "migration/channel/channel.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define PIECE_BYTES ((size_t)256 * KiB)
#define PIECE_MAX   ((size_t)2 * MiB) /* the largest cluster */

struct vmstate_channel {
	struct channel base;
	/* writing */
	struct vmstate_area *area; /* borrowed; NULL: reading */
	uint8_t *piece;            /* owned */
	size_t filled;
	/* reading */
	struct vmstate_source *source; /* borrowed */
	uint64_t at;
};

static struct vmstate_channel *of(struct channel *c)
{
	return (struct vmstate_channel *)c;
}

/* Before the instant nothing goes into the image, and its first piece may be a larger one. */
static size_t piece_bytes(const struct vmstate_channel *v)
{
	const struct qcow2_saving *saving = v->area->saving;

	return saving ? MAX(PIECE_BYTES, qcow2_saving_cluster_bytes(saving)) : PIECE_MAX;
}

/* What has been gathered goes into the image. */
static int write_piece(struct vmstate_channel *v)
{
	struct iovec iov = iov_of(v->piece, v->filled);
	int ret = v->area->go_on ? v->area->go_on(v->area->opaque) : 0;

	if (ret == 0)
		ret = qcow2_saving_write(v->area->saving, &iov, 1, v->area->bytes, &v->area->err);
	if (ret < 0)
		return ret;
	v->area->bytes += v->filled;
	v->filled = 0;
	return 0;
}

static ssize_t vmstate_writev(struct channel *c, struct iovec *iov, int n_iov)
{
	struct vmstate_channel *v = of(c);
	size_t done = 0, piece = MAX(piece_bytes(v), ALIGN_UP(v->filled + 1, PIECE_BYTES));

	for (int i = 0; i < n_iov && v->filled < piece; i++) {
		size_t n = MIN(iov[i].iov_len, piece - v->filled);

		memcpy(v->piece + v->filled, iov[i].iov_base, n);
		v->filled += n;
		done += n;
	}
	if (v->filled == piece) {
		int ret = write_piece(v);

		if (ret < 0)
			return ret;
	}
	return (ssize_t)done;
}

static int vmstate_finish(struct channel *c, struct err *err)
{
	struct vmstate_channel *v = of(c);
	int ret = v->filled ? write_piece(v) : 0;

	return ret < 0 ? channel_say_failed(c, ret, "write to", err) : 0;
}

static ssize_t vmstate_read(struct channel *c, void *buf, size_t n)
{
	struct vmstate_channel *v = of(c);
	struct vmstate_source *from = v->source;
	int ret;

	n = (size_t)MIN((uint64_t)n, from->bytes - v->at);
	if (v->at < from->pause)
		n = (size_t)MIN((uint64_t)n, from->pause - v->at);
	if (n == 0)
		return 0;
	ret = qcow2_snapshot_read(from->q, from->id, buf, n, from->off + v->at, &from->err);
	if (ret < 0)
		return ret;
	v->at += n;
	ret = from->go_on(from->opaque, v->at);
	return ret < 0 ? ret : (ssize_t)n;
}

static off_t vmstate_tell(struct channel *c)
{
	return of(c)->source ? (off_t)of(c)->at : -ESPIPE;
}

/* Behind the end there is nothing to read. */
static void vmstate_seek(struct channel *c, off_t to)
{
	struct vmstate_channel *v = of(c);

	v->at = MIN((uint64_t)to, v->source->bytes);
}

static void vmstate_close(struct channel *c)
{
	struct vmstate_channel *v = of(c);

	free(v->piece);
	free(v);
}

static const struct channel_ops vmstate_ops = {
    .kind = "VM state",
    .read = vmstate_read,
    .writev = vmstate_writev,
    .tell = vmstate_tell,
    .seek = vmstate_seek,
    .finish = vmstate_finish,
    .close = vmstate_close,
};

static struct vmstate_channel *vmstate_new(int cancel_fd)
{
	struct vmstate_channel *v = NEW(struct vmstate_channel);

	v->base.ops = &vmstate_ops;
	v->base.fd = -1;
	v->base.cancel_fd = cancel_fd;
	v->base.steady = true;
	return v;
}

struct channel *channel_vmstate_write(struct vmstate_area *area, int cancel_fd)
{
	struct vmstate_channel *v = vmstate_new(cancel_fd);

	v->area = area;
	v->area->bytes = 0;
	v->piece = xcalloc(1, PIECE_MAX); /* only touched as far as it is used */
	return &v->base;
}

struct channel *channel_vmstate_read(struct vmstate_source *source, int cancel_fd)
{
	struct vmstate_channel *v = vmstate_new(cancel_fd);

	v->source = source;
	return &v->base;
}
