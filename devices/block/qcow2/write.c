/*
 * write.c - writing: in place where the data is, else into clusters that are allocated for it
 *
 * A request is done in steps, each of which writes once:
 *
 *   in place    the range lies in clusters of the active table alone, and is data already: the lock
 *               is given up, the data written, nothing else changes.
 *   fill        the range begins in a cluster that has to be allocated, or that has a place but
 *               reads as something else there (zeroes, a subcluster from below).  Under the lock
 *               the guest's clusters are claimed, so that no other request allocates them, and
 *               host clusters in a row allocated.  Without it the data is written, together with
 *               what the guest reads in front of it and behind it in the same (sub)cluster, in one
 *               piece.  Under the lock again the entries are set, and the former clusters let go.
 *
 * When a step fails, what it allocated is given back, and no entry has changed.  In a cluster that
 * the storage never had, zeroes around the data are not written: they are there already.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"

#define MAX_STEP (16 * MiB)
#define PIECES   64

/* ---- claims ---- */

static bool claimed(const struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	list_for_each (c, &q->claims, struct qcow2_claim, link)
		if (off < c->off + c->bytes && c->off < off + bytes)
			return true;
	return false;
}

void qcow2_claim(struct qcow2 *q, struct qcow2_claim *c, uint64_t off, uint64_t bytes)
{
	while (claimed(q, off, bytes))
		(void)pthread_cond_wait(&q->claims_changed, &q->lock);
	c->off = off;
	c->bytes = bytes;
	list_add_tail(&q->claims, &c->link);
}

void qcow2_unclaim(struct qcow2 *q, struct qcow2_claim *c)
{
	list_del(&c->link);
	(void)pthread_cond_broadcast(&q->claims_changed);
}

/* ---- in place ---- */

/* The data at 'off' is not where a table is. */
static int judge_place(struct qcow2 *q, uint64_t off, uint64_t host, uint64_t bytes)
{
	const char *what = qcow2_overlaps(q, host, bytes, true);

	if (what)
		return qcow2_damaged(q,
				     "the data of guest offset 0x%" PRIx64
				     " is said to be at 0x%" PRIx64 ", where the %s is",
				     off, host, what);
	return 0;
}

/*
 * How many bytes from 'off' on may be written where they are, at *host; 0: none.  Within one piece
 * of a table.
 */
static int in_place(struct qcow2 *q, uint64_t off, uint64_t bytes, bool wait, uint64_t *host,
		    uint64_t *n)
{
	uint64_t at = off & (q->cluster_bytes - 1);
	struct qcow2_l2_pos pos = {0};
	int ret = wait ? qcow2_l2_get(q, off, &pos) : qcow2_l2_peek(q, off, &pos);

	*n = 0;
	while (ret == 0 && pos.b && *n < bytes && at >> q->cluster_bits < pos.n) {
		struct qcow2_entry e = qcow2_entry_get(q, &pos, (uint32_t)(at >> q->cluster_bits));
		struct qcow2_part p = {0};

		ret = qcow2_part_get(q, &e, at & (q->cluster_bytes - 1), &p);
		if (ret < 0 || p.kind != QCOW2_DATA || !p.own || (*n && p.host != *host + *n))
			break;
		if (*n == 0)
			*host = p.host;
		*n += p.bytes;
		at += p.bytes;
	}
	if (ret < 0) {
		*n = 0;
		return ret;
	}
	qcow2_l2_put(&pos);
	*n = MIN(*n, bytes);
	return *n ? judge_place(q, off, *host, *n) : 0;
}

static int may_write(const struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	if (!q->how.writable || !q->active)
		return -EROFS;
	if (q->broken)
		return -EIO;
	return off > q->info.bytes || bytes > q->info.bytes - off ? -EINVAL : 0;
}

int qcow2_map_write(struct qcow2 *q, uint64_t off, uint64_t bytes, struct qcow2_extent *x)
{
	uint64_t host = 0, n = 0;
	int ret;

	if (pthread_mutex_trylock(&q->lock) != 0)
		return -EAGAIN;
	ret = may_write(q, off, bytes);
	if (ret == 0)
		ret = in_place(q, off, bytes, false, &host, &n);
	if (ret == 0 && n == 0)
		ret = -EAGAIN;
	if (ret == 0) {
		*x = (struct qcow2_extent){.kind = QCOW2_DATA, .bytes = n, .host_off = host};
		qcow2_bitmaps_mark(q, off, n);
	}
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
}

