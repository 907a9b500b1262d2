/*
 * mmio-legacy.c - the virtio-mmio transport, version 1 (virtio 1.2, 4.2.4; machine-microvm 1.5)
 *
 * There is no FEATURES_OK: what the driver writes is agreed on at once, and
 * only the lower 32 features exist.  A queue is one piece of memory, given by
 * the number of its first page: descriptors, available ring, and the used
 * ring on the next multiple of QueueAlign.
 */
#include "devices/virtio/mmio.h"
#include "vmm/base/units.h"

#define RING_FIXED_BYTES 6 /* flags, idx, used_event */
#define DESC_BYTES       16

void virtio_legacy_place(struct virtq *q, uint64_t desc, uint32_t align)
{
	uint64_t end, rest;

	q->desc = desc;
	q->avail = desc ? desc + (uint64_t)DESC_BYTES * q->num : 0;
	end = q->avail + RING_FIXED_BYTES + 2 * (uint64_t)q->num;
	rest = end % align;
	q->used = desc ? end + (rest ? align - rest : 0) : 0;
	q->ready = desc != 0;
}

static bool agreed(struct virtio_device *v)
{
	return virtio_status(v) & VIRTIO_STATUS_DRIVER_OK;
}

static void features_write(struct virtio_device *v, uint32_t val)
{
	if (v->guest_features_sel || agreed(v))
		return;
	v->guest_features[0] = val;
	v->features = val & v->host_features;
	if (v->ops->negotiated)
		v->ops->negotiated(v);
}

/* 0 is how a driver of this version resets the device, too. */
static void pfn_write(struct virtio_device *v, uint32_t pfn)
{
	struct virtio_queue_regs *r = mmio_selected(v);
	bool restart = v->started;

	if (!pfn) {
		(void)virtio_reset(v);
		return;
	}
	if (!r || virtio_stop(v) < 0)
		return;
	virtio_legacy_place(&v->queues[v->queue_sel], (uint64_t)pfn << v->page_shift,
			    virtio_queue_align(r));
	if (restart)
		virtio_start(v);
}

static void align_write(struct virtio_device *v, uint32_t align)
{
	struct virtio_queue_regs *r = mmio_selected(v);

	if (r && align)
		r->align = align;
}

static uint32_t pfn_read(struct virtio_device *v)
{
	const struct virtio_queue_regs *r = mmio_selected(v);

	return r ? (uint32_t)(v->queues[v->queue_sel].desc >> v->page_shift) : 0;
}

bool mmio_legacy_read(struct virtio_device *v, uint64_t off, uint32_t *val)
{
	switch (off) {
	case REG_VERSION:
		*val = MMIO_VERSION_LEGACY;
		return true;
	case REG_DEVICE_FEATURES:
		*val = v->host_features_sel ? 0 : (uint32_t)v->host_features;
		return true;
	case REG_QUEUE_PFN:
		*val = pfn_read(v);
		return true;
	case REG_QUEUE_READY:
	case REG_CONFIG_GENERATION:
		*val = 0;
		return true;
	default:
		return false;
	}
}

bool mmio_legacy_write(struct virtio_device *v, uint64_t off, uint32_t val)
{
	switch (off) {
	case REG_DRIVER_FEATURES:
		features_write(v, val);
		return true;
	case REG_GUEST_PAGE_SIZE:
		v->page_shift = val ? (uint32_t)__builtin_ctz(val) : 0;
		return true;
	case REG_QUEUE_ALIGN:
		align_write(v, val);
		return true;
	case REG_QUEUE_PFN:
		pfn_write(v, val);
		return true;
	case REG_QUEUE_READY:
	case REG_QUEUE_RESET:
	case REG_QUEUE_DESC_LOW:
	case REG_QUEUE_DESC_HIGH:
	case REG_QUEUE_DRIVER_LOW:
	case REG_QUEUE_DRIVER_HIGH:
	case REG_QUEUE_DEVICE_LOW:
	case REG_QUEUE_DEVICE_HIGH:
		return true; /* not there */
	default:
		return false;
	}
}
