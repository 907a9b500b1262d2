/*
 * tree.c - all that an L1 table refers to, and how many references each cluster has by it
 *
 * A table is read piece by piece through the cache, whichever L1 table it belongs to.  Every entry
 * is checked before it is followed: alignment, reserved bits, and that there is a refcount for each
 * cluster of it.
 */
#include <errno.h>

#include "devices/block/qcow2/relink.h"
#include "vmm/base/error.h"

/* Is there a refcount for each cluster of it? */
static bool tree_within(const struct qcow2 *q, uint64_t host, uint64_t bytes)
{
	uint64_t clusters = (uint64_t)q->rt.n << q->rb_bits;
	uint64_t first = host >> q->cluster_bits, n = bytes >> q->cluster_bits;

	return first < clusters && n <= clusters - first;
}

struct tree {
	struct qcow2 *q;
	const char *what;
	qcow2_tree_fn *fn;
	void *opaque;
};

static int tree_entry(const struct tree *t, const struct qcow2_entry *e, uint32_t i, uint32_t k,
		      struct err *err)
{
	const char *wrong = qcow2_entry_wrong(t->q, e);
	uint64_t host, bytes;

	if (!wrong && !qcow2_entry_range(t->q, e, &host, &bytes))
		return 0;
	if (!wrong && !tree_within(t->q, host, bytes))
		wrong = "its place has no refcount";
	if (wrong)
		return err_set(err, EIO, "%s: L1 entry %u, L2 entry %u (%#llx): %s", t->what, i, k,
			       (unsigned long long)e->desc, wrong);
	return t->fn(t->opaque, host, bytes);
}

static int tree_table(const struct tree *t, uint64_t l1_entry, uint32_t i, struct err *err)
{
	uint64_t host = l1_entry & QCOW2_OFF_MASK;
	uint32_t n = 1U << t->q->l2_bits;
	int ret;

	if (host % t->q->cluster_bytes || !tree_within(t->q, host, t->q->cluster_bytes))
		return err_set(err, EIO, "%s: L1 entry %u: no L2 table can be at %#llx", t->what, i,
			       (unsigned long long)host);
	ret = t->fn(t->opaque, host, t->q->cluster_bytes);
	for (uint32_t k = 0; k < n && ret == 0;) {
		struct qcow2_l2_pos pos = {0};

		ret = qcow2_l2_get_at(t->q, l1_entry, k, &pos);
		if (ret < 0)
			return err_set(err, -ret, "%s: the L2 table at %#llx cannot be read: %s",
				       t->what, (unsigned long long)host, err_text(-ret));
		for (uint32_t at = 0; at < pos.n && ret == 0; at++) {
			const struct qcow2_entry e = qcow2_entry_get(t->q, &pos, at);

			ret = tree_entry(t, &e, i, k + at, err);
		}
		k += pos.n;
		qcow2_l2_put(&pos);
	}
	return ret;
}

int qcow2_tree_walk(struct qcow2 *q, const uint64_t *l1, uint32_t n, const char *what,
		    qcow2_tree_fn *fn, void *opaque, struct err *err)
{
	const struct tree t = {.q = q, .what = what, .fn = fn, .opaque = opaque};
	int ret = 0;

	for (uint32_t i = 0; i < n && ret == 0; i++)
		if (l1[i] & QCOW2_OFF_MASK)
			ret = tree_table(&t, l1[i], i, err);
	return ret;
}

int qcow2_range_count(const struct qcow2 *q, struct counts *c, uint64_t host, uint64_t bytes,
		      int by)
{
	uint64_t first = host >> q->cluster_bits, n = bytes >> q->cluster_bits;
	int ret = 0;

	for (uint64_t i = 0; i < n && ret == 0; i++)
		ret = counts_add(c, first + i, by);
	return ret;
}

struct counting {
	const struct qcow2 *q;
	struct counts *c;
	int by;
};

static int count_range(void *opaque, uint64_t host, uint64_t bytes)
{
	const struct counting *count = opaque;

	return qcow2_range_count(count->q, count->c, host, bytes, count->by);
}

int qcow2_tree_count(struct qcow2 *q, struct counts *c, const uint64_t *l1, uint32_t n, int by,
		     const char *what, struct err *err)
{
	struct counting count = {.q = q, .c = c, .by = by};
	struct err cause = {0};
	int ret = qcow2_tree_walk(q, l1, n, what, count_range, &count, &cause);

	if (ret == 0)
		return 0;
	return err_set(err, -ret, "%s", cause.msg[0] ? cause.msg : err_text(-ret));
}
