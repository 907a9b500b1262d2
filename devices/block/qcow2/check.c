/*
 * check.c - does an image hold together, and what of it can be repaired
 *
 * All references are counted (check-refs.c) and compared with the refcounts: a count that is too
 * high is a leak, one that is too low an error, for the cluster would be given out a second time.
 * Then COPIED flags of the active tables, which have to say what the refcounts say.
 *
 * Leaks are repaired by lower counts, in place.  Errors in refcounts by new ones (rebuild.c), which
 * takes the leaks along; flags last.  What was repaired is what a second check no longer finds.
 * Where a table could not be followed nothing is repaired: a cluster that seems to be a leak may be
 * in use from there.
 *
 * Memory goes by what is counted: four bytes a cluster.
 */
#include "devices/block/qcow2/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "devices/block/qcow2/refblock.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static __attribute__((format(printf, 2, 0))) void say(const struct check *k, const char *fmt,
						      va_list args)
{
	char text[500];

	if (!k->c->say)
		return;
	(void)vsnprintf(text, sizeof(text), fmt, args);
	k->c->say(k->c->opaque, text);
}

void check_say(const struct check *k, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(k, fmt, args);
	va_end(args);
}

void check_error(struct check *k, const char *fmt, ...)
{
	va_list args;

	k->c->errors++;
	va_start(args, fmt);
	say(k, fmt, args);
	va_end(args);
}

int check_init(struct check *k, struct qcow2 *q, struct qcow2_check *c)
{
	uint64_t bytes;
	int ret;

	*k = (struct check){.q = q, .c = c};
	ret = q->s.ops->size(q->s.opaque, &bytes);
	if (ret < 0)
		return ret;
	k->clusters = ALIGN_UP(bytes, q->cluster_bytes) >> q->cluster_bits;
	k->l2 = malloc(q->cluster_bytes);
	return k->l2 ? 0 : -ENOMEM;
}

void check_fini(struct check *k)
{
	counts_fini(&k->refs);
	counts_fini(&k->diff);
	free(k->l2);
}

/* ---- refcounts ---- */

static int compare_one(struct check *k, uint64_t cluster, uint64_t count)
{
	uint64_t refs = (uint64_t)counts_get(&k->refs, cluster);

	if (count || refs)
		k->c->end_off = (cluster + 1) << k->q->cluster_bits;
	if (count == refs)
		return 0;
	if (count > refs) {
		k->c->leaks++;
		check_say(k, "Leaked cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64,
			  cluster, count, refs);
		return counts_add(&k->diff, cluster, (int32_t)MIN(count - refs, INT32_MAX));
	}
	k->refcounts_wrong = true;
	check_error(k, "ERROR cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64, cluster,
		    count, refs);
	return counts_add(&k->diff, cluster, (int32_t)((int64_t)count - (int64_t)refs));
}

/* The block that counts cluster 'first' and those behind it, below 'end'. */
static int compare_block(struct check *k, uint64_t first, uint64_t end, uint8_t *buf)
{
	const struct qcow2 *q = k->q;
	uint64_t i = first >> q->rb_bits;
	uint64_t host = i < q->rt.n ? q->rt.e[i] & QCOW2_RT_MASK : 0;
	bool usable =
	    host && !(host & (q->cluster_bytes - 1)) && host >> q->cluster_bits < k->clusters;
	int ret = usable ? qcow2_pread(k->q, buf, q->cluster_bytes, host) : 0;

	for (uint64_t c = first; c < end && ret == 0; c++)
		ret = compare_one(
		    k, c, usable ? refblock_get(q->refcount_order, buf, (uint32_t)(c - first)) : 0);
	return ret;
}

static int compare(struct check *k)
{
	CLEANUP(cleanup_free) uint8_t *buf = malloc(k->q->cluster_bytes);
	uint64_t end = MAX(k->clusters, k->end), per_block = 1ULL << k->q->rb_bits;
	int ret = buf ? 0 : -ENOMEM;

	for (uint64_t c = 0; c < end && ret == 0; c += per_block)
		ret = compare_block(k, c, MIN(end, c + per_block), buf);
	return ret;
}

