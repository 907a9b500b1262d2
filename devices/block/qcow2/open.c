/*
 * open.c - the life of an open image: open, hand over and take back, flush, close
 *
 * An image is active while its tables are ours: from open (or qcow2_activate()) to close (or
 * qcow2_deactivate()).  Only its header is known before and after, so that another process may
 * change all the rest.  Opening for writing clears unknown autoclear bits and makes the refcounts
 * of an image with the dirty bit right; with lazy refcounts the bit is set by the first change of a
 * table, and cleared when all is written back at the end.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"

#define L2_CACHE_MAX   (8 * MiB)
#define RB_CACHE_BYTES (1 * MiB)

/* ---- order ---- */

static bool tables_dirty(const struct qcow2 *q)
{
	return q->l2c.n_dirty || q->l1.any_dirty;
}

static bool refcounts_dirty(const struct qcow2 *q)
{
	return q->rbc.n_dirty || q->rt.any_dirty;
}

/* Steps 2 of THE ORDER (internal.h). */
static int write_refcounts(struct qcow2 *q)
{
	int ret = qcow2_cache_write(q, &q->rbc, false);

	if (ret == 0 && q->rt.any_dirty) {
		ret = qcow2_barrier(q);
		if (ret == 0)
			ret = qcow2_table_write(q, &q->rt);
	}
	return ret;
}

static int write_tables(struct qcow2 *q)
{
	int ret = qcow2_barrier(q);

	if (ret < 0)
		return ret;
	qcow2_fresh_clear(q); /* from the next line on the L1 table on the medium may have them */
	ret = qcow2_cache_write(q, &q->l2c, false);
	return ret < 0 ? ret : qcow2_table_write(q, &q->l1);
}

/* Steps 2 to 4: after a barrier all is on the medium. */
static int write_changes(struct qcow2 *q, bool refcounts)
{
	int ret = 0;

	if (q->broken)
		return -EIO;
	if (q->n_fresh_l2)
		ret = qcow2_cache_write(q, &q->l2c, true);
	if (ret == 0 && refcounts)
		ret = write_refcounts(q);
	if (ret == 0 && tables_dirty(q))
		ret = write_tables(q);
	return ret;
}

/* Step 6, for what was there at step 4. */
static int write_done(struct qcow2 *q, size_t n_frees)
{
	q->turn++;
	return qcow2_apply_frees(q, n_frees);
}

static int write_all(struct qcow2 *q, bool refcounts)
{
	int ret = write_changes(q, refcounts);

	if (ret == 0)
		ret = qcow2_barrier(q);
	return ret < 0 ? ret : write_done(q, q->n_frees);
}

int qcow2_write_back(struct qcow2 *q)
{
	return write_all(q, !q->unclean);
}

/*
 * The last barrier, which waits for the data of requests most of all, is outside of the lock.  What
 * is changed meanwhile belongs to the next flush; another write-back meanwhile has done all of this
 * one's.
 */
static int flush(struct qcow2 *q)
{
	size_t n_frees;
	unsigned long turn;
	int ret = q->active && q->how.writable ? write_changes(q, !q->unclean) : 0;

	if (ret < 0 || !q->how.writable)
		return ret;
	n_frees = q->frees_sealed = q->n_frees;
	turn = q->turn;
	(void)pthread_mutex_unlock(&q->lock);
	ret = qcow2_barrier(q);
	(void)pthread_mutex_lock(&q->lock);
	if (ret < 0 || q->turn != turn || !q->active)
		return ret;
	return write_done(q, n_frees);
}

int qcow2_flush(struct qcow2 *q)
{
	int ret;

	(void)pthread_mutex_lock(&q->lock);
	ret = flush(q);
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
}

int qcow2_may_change(struct qcow2 *q)
{
	int ret;

	if (!q->how.writable || !q->active)
		return -EROFS;
	if (q->broken)
		return -EIO;
	if (q->unclean || !q->info.lazy_refcounts)
		return 0;
	q->h.incompat |= QCOW2_INCOMPAT_DIRTY;
	ret = qcow2_header_commit(q);
	if (ret < 0) {
		q->h.incompat &= ~QCOW2_INCOMPAT_DIRTY;
		qcow2_header_restore(q);
		return ret;
	}
	q->unclean = q->info.dirty = true;
	return 0;
}

