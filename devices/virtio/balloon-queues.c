/*
 * balloon-queues.c - the queues of virtio-balloon (virtio 1.2, 5.5.6)
 *
 *     inflate   numbers of 4 KiB pages that the guest gives up: they go back to the host
 *     deflate   ... that it takes again: nothing to do, they appear when they are touched
 *     stats     the driver leaves a chain with numbers here; completing it asks for new ones
 *     hints     a command id, then memory that is free: a migration need not send it
 *     reports   memory that is free, until it is completed: it goes back to the host
 *
 * A page that goes back is marked dirty by memory_discard(), so that a migration sends its new
 * content.  A hint is no promise that the page stays unused: the driver may have written it
 * again before the hint is seen here.  So a hint only takes the page out of what has to be sent,
 * and never touches the dirty log, which has every write since the hints were asked for
 * (balloon_hints_start()).
 *
 * The chain of statistics stays with the device.  A pause gives it back to the ring: it is
 * taken anew when the queues are served again, here or where the guest has moved, as QEMU does.
 */
#include <string.h>
#include <time.h>

#include "devices/virtio/balloon.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

#define PFN_BYTES      4U
#define BATCH_PFNS     256U       /* what Linux gives at a time */
#define MAX_PFNS       (64 * KiB) /* of one chain; the rest stays as it is */
#define LONG_PFNS      KiB        /* the loop's other users have their turn after so many */
#define STAT_BYTES     10U        /* u16 tag, u64 value */
#define MAX_STATS_ROOM (64U * STAT_BYTES)

static void give_back(struct balloon *b, uint64_t gpa, uint64_t len)
{
	struct memory *mem = &b->v.dev.m->mem;
	uint64_t n = len, off;
	int ret;

	/* The guest's RAM is the first block; its firmware is no memory that it could give up. */
	if (memory_block_at(mem, gpa, &off, &n) != mem->blocks[0])
		return;
	ret = memory_discard(mem, gpa, n);
	if (ret < 0 && !b->warned)
		log_warn("%s at slot %u: the host does not take memory back: %s", b->v.ops->name,
			 b->v.slot, err_text(-ret));
	b->warned |= ret < 0;
}

/* ---- bytes that the driver lets the device read ---- */

/* Copy at most n of the bytes from 'off' on; returns how many there were. */
static size_t copy_out(const struct virtq_elem *e, uint64_t off, void *to, size_t n)
{
	size_t done = 0;

	for (unsigned i = 0; i < e->n_out && done < n; i++) {
		uint64_t len = e->out[i].iov_len;

		if (off < len) {
			size_t some = MIN(len - off, n - done);

			memcpy((uint8_t *)to + done, (const uint8_t *)e->out[i].iov_base + off,
			       some);
			done += some;
			off = 0;
		} else {
			off -= len;
		}
	}
	return done;
}

/* ---- inflate ---- */

/* Neighbours go together, so that huge pages of the host can be given back, and in few calls. */
static void give_back_pfns(struct balloon *b, const uint8_t *pfns, size_t n)
{
	size_t i = 0;

	while (i < n) {
		uint64_t low = get_le32(pfns + PFN_BYTES * i), high = low;

		for (i++; i < n; i++) {
			uint64_t pfn = get_le32(pfns + PFN_BYTES * i);

			if (pfn == high + 1)
				high++;
			else if (pfn + 1 == low)
				low--;
			else
				break;
		}
		give_back(b, low * PAGE_BYTES, (high - low + 1) * PAGE_BYTES);
	}
}

/* Returns how many bytes of numbers there were. */
static uint64_t inflate(struct balloon *b, const struct virtq_elem *e)
{
	uint8_t pfns[BATCH_PFNS * PFN_BYTES];
	uint64_t off = 0;
	size_t n;

	do {
		n = copy_out(e, off, pfns, sizeof(pfns));
		off += n;
		give_back_pfns(b, pfns, n / PFN_BYTES);
	} while (n == sizeof(pfns) && off < MAX_PFNS * PFN_BYTES);
	return off;
}

/* ---- statistics ---- */

static void parse_stats(struct balloon *b, const struct virtq_elem *e)
{
	uint8_t raw[MAX_STATS_ROOM];
	size_t n = copy_out(e, 0, raw, sizeof(raw));

	pthread_mutex_lock(&b->v.irq_lock);
	memset(b->stats.v, 0xff, sizeof(b->stats.v));
	for (size_t at = 0; at + STAT_BYTES <= n; at += STAT_BYTES) {
		uint16_t tag = get_le16(raw + at);

		if (tag < BALLOON_N_STATS)
			b->stats.v[tag] = get_le64(raw + at + 2);
	}
	b->stats.updated_s = time(NULL);
	pthread_mutex_unlock(&b->v.irq_lock);
}

