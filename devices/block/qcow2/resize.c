/*
 * resize.c - a disk of another size
 *
 * Larger: an L1 table with room for it beside the old one, if need be, and one write of the header.
 * What is behind the old end in its cluster is zero from then on.  Smaller: the clusters behind the
 * new end are let go first; cut off between, the disk has its old size and zeroes there.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static int set_size(struct qcow2 *q, uint64_t bytes)
{
	uint64_t old = q->h.bytes;
	int ret;

	q->h.bytes = bytes;
	ret = qcow2_header_commit(q);
	if (ret < 0) {
		q->h.bytes = old;
		qcow2_header_restore(q);
		return ret;
	}
	qcow2_info_update(q);
	return 0;
}

static int grow(struct qcow2 *q, uint64_t bytes)
{
	uint64_t need = qcow2_l1_needs(q, bytes);
	CLEANUP(cleanup_free) uint64_t *e = NULL;

	if (need <= q->l1.n)
		return set_size(q, bytes);
	if (need > QCOW2_MAX_L1_BYTES / 8)
		return -EFBIG;
	e = qcow2_buffer(need * 8);
	if (!e)
		return -ENOMEM;
	memset(e, 0, need * 8);
	memcpy(e, q->l1.e, q->l1.n * 8ULL);
	return qcow2_l1_replace(q, e, (uint32_t)need, bytes);
}

/* One entry is nothing from now on. */
static int drop_entry(struct qcow2 *q, uint64_t off)
{
	struct qcow2_l2_pos pos = {0};
	struct qcow2_entry e = {0};
	uint64_t host, bytes;
	int ret = qcow2_l2_get(q, off, &pos);

	if (ret < 0)
		return ret;
	e = qcow2_entry_get(q, &pos, 0);
	qcow2_l2_put(&pos);
	if (!e.desc && !e.bitmap)
		return 0;
	ret = qcow2_l2_get_own(q, off, &pos);
	if (ret < 0)
		return ret;
	qcow2_entry_set(q, &pos, 0, (struct qcow2_entry){0});
	if (qcow2_entry_range(q, &e, &host, &bytes))
		qcow2_release(q, host, bytes);
	qcow2_l2_put(&pos);
	return qcow2_bound_frees(q);
}

/* Clusters from 'first' to 'end' (offsets) are not part of the disk any more. */
static int drop_range(struct qcow2 *q, uint64_t first, uint64_t end)
{
	int ret = 0;

	for (uint64_t off = first; off < end && ret == 0;) {
		uint64_t i = qcow2_l1_index(q, off), next = (i + 1) * q->l2_covers;
		uint64_t entry = i < q->l1.n ? q->l1.e[i] : 0;

		if (!(entry & QCOW2_OFF_MASK)) {
			off = next;
		} else if (off == i * q->l2_covers) {
			ret = qcow2_l2_unref_all(q, entry);
			if (ret < 0)
				break;
			qcow2_table_set(&q->l1, (uint32_t)i, 0);
			qcow2_unref(q, entry & QCOW2_OFF_MASK, q->cluster_bytes);
			ret = qcow2_bound_frees(q);
			off = next;
		} else {
			ret = drop_entry(q, off);
			off += q->cluster_bytes;
		}
	}
	return ret;
}

static int shrink(struct qcow2 *q, uint64_t bytes)
{
	int ret = drop_range(q, ALIGN_UP(bytes, q->cluster_bytes), q->h.bytes);

	if (ret == 0)
		ret = qcow2_write_back(q);
	return ret < 0 ? ret : set_size(q, bytes);
}

static int resize(struct qcow2 *q, uint64_t bytes, struct err *err)
{
	uint64_t old = q->h.bytes;
	int ret;

	if (bytes % 512)
		return err_set(err, EINVAL, "the size of a disk is a multiple of 512 bytes");
	if (q->held)
		return err_set(err, EBUSY, "a snapshot of the image is being made");
	/* QEMU restores the size of a snapshot in version 3 alone, and applies none of another size
	 */
	if (q->h.version < 3 && q->h.n_snapshots && bytes != old)
		return err_set(err, ENOTSUP,
			       "an image of version 2 that has snapshots cannot be resized");
	if (bytes > INT64_MAX - 2 * q->l2_covers)
		return err_set(err, EFBIG, "%" PRIu64 " bytes are too many for a disk", bytes);
	ret = qcow2_may_change(q);
	if (ret < 0)
		return err_set(err, -ret, "the image cannot be written: %s", err_text(-ret));
	ret = qcow2_bitmaps_may_resize(q, bytes, err);
	if (ret < 0 || bytes == old)
		return ret;
	ret = bytes > old ? grow(q, bytes) : shrink(q, bytes);
	if (ret < 0)
		return err_set(err, -ret, "the disk's size cannot be set to %" PRIu64 " bytes: %s",
			       bytes, err_text(-ret));
	qcow2_bitmaps_resized(q, old);
	return 0;
}

int qcow2_resize(struct qcow2 *q, uint64_t bytes, struct err *err)
{
	uint64_t old, end;
	int ret;

	(void)pthread_mutex_lock(&q->lock);
	old = q->info.bytes;
	ret = resize(q, bytes, err);
	(void)pthread_mutex_unlock(&q->lock);
	if (ret < 0 || bytes <= old)
		return ret;
	end = MIN(bytes, ALIGN_UP(old, q->cluster_bytes));
	ret = end > old ? qcow2_write_zeroes(q, old, end - old, false) : 0;
	return ret < 0
		   ? err_set(err, -ret, "what is behind the disk's old end cannot be made zero: %s",
			     err_text(-ret))
		   : 0;
}
