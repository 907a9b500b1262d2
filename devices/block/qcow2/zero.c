/*
 * zero.c - zeroes without writing them, and discard
 *
 * A range is cut at the borders of subclusters (clusters without extended L2).  What is whole
 * becomes zero by its entry: the flag in version 3, bits with extended L2, no cluster at all in
 * version 2 where nothing lies below.  The rest is written, unless it reads as zero already.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"

#define ZERO_BYTES (256 * KiB)
#define ALL_ZEROES (0xffffffffULL << 32)

/* ---- entries ---- */

static bool is_private(const struct qcow2 *q, const struct qcow2_entry *e)
{
	uint64_t host = e->desc & QCOW2_OFF_MASK;

	return !qcow2_entry_is_compressed(e) && host && e->desc & QCOW2_COPIED &&
	       !qcow2_is_held(q, host);
}

/* Does the entry read as zero already, and needs no place? */
static bool is_nothing(const struct qcow2 *q, const struct qcow2_entry *e)
{
	return !q->how.read_backing && !qcow2_entry_is_compressed(e) &&
	       !(e->desc & QCOW2_OFF_MASK) && !(e->desc & QCOW2_ZERO_FLAG) && !e->bitmap;
}

/* What a whole cluster becomes. */
static struct qcow2_entry zero_entry(const struct qcow2 *q, const struct qcow2_entry *old,
				     bool unmap)
{
	bool keep = !unmap && q->h.version >= 3 && is_private(q, old);
	struct qcow2_entry e = {keep ? old->desc & (QCOW2_OFF_MASK | QCOW2_COPIED) : 0, 0};

	if (q->entry_bytes == 16)
		e.bitmap = ALL_ZEROES;
	else if (q->h.version >= 3)
		e.desc |= QCOW2_ZERO_FLAG;
	return e;
}

/* The entry is 'e' now; what the former one had and this one has not is let go. */
static void change_entry(struct qcow2 *q, const struct qcow2_l2_pos *pos, uint32_t k,
			 struct qcow2_entry e)
{
	struct qcow2_entry old = qcow2_entry_get(q, pos, k);
	uint64_t host, bytes;

	if (old.desc == e.desc && old.bitmap == e.bitmap)
		return;
	qcow2_entry_set(q, pos, k, e);
	if ((qcow2_entry_is_compressed(&old) || !(e.desc & QCOW2_OFF_MASK)) &&
	    qcow2_entry_range(q, &old, &host, &bytes))
		qcow2_release(q, host, bytes);
}

static int judge_entry(struct qcow2 *q, const struct qcow2_entry *e)
{
	struct qcow2_part p = {0};

	return qcow2_part_get(q, e, 0, &p);
}

/* Is there an entry to be changed among these?  Tables need not be made for nothing. */
static int any_to_change(struct qcow2 *q, const struct qcow2_l2_pos *pos, uint32_t n)
{
	int any = pos->b ? 0 : q->how.read_backing != NULL;

	for (uint32_t k = 0; k < n && pos->b; k++) {
		struct qcow2_entry e = qcow2_entry_get(q, pos, k);
		int ret = judge_entry(q, &e);

		if (ret < 0)
			return ret;
		any |= !is_nothing(q, &e);
	}
	return any;
}

/* Whole clusters from 'off' on, at most n, within a piece of a table; *done: how many. */
static int zero_clusters(struct qcow2 *q, uint64_t off, uint64_t n, bool unmap, uint64_t *done)
{
	struct qcow2_l2_pos pos = {0};
	int ret = qcow2_l2_get(q, off, &pos);

	if (ret < 0)
		return ret;
	*done = n = MIN(n, pos.n);
	ret = any_to_change(q, &pos, (uint32_t)n);
	qcow2_l2_put(&pos);
	if (ret <= 0)
		return ret;
	ret = qcow2_l2_get_own(q, off, &pos);
	if (ret < 0)
		return ret;
	*done = n = MIN(n, pos.n);
	for (uint32_t k = 0; k < n; k++) {
		struct qcow2_entry old = qcow2_entry_get(q, &pos, k);

		if (!is_nothing(q, &old))
			change_entry(q, &pos, k, zero_entry(q, &old, unmap));
	}
	qcow2_l2_put(&pos);
	return qcow2_bound_frees(q);
}

/* Whole subclusters within one cluster; -ENOTSUP: it is compressed. */
static int zero_subclusters(struct qcow2 *q, uint64_t off, uint64_t bytes, bool unmap)
{
	uint64_t at = off & (q->cluster_bytes - 1);
	unsigned from = (unsigned)(at >> q->subcluster_bits);
	unsigned n = (unsigned)(bytes >> q->subcluster_bits);
	uint64_t mask = ((1ULL << n) - 1) << from;
	struct qcow2_entry e = {0};
	struct qcow2_l2_pos pos = {0};
	int ret = qcow2_l2_get_own(q, off, &pos);

	if (ret < 0)
		return ret;
	e = qcow2_entry_get(q, &pos, 0);
	ret = judge_entry(q, &e);
	if (ret == 0 && qcow2_entry_is_compressed(&e))
		ret = -ENOTSUP;
	if (ret == 0) {
		e.bitmap = (e.bitmap & ~mask) | mask << 32;
		if (unmap && !(uint32_t)e.bitmap)
			e.desc = 0;
		change_entry(q, &pos, 0, e);
	}
	qcow2_l2_put(&pos);
	return ret;
}