static void complete_held(struct balloon *b, unsigned q)
{
	const struct virtq_elem e = {.head = b->held};

	if (!b->holds)
		return;
	b->holds = false;
	virtio_push(&b->v, q, &e, 0);
	virtio_interrupt(&b->v, q);
}

static bool stats_one(struct virtio_device *v)
{
	struct balloon *b = to_balloon(v);

	complete_held(b, BALLOON_STATS); /* a driver that leaves two gets the older one back */
	parse_stats(b, v->elem);
	b->holds = true;
	b->held = v->elem->head;
	return true;
}

static void ask_stats_on_io(void *opaque)
{
	struct balloon *b = opaque;

	if (b->v.serving)
		complete_held(b, BALLOON_STATS);
	virtio_posted_seen(&b->v);
}

void balloon_ask_stats(struct balloon *b)
{
	if (b->v.started)
		virtio_post(&b->v, ask_stats_on_io, b);
}

void balloon_start(struct virtio_device *v)
{
	struct balloon *b = to_balloon(v);
	struct virtq *q = &v->queues[BALLOON_STATS];

	b->holds = false;
	if (q->mem)
		virtq_unpop(q, (uint16_t)(q->last_avail - q->used_idx));
}

/* ---- hints ---- */

/* The driver says whose hints follow; or, with another id, that these were all. */
static void take_cmd_id(struct balloon *b, const struct virtq_elem *e)
{
	uint8_t id[4];

	if (copy_out(e, 0, id, sizeof(id)) != sizeof(id)) {
		virtio_fail(&b->v, "a command id on the queue of hints is too short");
		return;
	}
	pthread_mutex_lock(&b->v.irq_lock);
	if (b->hint_status == HINTS_REQUESTED && get_le32(id) == b->cmd_id)
		b->hint_status = HINTS_STARTED;
	else if (b->hint_status == HINTS_STARTED) /* a stale stop is of an earlier request */
		b->hint_status = HINTS_STOPPED;
	pthread_mutex_unlock(&b->v.irq_lock);
}

static bool hints_one(struct virtio_device *v)
{
	struct balloon *b = to_balloon(v);
	const struct virtq_elem *e = v->elem;
	uint64_t left = BALLOON_CHAIN_BYTES;

	if (e->n_out)
		take_cmd_id(b, e);
	for (unsigned i = 0; i < e->n_in && left > 0; i++) {
		uint64_t n = MIN(e->in[i].bytes, left);

		pthread_mutex_lock(&v->irq_lock);
		if (b->drop && b->hint_status == HINTS_STARTED)
			b->drop(b->drop_opaque, e->in[i].gpa, n);
		pthread_mutex_unlock(&v->irq_lock);
		left -= n;
	}
	virtio_push(v, BALLOON_HINTS, e, 0);
	return v->serving;
}

/* ---- reports ---- */

/* A page with a pattern has to keep it, and zeros are what is there afterwards, but in a private
 * copy of a file. */
static bool may_forget(struct balloon *b)
{
	uint32_t poison;

	if (!virtio_has(&b->v, BALLOON_F_POISON))
		return true;
	pthread_mutex_lock(&b->v.irq_lock);
	poison = b->poison_val;
	pthread_mutex_unlock(&b->v.irq_lock);
	return !poison && memory_discards_to_zero(b->v.dev.m->mem.blocks[0]);
}

static bool reports_one(struct virtio_device *v)
{
	struct balloon *b = to_balloon(v);
	const struct virtq_elem *e = v->elem;
	uint64_t left = may_forget(b) ? BALLOON_CHAIN_BYTES : 0;

	for (unsigned i = 0; i < e->n_in && left > 0; i++) {
		uint64_t n = MIN(e->in[i].bytes, left);

		give_back(b, e->in[i].gpa, n);
		left -= n;
	}
	virtio_push(v, v->n_queues - 1, e, 0); /* the last there is */
	return true;
}

/* ---- all ---- */

static bool inflate_one(struct virtio_device *v)
{
	uint64_t bytes = inflate(to_balloon(v), v->elem);

	virtio_push(v, BALLOON_INFLATE, v->elem, 0);
	if (bytes <= LONG_PFNS * PFN_BYTES)
		return true;
	virtio_again(v, BALLOON_INFLATE);
	return false;
}

static bool deflate_one(struct virtio_device *v)
{
	virtio_push(v, BALLOON_DEFLATE, v->elem, 0);
	return true;
}

void balloon_serve(struct virtio_device *v, unsigned q)
{
	static bool (*const one[])(struct virtio_device * v) = {
	    [BALLOON_INFLATE] = inflate_one, [BALLOON_DEFLATE] = deflate_one,
	    [BALLOON_STATS] = stats_one,     [BALLOON_HINTS] = hints_one,
	    [BALLOON_REPORTS] = reports_one,
	};

	virtio_serve_all(v, q, one[to_balloon(v)->roles[q]]);
}
