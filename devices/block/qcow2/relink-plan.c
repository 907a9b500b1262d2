/*
 * relink-plan.c - what a relink has to replace (relink.c, step 2)
 *
 * By the refcounts as they will be, the L2 tables of the disk with a COPIED flag that would be
 * wrong, and the refcount blocks that change.
 */
#include "devices/block/qcow2/relink-internal.h"

#include <errno.h>

#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

int relink_no_memory(struct err *err)
{
	return err_set(err, ENOMEM, "no memory for the tables of the image");
}

/* The refcount of a cluster as it is: mostly from the piece that the last one was in. */
static int count_now(struct qcow2 *q, struct qcow2_relink *r, uint64_t cluster, uint64_t *count)
{
	int ret = 0;

	if (cluster < r->at_first || cluster - r->at_first >= r->at.n) {
		rb_put(&r->at);
		r->at.n = 0;
		ret = rb_get(q, cluster, &r->at);
		r->at_first = cluster;
	}
	if (ret < 0)
		r->at = (struct rb_pos){0};
	else
		*count = rb_count(q, &r->at, cluster - r->at_first);
	return ret;
}

/* The refcount of a cluster afterwards. */
int relink_count_after(struct qcow2 *q, struct qcow2_relink *r, uint64_t cluster, uint64_t *count,
		       struct err *err)
{
	int64_t by = counts_get(&r->refs, cluster);
	uint64_t now = 0, after;
	int ret = count_now(q, r, cluster, &now);

	if (ret < 0)
		return err_set(err, -ret, "a refcount cannot be read: %s", err_text(-ret));
	after = now + (uint64_t)by;
	if (by < 0 && now < (uint64_t)-by)
		return err_set(err, EIO,
			       "the cluster at %#llx has a refcount of %llu, too small: the image "
			       "has to be repaired first",
			       (unsigned long long)cluster << q->cluster_bits,
			       (unsigned long long)now);
	if (by > 0 && (after > q->refcount_max || after < now))
		return err_set(err, ERANGE,
			       "refcounts of %u bits cannot count one more reference to a cluster",
			       1U << q->refcount_order);
	*count = after;
	return 0;
}

/* The entry with the flag that it should have. */
int relink_entry_after(struct qcow2 *q, struct qcow2_relink *r, struct qcow2_entry *e,
		       struct err *err)
{
	uint64_t host, bytes, count = 0;
	int ret;

	if (qcow2_entry_is_compressed(e) || !qcow2_entry_range(q, e, &host, &bytes))
		return 0;
	ret = relink_count_after(q, r, host >> q->cluster_bits, &count, err);
	if (ret < 0)
		return ret;
	if (count == 1)
		e->desc |= QCOW2_COPIED;
	else
		e->desc &= ~QCOW2_COPIED;
	return 0;
}

/* Has the L2 table a flag that would be wrong? */
static int table_changes(struct qcow2 *q, struct qcow2_relink *r, uint64_t l1_entry, bool *changes,
			 struct err *err)
{
	uint32_t n = 1U << q->l2_bits;
	int ret = 0;

	*changes = false;
	for (uint32_t k = 0; k < n && ret == 0 && !*changes;) {
		struct qcow2_l2_pos pos = {0};

		ret = qcow2_l2_get_at(q, l1_entry, k, &pos);
		if (ret < 0)
			return err_set(err, -ret, "the L2 table at %#llx cannot be read: %s",
				       (unsigned long long)(l1_entry & QCOW2_OFF_MASK),
				       err_text(-ret));
		for (uint32_t at = 0; at < pos.n && ret == 0 && !*changes; at++) {
			struct qcow2_entry e = qcow2_entry_get(q, &pos, at);
			uint64_t before = e.desc;

			ret = relink_entry_after(q, r, &e, err);
			*changes = e.desc != before;
		}
		k += pos.n;
		qcow2_l2_put(&pos);
	}
	return ret;
}

int relink_find_tables(struct qcow2 *q, struct qcow2_relink *r, struct err *err)
{
	r->copied = bitmap_new(r->l1_n);
	if (!r->copied)
		return relink_no_memory(err);
	for (uint32_t i = 0; i < r->l1_n; i++) {
		uint64_t host = r->l1[i] & QCOW2_OFF_MASK;
		bool changes;
		int ret;

		if (!host)
			continue;
		ret = table_changes(q, r, r->l1[i], &changes, err);
		if (ret == 0 && changes) {
			bitmap_set(r->copied, i);
			r->n_tables++;
			if (counts_add(&r->refs, host >> q->cluster_bits, -1) < 0)
				ret = relink_no_memory(err);
		}
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Each refcount that changes has a block, and the new count fits. */
int relink_find_blocks(struct qcow2 *q, struct qcow2_relink *r, struct err *err)
{
	size_t cap = 0;

	for (uint64_t c = counts_next(&r->refs, 0); c != UINT64_MAX;
	     c = counts_next(&r->refs, c + 1)) {
		uint64_t block = c >> q->rb_bits, count;
		int ret = relink_count_after(q, r, c, &count, err);

		if (ret < 0)
			return ret;
		if (block >= q->rt.n || !(q->rt.e[block] & QCOW2_RT_MASK))
			return err_set(err, EIO,
				       "the cluster at %#llx has no refcount: the image has to be "
				       "repaired first",
				       (unsigned long long)c << q->cluster_bits);
		if (r->n_blocks && r->blocks[r->n_blocks - 1] == block)
			continue;
		if (r->n_blocks == cap) {
			cap = cap * 2 + 16;
			r->blocks = xrealloc(r->blocks, cap * sizeof(*r->blocks));
		}
		r->blocks[r->n_blocks++] = (uint32_t)block;
	}
	return 0;
}
