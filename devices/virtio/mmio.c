/*
 * mmio.c - the virtio-mmio transport, version 2 (virtio 1.2, 4.2.2; machine-microvm 1.5);
 * what version 1 has in common with it is here too, the rest in mmio-legacy.c
 *
 * Registers are 32 bits wide and answer only to aligned 32-bit accesses; the
 * configuration space from 0x100 on takes 1, 2 and 4 bytes.  All accesses come
 * under the machine lock.  A transport with no device shows magic, version,
 * vendor and device id 0, and ignores everything else.
 */
#include "devices/virtio/mmio.h"

#include <errno.h>
#include <string.h>

#include "devices/virtio/virtio-devices.h"
#include "vmm/base/bytes.h"
#include "vmm/base/units.h"
#include "vmm/board.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"
#include "vmm/options/device-row.h"

#define MAGIC           0x74726976
#define VENDOR_ID       0x554d4551
#define QUEUE_SELECTORS 1024 /* a larger selector is ignored */

/* ---- configuration space ---- */

static uint64_t config_read(struct virtio_device *v, uint64_t off, unsigned len)
{
	uint8_t bytes[8] = {0};

	if (off >= v->config_bytes || len > v->config_bytes - off)
		return len == 8 ? UINT64_MAX : (1ULL << (8 * len)) - 1;
	pthread_mutex_lock(&v->irq_lock);
	v->ops->get_config(v, v->config);
	memcpy(bytes, v->config + off, len);
	pthread_mutex_unlock(&v->irq_lock);
	return get_le64(bytes);
}

static void config_write(struct virtio_device *v, uint64_t off, unsigned len, uint64_t val)
{
	uint8_t bytes[8];

	if (off >= v->config_bytes || len > v->config_bytes - off || !v->ops->set_config)
		return;
	put_le64(bytes, val);
	pthread_mutex_lock(&v->irq_lock);
	v->ops->get_config(v, v->config);
	memcpy(v->config + off, bytes, len);
	v->ops->set_config(v, v->config);
	/* What cannot be written stays as it is, in the stream, too. */
	v->ops->get_config(v, v->config);
	pthread_mutex_unlock(&v->irq_lock);
	if (v->ops->config_written)
		v->ops->config_written(v);
}

/* ---- reads ---- */

static uint32_t isr_read(struct virtio_device *v)
{
	uint32_t isr;

	pthread_mutex_lock(&v->irq_lock);
	isr = v->isr;
	pthread_mutex_unlock(&v->irq_lock);
	return isr;
}

static uint32_t generation_read(struct virtio_device *v)
{
	uint32_t generation;

	pthread_mutex_lock(&v->irq_lock);
	generation = v->generation;
	pthread_mutex_unlock(&v->irq_lock);
	return generation;
}

static uint32_t reg_read(struct virtio_device *v, uint64_t off)
{
	const struct virtio_queue_regs *q = mmio_selected(v);
	uint32_t val;

	if (v->legacy && mmio_legacy_read(v, off, &val))
		return val;
	switch (off) {
	case REG_MAGIC:
		return MAGIC;
	case REG_VERSION:
		return MMIO_VERSION;
	case REG_DEVICE_ID:
		return v->ops->device_id;
	case REG_VENDOR_ID:
		return VENDOR_ID;
	case REG_DEVICE_FEATURES:
		return (uint32_t)(v->host_features >> (32 * v->host_features_sel));
	case REG_QUEUE_NUM_MAX:
		return q ? v->queues[v->queue_sel].num_default : 0;
	case REG_QUEUE_READY:
		return q && q->enabled;
	case REG_INTERRUPT_STATUS:
		return isr_read(v);
	case REG_STATUS:
		return virtio_status(v);
	case REG_SHM_LEN_LOW: /* no shared memory regions: all ones */
	case REG_SHM_LEN_HIGH:
	case REG_SHM_BASE_LOW:
	case REG_SHM_BASE_HIGH:
		return UINT32_MAX;
	case REG_CONFIG_GENERATION:
		return generation_read(v);
	default: /* QueueReset too: a reset is over when its write is */
		return 0;
	}
}

