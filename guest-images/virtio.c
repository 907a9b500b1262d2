/* virtio.c - virtio-mmio, split rings, one request in flight per queue or a few */
#include "virtio.h"

#define VIRTIO_PAGE 4096u
#define GUARD_TICKS (20 * TICKS_PER_SECOND)

static struct virtio *by_slot[VIRTIO_MAX_SLOTS];

static uint32_t read_reg(const struct virtio *v, unsigned reg)
{
	return mmio_read32(v->gpa + reg);
}

static void write_reg(const struct virtio *v, unsigned reg, uint32_t value)
{
	mmio_write32(v->gpa + reg, value);
}

static void write_gpa(const struct virtio *v, unsigned reg, const volatile void *at)
{
	write_reg(v, reg, (uint32_t)(uintptr_t)at);
	write_reg(v, reg + 4, 0);
}

static void interrupt(unsigned vector)
{
	struct virtio *v = by_slot[vector - VECTOR_GSI(virtio_gsi(0))];
	uint32_t status = read_reg(v, VIRTIO_INTERRUPT_STATUS);

	write_reg(v, VIRTIO_INTERRUPT_ACK, status);
	if (status & 1)
		v->interrupts++;
	if (status & 2)
		v->config_interrupts++;
}

unsigned virtio_slots(void)
{
	static unsigned n;

	if (!n)
		n = mmio_read32(VIRTIO_SLOT(8) + VIRTIO_MAGIC) == 0x74726976 ? VIRTIO_MAX_SLOTS : 8;
	return n;
}

unsigned virtio_gsi(unsigned slot)
{
	return (virtio_slots() > 8 ? 24 : 16) + slot;
}

bool virtio_find(struct virtio *v, unsigned device_id, unsigned nth)
{
	for (unsigned i = virtio_slots(); i-- > 0;) {
		if (mmio_read32(VIRTIO_SLOT(i) + VIRTIO_DEVICE_ID) != device_id)
			continue;
		if (nth-- > 0)
			continue;
		memset(v, 0, sizeof(*v));
		v->slot = i;
		v->gpa = VIRTIO_SLOT(i);
		v->legacy = read_reg(v, VIRTIO_VERSION) == 1;
		return true;
	}
	return false;
}

static uint64_t offered_features(struct virtio *v)
{
	uint64_t f;

	write_reg(v, VIRTIO_DEVICE_FEATURES_SEL, 1);
	f = (uint64_t)read_reg(v, VIRTIO_DEVICE_FEATURES) << 32;
	write_reg(v, VIRTIO_DEVICE_FEATURES_SEL, 0);
	return f | read_reg(v, VIRTIO_DEVICE_FEATURES);
}

bool virtio_begin(struct virtio *v, uint64_t wanted)
{
	uint32_t status = VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER;

	write_reg(v, VIRTIO_STATUS, 0);
	write_reg(v, VIRTIO_STATUS, VIRTIO_S_ACKNOWLEDGE);
	write_reg(v, VIRTIO_STATUS, status);
	v->offered = offered_features(v);
	if (v->legacy && read_reg(v, VIRTIO_DEVICE_ID) == VIRTIO_ID_NET)
		wanted |= VIRTIO_F_NET_MRG;
	v->features = v->offered & (wanted | VIRTIO_F_VERSION_1);
	write_reg(v, VIRTIO_DRIVER_FEATURES_SEL, 0);
	write_reg(v, VIRTIO_DRIVER_FEATURES, (uint32_t)v->features);
	write_reg(v, VIRTIO_DRIVER_FEATURES_SEL, 1);
	write_reg(v, VIRTIO_DRIVER_FEATURES, (uint32_t)(v->features >> 32));
	if (!v->legacy) {
		write_reg(v, VIRTIO_STATUS, status | VIRTIO_S_FEATURES_OK);
		if (!(read_reg(v, VIRTIO_STATUS) & VIRTIO_S_FEATURES_OK))
			return false;
	}

	by_slot[v->slot] = v;
	interrupt_handler(VECTOR_GSI(virtio_gsi(v->slot)), interrupt);
	ioapic_route(virtio_gsi(v->slot), true);
	return true;
}

