/*
 * cluster.c - what is at a guest offset, and reading it
 *
 * A table entry tells what a cluster is; with extended L2, its bitmap tells it of each of 32
 * subclusters.  Both are looked at in parts: from a byte of a cluster on as far as it is alike.
 * Parts of one kind that lie side by side, on the storage too, are one extent.
 *
 * Data is moved with the lock given up.  A plain cluster that is being read is not used for
 * something else meanwhile: a writer replaces it only where a snapshot has it as well.  A
 * compressed one may be: q->readers keeps what is let go from being used again.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"

#define PIECES 64

/* ---- parts ---- */

static enum qcow2_kind sub_kind(const struct qcow2_entry *e, unsigned sub)
{
	if (e->bitmap >> sub & 1)
		return QCOW2_DATA;
	return e->bitmap >> (sub + 32) & 1 ? QCOW2_ZERO : QCOW2_HOLE;
}

static void part_extended(const struct qcow2 *q, const struct qcow2_entry *e, uint64_t at,
			  struct qcow2_part *p)
{
	unsigned first = (unsigned)(at >> q->subcluster_bits), sub = first + 1;

	p->kind = sub_kind(e, first);
	while (sub < QCOW2_SUBCLUSTERS && sub_kind(e, sub) == p->kind)
		sub++;
	p->bytes = ((uint64_t)sub << q->subcluster_bits) - at;
}

int qcow2_part_get(struct qcow2 *q, const struct qcow2_entry *e, uint64_t at, struct qcow2_part *p)
{
	uint64_t host = e->desc & QCOW2_OFF_MASK;
	const char *wrong = qcow2_entry_wrong(q, e);

	if (wrong)
		return qcow2_damaged(q, "an L2 entry is 0x%" PRIx64 ": %s", e->desc, wrong);
	*p = (struct qcow2_part){.kind = QCOW2_COMPRESSED, .bytes = q->cluster_bytes - at};
	if (qcow2_entry_is_compressed(e))
		return 0;
	p->host = host ? host + at : 0;
	p->own = host && e->desc & QCOW2_COPIED && !qcow2_is_held(q, host);
	if (q->entry_bytes == 16)
		part_extended(q, e, at, p);
	else if (e->desc & QCOW2_ZERO_FLAG)
		p->kind = QCOW2_ZERO;
	else
		p->kind = host ? QCOW2_DATA : QCOW2_HOLE;
	return 0;
}

/* ---- extents ---- */

static uint64_t part_host(const struct qcow2_part *p)
{
	return p->kind == QCOW2_DATA || p->kind == QCOW2_ZERO ? p->host : 0;
}

/* Does the part go on where the extent ends? */
static bool goes_on(const struct qcow2_extent *x, const struct qcow2_part *p)
{
	if (p->kind != x->kind || p->kind == QCOW2_COMPRESSED)
		return false;
	return part_host(p) == (x->host_off ? x->host_off + x->bytes : 0);
}

/* Parts of the entries of a piece are put together; false: the extent ends before the piece does.
 */
static int collect(struct qcow2 *q, const struct qcow2_l2_pos *pos, uint64_t off, uint64_t bytes,
		   struct qcow2_extent *x)
{
	uint64_t in = off & (q->cluster_bytes - 1), at = in;

	x->bytes = 0;
	while (x->bytes < bytes && at >> q->cluster_bits < pos->n) {
		struct qcow2_entry e = qcow2_entry_get(q, pos, (uint32_t)(at >> q->cluster_bits));
		struct qcow2_part p = {0};
		int ret = qcow2_part_get(q, &e, at & (q->cluster_bytes - 1), &p);

		if (ret < 0)
			return x->bytes ? 0 : ret;
		if (x->bytes == 0)
			*x = (struct qcow2_extent){.kind = p.kind, .host_off = part_host(&p)};
		else if (!goes_on(x, &p))
			break;
		x->bytes += p.bytes;
		at += p.bytes;
	}
	x->bytes = MIN(x->bytes, bytes);
	return 0;
}

int qcow2_map_locked(struct qcow2 *q, uint64_t off, uint64_t bytes, bool wait,
		     struct qcow2_extent *x, struct qcow2_entry *e)
{
	struct qcow2_l2_pos pos = {0};
	int ret;

	if (!q->active)
		return -EIO;
	if (off >= q->info.bytes || bytes > q->info.bytes - off || bytes == 0)
		return -EINVAL;
	ret = wait ? qcow2_l2_get(q, off, &pos) : qcow2_l2_peek(q, off, &pos);
	if (ret < 0)
		return ret;
	if (pos.b) {
		ret = collect(q, &pos, off, bytes, x);
		if (e)
			*e = qcow2_entry_get(q, &pos, 0);
	} else {
		*x = (struct qcow2_extent){.kind = QCOW2_HOLE};
		x->bytes = ((uint64_t)pos.n << q->cluster_bits) - (off & (q->cluster_bytes - 1));
		x->bytes = MIN(x->bytes, bytes);
		if (e)
			*e = (struct qcow2_entry){0};
	}
	qcow2_l2_put(&pos);
	return ret;
}

