/*
 * copy.c - reading, looking for zeroes, and writing, by several threads
 *
 * A piece of the disk (copy-pieces.h) goes through a slot, of which there are two a thread:
 *
 *     FREE --> FILLING --> READY --> WRITING --> FREE
 *
 * FILLING reads it, and finds out which parts of it are zero or, with compression, packs its
 * clusters.  A thread that has nothing in hand writes what may be written, else fills a free slot,
 * else waits; it does each with the lock given up.
 *
 * In order (the default) only the piece that follows the last one written may be written: the
 * target then grows from its beginning to its end, and its clusters lie in the disk's order.  The
 * thread that fills that piece writes it, and those behind it that are ready: no thread waits for
 * another one as long as there is a free slot, and nobody has to be woken up for a piece's turn.
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
#include "img/copy-pieces.h"
#include "img/progress.h"
#include "vmm/base/error.h"
#include "vmm/base/thread.h"
#include "vmm/base/units.h"
#include "vmm/base/zero.h"

/*
 * At least a cluster.  A piece is read, looked at and written before the processor's cache has
 * forgotten it.
 */
#define PIECE     (512 * KiB)
#define RAW_GRAIN 4096

enum slot_state { FREE, FILLING, READY, WRITING };

/* What is done with a part of a piece. */
struct part {
	uint32_t bytes;
	uint32_t packed; /* how long its cluster is, packed, or one of these two */
};

#define PLAIN   UINT32_MAX
#define NOTHING 0U /* it is zero */

struct slot {
	/* under the lock */
	enum slot_state state;
	uint64_t number; /* of its piece: 0, 1, ... */
	/* of the thread that fills or writes it */
	struct piece piece;
	unsigned char *buf; /* all owned */
	unsigned char *out; /* the packed clusters, each in the place of its cluster */
	struct part *parts; /* n_parts of them, which make up the piece */
	size_t n_parts;
};

struct copying {
	/* set at creation and then constant */
	const struct copy *c;
	uint64_t cluster; /* of the target */
	uint64_t grain, min_zero;
	uint64_t piece_bytes;
	struct slot slots[2 * COPY_MAX_THREADS];
	unsigned n_slots;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* a slot is free, or it is the end */
	struct cutter cutter;
	uint64_t number; /* of the next piece */
	uint64_t turn;   /* of the piece that may be written; in order only */
	unsigned in_use; /* slots that are not free */
	bool cut;        /* there are no more pieces */
	bool failed;
	struct err err; /* the first failure's */
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

/* ---- filling ---- */

static void part_add(struct slot *s, uint64_t bytes, uint32_t packed)
{
	s->parts[s->n_parts++] = (struct part){(uint32_t)bytes, packed};
}

static void find_runs(const struct copying *y, struct slot *s)
{
	uint64_t bytes = s->piece.bytes, n;
	bool zero = false;

	for (uint64_t at = 0; at < bytes; at += n) {
		n = bytes - at;
		if (y->c->scan)
			n = copy_find_run(s->buf + at, n, y->grain, y->min_zero, &zero);
		part_add(s, n, zero ? NOTHING : PLAIN);
	}
}

static void pack(const struct copying *y, struct slot *s, struct qcow2_packer *packer)
{
	bool skip = y->c->scan && y->c->dst_is_zero;
	uint64_t n;

	for (uint64_t at = 0; at < s->piece.bytes; at += n) {
		size_t length = 0;

		n = MIN(s->piece.bytes - at, y->cluster);
		if (skip && buffer_is_zero(s->buf + at, (size_t)n))
			part_add(s, n, NOTHING);
		else if (qcow2_pack(packer, s->buf + at, (size_t)n, s->out + at, &length) == 0)
			part_add(s, n, (uint32_t)length);
		else /* it does not become smaller */
			part_add(s, n, PLAIN);
	}
}

static int fill(const struct copying *y, struct slot *s, struct qcow2_packer *packer,
		struct err *err)
{
	int ret;

	s->n_parts = 0;
	if (s->piece.kind != PIECE_DATA)
		return 0;
	ret = copy_read(y->c, s->buf, s->piece.bytes, s->piece.off, err);
	if (ret == 0 && y->c->compress)
		pack(y, s, packer);
	else if (ret == 0)
		find_runs(y, s);
	return ret;
}

/* ---- writing ---- */

static int write_plain(const struct copying *y, unsigned char *p, uint64_t bytes, uint64_t off)
{
	struct iovec v;

	v.iov_base = p;
	v.iov_len = (size_t)bytes;
	return image_writev(y->c->dst, &v, 1, off);
}

static int write_zeroes(const struct copy *c, uint64_t off, uint64_t bytes)
{
	return c->dst_is_zero ? 0 : image_write_zeroes(c->dst, off, bytes, true);
}

static int write_part(const struct copying *y, const struct slot *s, const struct part *part,
		      uint64_t at)
{
	uint64_t off = s->piece.off + at;

	if (part->packed == NOTHING)
		return write_zeroes(y->c, off, part->bytes);
	if (part->packed == PLAIN)
		return write_plain(y, s->buf + at, part->bytes, off);
	return qcow2_write_packed(y->c->dst->q, s->out + at, part->packed, off);
}

static int write_piece(const struct copying *y, const struct slot *s, struct err *err)
{
	uint64_t at = 0;
	int ret = 0;

	if (s->piece.kind == PIECE_ZERO)
		ret = write_zeroes(y->c, s->piece.off, s->piece.bytes);
	for (size_t i = 0; i < s->n_parts && ret == 0; i++) {
		ret = write_part(y, s, &s->parts[i], at);
		if (ret == 0)
			at += s->parts[i].bytes;
	}
	return ret < 0 ? err_set(err, -ret, "Could not write '%s' at %" PRIu64 ": %s",
				 y->c->dst->filename, s->piece.off + at, err_text(-ret))
		       : 0;
}

/* ---- slots: the lock is held ---- */

static struct slot *to_write(struct copying *y)
{
	for (unsigned i = 0; i < y->n_slots; i++) {
		struct slot *s = &y->slots[i];

		if (s->state == READY && (y->c->any_order || s->number == y->turn))
			return s;
	}
	return NULL;
}

static struct slot *free_slot(struct copying *y)
{
	for (unsigned i = 0; i < y->n_slots; i++)
		if (y->slots[i].state == FREE)
			return &y->slots[i];
	return NULL;
}

/* A free slot with the next piece that something is to be done with. */
static struct slot *to_fill(struct copying *y)
{
	struct slot *s = y->cut ? NULL : free_slot(y);
	int ret;