static volatile uint16_t *used_event(const struct virtio_queue *q)
{
	return &q->avail->ring[q->num];
}

static volatile uint16_t *avail_event(const struct virtio_queue *q)
{
	return (volatile uint16_t *)&q->used->ring[q->num];
}

/* Where a legacy device looks for the rings: one behind the other, the used ring on a page. */
static void allocate_rings(struct virtio_queue *q, unsigned num)
{
	size_t avail = sizeof(struct vring_desc) * num;
	size_t used = (avail + vring_avail_bytes(num) + VIRTIO_PAGE - 1) & ~(VIRTIO_PAGE - 1ul);
	uint8_t *at = allocate(used + vring_used_bytes(num), VIRTIO_PAGE);

	q->room = num;
	q->desc = (void *)at;
	q->avail = (void *)(at + avail);
	q->used = (void *)(at + used);
	q->table = allocate(sizeof(struct vring_desc) * VIRTIO_TABLE_SIZE, 16);
}

static bool place_rings(const struct virtio *v, const struct virtio_queue *q)
{
	if (v->legacy) {
		write_reg(v, VIRTIO_GUEST_PAGE_SIZE, VIRTIO_PAGE);
		write_reg(v, VIRTIO_QUEUE_ALIGN, VIRTIO_PAGE);
		write_reg(v, VIRTIO_QUEUE_PFN, (uint32_t)(uintptr_t)q->desc / VIRTIO_PAGE);
		return read_reg(v, VIRTIO_QUEUE_PFN) == (uint32_t)(uintptr_t)q->desc / VIRTIO_PAGE;
	}
	write_gpa(v, VIRTIO_QUEUE_DESC, q->desc);
	write_gpa(v, VIRTIO_QUEUE_DRIVER, q->avail);
	write_gpa(v, VIRTIO_QUEUE_DEVICE, q->used);
	write_reg(v, VIRTIO_QUEUE_READY, 1);
	return read_reg(v, VIRTIO_QUEUE_READY) == 1;
}

bool virtio_queue_setup(struct virtio *v, struct virtio_queue *q, unsigned index)
{
	unsigned num, max;

	write_reg(v, VIRTIO_QUEUE_SEL, index);
	max = read_reg(v, VIRTIO_QUEUE_NUM_MAX);
	num = (unsigned)arg_number("queue", VIRTIO_QUEUE_SIZE);
	if (num > max)
		num = max;
	if (q->desc && num > q->room)
		num = q->room;
	if (!num)
		return false;
	if (!q->desc)
		allocate_rings(q, num);
	memset((void *)q->avail, 0, vring_avail_bytes(num));
	memset((void *)q->used, 0, vring_used_bytes(num));
	q->dev = v;
	q->num = num;
	q->index = index;
	q->used_seen = 0;
	q->next_desc = 0;
	write_reg(v, VIRTIO_QUEUE_NUM, num);
	return place_rings(v, q);
}

void virtio_ready(struct virtio *v)
{
	write_reg(v, VIRTIO_STATUS, read_reg(v, VIRTIO_STATUS) | VIRTIO_S_DRIVER_OK);
}

uint32_t virtio_status(struct virtio *v)
{
	return read_reg(v, VIRTIO_STATUS);
}

uint32_t virtio_config32(struct virtio *v, unsigned off)
{
	return read_reg(v, VIRTIO_CONFIG + off);
}

void virtio_config32_write(struct virtio *v, unsigned off, uint32_t value)
{
	write_reg(v, VIRTIO_CONFIG + off, value);
}

uint8_t virtio_config8(struct virtio *v, unsigned off)
{
	return mmio_read8(v->gpa + VIRTIO_CONFIG + off);
}

static void fill(volatile struct vring_desc *d, const struct piece *p, unsigned next, bool last)
{
	d->gpa = (uintptr_t)p->at;
	d->len = p->len;
	d->flags = (uint16_t)((p->in ? DESC_WRITE : 0) | (last ? 0 : DESC_NEXT));
	d->next = (uint16_t)next;
}

