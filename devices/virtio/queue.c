/*
 * queue.c - the split ring walker
 *
 *     desc[num]      16 bytes each: le64 address, le32 length, le16 flags, le16 next
 *     avail          le16 flags, le16 idx, le16 ring[num], le16 used_event
 *     used           le16 flags, le16 idx, {le32 id, le32 len} ring[num], le16 avail_event
 *
 * A chain is a list of descriptors of the queue's table, the last of which may
 * point to a table of its own (indirect) that holds the rest.  The walk is
 * bounded three ways: by the size of the table it is in (so a loop ends), by
 * VIRTQ_MAX_NUM pieces of memory, and by RAM itself, since each piece must lie
 * in it.
 *
 * Three pairs of barriers with the driver on the other CPU matter:
 *   1. avail->idx is loaded with acquire; pairs with the driver's write barrier
 *      between filling a ring entry and moving idx.
 *   2. used->idx is stored with release; pairs with the driver's read barrier
 *      between reading idx and the entry.
 *   3. a full barrier stands between "I wait" and "is there more", on both
 *      sides: our avail_event (or flags) store against our avail->idx load pairs
 *      with the driver's idx store against its avail_event load, and our
 *      used->idx store against our used_event load pairs with the mirror image.
 */
#include "devices/virtio/queue.h"

#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/units.h"
#include "vmm/memory/memory.h"

#define DESC_BYTES         16
#define RING_IDX           2 /* in both rings; flags are at 0 */
#define RING_ENTRIES       4
#define USED_ENTRY_BYTES   8
#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY     1

struct desc {
	uint64_t gpa;
	uint32_t len;
	uint16_t flags, next;
};

/* ---- accessors: the only way to the rings ---- */

static uint16_t ring_get16(const uint8_t *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_RELAXED));
}

static uint16_t avail_idx(const struct virtq *q)
{
	/* barrier 1 */
	return le16toh(__atomic_load_n((const uint16_t *)(const void *)(q->avail_hva + RING_IDX),
				       __ATOMIC_ACQUIRE));
}

/* The two ways to write the used ring; what is written is reported after it. */
static void used_put16(struct virtq *q, uint64_t off, uint16_t v)
{
	/* barrier 2, where v is used->idx */
	__atomic_store_n((uint16_t *)(void *)(q->used_hva + off), htole16(v), __ATOMIC_RELEASE);
	memory_mark_dirty(q->mem, q->used + off, sizeof(v));
}

static void used_put_entry(struct virtq *q, uint16_t at, uint32_t id, uint32_t len)
{
	uint64_t off = RING_ENTRIES + (uint64_t)USED_ENTRY_BYTES * (at % q->num);
	uint32_t *to = (uint32_t *)(void *)(q->used_hva + off);

	__atomic_store_n(&to[0], htole32(id), __ATOMIC_RELAXED);
	__atomic_store_n(&to[1], htole32(len), __ATOMIC_RELAXED);
	memory_mark_dirty(q->mem, q->used + off, USED_ENTRY_BYTES);
}

static const uint8_t *used_event(const struct virtq *q)
{
	return q->avail_hva + RING_ENTRIES + 2 * (size_t)q->num;
}

static uint64_t avail_event_off(const struct virtq *q)
{
	return RING_ENTRIES + USED_ENTRY_BYTES * (uint64_t)q->num;
}

/* An indirect table may lie at any alignment, so descriptors are copied as bytes. */
static struct desc desc_load(const uint8_t *p)
{
	uint8_t raw[DESC_BYTES];
	struct desc d;

	memcpy(raw, p, sizeof(raw));
	/* Keep the compiler from going back to the guest's copy for a second look. */
	__asm__ volatile("" ::: "memory");
	memcpy(&d.gpa, raw, sizeof(d.gpa));
	memcpy(&d.len, raw + 8, sizeof(d.len));
	memcpy(&d.flags, raw + 12, sizeof(d.flags));
	memcpy(&d.next, raw + 14, sizeof(d.next));
	return (struct desc){.gpa = le64toh(d.gpa),
			     .len = le32toh(d.len),
			     .flags = le16toh(d.flags),
			     .next = le16toh(d.next)};
}

