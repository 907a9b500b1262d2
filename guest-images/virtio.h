/*
 * virtio.h - a small driver for virtio-mmio, versions 1 and 2, with split rings
 *
 * Everything runs on processor 0 with interrupts off except while it waits.
 */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include "lib.h"

#define VIRTIO_MAX_SLOTS  24u
#define VIRTIO_SLOT(n)    (0xfeb00000u + 0x200u * (n))
#define VIRTIO_QUEUE_SIZE 16u /* unless queue=N is given; at most what the device has */
#define VIRTIO_TABLE_SIZE 16u /* descriptors of an indirect table */

enum virtio_register {
	VIRTIO_MAGIC = 0x00,
	VIRTIO_VERSION = 0x04,
	VIRTIO_DEVICE_ID = 0x08,
	VIRTIO_VENDOR_ID = 0x0c,
	VIRTIO_DEVICE_FEATURES = 0x10,
	VIRTIO_DEVICE_FEATURES_SEL = 0x14,
	VIRTIO_DRIVER_FEATURES = 0x20,
	VIRTIO_DRIVER_FEATURES_SEL = 0x24,
	VIRTIO_GUEST_PAGE_SIZE = 0x28, /* version 1 */
	VIRTIO_QUEUE_SEL = 0x30,
	VIRTIO_QUEUE_NUM_MAX = 0x34,
	VIRTIO_QUEUE_NUM = 0x38,
	VIRTIO_QUEUE_ALIGN = 0x3c, /* version 1 */
	VIRTIO_QUEUE_PFN = 0x40,   /* version 1 */
	VIRTIO_QUEUE_READY = 0x44,
	VIRTIO_QUEUE_NOTIFY = 0x50,
	VIRTIO_INTERRUPT_STATUS = 0x60,
	VIRTIO_INTERRUPT_ACK = 0x64,
	VIRTIO_STATUS = 0x70,
	VIRTIO_QUEUE_DESC = 0x80,
	VIRTIO_QUEUE_DRIVER = 0x90,
	VIRTIO_QUEUE_DEVICE = 0xa0,
	VIRTIO_CONFIG_GENERATION = 0xfc,
	VIRTIO_CONFIG = 0x100
};

#define VIRTIO_ID_NET     1u
#define VIRTIO_ID_BLK     2u
#define VIRTIO_ID_CONSOLE 3u
#define VIRTIO_ID_RNG     4u
#define VIRTIO_ID_BALLOON 5u

#define VIRTIO_S_ACKNOWLEDGE 1u
#define VIRTIO_S_DRIVER      2u
#define VIRTIO_S_DRIVER_OK   4u
#define VIRTIO_S_FEATURES_OK 8u
#define VIRTIO_S_NEEDS_RESET 0x40u

#define VIRTIO_F_NET_MAC   (1ull << 5)
#define VIRTIO_F_NET_MRG   (1ull << 15)
#define VIRTIO_F_BLK_FLUSH (1ull << 9)
#define VIRTIO_F_INDIRECT  (1ull << 28)
#define VIRTIO_F_EVENT_IDX (1ull << 29)
#define VIRTIO_F_VERSION_1 (1ull << 32)

#define DESC_NEXT     1u
#define DESC_WRITE    2u
#define DESC_INDIRECT 4u

struct vring_desc {
	uint64_t gpa;
	uint32_t len;
	uint16_t flags, next;
};

/* Behind the entries of the ring: used_event, avail_event. */
struct vring_avail {
	uint16_t flags, idx, ring[];
};

struct vring_used {
	uint16_t flags, idx;
	struct {
		uint32_t id, len;
	} ring[];
};

static inline size_t vring_avail_bytes(unsigned num)
{
	return sizeof(struct vring_avail) + (num + 1) * sizeof(uint16_t);
}

static inline size_t vring_used_bytes(unsigned num)
{
	return sizeof(struct vring_used) + num * sizeof(((struct vring_used *)0)->ring[0]) +
	       sizeof(uint16_t);
}

struct virtio {
	unsigned slot;
	uintptr_t gpa; /* registers */
	bool legacy;   /* version 1 */
	uint64_t offered, features;
	volatile uint64_t interrupts, config_interrupts;
};

struct virtio_queue {
	struct virtio *dev;
	unsigned index, num, room; /* num: of the room there is in memory */
	volatile struct vring_desc *desc;
	volatile struct vring_avail *avail;
	volatile struct vring_used *used;
	struct vring_desc *table; /* indirect, of the one request in flight */
	uint16_t used_seen;
	unsigned next_desc;
	uint64_t kicks_sent, kicks_saved;
};

/* One piece of a request; the device writes it when 'in'. */
struct piece {
	void *at;
	uint32_t len;
	bool in;
};

/* 24 where the board has a second IOAPIC, else 8; slot 0's interrupt. */
unsigned virtio_slots(void);
unsigned virtio_gsi(unsigned slot);
/* The nth occupied slot of that device id, highest slot first; false when there is none. */
bool virtio_find(struct virtio *v, unsigned device_id, unsigned nth);
/*
 * Reset, acknowledge, accept what is both wanted and offered (VERSION_1
 * always, but in version 1), route the interrupt.  A legacy network device is
 * asked for mergeable buffers too: its header is then as long as a modern one's.  false: the device
 * refused the features.
 */
bool virtio_begin(struct virtio *v, uint64_t wanted);
/* As large as queue=N says, and the device allows. */
bool virtio_queue_setup(struct virtio *v, struct virtio_queue *q, unsigned index);
void virtio_ready(struct virtio *v);
uint32_t virtio_status(struct virtio *v);
uint32_t virtio_config32(struct virtio *v, unsigned off);
void virtio_config32_write(struct virtio *v, unsigned off, uint32_t value);
uint8_t virtio_config8(struct virtio *v, unsigned off);

/* Publishes one request without waiting; tells the device when it asked for that. */
void virtio_submit(struct virtio_queue *q, const struct piece *pieces, unsigned n, bool indirect);
/* Sleeps until the device has used one more request; its length in *len.  false: it never came. */
bool virtio_wait(struct virtio_queue *q, uint32_t *len);
/* The same with another limit than the twenty seconds of a device that has died. */
bool virtio_wait_ticks(struct virtio_queue *q, uint32_t *len, uint64_t limit);
bool virtio_request(struct virtio_queue *q, const struct piece *pieces, unsigned n, bool indirect,
		    uint32_t *len);

/* ---- disk ---- */
#define BLK_IN       0u
#define BLK_OUT      1u
#define BLK_FLUSH    4u
#define BLK_GET_ID   8u
#define BLK_OK       0u
#define BLK_IOERR    1u
#define BLK_UNSUPP   2u
#define BLK_NOANSWER 0xffu
#define SECTOR_BYTES 512u

struct disk {
	struct virtio dev;
	struct virtio_queue q;
	uint64_t sectors;
	bool indirect;
};

/* Finds and starts the nth disk. */
bool disk_start(struct disk *d, unsigned nth, uint64_t wanted);
/* The device's status byte, or BLK_NOANSWER.  The data may be cut into two pieces at 'cut' (0:
 * one). */
uint8_t disk_request(struct disk *d, uint32_t type, uint64_t sector, void *data, uint32_t len,
		     uint32_t cut);

#endif