/* Descriptors are taken round the table; no more than fit it are ever in flight. */
static unsigned put_chain(struct virtio_queue *q, const struct piece *pieces, unsigned n)
{
	unsigned head = q->next_desc;

	for (unsigned i = 0; i < n; i++) {
		unsigned at = (head + i) % q->num;

		fill(&q->desc[at], &pieces[i], (at + 1) % q->num, i == n - 1);
	}
	q->next_desc = (head + n) % q->num;
	return head;
}

static unsigned put_indirect(struct virtio_queue *q, const struct piece *pieces, unsigned n)
{
	unsigned head = q->next_desc;

	for (unsigned i = 0; i < n; i++)
		fill(&q->table[i], &pieces[i], i + 1, i == n - 1);
	q->desc[head].gpa = (uintptr_t)q->table;
	q->desc[head].len = (uint32_t)(n * sizeof(struct vring_desc));
	q->desc[head].flags = DESC_INDIRECT;
	q->next_desc = (head + 1) % q->num;
	return head;
}

static bool kick_wanted(const struct virtio_queue *q, uint16_t before, uint16_t now)
{
	if (!(q->dev->features & VIRTIO_F_EVENT_IDX))
		return !(q->used->flags & 1);
	return (uint16_t)(now - *avail_event(q) - 1) < (uint16_t)(now - before);
}

void virtio_submit(struct virtio_queue *q, const struct piece *pieces, unsigned n, bool indirect)
{
	unsigned head = indirect ? put_indirect(q, pieces, n) : put_chain(q, pieces, n);
	uint16_t before = q->avail->idx;
	uint16_t now = (uint16_t)(before + 1);

	q->avail->ring[before % q->num] = (uint16_t)head;
	*used_event(q) = q->used_seen;
	barrier();
	q->avail->idx = now;
	barrier(); /* the device reads idx after it has written avail_event */
	if (kick_wanted(q, before, now)) {
		write_reg(q->dev, VIRTIO_QUEUE_NOTIFY, q->index);
		q->kicks_sent++;
	} else {
		q->kicks_saved++;
	}
}

bool virtio_wait(struct virtio_queue *q, uint32_t *len)
{
	return virtio_wait_ticks(q, len, GUARD_TICKS);
}

bool virtio_wait_ticks(struct virtio_queue *q, uint32_t *len, uint64_t limit)
{
	uint64_t guard = ticks[0] + limit;

	while (q->used->idx == q->used_seen) {
		if (ticks[0] > guard)
			return false;
		wait_for_interrupt();
	}
	*len = q->used->ring[q->used_seen % q->num].len;
	q->used_seen++;
	*used_event(q) = q->used_seen;
	return true;
}

bool virtio_request(struct virtio_queue *q, const struct piece *pieces, unsigned n, bool indirect,
		    uint32_t *len)
{
	virtio_submit(q, pieces, n, indirect);
	return virtio_wait(q, len);
}

bool disk_start(struct disk *d, unsigned nth, uint64_t wanted)
{
	memset(d, 0, sizeof(*d));
	if (!virtio_find(&d->dev, VIRTIO_ID_BLK, nth) || !virtio_begin(&d->dev, wanted) ||
	    !virtio_queue_setup(&d->dev, &d->q, 0))
		return false;
	virtio_ready(&d->dev);
	d->sectors = virtio_config32(&d->dev, 0) | (uint64_t)virtio_config32(&d->dev, 4) << 32;
	d->indirect = d->dev.features & VIRTIO_F_INDIRECT;
	return true;
}

uint8_t disk_request(struct disk *d, uint32_t type, uint64_t sector, void *data, uint32_t len,
		     uint32_t cut)
{
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header = {type, 0, sector};
	volatile uint8_t status = BLK_NOANSWER;
	bool in = type != BLK_OUT;
	struct piece pieces[4];
	unsigned n = 0;
	uint32_t used;

	pieces[n++] = (struct piece){&header, sizeof(header), false};
	if (cut)
		pieces[n++] = (struct piece){data, cut, in};
	if (len)
		pieces[n++] = (struct piece){(uint8_t *)data + cut, len - cut, in};
	pieces[n++] = (struct piece){(void *)&status, 1, true};
	if (!virtio_request(&d->q, pieces, n, d->indirect, &used))
		return BLK_NOANSWER;
	return status;
}