/* ---- filling clusters ---- */

struct fill {
	struct qcow2_claim claim;
	uint64_t off, bytes;   /* of the request, this step */
	uint64_t first;        /* guest offset of the first cluster */
	uint64_t n;            /* clusters */
	uint64_t host;         /* of the first, in a row */
	bool fresh;            /* they were allocated here */
	bool zero;             /* ... and the storage reads as zero there */
	uint64_t lo, hi;       /* guest: what is written, the request and around it */
	bool zero_lo, zero_hi; /* [lo, off), [off + bytes, hi) reads as zero */
};

/* Is the entry's cluster filled where it is, or another one taken? */
static bool has_place(const struct qcow2 *q, const struct qcow2_entry *e, uint64_t *host)
{
	*host = e->desc & QCOW2_OFF_MASK;
	return !qcow2_entry_is_compressed(e) && *host && e->desc & QCOW2_COPIED &&
	       !qcow2_is_held(q, *host);
}

/* As many clusters as are to be treated alike, from the entry at pos on; at most 'max'. */
static int same_way(struct qcow2 *q, const struct qcow2_l2_pos *pos, uint64_t max, struct fill *f)
{
	uint64_t n = 0;

	for (; n < MIN(max, pos->n); n++) {
		struct qcow2_entry e = qcow2_entry_get(q, pos, (uint32_t)n);
		struct qcow2_part p = {0};
		uint64_t host;
		bool place;
		int ret = qcow2_part_get(q, &e, 0, &p);

		if (ret < 0)
			return ret;
		place = has_place(q, &e, &host);
		if (n == 0) {
			f->fresh = !place;
			f->host = place ? host : 0;
		} else if (place != !f->fresh ||
			   (place && host != f->host + (n << q->cluster_bits))) {
			break;
		}
		/* data in the middle of what has a place is written in place */
		if (place && n && p.kind == QCOW2_DATA && q->entry_bytes == 8)
			break;
	}
	f->n = n;
	return 0;
}

static bool sub_is_data(const struct qcow2_entry *e, uint64_t at, const struct qcow2 *q)
{
	return q->entry_bytes == 16 && e->bitmap >> (at >> q->subcluster_bits) & 1;
}

/* All data of the entry's cluster has to come along to another one. */
static bool moves(const struct qcow2 *q, const struct qcow2_entry *e, const struct fill *f)
{
	return f->fresh &&
	       (q->entry_bytes == 8 || qcow2_entry_is_compressed(e) || (uint32_t)e->bitmap);
}

/* lo and hi: the borders of clusters, or of subclusters where the others need not be written. */
static void set_borders(struct qcow2 *q, const struct qcow2_l2_pos *pos, struct fill *f)
{
	struct qcow2_entry a = qcow2_entry_get(q, pos, 0);
	struct qcow2_entry z = qcow2_entry_get(q, pos, (uint32_t)f->n - 1);
	uint64_t end = f->off + f->bytes, sub = 1ULL << q->subcluster_bits;

	f->lo = moves(q, &a, f) ? f->first : ALIGN_DOWN(f->off, sub);
	if (moves(q, &z, f))
		f->hi = f->first + (f->n << q->cluster_bits);
	else if (!f->fresh && sub_is_data(&z, (end - 1) & (q->cluster_bytes - 1), q))
		f->hi = end;
	else
		f->hi = ALIGN_UP(end, sub);
}

/* What is around the request: is it zero, and so there already? */
static int set_zeroes(struct qcow2 *q, struct fill *f)
{
	uint64_t end = f->off + f->bytes;
	int lo = f->lo == f->off, hi = f->hi == end;

	if (f->zero && !lo)
		lo = qcow2_is_zero(q, f->lo, f->off - f->lo);
	if (f->zero && !hi)
		hi = qcow2_is_zero(q, end, f->hi - end);
	f->zero_lo = lo > 0;
	f->zero_hi = hi > 0;
	return MIN(lo, hi) < 0 ? MIN(lo, hi) : 0;
}