static uint64_t mmio_read(void *dev, uint64_t off, unsigned len)
{
	struct virtio_device *v = dev;

	if (off >= REG_CONFIG)
		return config_read(v, off - REG_CONFIG, len);
	return len == 4 && off % 4 == 0 ? reg_read(v, off) : 0;
}

/* ---- writes ---- */

static uint64_t pair(const uint32_t r[2])
{
	return r[0] | (uint64_t)r[1] << 32;
}

/*
 * A driver that read QueueNumMax at a source that says 1024 (QEMU 7.2, 10.0)
 * may use what it read there after the move, so more than ours says is taken.
 */
static bool size_ok(uint32_t num)
{
	return num && num <= VIRTQ_MAX_NUM && !(num & (num - 1));
}

/* QueueReady: from now on the queue is where its registers say, or nowhere. */
static void queue_ready(struct virtio_device *v, bool on)
{
	struct virtio_queue_regs *r = mmio_selected(v);
	struct virtq *q;
	bool restart = v->started;

	if (!r || r->enabled == on)
		return;
	q = &v->queues[v->queue_sel];
	if (on && r->num && !size_ok(r->num))
		return; /* the driver sees that it is not ready */
	if (virtio_stop(v) < 0)
		return;
	r->enabled = on;
	q->ready = on;
	if (on) {
		q->num = r->num ? r->num : q->num_default;
		q->desc = pair(r->desc);
		q->avail = pair(r->avail);
		q->used = pair(r->used);
	}
	if (restart)
		virtio_start(v);
}

static void queue_reset(struct virtio_device *v, uint32_t val)
{
	struct virtio_queue_regs *r = mmio_selected(v);
	struct virtq *q = &v->queues[r ? v->queue_sel : 0];
	bool restart = v->started;

	if (!r || val != 1 || !virtio_has(v, VIRTIO_F_RING_RESET) || virtio_stop(v) < 0)
		return;
	*r = (struct virtio_queue_regs){0};
	virtq_reset(q);
	if (restart)
		virtio_start(v);
}

static void queue_write(struct virtio_device *v, uint64_t off, uint32_t val)
{
	struct virtio_queue_regs *r = mmio_selected(v);

	if (!r || r->enabled) /* a queue in use stays where it is */
		return;
	switch (off) {
	case REG_QUEUE_NUM:
		r->num = val <= UINT16_MAX ? (uint16_t)val : UINT16_MAX;
		if (size_ok(val))
			v->queues[v->queue_sel].num = val;
		break;
	case REG_QUEUE_DESC_LOW:
	case REG_QUEUE_DESC_HIGH:
		r->desc[off == REG_QUEUE_DESC_HIGH] = val;
		break;
	case REG_QUEUE_DRIVER_LOW:
	case REG_QUEUE_DRIVER_HIGH:
		r->avail[off == REG_QUEUE_DRIVER_HIGH] = val;
		break;
	default:
		r->used[off == REG_QUEUE_DEVICE_HIGH] = val;
		break;
	}
}