/* ---- COPIED ---- */

static void check_flag(struct check *k, const char *what, uint32_t i, uint64_t entry, uint64_t host)
{
	uint64_t cluster = host >> k->q->cluster_bits;
	int64_t count = (int64_t)counts_get(&k->refs, cluster) + counts_get(&k->diff, cluster);

	if ((count == 1) != ((entry & QCOW2_COPIED) != 0))
		check_error(k,
			    "ERROR COPIED flag of %s, entry %" PRIu32 ": 0x%" PRIx64
			    " refcount=%" PRId64,
			    what, i, entry, count);
}

static int check_flags_of(struct check *k, uint64_t table)
{
	int ret;

	if (table & (k->q->cluster_bytes - 1) || table >> k->q->cluster_bits >= k->clusters)
		return 0;
	ret = check_read_l2(k, table);
	for (uint32_t i = 0; i < 1U << k->q->l2_bits && ret == 0; i++) {
		const struct qcow2_entry e = check_entry(k, i);
		uint64_t host, bytes;

		if (!qcow2_entry_is_compressed(&e) && !qcow2_entry_wrong(k->q, &e) &&
		    qcow2_entry_range(k->q, &e, &host, &bytes))
			check_flag(k, "data", i, e.desc, host);
	}
	return ret;
}

static int check_flags(struct check *k)
{
	CLEANUP(cleanup_free) uint64_t *l1 = NULL;
	int ret = 0;

	l1 = check_read_table(k, k->q->h.l1_host, k->q->h.l1_n, "L1 table");
	for (uint32_t i = 0; l1 && i < k->q->h.l1_n && ret == 0; i++) {
		uint64_t host = l1[i] & QCOW2_OFF_MASK;

		if (!host)
			continue;
		check_flag(k, "L2 table", i, l1[i], host);
		ret = check_flags_of(k, host);
	}
	return ret;
}

/* ---- one check ---- */

static int check_all(struct check *k, struct err *err)
{
	int ret = check_count_tables(k);

	if (ret == 0)
		ret = check_count_refcounts(k);
	if (ret == 0)
		ret = compare(k);
	if (ret == 0)
		ret = check_flags(k);
	return ret < 0 ? err_set(err, -ret, "the image cannot be checked: %s", err_text(-ret)) : 0;
}

/* ---- repair ---- */

static int lower_counts(struct check *k, struct err *err)
{
	struct qcow2 *q = k->q;
	int ret = 0;

	for (uint64_t c = counts_next(&k->diff, 0); c != UINT64_MAX && ret == 0;
	     c = counts_next(&k->diff, c + 1))
		if (counts_get(&k->diff, c) > 0)
			ret = qcow2_refcount_set(q, c, (uint64_t)counts_get(&k->refs, c));
	qcow2_refcounts_changed(q);
	qcow2_cache_empty(q, &q->l2c);
	if (ret == 0)
		ret = qcow2_cache_write(q, &q->rbc, false);
	if (ret == 0)
		ret = qcow2_barrier(q);
	return ret < 0 ? err_set(err, -ret, "the image's refcounts cannot be repaired: %s",
				 err_text(-ret))
		       : 0;
}

/* The references without those of the refcounts, which are to be replaced. */
static int rebuild_all(struct qcow2 *q, struct err *err)
{
	struct qcow2_check quiet = {0};
	struct check k;
	int ret = check_init(&k, q, &quiet);

	if (ret == 0)
		ret = check_count_tables(&k);
	if (ret < 0)
		ret = err_set(err, -ret, "the image cannot be checked: %s", err_text(-ret));
	else if (k.blind)
		ret = err_set(err, EIO,
			      "the image's refcounts cannot be rebuilt: not all of its tables can "
			      "be read");
	if (ret == 0)
		ret = check_rebuild(&k, err);
	if (ret == 0)
		ret = check_fix_flags(&k, err);
	check_fini(&k);
	return ret;
}

int qcow2_rebuild(struct qcow2 *q, struct err *err)
{
	return rebuild_all(q, err);
}