int qcow2_damaged(struct qcow2 *q, const char *fmt, ...)
{
	char text[300];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (q->how.checking)
		return -EIO;
	log_error("qcow2: the image is damaged: %s", text);
	if (q->how.writable && !q->broken) {
		if (q->h.version >= 3) {
			q->h.incompat |= QCOW2_INCOMPAT_CORRUPT;
			(void)qcow2_header_write(q);
		}
		q->info.corrupt = true;
		q->broken = true;
	}
	return -EIO;
}

/* ---- the header ---- */

static int read_header(struct qcow2 *q, struct qcow2_header *h, uint8_t **out, size_t *n,
		       struct err *err)
{
	CLEANUP(cleanup_free) uint8_t *p = NULL;
	uint8_t start[24] = {0};
	uint32_t bits;
	uint64_t size;
	int ret = q->s.ops->size(q->s.opaque, &size);

	if (ret == 0)
		ret = qcow2_pread(q, start, sizeof(start), 0);
	if (ret < 0)
		return err_set(err, -ret, "the header cannot be read: %s", err_text(-ret));
	bits = get_be32(start + 20);
	bits = bits < QCOW2_MIN_CLUSTER_BITS || bits > QCOW2_MAX_CLUSTER_BITS ? 9 : bits;
	*n = (size_t)MIN(size, 1ULL << bits);
	p = xcalloc(1, 1ULL << bits);
	ret = qcow2_pread(q, p, *n, 0);
	if (ret < 0)
		return err_set(err, -ret, "the header cannot be read: %s", err_text(-ret));
	ret = qcow2_header_parse(h, p, *n, err);
	if (ret == 0) {
		*out = p;
		p = NULL;
	}
	return ret;
}

/* What header_write() compares with: as much as a header of ours takes. */
static int keep_image(struct qcow2 *q, const uint8_t *p, size_t n)
{
	CLEANUP(cleanup_free) uint8_t *packed = qcow2_buffer(1ULL << q->h.cluster_bits);
	size_t bytes;
	int ret = packed ? qcow2_header_pack(&q->h, packed, &bytes) : -ENOMEM;

	if (ret == -ENOSPC) { /* it never will be written */
		bytes = 1ULL << q->h.cluster_bits;
		ret = 0;
	}
	if (ret < 0)
		return ret;
	bytes = ALIGN_UP(bytes, 512);
	free(q->header_image);
	q->header_image = xcalloc(1, bytes);
	q->header_image_bytes = bytes;
	memcpy(q->header_image, p, MIN(n, bytes));
	return 0;
}

/* Other threads read them at any time: what stays as it was is not written again. */
#define KEEP(member, value)                                                                        \
	do {                                                                                       \
		if (i->member != (value))                                                          \
			i->member = (value);                                                       \
	} while (0)

void qcow2_info_update(struct qcow2 *q)
{
	struct qcow2_info *i = &q->info;
	const struct qcow2_header *h = &q->h;
	const char *compression = h->compression ? "zstd" : "zlib";

	KEEP(bytes, ALIGN_DOWN(h->bytes, 512));
	KEEP(version, h->version);
	KEEP(cluster_bytes, 1U << h->cluster_bits);
	KEEP(refcount_bits, 1U << h->refcount_order);
	KEEP(extended_l2, (h->incompat & QCOW2_INCOMPAT_EXTENDED_L2) != 0);
	KEEP(lazy_refcounts, (h->compat & QCOW2_COMPAT_LAZY) != 0);
	KEEP(dirty, (h->incompat & QCOW2_INCOMPAT_DIRTY) != 0);
	KEEP(corrupt, (h->incompat & QCOW2_INCOMPAT_CORRUPT) != 0);
	KEEP(compression, compression);
	KEEP(backing, h->backing);
	KEEP(backing_format, h->backing_format);
	KEEP(vmstate_off, ALIGN_UP(h->bytes, q->l2_covers));
}