/* The driver has chosen features: keep FEATURES_OK only if they were offered and are modern. */
static uint8_t negotiate(struct virtio_device *v, uint8_t status)
{
	uint64_t chosen = pair(v->guest_features);

	if (virtio_status(v) & VIRTIO_STATUS_FEATURES_OK)
		return status; /* decided before */
	if ((chosen & ~v->host_features) || !(chosen & VIRTIO_F_VERSION_1))
		return status & (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
	v->features = chosen;
	if (v->ops->negotiated)
		v->ops->negotiated(v);
	return status;
}

static void status_write(struct virtio_device *v, uint8_t status)
{
	if (!status) {
		(void)virtio_reset(v);
		return;
	}
	if (!(status & VIRTIO_STATUS_DRIVER_OK) && virtio_stop(v) < 0)
		return;
	if (!v->legacy && (status & VIRTIO_STATUS_FEATURES_OK))
		status = negotiate(v, status);
	virtio_status_set(v, status);
	virtio_start(v);
}

static void reg_write(struct virtio_device *v, uint64_t off, uint32_t val)
{
	if (v->legacy && mmio_legacy_write(v, off, val))
		return;
	switch (off) {
	case REG_DEVICE_FEATURES_SEL:
		v->host_features_sel = val != 0;
		break;
	case REG_DRIVER_FEATURES:
		v->guest_features[v->guest_features_sel] = val;
		break;
	case REG_DRIVER_FEATURES_SEL:
		v->guest_features_sel = val != 0;
		break;
	case REG_QUEUE_SEL:
		if (val < QUEUE_SELECTORS)
			v->queue_sel = (uint16_t)val;
		break;
	case REG_QUEUE_NUM:
	case REG_QUEUE_DESC_LOW:
	case REG_QUEUE_DESC_HIGH:
	case REG_QUEUE_DRIVER_LOW:
	case REG_QUEUE_DRIVER_HIGH:
	case REG_QUEUE_DEVICE_LOW:
	case REG_QUEUE_DEVICE_HIGH:
		queue_write(v, off, val);
		break;
	case REG_QUEUE_READY:
		queue_ready(v, val & 1);
		break;
	case REG_QUEUE_RESET:
		queue_reset(v, val);
		break;
	case REG_QUEUE_NOTIFY:
		virtio_notified(v, val);
		break;
	case REG_INTERRUPT_ACK:
		virtio_ack(v, val);
		break;
	case REG_STATUS:
		status_write(v, (uint8_t)val);
		break;
	default: /* read-only or nothing there */
		break;
	}
}

static void mmio_write(void *dev, uint64_t off, unsigned len, uint64_t val)
{
	struct virtio_device *v = dev;

	if (off >= REG_CONFIG)
		config_write(v, off - REG_CONFIG, len, val);
	else if (len == 4 && off % 4 == 0)
		reg_write(v, off, (uint32_t)val);
}

int virtio_mmio_add(struct virtio_device *v, struct machine *m, struct err *err)
{
	static const struct bus_ops ops = {.read = mmio_read, .write = mmio_write};

	return bus_add(&m->mmio, v->base, BOARD_VIRTIO_BYTES, &ops, v, err);
}

static const struct opt_prop props[] = {
    DEVICE_BOOL("force-legacy", "off",
		"registers of version 1, for drivers of old; on with -machine stock=on"),
    DEVICE_NUMBER("x-override-queue-size", 0, VIRTQ_MAX_NUM, "0",
		  "what QueueNumMax says of every queue, a power of two; 0: the queue's own size"),
    {.key = NULL},
};
const struct device_row virtio_mmio_row = {
    .name = "virtio-mmio",
    .kind = DEVICE_PART,
    .help = "The transport of all virtio devices; for -global.",
    .props = props,
};

bool virtio_mmio_is_legacy(const struct machine *m)
{
	return device_part_bool(m->cfg, &virtio_mmio_row, "force-legacy", m->cfg->board.stock);
}

/* ---- transports with nothing behind ---- */

static uint64_t empty_read(void *dev, uint64_t off, unsigned len)
{
	const struct machine *m = dev;

	(void)len;
	switch (off) {
	case REG_MAGIC:
		return MAGIC;
	case REG_VERSION:
		return virtio_mmio_is_legacy(m) ? MMIO_VERSION_LEGACY : MMIO_VERSION;
	case REG_VENDOR_ID:
		return VENDOR_ID;
	default:
		return 0;
	}
}

static void empty_write(void *dev, uint64_t off, unsigned len, uint64_t val)
{
	(void)dev;
	(void)off;
	(void)len;
	(void)val;
}

int virtio_mmio_add_empty_slots(struct machine *m, uint32_t used_mask, struct err *err)
{
	static const struct bus_ops ops = {.read = empty_read, .write = empty_write};

	for (unsigned i = 0; i < board_virtio_slots(&m->board); i++) {
		int ret;

		if (used_mask & (1U << i))
			continue;
		ret = bus_add(&m->mmio, BOARD_VIRTIO_BASE + i * BOARD_VIRTIO_BYTES,
			      BOARD_VIRTIO_BYTES, &ops, m, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}
