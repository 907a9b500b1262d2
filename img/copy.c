/*
 * copy.c - reading, looking for zeroes, and writing, by several threads
 *
 * The disk is cut into pieces by one iteration, which the threads step on in turn under the lock:
 * what a map says is zero is one piece of any length; the rest is cut into pieces of PIECE bytes
 * that begin and end at clusters of the target, so that no two threads write to one cluster.  A
 * thread reads its piece, cuts it into runs that are zero and runs that are not, and writes.
 *
 * In order (the default) a thread waits with its writes until the pieces before are written:
 * the target then grows from its beginning to its end, and its clusters lie in the disk's order.
 * Reading, looking for zeroes and compressing go on in the other threads meanwhile.
 */
#include "img/copy.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "devices/block/image.h"
#include "devices/block/qcow2/qcow2.h"
#include "img/img.h"
#include "img/progress.h"
#include "vmm/base/error.h"
#include "vmm/base/thread.h"
#include "vmm/base/units.h"
#include "vmm/base/zero.h"

#define PIECE      (2 * MiB) /* at least a cluster */
#define RAW_GRAIN  4096
#define ZERO_PIECE (1 * GiB) /* so that progress is seen */

enum kind {
	SKIP, /* the target has it already */
	ZERO, /* is zero by the map */
	DATA,
};

struct piece {
	enum kind kind;
	uint64_t off, bytes;
	uint64_t number; /* 0, 1, ... */
};

struct copying {
	/* set at creation and then constant */
	const struct copy *c;
	uint64_t cluster; /* no two threads write to one; of the target */
	uint64_t grain, min_zero;

	pthread_mutex_t lock;
	uint64_t off;    /* where the next piece begins */
	uint64_t number; /* of the next piece */
	uint64_t turn;   /* of the piece that may be written; in order only */
	pthread_cond_t turned;
	bool failed;
	struct err err; /* the first failure's */
};

#define PLAIN   UINT32_MAX /* a cluster that does not become smaller */
#define NOTHING 0U

struct worker {
	struct copying *y;
	unsigned char *buf; /* PIECE bytes; all owned */
	/* compressing */
	unsigned char *out; /* the packed clusters, each in the place of its cluster */
	uint32_t *packed;   /* for each cluster of a piece: how long it is, or one of these two */
	struct qcow2_packer *packer;
};

/* ---- zeroes ---- */

static uint64_t zero_prefix(const unsigned char *p, uint64_t n, uint64_t grain)
{
	uint64_t at = 0;

	while (at < n && buffer_is_zero(p + at, (size_t)MIN(grain, n - at)))
		at += MIN(grain, n - at);
	return at;
}

uint64_t copy_find_run(const unsigned char *p, uint64_t n, uint64_t grain, uint64_t min, bool *zero)
{
	uint64_t at = zero_prefix(p, n, grain), length;

	*zero = at == n || (at && at >= min);
	if (*zero)
		return at;
	/* data, up to zeroes that are worth it */
	while (at < n) {
		length = zero_prefix(p + at, n - at, grain);
		if (length && (length >= min || at + length == n))
			break;
		at += MAX(length, MIN(grain, n - at));
	}
	return at;
}

/* ---- the sources as one disk ---- */

/* The source at *off, which is then the offset in it. */
static struct image *source_at(const struct copy *c, uint64_t *off)
{
	unsigned i = 0;

	while (i + 1 < c->n_src && *off >= c->src[i]->bytes)
		*off -= c->src[i++]->bytes;
	return c->src[i];
}

static int read_disk(const struct copy *c, unsigned char *p, uint64_t bytes, uint64_t off,
		     struct err *err)
{
	while (bytes) {
		uint64_t at = off;
		struct image *src = source_at(c, &at);
		struct iovec v = {.iov_base = p};
		int ret;

		v.iov_len = (size_t)(c->snapshot ? bytes : MIN(bytes, src->bytes - at));
		if (c->snapshot) /* it has told what failed */
			return qcow2_snapshot_read(src->q, c->snapshot, p, bytes, at, err);
		ret = image_readv(src, &v, 1, at);
		if (ret < 0)
			return err_set(err, -ret, "Could not read '%s' at %" PRIu64 ": %s",
				       src->filename, at, err_text(-ret));
		p += v.iov_len;
		off += v.iov_len;
		bytes -= v.iov_len;
	}
	return 0;
}

static enum kind kind_of(const struct copy *c, const struct image_extent *e, bool present)
{
	if (c->above_backing && (e->depth || !present))
		return SKIP;
	if (!e->zero || !c->scan)
		return DATA;
	return c->dst_is_zero ? SKIP : ZERO;
}