/* ---- set-up ---- */

static int broken(struct virtq *q, const char *why)
{
	q->why = why;
	return -EPROTO;
}

void virtq_reset(struct virtq *q)
{
	*q = (struct virtq){.num_default = q->num_default, .num = q->num_default};
}

int virtq_map(struct virtq *q, struct memory *mem, bool event_idx, bool indirect)
{
	uint64_t num = q->num;

	q->mem = NULL;
	if (!num || num > VIRTQ_MAX_NUM || (num & (num - 1)))
		return broken(q, "its size is not a power of two of at most 1024");
	if (q->desc % 16 || q->avail % 2 || q->used % 4)
		return broken(q, "a ring is misaligned");
	q->desc_hva = memory_ptr(mem, q->desc, DESC_BYTES * num);
	q->avail_hva = memory_ptr(mem, q->avail, RING_ENTRIES + 2 * num + 2);
	q->used_hva = memory_ptr(mem, q->used, RING_ENTRIES + USED_ENTRY_BYTES * num + 2);
	if (!q->desc_hva || !q->avail_hva || !q->used_hva)
		return broken(q, "a ring lies outside RAM");
	q->mem = mem;
	q->event_idx = event_idx;
	q->indirect = indirect;
	q->signalled_valid = false;
	if (q->used_idx_from_ring) {
		q->used_idx = ring_get16(q->used_hva + RING_IDX);
		q->used_idx_from_ring = false;
		if ((uint16_t)(q->last_avail - q->used_idx) > q->num)
			return broken(q, "more chains are in flight than it has");
	}
	return virtq_available(q) < 0 ? -EPROTO : 0;
}

void virtq_suspend(struct virtq *q)
{
	if (q->mem && ring_get16(q->used_hva + RING_IDX) != q->used_idx)
		used_put16(q, RING_IDX, q->used_idx);
}

/* ---- elements ---- */

static struct virtq_elem *elem_alloc(unsigned n_out, unsigned n_in)
{
	struct virtq_elem *e =
	    xcalloc(1, sizeof(*e) + n_out * (sizeof(struct iovec) + sizeof(uint64_t)) +
			   n_in * sizeof(struct virtq_piece));

	e->out = (struct iovec *)(e + 1);
	e->in = (struct virtq_piece *)(e->out + n_out);
	e->out_gpa = (uint64_t *)(e->in + n_in);
	return e;
}

struct virtq_elem *virtq_elem_new(void)
{
	return elem_alloc(VIRTQ_MAX_NUM, VIRTQ_MAX_NUM);
}

struct virtq_elem *virtq_elem_dup(const struct virtq_elem *e)
{
	struct virtq_elem *d = elem_alloc(e->n_out, e->n_in);

	d->head = e->head;
	d->n_out = e->n_out;
	d->n_in = e->n_in;
	d->mem = e->mem;
	memcpy(d->out, e->out, e->n_out * sizeof(d->out[0]));
	memcpy(d->out_gpa, e->out_gpa, e->n_out * sizeof(d->out_gpa[0]));
	memcpy(d->in, e->in, e->n_in * sizeof(d->in[0]));
	return d;
}

uint64_t virtq_elem_room(const struct virtq_elem *e)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < e->n_in; i++)
		sum += e->in[i].bytes;
	return sum;
}

/* The next part of [*off, *off + *n) in the writable pieces from *i on; moves all three on. */
static struct virtq_piece next_part(const struct virtq_elem *e, unsigned *i, uint64_t *off,
				    uint64_t *n)
{
	struct virtq_piece part = {0};

	for (; *i < e->n_in && *off >= e->in[*i].bytes; ++*i)
		*off -= e->in[*i].bytes;
	if (*i == e->n_in || !*n)
		return part;
	part = e->in[(*i)++];
	part.hva += *off;
	part.gpa += *off;
	part.bytes = MIN(*n, part.bytes - *off);
	*n -= part.bytes;
	*off = 0;
	return part;
}