/* f->off, bytes, first: what is wanted.  On success host clusters are ours, and no entry has
 * changed. */
static int fill_prepare(struct qcow2 *q, struct fill *f)
{
	uint64_t max =
	    (ALIGN_UP(f->off + f->bytes, q->cluster_bytes) - f->first) >> q->cluster_bits;
	struct qcow2_l2_pos pos = {0};
	int ret = qcow2_l2_get_own(q, f->off, &pos);

	if (ret < 0)
		return ret;
	ret = same_way(q, &pos, max, f);
	f->zero = false;
	if (ret == 0 && !f->fresh)
		ret = judge_place(q, f->off, f->host, f->n << q->cluster_bits);
	if (ret == 0 && f->fresh)
		ret = qcow2_alloc_some(q, &f->n, &f->host, &f->zero);
	if (ret == 0) {
		f->bytes = MIN(f->bytes, f->first + (f->n << q->cluster_bits) - f->off);
		set_borders(q, &pos, f);
		ret = set_zeroes(q, f);
		if (ret < 0 && f->fresh)
			qcow2_unalloc(q, f->host, f->n << q->cluster_bits);
	}
	qcow2_l2_put(&pos);
	return ret;
}

/* [lo, hi) of the guest as it is now, in aligned memory; *out stays NULL for none. */
static int read_around(struct qcow2 *q, uint64_t lo, uint64_t hi, uint8_t **out)
{
	if (lo == hi)
		return 0;
	*out = qcow2_buffer(hi - lo);
	return *out ? qcow2_read_buf(q, *out, (size_t)(hi - lo), lo) : -ENOMEM;
}

/* The data of the step, and what is around it; the lock is free. */
static int fill_write(struct qcow2 *q, const struct fill *f, const struct iovec *iov, int n_iov)
{
	uint64_t end = f->off + f->bytes, lo = f->zero_lo ? f->off : f->lo;
	uint64_t hi = f->zero_hi ? end : f->hi;
	CLEANUP(cleanup_free) uint8_t *head = NULL, *tail = NULL;
	struct iovec few[PIECES];
	CLEANUP(cleanup_free)
	struct iovec *many = n_iov + 2 > PIECES ? xcalloc((size_t)n_iov + 2, sizeof(*many)) : NULL;
	struct iovec *all = many ? many : few;
	int n = 0, ret = read_around(q, lo, f->off, &head);

	if (ret == 0)
		ret = read_around(q, end, hi, &tail);
	if (ret < 0)
		return ret;
	if (head)
		all[n++] = (struct iovec){head, (size_t)(f->off - lo)};
	memcpy(all + n, iov, (size_t)n_iov * sizeof(*iov));
	n += n_iov;
	if (tail)
		all[n++] = (struct iovec){tail, (size_t)(hi - end)};
	return q->s.ops->writev(q->s.opaque, all, n, f->host + (lo - f->first));
}

/* Bits of the subclusters that [lo, hi) of the guest has in the cluster at 'off'. */
static uint64_t sub_mask(const struct qcow2 *q, const struct fill *f, uint64_t off)
{
	uint64_t lo = MAX(f->lo, off) - off;
	uint64_t hi = MIN(f->hi, off + q->cluster_bytes) - off;
	unsigned from = (unsigned)(lo >> q->subcluster_bits);
	unsigned to = (unsigned)((hi - 1) >> q->subcluster_bits);

	return ((2ULL << to) - 1) & ~((1ULL << from) - 1);
}

static void link_entry(struct qcow2 *q, const struct fill *f, struct qcow2_l2_pos *pos, uint32_t k)
{
	uint64_t bytes, host, off = f->first + ((uint64_t)k << q->cluster_bits);
	struct qcow2_entry old = qcow2_entry_get(q, pos, k), e = {0};
	bool had = qcow2_entry_range(q, &old, &host, &bytes);

	e.desc = (f->host + ((uint64_t)k << q->cluster_bits)) | QCOW2_COPIED;
	if (q->entry_bytes == 16) {
		uint64_t mask = sub_mask(q, f, off);

		e.bitmap = qcow2_entry_is_compressed(&old) ? 0 : old.bitmap;
		e.bitmap = (e.bitmap & ~(mask << 32)) | mask;
	}
	qcow2_entry_set(q, pos, k, e);
	if (had && f->fresh)
		qcow2_release(q, host, bytes);
}