static void set_geometry(struct qcow2 *q)
{
	bool extended = q->h.incompat & QCOW2_INCOMPAT_EXTENDED_L2;

	q->cluster_bits = q->h.cluster_bits;
	q->cluster_bytes = 1ULL << q->cluster_bits;
	q->entry_bytes = extended ? 16 : 8;
	q->l2_bits = q->cluster_bits - (extended ? 4 : 3);
	q->l2_covers = q->cluster_bytes << q->l2_bits;
	q->piece_bytes = (uint32_t)MIN(q->cluster_bytes, 64 * KiB);
	q->subcluster_bits = q->cluster_bits - (extended ? 5 : 0);
	q->refcount_order = q->h.refcount_order;
	q->rb_bits = q->cluster_bits + 3 - q->refcount_order;
	q->refcount_max = UINT64_MAX >> (64 - (1U << q->refcount_order));
	qcow2_info_update(q);
}

/* Read, and its place in q taken; the former one is gone. */
static int load_header(struct qcow2 *q, struct err *err)
{
	CLEANUP(cleanup_free) uint8_t *p = NULL;
	struct qcow2_header h = {0};
	size_t n = 0;
	int ret = read_header(q, &h, &p, &n, err);

	if (ret < 0 || !p) {
		qcow2_header_fini(&h);
		return ret;
	}
	qcow2_header_fini(&q->h);
	q->h = h;
	set_geometry(q);
	ret = keep_image(q, p, n);
	return ret < 0 ? err_set(err, -ret, "not enough memory for the header") : 0;
}

/* ---- active ---- */

static int filter_init(struct qcow2 *q)
{
	uint64_t tables = q->h.l1_n + (((uint64_t)q->h.rt_clusters << q->cluster_bits) / 8);

	q->table_filter_bits = 16;
	while (q->table_filter_bits < 22 && 1ULL << q->table_filter_bits < 32 * tables)
		q->table_filter_bits++;
	free(q->table_filter);
	q->table_filter = calloc((1UL << q->table_filter_bits) / 64, 8);
	return q->table_filter ? 0 : -ENOMEM;
}

static int caches_init(struct qcow2 *q, struct err *err)
{
	uint64_t want = q->how.cache_bytes ? q->how.cache_bytes : L2_CACHE_MAX;
	int ret = filter_init(q);

	if (ret == 0)
		ret = qcow2_cache_init(q, &q->l2c, want);
	if (ret == 0)
		ret = qcow2_cache_init(q, &q->rbc, RB_CACHE_BYTES);
	return ret < 0 ? err_set(err, -ret, "not enough memory for tables of the image") : 0;
}

static void forget(struct qcow2 *q)
{
	qcow2_snapshots_fini(q);
	qcow2_bitmaps_fini(q);
	qcow2_l1_fini(q);
	qcow2_refcounts_fini(q);
	qcow2_cache_fini(&q->l2c);
	qcow2_cache_fini(&q->rbc);
	free(q->table_filter);
	q->table_filter = NULL;
	free(q->held);
	free(q->since);
	q->held = q->since = NULL;
	q->since_n = 0;
	q->compress_at = 0;
	q->active = false;
}

/* Bits that say what is not true any more as soon as somebody writes who does not know them. */
static int clear_unknown(struct qcow2 *q, struct err *err)
{
	uint64_t known = QCOW2_AUTOCLEAR_BITMAPS | QCOW2_AUTOCLEAR_RAW_DATA;
	int ret;

	if (!(q->h.autoclear & ~known))
		return 0;
	q->h.autoclear &= known;
	ret = qcow2_header_commit(q);
	return ret < 0 ? err_set(err, -ret, "unknown autoclear bits cannot be cleared: %s",
				 err_text(-ret))
		       : 0;
}

static int clear_dirty(struct qcow2 *q)
{
	q->h.incompat &= ~QCOW2_INCOMPAT_DIRTY;
	q->unclean = false;
	qcow2_info_update(q);
	return qcow2_header_commit(q);
}

static int repair_dirty(struct qcow2 *q, struct err *err)
{
	int ret;

	if (!(q->h.incompat & QCOW2_INCOMPAT_DIRTY))
		return 0;
	ret = qcow2_rebuild(q, err);
	if (ret < 0)
		return ret;
	ret = qcow2_write_back(q);
	if (ret == 0)
		ret = clear_dirty(q);
	return ret < 0 ? err_set(err, -ret, "the repaired refcounts cannot be written: %s",
				 err_text(-ret))
		       : 0;
}