size_t virtq_elem_write(const struct virtq_elem *e, uint64_t off, const void *buf, size_t n)
{
	const uint8_t *from = buf;
	uint64_t left = n;
	unsigned i = 0;

	for (;;) {
		struct virtq_piece p = next_part(e, &i, &off, &left);

		if (!p.bytes)
			return (size_t)(from - (const uint8_t *)buf);
		memcpy(p.hva, from, p.bytes);
		memory_mark_dirty(e->mem, p.gpa, p.bytes);
		from += p.bytes;
	}
}

size_t virtq_elem_dma(const struct virtq_elem *e, uint64_t off, uint64_t n, struct iovec *out)
{
	size_t n_out = 0;
	unsigned i = 0;

	for (;;) {
		struct virtq_piece p = next_part(e, &i, &off, &n);

		if (!p.bytes)
			return n_out;
		out[n_out++] = (struct iovec){.iov_base = p.hva, .iov_len = p.bytes};
	}
}

void virtq_elem_dma_done(const struct virtq_elem *e, uint64_t off, uint64_t n)
{
	unsigned i = 0;

	for (;;) {
		struct virtq_piece p = next_part(e, &i, &off, &n);

		if (!p.bytes)
			return;
		memory_mark_dirty(e->mem, p.gpa, p.bytes);
	}
}

uint64_t virtq_elem_gpa(const struct virtq_elem *e, uint64_t off)
{
	uint64_t n = 1;
	unsigned i = 0;

	return next_part(e, &i, &off, &n).gpa;
}

/* ---- the available side ---- */

int virtq_available(struct virtq *q)
{
	uint16_t n = (uint16_t)(avail_idx(q) - q->last_avail);

	if (n > q->num)
		return broken(q, "its available index jumped");
	return n;
}

/* The table a walk is in. */
struct table {
	const uint8_t *hva;
	uint32_t n;    /* descriptors in it */
	uint32_t left; /* that may still be visited */
	bool indirect;
};

static int add_piece(struct virtq *q, struct virtq_elem *e, const struct desc *d)
{
	uint64_t gpa = d->gpa, left = d->len;

	if (!left)
		return broken(q, "a descriptor is empty");
	if (!(d->flags & VIRTQ_DESC_WRITE) && e->n_in)
		return broken(q, "a readable descriptor follows a writable one");
	while (left > 0) { /* more than one turn only across the boundary of two RAM slots */
		uint64_t n = left;
		void *p = memory_ptr_some(q->mem, gpa, &n);

		if (!p)
			return broken(q, "a descriptor points outside RAM");
		if (e->n_out + e->n_in == VIRTQ_MAX_NUM)
			return broken(q, "a chain is too long");
		if (d->flags & VIRTQ_DESC_WRITE) {
			e->in[e->n_in++] = (struct virtq_piece){.hva = p, .gpa = gpa, .bytes = n};
		} else {
			e->out_gpa[e->n_out] = gpa;
			e->out[e->n_out++] = (struct iovec){.iov_base = p, .iov_len = n};
		}
		gpa += n;
		left -= n;
	}
	return 0;
}

static int enter_indirect(struct virtq *q, const struct desc *d, struct table *t)
{
	if (!q->indirect)
		return broken(q, "an indirect table was not negotiated");
	if (t->indirect)
		return broken(q, "an indirect table points to another");
	if (d->flags & VIRTQ_DESC_NEXT)
		return broken(q, "a descriptor is both indirect and chained");
	if (!d->len || d->len % DESC_BYTES)
		return broken(q, "an indirect table has a wrong length");
	*t = (struct table){.hva = memory_ptr(q->mem, d->gpa, d->len),
			    .n = d->len / DESC_BYTES,
			    .left = d->len / DESC_BYTES,
			    .indirect = true};
	if (!t->hva)
		return broken(q, "an indirect table lies outside RAM");
	return 0;
}

