/*
 * queue.h - one split virtqueue, seen from the device (virtio 1.2, 2.7)
 *
 * The rings lie in guest memory and are hostile: nothing read from them is
 * used before it is bounded, and nothing is read twice.  A malformed ring is
 * reported as -EPROTO with the reason in q->why; the queue is then dead until
 * the device is reset.
 *
 * No system calls, no locks: the owner (the I/O thread while the device runs,
 * else the thread that holds the machine lock) is the only user.
 */
#ifndef MINIVMM_DEVICES_VIRTIO_QUEUE_H
#define MINIVMM_DEVICES_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct memory;

#define VIRTQ_MAX_NUM       1024 /* descriptors of a queue; also pieces of one element */
#define VIRTQ_DESC_NEXT     1
#define VIRTQ_DESC_WRITE    2
#define VIRTQ_DESC_INDIRECT 4

/* Guest memory that the device may write; not empty.  No iovec: nothing but the accessors below
 * writes there, so that no byte goes unreported. */
struct virtq_piece {
	uint8_t *hva;
	uint64_t gpa;
	size_t bytes;
};

/* What one available descriptor chain describes, as host memory; one allocation, free with free().
 */
struct virtq_elem {
	uint16_t head;
	unsigned n_out, n_in;   /* together at most VIRTQ_MAX_NUM */
	struct iovec *out;      /* n_out pieces that the device reads, none empty */
	uint64_t *out_gpa;      /* where the guest sees each of them */
	struct virtq_piece *in; /* n_in pieces that it writes */
	struct memory *mem;     /* borrowed; where 'in' lies */
};

struct virtq {
	/* set by the transport while the queue is not served */
	uint32_t num_default;       /* at reset, and QueueNumMax; 0: no such queue; never changes */
	uint32_t num;               /* power of two, at most VIRTQ_MAX_NUM */
	uint64_t desc, avail, used; /* guest-physical */
	bool ready;
	/* the owner */
	struct memory *mem; /* NULL: not mapped */
	const uint8_t *desc_hva, *avail_hva;
	uint8_t *used_hva;
	bool event_idx, indirect; /* negotiated */
	bool notify_on_empty;     /* ... by a legacy driver; the owner of the device sets it */
	bool used_idx_from_ring;  /* loaded from a stream: the ring knows used_idx */
	uint16_t last_avail;      /* next entry of the available ring to take */
	uint16_t used_idx;        /* next entry of the used ring to fill */
	uint16_t signalled_used;  /* used_idx when the guest was last interrupted */
	bool signalled_valid;
	const char *why; /* static text: what was wrong with the ring */
};

/* With room for VIRTQ_MAX_NUM pieces, to pop into. */
struct virtq_elem *virtq_elem_new(void);
/* A copy with room for its own pieces only. */
struct virtq_elem *virtq_elem_dup(const struct virtq_elem *e);

/*
 * The writable part, as one run of bytes.  Every byte that changes in it is
 * reported as dirty after it has changed, whatever has become of the queue:
 * virtq_elem_write() does both; a write by the host's kernel goes to the pieces
 * of virtq_elem_dma() and is reported with virtq_elem_dma_done() when it has
 * ended, well or not.
 */
uint64_t virtq_elem_room(const struct virtq_elem *e);
/* Copy at most n bytes to 'off'; returns how many there was room for. */
size_t virtq_elem_write(const struct virtq_elem *e, uint64_t off, const void *buf, size_t n);
/* The pieces of [off, off + n) in out[], which has room for n_in; returns their number. */
size_t virtq_elem_dma(const struct virtq_elem *e, uint64_t off, uint64_t n, struct iovec *out);
void virtq_elem_dma_done(const struct virtq_elem *e, uint64_t off, uint64_t n);
/* Where the guest sees byte 'off' of it, which is inside. */
uint64_t virtq_elem_gpa(const struct virtq_elem *e, uint64_t off);

/* Forget the guest's programming: as after a device reset. */
void virtq_reset(struct virtq *q);
/*
 * Translate the rings and check the indices; before the first virtq_pop and
 * again after a pause.  0, or -EPROTO with q->why.
 */
int virtq_map(struct virtq *q, struct memory *mem, bool event_idx, bool indirect);

/*
 * The queue is not served for now.  Its used index is the device's, but is read
 * from the ring where the guest goes on: put it right if the guest has changed it.
 */
void virtq_suspend(struct virtq *q);

/* How many chains are available: 0 .. num, or -EPROTO (the guest's index jumped). */
int virtq_available(struct virtq *q);
/* Take the next chain: 1, 0 when there is none, or -EPROTO. */
int virtq_pop(struct virtq *q, struct virtq_elem *e);
/* Give the last n taken chains back, untouched; the next virtq_pop finds them again. */
void virtq_unpop(struct virtq *q, unsigned n);

/* Write used ring entry 'used_idx + ahead' without showing it to the guest yet. */
void virtq_fill(struct virtq *q, uint16_t head, uint32_t len, unsigned ahead);
/* Show the next n filled entries. */
void virtq_flush(struct virtq *q, unsigned n);
/* fill and flush one */
void virtq_push(struct virtq *q, uint16_t head, uint32_t len);
/* Does the guest want an interrupt for what was shown since the last one? */
bool virtq_should_interrupt(struct virtq *q);

/* Ask the guest not to kick while the queue is being served. */
void virtq_quiet(struct virtq *q);
/*
 * Ask for a kick at the next chain; true when chains are available already,
 * for which no kick may come: serve them.
 */
bool virtq_listen(struct virtq *q);

#endif