static int make_active(struct qcow2 *q, struct err *err)
{
	bool writes = q->how.writable && !q->how.checking;
	int ret;

	if (writes && q->info.corrupt)
		return err_set(
		    err, EACCES,
		    "the image is marked as corrupt and is not opened for writing: check "
		    "and repair it first");
	if (q->h.rt_clusters == 0 && !q->how.checking)
		return err_set(err, EINVAL, "the image has no refcount table");
	ret = caches_init(q, err);
	if (ret == 0)
		ret = qcow2_l1_load(q, err);
	if (ret == 0)
		ret = qcow2_refcounts_load(q, err);
	if (ret == 0) {
		q->active = true;
		ret = qcow2_snapshots_load(q, err);
	}
	if (ret == 0 && writes)
		ret = clear_unknown(q, err);
	if (ret == 0 && writes)
		ret = repair_dirty(q, err);
	if (ret == 0)
		ret = qcow2_bitmaps_load(q, err);
	if (ret < 0)
		forget(q);
	return ret;
}

/* Everything is on the medium, and the image closed as if it had never been open. */
static int make_clean(struct qcow2 *q, struct err *err)
{
	int ret = 0;

	if (!q->how.writable || !q->active)
		return 0;
	qcow2_saving_drop(q);
	if (!q->broken && !q->how.checking)
		ret = qcow2_bitmaps_store(q, err);
	if (ret < 0)
		return ret;
	ret = write_all(q, true);
	if (ret == 0 && refcounts_dirty(q)) /* of what was let go just now */
		ret = write_all(q, true);
	if (ret == 0 && q->unclean)
		ret = clear_dirty(q);
	if (ret == 0)
		ret = qcow2_barrier(q);
	return ret < 0 ? err_set(err, -ret, "the tables of the image cannot be written back: %s",
				 err_text(-ret))
		       : 0;
}

/* ---- from outside ---- */

int qcow2_open(struct qcow2 **out, const struct qcow2_storage *s, const struct qcow2_open *how,
	       struct err *err)
{
	struct qcow2 *q = NEW(struct qcow2);
	int ret;

	q->s = *s;
	q->how = *how;
	(void)pthread_mutex_init(&q->lock, NULL);
	(void)pthread_cond_init(&q->claims_changed, NULL);
	list_init(&q->claims);
	(void)pthread_mutex_lock(&q->lock);
	ret = load_header(q, err);
	if (ret == 0 && !how->inactive)
		ret = make_active(q, err);
	(void)pthread_mutex_unlock(&q->lock);
	if (ret == 0)
		*out = q;
	else
		qcow2_free(q);
	return ret;
}

void qcow2_free(struct qcow2 *q)
{
	forget(q);
	qcow2_header_fini(&q->h);
	free(q->header_image);
	(void)pthread_cond_destroy(&q->claims_changed);
	(void)pthread_mutex_destroy(&q->lock);
	free(q);
}

int qcow2_close(struct qcow2 *q, struct err *err)
{
	int ret;

	(void)pthread_mutex_lock(&q->lock);
	ret = make_clean(q, err);
	(void)pthread_mutex_unlock(&q->lock);
	qcow2_free(q);
	return ret;
}

const struct qcow2_info *qcow2_info(const struct qcow2 *q)
{
	return &q->info;
}

int qcow2_deactivate(struct qcow2 *q, struct err *err)
{
	int ret;

	(void)pthread_mutex_lock(&q->lock);
	ret = make_clean(q, err);
	if (ret == 0)
		forget(q);
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static int activate(struct qcow2 *q, struct err *err)
{
	struct qcow2_info old = q->info;
	CLEANUP(cleanup_free) char *backing = old.backing ? xstrdup(old.backing) : NULL;
	int ret = load_header(q, err);

	if (ret < 0)
		return ret;
	if (q->info.bytes != old.bytes || q->info.cluster_bytes != old.cluster_bytes ||
	    q->info.extended_l2 != old.extended_l2 || !same_text(q->info.backing, backing))
		return err_set(err, EINVAL,
			       "the image has another size, another layout or another backing file "
			       "than when it was opened");
	q->broken = q->unclean = false;
	return make_active(q, err);
}

int qcow2_activate(struct qcow2 *q, struct err *err)
{
	int ret = 0;

	(void)pthread_mutex_lock(&q->lock);
	if (!q->active)
		ret = activate(q, err);
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
}