static int walk_chain(struct virtq *q, struct virtq_elem *e)
{
	struct table t = {.hva = q->desc_hva, .n = q->num, .left = q->num};
	uint32_t i = e->head;

	for (;;) {
		struct desc d;
		int ret;

		if (i >= t.n)
			return broken(q, "a descriptor index is out of range");
		if (!t.left--)
			return broken(q, "a chain loops");
		d = desc_load(t.hva + (size_t)i * DESC_BYTES);
		if (d.flags & VIRTQ_DESC_INDIRECT) {
			ret = enter_indirect(q, &d, &t);
			i = 0;
			if (ret < 0)
				return ret;
			continue;
		}
		ret = add_piece(q, e, &d);
		if (ret < 0)
			return ret;
		if (!(d.flags & VIRTQ_DESC_NEXT))
			return 0;
		i = d.next;
	}
}

int virtq_pop(struct virtq *q, struct virtq_elem *e)
{
	int n = virtq_available(q);

	if (n <= 0)
		return n;
	/* A chain may come again only after it was given back. */
	if ((uint16_t)(q->last_avail - q->used_idx) >= q->num)
		return broken(q, "more chains are in flight than it has");
	e->n_out = e->n_in = 0;
	e->mem = q->mem;
	e->head = ring_get16(q->avail_hva + RING_ENTRIES + 2 * (size_t)(q->last_avail % q->num));
	n = walk_chain(q, e);
	if (n < 0)
		return n;
	q->last_avail++;
	return 1;
}

void virtq_unpop(struct virtq *q, unsigned n)
{
	q->last_avail = (uint16_t)(q->last_avail - n);
}

void virtq_quiet(struct virtq *q)
{
	/* With event indices a stale avail_event suppresses notifications already. */
	if (!q->event_idx)
		used_put16(q, 0, USED_NO_NOTIFY);
}

bool virtq_listen(struct virtq *q)
{
	if (q->event_idx)
		used_put16(q, avail_event_off(q), q->last_avail);
	else
		used_put16(q, 0, 0);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* barrier 3 */
	return avail_idx(q) != q->last_avail;
}

/* ---- the used side ---- */

void virtq_fill(struct virtq *q, uint16_t head, uint32_t len, unsigned ahead)
{
	used_put_entry(q, (uint16_t)(q->used_idx + ahead), head, len);
}

void virtq_flush(struct virtq *q, unsigned n)
{
	uint16_t old = q->used_idx;

	q->used_idx = (uint16_t)(q->used_idx + n);
	used_put16(q, RING_IDX, q->used_idx);
	/* Once the index has run past what was signalled last, comparing with that says nothing. */
	if ((uint16_t)(q->used_idx - q->signalled_used) < (uint16_t)(q->used_idx - old))
		q->signalled_valid = false;
}

void virtq_push(struct virtq *q, uint16_t head, uint32_t len)
{
	virtq_fill(q, head, len, 0);
	virtq_flush(q, 1);
}

bool virtq_should_interrupt(struct virtq *q)
{
	uint16_t old = q->signalled_used, event;
	bool valid = q->signalled_valid;

	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* barrier 3 */
	/* All that was made available is used. */
	if (q->notify_on_empty && q->used_idx == q->last_avail && q->last_avail == avail_idx(q))
		return true;
	if (!q->event_idx)
		return !(ring_get16(q->avail_hva) & AVAIL_NO_INTERRUPT);
	q->signalled_used = q->used_idx;
	q->signalled_valid = true;
	event = ring_get16(used_event(q));
	/* Has used_idx passed event, counted from old?  All modulo 2^16. */
	return !valid || (uint16_t)(q->used_idx - event - 1) < (uint16_t)(q->used_idx - old);
}