static int fill_link(struct qcow2 *q, const struct fill *f)
{
	struct qcow2_l2_pos pos = {0};
	int ret = q->broken ? -EIO : qcow2_l2_get_own(q, f->first, &pos);

	if (ret < 0)
		return ret;
	for (uint32_t k = 0; k < f->n; k++)
		link_entry(q, f, &pos, k);
	qcow2_l2_put(&pos);
	qcow2_bitmaps_mark(q, f->off, f->bytes);
	return 0;
}

/* ---- steps ---- */

struct request {
	const struct iovec *iov;
	int n_iov;
	uint64_t off, bytes, done;
	struct iovec *part; /* room for n_iov pieces */
};

static int slice(const struct request *r, uint64_t bytes)
{
	return (int)iov_slice(r->part, r->iov, (size_t)r->n_iov, r->done, bytes);
}

/* Under the lock, which is given up while the data is moved, and held afterwards. */
static int step_in_place(struct qcow2 *q, struct request *r, uint64_t host, uint64_t n)
{
	int ret;

	qcow2_bitmaps_mark(q, r->off + r->done, n);
	(void)pthread_mutex_unlock(&q->lock);
	ret = q->s.ops->writev(q->s.opaque, r->part, slice(r, n), host);
	(void)pthread_mutex_lock(&q->lock);
	if (ret == 0)
		r->done += n;
	return ret;
}

static int step_fill(struct qcow2 *q, struct request *r, struct fill *f)
{
	int ret = fill_prepare(q, f);

	if (ret < 0)
		return ret;
	(void)pthread_mutex_unlock(&q->lock);
	ret = fill_write(q, f, r->part, slice(r, f->bytes));
	(void)pthread_mutex_lock(&q->lock);
	if (ret == 0)
		ret = fill_link(q, f);
	if (ret < 0 && f->fresh)
		qcow2_unalloc(q, f->host, f->n << q->cluster_bits);
	if (ret == 0)
		r->done += f->bytes;
	return ret;
}

static int step(struct qcow2 *q, struct request *r)
{
	uint64_t off = r->off + r->done, bytes = MIN(r->bytes - r->done, MAX_STEP);
	struct fill f = {.off = off, .bytes = bytes};
	uint64_t host = 0, n = 0;
	int ret = may_write(q, off, bytes);

	if (ret == 0)
		ret = in_place(q, off, bytes, true, &host, &n);
	if (ret == 0 && n == 0)
		ret = qcow2_may_change(q);
	if (ret < 0)
		return ret;
	if (n)
		return step_in_place(q, r, host, n);
	f.first = ALIGN_DOWN(off, q->cluster_bytes);
	qcow2_claim(q, &f.claim, f.first, ALIGN_UP(off + bytes, q->cluster_bytes) - f.first);
	ret = in_place(q, off, bytes, true, &host, &n); /* another may have done it meanwhile */
	if (ret == 0 && n == 0)
		ret = step_fill(q, r, &f);
	qcow2_unclaim(q, &f.claim);
	return ret; /* n: the next step does it */
}

/* The disk of the host is full, but some of it is to be let go: once. */
static bool made_room(struct qcow2 *q, int ret, bool *tried)
{
	if (ret != -ENOSPC || *tried || !qcow2_has_frees(q))
		return false;
	*tried = true;
	return qcow2_write_back(q) == 0;
}

int qcow2_writev(struct qcow2 *q, const struct iovec *iov, int n_iov, uint64_t off)
{
	struct iovec few[PIECES];
	CLEANUP(cleanup_free)
	struct iovec *many = n_iov > PIECES ? xcalloc((size_t)n_iov, sizeof(*many)) : NULL;
	struct request r = {.iov = iov, .n_iov = n_iov, .off = off, .part = many ? many : few};
	bool tried = false;
	int ret = 0;

	r.bytes = iov_bytes(iov, (size_t)n_iov);
	(void)pthread_mutex_lock(&q->lock);
	ret = may_write(q, off, r.bytes);
	while (r.done < r.bytes && ret == 0) {
		ret = step(q, &r);
		if (made_room(q, ret, &tried))
			ret = 0;
	}
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
}
