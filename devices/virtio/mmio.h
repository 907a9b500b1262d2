/*
 * mmio.h - between mmio.c, the registers of both versions of the transport, and
 * mmio-legacy.c, those that version 1 has for itself
 */
#ifndef MINIVMM_DEVICES_VIRTIO_MMIO_H
#define MINIVMM_DEVICES_VIRTIO_MMIO_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/virtio/virtio.h"

enum mmio_reg {
	REG_MAGIC = 0x00,
	REG_VERSION = 0x04,
	REG_DEVICE_ID = 0x08,
	REG_VENDOR_ID = 0x0c,
	REG_DEVICE_FEATURES = 0x10,
	REG_DEVICE_FEATURES_SEL = 0x14,
	REG_DRIVER_FEATURES = 0x20,
	REG_DRIVER_FEATURES_SEL = 0x24,
	REG_GUEST_PAGE_SIZE = 0x28, /* version 1 */
	REG_QUEUE_SEL = 0x30,
	REG_QUEUE_NUM_MAX = 0x34,
	REG_QUEUE_NUM = 0x38,
	REG_QUEUE_ALIGN = 0x3c, /* version 1 */
	REG_QUEUE_PFN = 0x40,   /* version 1 */
	REG_QUEUE_READY = 0x44,
	REG_QUEUE_NOTIFY = 0x50,
	REG_INTERRUPT_STATUS = 0x60,
	REG_INTERRUPT_ACK = 0x64,
	REG_STATUS = 0x70,
	REG_QUEUE_DESC_LOW = 0x80,
	REG_QUEUE_DESC_HIGH = 0x84,
	REG_QUEUE_DRIVER_LOW = 0x90,
	REG_QUEUE_DRIVER_HIGH = 0x94,
	REG_QUEUE_DEVICE_LOW = 0xa0,
	REG_QUEUE_DEVICE_HIGH = 0xa4,
	REG_SHM_LEN_LOW = 0xb0,
	REG_SHM_LEN_HIGH = 0xb4,
	REG_SHM_BASE_LOW = 0xb8,
	REG_SHM_BASE_HIGH = 0xbc,
	REG_QUEUE_RESET = 0xc0,
	REG_CONFIG_GENERATION = 0xfc,
	REG_CONFIG = 0x100,
};

#define MMIO_VERSION_LEGACY 1
#define MMIO_VERSION        2

/* The selected queue's registers, or NULL: there is no such queue. */
static inline struct virtio_queue_regs *mmio_selected(struct virtio_device *v)
{
	return v->queue_sel < v->n_queues ? &v->regs[v->queue_sel] : NULL;
}

/* mmio-legacy.c: false when the register is as in version 2. */
bool mmio_legacy_read(struct virtio_device *v, uint64_t off, uint32_t *val);
bool mmio_legacy_write(struct virtio_device *v, uint64_t off, uint32_t val);

#endif