int qcow2_map(struct qcow2 *q, uint64_t off, uint64_t bytes, bool wait, struct qcow2_extent *x)
{
	int ret;

	if (wait)
		(void)pthread_mutex_lock(&q->lock);
	else if (pthread_mutex_trylock(&q->lock) != 0)
		return -EAGAIN;
	ret = qcow2_map_locked(q, off, bytes, wait, x, NULL);
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
}

/* ---- reading ---- */

/* A part of a compressed cluster; q->readers counts us. */
static int read_packed(struct qcow2 *q, const struct qcow2_entry *e, const struct iovec *iov,
		       int n_iov, uint64_t at, size_t bytes)
{
	CLEANUP(cleanup_free) uint8_t *p = qcow2_buffer(q->cluster_bytes);
	int ret = p ? qcow2_read_compressed(q, e, p) : -ENOMEM;

	if (ret == 0)
		(void)iov_write(iov, (size_t)n_iov, 0, p + at, bytes);
	return ret;
}

static int read_extent(struct qcow2 *q, const struct qcow2_extent *x, const struct qcow2_entry *e,
		       const struct iovec *iov, int n_iov, uint64_t off)
{
	switch (x->kind) {
	case QCOW2_DATA:
		return q->s.ops->readv(q->s.opaque, iov, n_iov, x->host_off);
	case QCOW2_COMPRESSED:
		return read_packed(q, e, iov, n_iov, off & (q->cluster_bytes - 1),
				   (size_t)x->bytes);
	case QCOW2_HOLE:
		if (q->how.read_backing)
			return q->how.read_backing(q->how.backing_opaque, iov, n_iov, off);
		break;
	case QCOW2_ZERO:
		break;
	}
	(void)iov_zero(iov, (size_t)n_iov, 0, (size_t)x->bytes);
	return 0;
}

static int map_reading(struct qcow2 *q, uint64_t off, uint64_t bytes, struct qcow2_extent *x,
		       struct qcow2_entry *e)
{
	int ret;

	(void)pthread_mutex_lock(&q->lock);
	ret = qcow2_map_locked(q, off, bytes, true, x, e);
	if (ret == 0 && x->kind == QCOW2_COMPRESSED)
		q->readers++;
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
}

static void end_reading(struct qcow2 *q, const struct qcow2_extent *x)
{
	if (x->kind != QCOW2_COMPRESSED)
		return;
	(void)pthread_mutex_lock(&q->lock);
	q->readers--;
	(void)pthread_mutex_unlock(&q->lock);
}

int qcow2_readv(struct qcow2 *q, const struct iovec *iov, int n_iov, uint64_t off)
{
	uint64_t bytes = iov_bytes(iov, (size_t)n_iov), done = 0;
	struct iovec few[PIECES];
	CLEANUP(cleanup_free)
	struct iovec *many = n_iov > PIECES ? xcalloc((size_t)n_iov, sizeof(*many)) : NULL;
	struct iovec *part = many ? many : few;
	int ret = 0;

	while (done < bytes && ret == 0) {
		struct qcow2_extent x = {0};
		struct qcow2_entry e = {0};
		size_t n;

		ret = map_reading(q, off + done, bytes - done, &x, &e);
		if (ret < 0)
			break;
		n = iov_slice(part, iov, (size_t)n_iov, done, x.bytes);
		ret = read_extent(q, &x, &e, part, (int)n, off + done);
		end_reading(q, &x);
		done += x.bytes;
	}
	return ret;
}

int qcow2_read_buf(struct qcow2 *q, void *p, size_t bytes, uint64_t off)
{
	uint64_t size = q->info.bytes;
	size_t n = off >= size ? 0 : (size_t)MIN(bytes, size - off);
	const struct iovec v = {p, n};

	memset((uint8_t *)p + n, 0, bytes - n);
	return n ? qcow2_readv(q, &v, 1, off) : 0;
}

int qcow2_is_zero(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	uint64_t end = MIN(off + bytes, q->info.bytes);

	while (off < end) {
		struct qcow2_extent x = {0};
		int ret = qcow2_map_locked(q, off, end - off, true, &x, NULL);

		if (ret < 0)
			return ret;
		if (x.kind != QCOW2_ZERO && (x.kind != QCOW2_HOLE || q->how.read_backing))
			return 0;
		off += x.bytes;
	}
	return 1;
}