	if (!s)
		return NULL;
	for (;;) {
		ret = cutter_next(&y->cutter, &s->piece, &y->err);
		if (ret != 1)
			break;
		if (s->piece.kind != PIECE_SKIP) {
			s->number = y->number++;
			y->in_use++;
			return s;
		}
		progress_add(y->c->progress, s->piece.bytes);
	}
	y->cut = true;
	y->failed = ret < 0;
	return NULL;
}

static bool ended(const struct copying *y)
{
	return y->failed || (y->cut && y->in_use == 0);
}

static void note_failure(struct copying *y, const struct err *err)
{
	if (!y->failed)
		y->err = *err;
	y->failed = true;
}

/* Fills or writes the slot, with the lock given up. */
static void slot_step(struct copying *y, struct slot *s, struct qcow2_packer *packer)
{
	bool writes = s->state == READY;
	struct err err = {0};
	int ret;

	s->state = writes ? WRITING : FILLING;
	pthread_mutex_unlock(&y->lock);
	ret = writes ? write_piece(y, s, &err) : fill(y, s, packer, &err);
	if (writes)
		progress_add(y->c->progress, s->piece.bytes);
	pthread_mutex_lock(&y->lock);
	s->state = writes ? FREE : READY;
	if (writes) {
		y->turn++;
		y->in_use--;
		pthread_cond_signal(&y->changed);
	}
	if (ret < 0)
		note_failure(y, &err);
}

/* ---- threads ---- */

static void copy_slots(struct copying *y, struct qcow2_packer *packer)
{
	pthread_mutex_lock(&y->lock);
	while (!ended(y)) {
		struct slot *s = to_write(y);

		if (!s)
			s = to_fill(y);
		if (s)
			slot_step(y, s, packer);
		else if (!ended(y))
			pthread_cond_wait(&y->changed, &y->lock);
	}
	pthread_cond_broadcast(&y->changed);
	pthread_mutex_unlock(&y->lock);
}

static void *copy_thread(void *opaque)
{
	struct copying *y = opaque;
	struct qcow2_packer *packer = y->c->compress ? qcow2_packer_new(y->c->dst->q) : NULL;
	struct err err = {0};

	if (y->c->compress && !packer) {
		(void)err_set(&err, ENOMEM, "there is no memory for compressing");
		pthread_mutex_lock(&y->lock);
		note_failure(y, &err);
		pthread_mutex_unlock(&y->lock);
	}
	copy_slots(y, packer);
	qcow2_packer_free(packer);
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
	y->piece_bytes = MAX(PIECE, y->cluster);
	y->cutter =
	    (struct cutter){.c = y->c, .cluster = y->cluster, .piece_bytes = y->piece_bytes};
}

static bool slot_init(const struct copying *y, struct slot *s)
{
	size_t n = (size_t)(y->piece_bytes / MIN(y->grain, y->cluster));

	s->buf = aligned_alloc(PAGE_BYTES, (size_t)y->piece_bytes);
	s->parts = calloc(n, sizeof(*s->parts));
	if (y->c->compress)
		s->out = malloc((size_t)y->piece_bytes);
	return s->buf && s->parts && (s->out || !y->c->compress);
}

static int slots_init(struct copying *y, struct err *err)
{
	bool ok = true;

	y->n_slots = 2 * MIN(y->c->threads, COPY_MAX_THREADS);
	for (unsigned i = 0; i < y->n_slots; i++)
		ok = ok && slot_init(y, &y->slots[i]);
	return ok ? 0 : err_set(err, ENOMEM, "there is no memory for the buffers");
}

static void slots_fini(struct copying *y)
{
	for (unsigned i = 0; i < y->n_slots; i++) {
		free(y->slots[i].buf);
		free(y->slots[i].out);
		free(y->slots[i].parts);
	}
}

/* This thread is one of them; those that cannot be started are not missed. */
static void run_threads(struct copying *y)
{
	struct thread threads[COPY_MAX_THREADS] = {{0}};
	struct err why = {0};
	unsigned n = 1;

	for (; n < y->c->threads && n < COPY_MAX_THREADS; n++)
		if (thread_start(&threads[n], "convert", THREAD_BLOCK, copy_thread, y, &why) < 0)
			break;
	(void)copy_thread(y);
	for (unsigned i = 1; i < n; i++)
		thread_join(&threads[i]);
}

int copy_run(const struct copy *c, struct err *err)
{
	struct copying y = {.c = c};
	int ret;

	measure_target(&y);
	ret = slots_init(&y, err);
	if (ret == 0) {
		pthread_mutex_init(&y.lock, NULL);
		(void)pthread_cond_init(&y.changed, NULL);
		run_threads(&y);
		(void)pthread_cond_destroy(&y.changed);
		pthread_mutex_destroy(&y.lock);
		if (y.failed)
			ret = err_set(err, y.err.errnum, "%s", y.err.msg);
	}
	slots_fini(&y);
	return ret;
}