static int repair_found(struct check *k, unsigned repair, struct err *err)
{
	bool errors = repair & QCOW2_REPAIR_ERRORS;
	int ret = 0;

	if (k->blind || (k->c->errors == 0 && k->c->leaks == 0))
		return 0;
	if (errors && k->refcounts_wrong)
		return rebuild_all(k->q, err);
	if (k->c->leaks)
		ret = lower_counts(k, err);
	/* With leaks alone a flag may have become wrong by a count that is 1 again. */
	if (ret == 0 && !k->refcounts_wrong && (errors || k->c->errors == 0))
		ret = check_fix_flags(k, err);
	return ret;
}

/* An image without errors is neither dirty nor corrupt. */
static int clear_marks(struct qcow2 *q, struct err *err)
{
	uint64_t bits = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT;
	int ret;

	if (!(q->h.incompat & bits))
		return 0;
	q->h.incompat &= ~bits;
	ret = qcow2_header_commit(q);
	if (ret < 0)
		return err_set(err, -ret, "the image's header cannot be written: %s",
			       err_text(-ret));
	q->broken = q->unclean = false;
	qcow2_info_update(q);
	return 0;
}

/* The first check has found something, and it has been dealt with: what is left? */
static int check_again(struct qcow2 *q, struct qcow2_check *c, struct err *err)
{
	struct qcow2_check left = {0};
	struct check k;
	int ret = check_init(&k, q, &left);

	ret = ret < 0 ? err_set(err, -ret, "the image cannot be checked: %s", err_text(-ret))
		      : check_all(&k, err);
	if (ret == 0) {
		c->errors_fixed = c->errors - MIN(c->errors, left.errors);
		c->leaks_fixed = c->leaks - MIN(c->leaks, left.leaks);
		c->errors = left.errors;
		c->leaks = left.leaks;
		c->end_off = left.end_off;
	}
	check_fini(&k);
	return ret;
}

/* The tables on the storage are those in memory, with refcounts that are written later, too. */
static int write_all(struct qcow2 *q)
{
	int ret = qcow2_write_back(q);

	if (ret == 0)
		ret = qcow2_cache_write(q, &q->rbc, false);
	if (ret == 0)
		ret = qcow2_barrier(q);
	return ret < 0 ? ret : qcow2_table_write(q, &q->rt);
}

static int may_check(struct qcow2 *q, unsigned repair, struct err *err)
{
	int ret;

	if (!q->active)
		return err_set(err, EPERM, "the image is in use by another process");
	if (repair && !q->how.writable)
		return err_set(err, EROFS, "the image is read-only: it cannot be repaired");
	if (q->held)
		return err_set(err, EBUSY, "a snapshot of the image is being saved");
	if (!q->how.writable || q->broken)
		return 0;
	ret = write_all(q);
	return ret < 0 ? err_set(err, -ret, "the image cannot be written: %s", err_text(-ret)) : 0;
}

static int check_locked(struct qcow2 *q, unsigned repair, struct qcow2_check *c, struct err *err)
{
	struct check k = {0};
	bool found;
	int ret = may_check(q, repair, err);

	if (ret < 0)
		return ret;
	c->errors = c->leaks = c->errors_fixed = c->leaks_fixed = 0;
	c->allocated = c->fragmented = c->compressed = c->end_off = 0;
	c->clusters = ALIGN_UP(q->h.bytes, q->cluster_bytes) >> q->cluster_bits;
	ret = check_init(&k, q, c);
	ret = ret < 0 ? err_set(err, -ret, "the image cannot be checked: %s", err_text(-ret))
		      : check_all(&k, err);
	found = c->errors || c->leaks;
	if (ret == 0 && repair)
		ret = repair_found(&k, repair, err);
	check_fini(&k);
	if (ret == 0 && repair && found)
		ret = check_again(q, c, err);
	if (ret == 0 && repair && c->errors == 0)
		ret = clear_marks(q, err);
	return ret;
}

int qcow2_check(struct qcow2 *q, unsigned repair, struct qcow2_check *c, struct err *err)
{
	int ret;

	(void)pthread_mutex_lock(&q->lock);
	ret = check_locked(q, repair, c, err);
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
}