static int map_disk(const struct copy *c, uint64_t off, uint64_t bytes, enum kind *kind,
		    uint64_t *length, struct err *err)
{
	struct image *src = source_at(c, &off);
	struct image_extent e;
	bool present = true;
	int ret;

	*kind = DATA;
	*length = bytes;
	if (c->snapshot)
		return 0; /* it has no map: what is zero is found by reading */
	ret = image_map(src, off, MIN(bytes, src->bytes - off), &e);
	if (ret == 0 && c->above_backing)
		ret = img_map_present(&e, off, &present);
	if (ret < 0)
		return err_set(err, -ret, "Could not read the map of '%s' at %" PRIu64 ": %s",
			       src->filename, off, err_text(-ret));
	*kind = kind_of(c, &e, present);
	*length = e.bytes;
	return 0;
}

/* ---- pieces ---- */

/* Lock held.  Pieces end at clusters: what a cluster holds besides zeroes makes all of it data. */
static int next_piece(struct copying *y, struct piece *p, struct err *err)
{
	const struct copy *c = y->c;
	uint64_t left = c->bytes - y->off, length = 0, whole = 0;
	enum kind kind = DATA, first = DATA;

	while (whole < left) {
		int ret = map_disk(c, y->off + whole, left - whole, &kind, &length, err);

		if (ret < 0)
			return ret;
		if (!whole)
			first = kind;
		if (kind != first)
			break;
		whole += length;
		if (whole >= (first == DATA ? PIECE : ZERO_PIECE))
			break;
	}
	if (whole < left)
		whole = ALIGN_DOWN(whole, y->cluster);
	if (!whole) { /* a cluster of both kinds */
		first = DATA;
		whole = MIN(left, y->cluster);
	}
	if (first == DATA)
		whole = MIN(whole, PIECE);
	*p = (struct piece){.kind = first, .off = y->off, .bytes = whole, .number = y->number++};
	y->off += whole;
	return 0;
}

/* 1: *p is the next one; 0: no more, or it has failed. */
static int take_piece(struct copying *y, struct piece *p)
{
	int ret, got = 0;

	pthread_mutex_lock(&y->lock);
	if (!y->failed && y->off < y->c->bytes) {
		ret = next_piece(y, p, &y->err);
		got = ret == 0;
		y->failed = ret < 0;
	}
	pthread_cond_broadcast(&y->turned);
	pthread_mutex_unlock(&y->lock);
	return got;
}

static void fail(struct copying *y, const struct err *err)
{
	pthread_mutex_lock(&y->lock);
	if (!y->failed)
		y->err = *err;
	y->failed = true;
	pthread_cond_broadcast(&y->turned);
	pthread_mutex_unlock(&y->lock);
}

/* False: another thread has failed. */
static bool wait_turn(struct copying *y, const struct piece *p)
{
	bool failed;

	pthread_mutex_lock(&y->lock);
	while (!y->c->any_order && !y->failed && y->turn != p->number)
		pthread_cond_wait(&y->turned, &y->lock);
	failed = y->failed;
	pthread_mutex_unlock(&y->lock);
	return !failed;
}

static void end_turn(struct copying *y)
{
	if (y->c->any_order)
		return;
	pthread_mutex_lock(&y->lock);
	y->turn++;
	pthread_cond_broadcast(&y->turned);
	pthread_mutex_unlock(&y->lock);
}

/* ---- writing ---- */

static int say_write(const struct copy *c, uint64_t off, int ret, struct err *err)
{
	return err_set(err, -ret, "Could not write '%s' at %" PRIu64 ": %s", c->dst->filename, off,
		       err_text(-ret));
}

static int write_zeroes(const struct copy *c, uint64_t off, uint64_t bytes, struct err *err)
{
	int ret = c->dst_is_zero ? 0 : image_write_zeroes(c->dst, off, bytes, true);

	return ret < 0 ? say_write(c, off, ret, err) : 0;
}

static int write_run(const struct copying *y, unsigned char *p, uint64_t bytes, uint64_t off,
		     struct err *err)
{
	struct iovec v;
	int ret;

	v.iov_base = p;
	v.iov_len = (size_t)bytes;
	ret = image_writev(y->c->dst, &v, 1, off);
	return ret < 0 ? say_write(y->c, off, ret, err) : 0;
}

static int write_data(struct copying *y, unsigned char *p, const struct piece *piece,
		      struct err *err)
{
	uint64_t at = 0, n;
	bool zero = false;
	int ret = 0;

	for (; at < piece->bytes && ret == 0; at += n) {
		n = piece->bytes - at;
		if (y->c->scan)
			n = copy_find_run(p + at, n, y->grain, y->min_zero, &zero);
		ret = zero ? write_zeroes(y->c, piece->off + at, n, err)
			   : write_run(y, p + at, n, piece->off + at, err);
	}
	return ret;
}