/* ---- writing zeroes ---- */

/* The lock is held, and given up meanwhile. */
static int write_plainly(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	size_t n = (size_t)MIN(bytes, ZERO_BYTES);
	CLEANUP(cleanup_free) uint8_t *zeroes = NULL;
	int ret = bytes ? qcow2_is_zero(q, off, bytes) : 1;

	if (ret != 0)
		return MIN(ret, 0);
	zeroes = qcow2_buffer(n);
	if (!zeroes)
		return -ENOMEM;
	memset(zeroes, 0, n);
	(void)pthread_mutex_unlock(&q->lock);
	while (bytes > 0 && ret == 0) {
		const struct iovec v = {zeroes, (size_t)MIN(bytes, n)};

		ret = qcow2_writev(q, &v, 1, off);
		off += v.iov_len;
		bytes -= v.iov_len;
	}
	(void)pthread_mutex_lock(&q->lock);
	return ret;
}

/* The first cluster, or as many whole ones as a piece of a table has; *done: how many bytes. */
static int zero_some(struct qcow2 *q, uint64_t off, uint64_t bytes, bool unmap, uint64_t *done)
{
	uint64_t at = off & (q->cluster_bytes - 1), clusters = bytes >> q->cluster_bits;
	struct qcow2_claim claim;
	int ret;

	*done = MIN(bytes, q->cluster_bytes - at);
	if (at == 0 && clusters) {
		qcow2_claim(q, &claim, off, clusters << q->cluster_bits);
		ret = zero_clusters(q, off, clusters, unmap, &clusters);
		*done = clusters << q->cluster_bits;
	} else {
		qcow2_claim(q, &claim, off - at, q->cluster_bytes);
		ret = zero_subclusters(q, off, *done, unmap);
	}
	qcow2_unclaim(q, &claim);
	return ret;
}

/* [off, off + bytes) is at borders of subclusters; 'write': what has no other way is written. */
static int zero_whole(struct qcow2 *q, uint64_t off, uint64_t bytes, bool unmap, bool write)
{
	int ret = 0;

	while (bytes > 0 && ret == 0) {
		uint64_t n;

		ret = zero_some(q, off, bytes, unmap, &n);
		if (ret == -ENOTSUP)
			ret = write ? write_plainly(q, off, MIN(n, q->info.bytes - off)) : 0;
		off += n;
		bytes -= n;
	}
	return ret;
}

/* The part of [off, end) at borders of subclusters; the disk's last may be short. */
static void inner(const struct qcow2 *q, uint64_t off, uint64_t end, uint64_t *lo, uint64_t *hi)
{
	uint64_t sub = 1ULL << q->subcluster_bits;

	*lo = ALIGN_UP(off, sub);
	*hi = end == q->info.bytes ? ALIGN_UP(end, sub) : ALIGN_DOWN(end, sub);
	if (end == q->info.bytes && *lo <= ALIGN_DOWN(end, q->cluster_bytes))
		*hi = ALIGN_UP(end, q->cluster_bytes);
	if (*hi <= *lo)
		*lo = *hi = end;
}

static int zero_prepare(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	if (off > q->info.bytes || bytes > q->info.bytes - off)
		return -EINVAL;
	return qcow2_may_change(q);
}

static int write_zeroes(struct qcow2 *q, uint64_t off, uint64_t bytes, bool unmap)
{
	uint64_t end = off + bytes, lo, hi;
	int ret;

	if (q->h.version < 3 && q->how.read_backing)
		return write_plainly(q, off, bytes);
	inner(q, off, end, &lo, &hi);
	ret = write_plainly(q, off, MIN(lo, end) - off);
	if (ret == 0)
		ret = zero_whole(q, lo, hi - lo, unmap, true);
	if (ret == 0 && hi < end)
		ret = write_plainly(q, hi, end - hi);
	return ret;
}

int qcow2_write_zeroes(struct qcow2 *q, uint64_t off, uint64_t bytes, bool unmap)
{
	int ret;

	(void)pthread_mutex_lock(&q->lock);
	ret = zero_prepare(q, off, bytes);
	if (ret == 0 && bytes) {
		qcow2_bitmaps_mark(q, off, bytes);
		ret = write_zeroes(q, off, bytes, unmap);
	}
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
}

int qcow2_discard(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	uint64_t lo, hi;
	int ret;

	(void)pthread_mutex_lock(&q->lock);
	ret = zero_prepare(q, off, bytes);
	if (ret == 0 && bytes && (q->h.version >= 3 || !q->how.read_backing)) {
		inner(q, off, off + bytes, &lo, &hi);
		if (hi > lo) {
			qcow2_bitmaps_mark(q, off, bytes);
			ret = zero_whole(q, lo, hi - lo, true, false);
		}
	}
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
}