/* Before the piece's turn. */
static void pack(struct worker *w, const struct piece *p)
{
	const struct copy *c = w->y->c;
	uint64_t cluster = w->y->cluster, n;

	for (uint64_t at = 0; at < p->bytes; at += n) {
		uint32_t *packed = &w->packed[at / cluster];
		size_t length = 0;

		n = MIN(p->bytes - at, cluster);
		*packed = PLAIN;
		if (c->scan && c->dst_is_zero && buffer_is_zero(w->buf + at, (size_t)n))
			*packed = NOTHING;
		else if (qcow2_pack(w->packer, w->buf + at, (size_t)n, w->out + at, &length) == 0)
			*packed = (uint32_t)length;
	}
}

static int write_packed(struct worker *w, const struct piece *p, struct err *err)
{
	const struct copying *y = w->y;
	int ret = 0;
	uint64_t n;

	for (uint64_t at = 0; at < p->bytes && ret == 0; at += n) {
		uint32_t packed = w->packed[at / y->cluster];

		n = MIN(p->bytes - at, y->cluster);
		if (packed == NOTHING)
			continue;
		if (packed == PLAIN) {
			ret = write_run(y, w->buf + at, n, p->off + at, err);
			continue;
		}
		ret = qcow2_write_packed(y->c->dst->q, w->out + at, packed, p->off + at);
		if (ret < 0)
			return say_write(y->c, p->off + at, ret, err);
	}
	return ret;
}

static int copy_piece(struct worker *w, const struct piece *p, struct err *err)
{
	struct copying *y = w->y;
	int ret = p->kind == DATA ? read_disk(y->c, w->buf, p->bytes, p->off, err) : 0;

	if (ret < 0)
		return ret;
	if (p->kind == DATA && y->c->compress)
		pack(w, p);
	if (!wait_turn(y, p))
		return 0; /* whose failure it is has been noted */
	if (p->kind == ZERO)
		ret = write_zeroes(y->c, p->off, p->bytes, err);
	else if (p->kind == DATA && y->c->compress)
		ret = write_packed(w, p, err);
	else if (p->kind == DATA)
		ret = write_data(y, w->buf, p, err);
	end_turn(y);
	return ret;
}

static bool worker_init(struct worker *w, struct copying *y)
{
	const struct copy *c = y->c;

	*w = (struct worker){.y = y, .buf = aligned_alloc(PAGE_BYTES, PIECE)};
	if (!c->compress)
		return w->buf;
	w->out = malloc(PIECE);
	w->packed = calloc((size_t)(PIECE / y->cluster), sizeof(*w->packed));
	w->packer = qcow2_packer_new(c->dst->q);
	return w->buf && w->out && w->packed && w->packer;
}

static void worker_fini(struct worker *w)
{
	qcow2_packer_free(w->packer);
	free(w->packed);
	free(w->out);
	free(w->buf);
}

static void *copy_thread(void *opaque)
{
	struct copying *y = opaque;
	struct err err = {0};
	struct worker w;
	struct piece p;
	int ret = 0;

	if (!worker_init(&w, y))
		ret = err_set(&err, ENOMEM, "there is no memory for another thread's buffers");
	while (ret == 0 && take_piece(y, &p)) {
		ret = copy_piece(&w, &p, &err);
		progress_add(y->c->progress, p.bytes);
	}
	if (ret < 0)
		fail(y, &err);
	worker_fini(&w);
	return NULL;
}

/* ---- all of it ---- */

static void measure_target(struct copying *y)
{
	const struct qcow2_info *q = y->c->dst->q ? qcow2_info(y->c->dst->q) : NULL;

	y->cluster = q ? q->cluster_bytes : RAW_GRAIN;
	y->grain =
	    q ? (q->extended_l2 ? y->cluster / 32 : y->cluster) : MIN(y->c->min_zero, RAW_GRAIN);
	y->min_zero = MAX(y->c->min_zero, y->grain);
}

int copy_run(const struct copy *c, struct err *err)
{
	struct copying y = {.c = c};
	struct thread threads[COPY_MAX_THREADS] = {{0}};
	struct err why = {0};
	unsigned n = 1;

	measure_target(&y);
	pthread_mutex_init(&y.lock, NULL);
	pthread_cond_init(&y.turned, NULL);
	/* This thread is one of them; those that cannot be started are not missed. */
	for (; n < c->threads && n < COPY_MAX_THREADS; n++)
		if (thread_start(&threads[n], "convert", THREAD_BLOCK, copy_thread, &y, &why) < 0)
			break;
	(void)copy_thread(&y);
	for (unsigned i = 1; i < n; i++)
		thread_join(&threads[i]);
	pthread_cond_destroy(&y.turned);
	pthread_mutex_destroy(&y.lock);
	return y.failed ? err_set(err, y.err.errnum, "%s", y.err.msg) : 0;
}
