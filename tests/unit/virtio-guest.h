/*
 * virtio-guest.h - a virtio driver for unit tests: RAM without KVM, rings made by hand
 *
 * RAM is one block of 16 MiB with two slots, so that a buffer can cross from
 * one into the other at GUEST_SEAM.
 */
#ifndef MINIVMM_TESTS_VIRTIO_GUEST_H
#define MINIVMM_TESTS_VIRTIO_GUEST_H

#include <endian.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/queue.h"
#include "devices/virtio/virtio.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/board.h"
#include "vmm/bus.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

/* How these helpers say that something is wrong; a fuzz target brings its own. */
#ifndef GUEST_MUST
#include <check.h>
#define GUEST_MUST(cond) ck_assert(cond)
#endif

#define GUEST_RAM  (16 * MiB)
#define GUEST_SEAM (8 * MiB)

static inline void guest_memory(struct memory *mem)
{
	struct ram_backend backend = {.kind = RAM_ANONYMOUS, .fd = -1};
	struct ram_block *b;

	memory_init(mem, -1);
	b = memory_add_block(mem, "ram", GUEST_RAM, &backend, NULL);
	GUEST_MUST(b != NULL);
	GUEST_MUST(memory_map_block(mem, b, 0, 0, GUEST_SEAM, NULL) == 0);
	GUEST_MUST(memory_map_block(mem, b, GUEST_SEAM, GUEST_SEAM, GUEST_RAM - GUEST_SEAM, NULL) ==
		   0);
}

/* ---- rings ---- */

struct ring {
	struct memory *mem;
	uint16_t num;
	uint64_t desc, avail, used;
	uint16_t avail_idx; /* the driver's; published by ring_avail() */
	uint16_t seen;      /* used entries taken */
};

/* Rings of 'num' entries in the 64 KiB from gpa on. */
static inline struct ring ring_at(struct memory *mem, uint64_t gpa, uint16_t num)
{
	return (struct ring){
	    .mem = mem, .num = num, .desc = gpa, .avail = gpa + 0x4000, .used = gpa + 0x8000};
}

static inline void put16(struct memory *mem, uint64_t gpa, uint16_t v)
{
	put_le16(memory_ptr(mem, gpa, 2), v);
}

static inline uint16_t get16(const struct memory *mem, uint64_t gpa)
{
	return get_le16(memory_ptr(mem, gpa, 2));
}

static inline void desc_at(struct memory *mem, uint64_t gpa, uint64_t addr, uint32_t len,
			   uint16_t flags, uint16_t next)
{
	uint8_t *p = memory_ptr(mem, gpa, 16);

	put_le64(p, addr);
	put_le32(p + 8, len);
	put_le16(p + 12, flags);
	put_le16(p + 14, next);
}

static inline void ring_desc(struct ring *r, uint16_t i, uint64_t addr, uint32_t len,
			     uint16_t flags, uint16_t next)
{
	desc_at(r->mem, r->desc + 16ULL * i, addr, len, flags, next);
}

static inline void ring_avail(struct ring *r, uint16_t head)
{
	uint8_t *idx = memory_ptr(r->mem, r->avail + 2, 2);

	put16(r->mem, r->avail + 4 + 2ULL * (r->avail_idx % r->num), head);
	/* A device that polls may look meanwhile. */
	__atomic_store_n((uint16_t *)(void *)idx, htole16(++r->avail_idx), __ATOMIC_RELEASE);
}

static inline uint16_t ring_used_idx(const struct ring *r)
{
	return get16(r->mem, r->used + 2);
}

/* The next used entry; there must be one.  Returns its length. */
static inline uint32_t ring_take(struct ring *r, uint16_t head)
{
	const uint8_t *e = memory_ptr(r->mem, r->used + 4 + 8ULL * (r->seen % r->num), 8);

	GUEST_MUST(ring_used_idx(r) != r->seen);
	r->seen++;
	GUEST_MUST(get_le32(e) == head);
	return get_le32(e + 4);
}

/* ---- a machine without KVM ---- */

static const struct config guest_no_config;
/* -machine stock=on, of which the devices look at this: transports of version 1. */
static const struct config guest_stock_config = {.board.stock = true};

static inline struct machine *guest_machine_of(const struct config *cfg)
{
	struct machine *m = NEW(struct machine);
	struct err err = {0};

	GUEST_MUST(machine_init(m, cfg, &err) == 0);
	guest_memory(&m->mem);
	m->loop = m->work = loop_new(&m->lock, &err);
	m->io = loop_new(NULL, &err);
	GUEST_MUST(m->loop != NULL);
	GUEST_MUST(m->io != NULL);
	GUEST_MUST(loop_thread_start(m->io, "io", THREAD_IO, &err) == 0);
	return m;
}

static inline struct machine *guest_machine(void)
{
	return guest_machine_of(&guest_no_config);
}

static inline void guest_nothing(void *opaque)
{
	(void)opaque;
}

/* The I/O loop has done what was asked of it before. */
static inline void guest_sync(struct machine *m)
{
	loop_call(m->io, guest_nothing, NULL);
}

static inline void guest_pause(struct machine *m)
{
	int fd;

	machine_lock(m);
	list_for_each (d, &m->devices, struct device, link)
		if (d->ops->pause)
			d->ops->pause(d);
	list_for_each (d, &m->devices, struct device, link)
		while (d->ops->busy_fd && (fd = d->ops->busy_fd(d)) >= 0)
			GUEST_MUST(machine_wait(m, fd, -1) == 0);
	machine_unlock(m);
}

static inline void guest_resume(struct machine *m)
{
	machine_lock(m);
	list_for_each (d, &m->devices, struct device, link)
		if (d->ops->resume)
			d->ops->resume(d);
	machine_unlock(m);
	guest_sync(m); /* queues are served from now on */
}

/* Kicks were served and the requests they brought are done. */
static inline void guest_wait_idle(struct machine *m)
{
	guest_sync(m);
	guest_pause(m);
	guest_resume(m);
}

static inline void guest_end_devices(struct machine *m)
{
	guest_pause(m);
	machine_lock(m);
	while (!list_empty(&m->devices)) {
		struct device *d = container_of(m->devices.prev, struct device, link);

		list_del(&d->link);
		free(d->id);
		d->ops->destroy(d);
	}
	machine_unlock(m);
}

/* Back ends must be closed before. */
static inline void guest_free(struct machine *m)
{
	loop_thread_join(m->io);
	loop_free(m->io);
	loop_free(m->loop);
	machine_fini(m);
	free(m);
}

/* ---- registers ---- */

static inline uint64_t slot_base(unsigned slot)
{
	return BOARD_VIRTIO_BASE + slot * BOARD_VIRTIO_BYTES;
}

static inline uint32_t reg_get(struct machine *m, unsigned slot, uint64_t off)
{
	uint32_t v;

	machine_lock(m);
	v = (uint32_t)bus_read(&m->mmio, slot_base(slot) + off, 4);
	machine_unlock(m);
	return v;
}

static inline void reg_set(struct machine *m, unsigned slot, uint64_t off, uint32_t v)
{
	machine_lock(m);
	bus_write(&m->mmio, slot_base(slot) + off, 4, v);
	machine_unlock(m);
}

static inline uint64_t features_get(struct machine *m, unsigned slot)
{
	uint64_t f;

	reg_set(m, slot, 0x14, 0);
	f = reg_get(m, slot, 0x10);
	reg_set(m, slot, 0x14, 1);
	return f | (uint64_t)reg_get(m, slot, 0x10) << 32;
}

static inline void features_set(struct machine *m, unsigned slot, uint64_t f)
{
	reg_set(m, slot, 0x24, 0);
	reg_set(m, slot, 0x20, (uint32_t)f);
	reg_set(m, slot, 0x24, 1);
	reg_set(m, slot, 0x20, (uint32_t)(f >> 32));
}

static inline void queue_set(struct machine *m, unsigned slot, unsigned q, const struct ring *r)
{
	reg_set(m, slot, 0x30, q);
	reg_set(m, slot, 0x38, r->num);
	reg_set(m, slot, 0x80, (uint32_t)r->desc);
	reg_set(m, slot, 0x84, (uint32_t)(r->desc >> 32));
	reg_set(m, slot, 0x90, (uint32_t)r->avail);
	reg_set(m, slot, 0x94, (uint32_t)(r->avail >> 32));
	reg_set(m, slot, 0xa0, (uint32_t)r->used);
	reg_set(m, slot, 0xa4, (uint32_t)(r->used >> 32));
	reg_set(m, slot, 0x44, 1);
}

/* Bring the device up with all features in 'want' that it offers; rings[] for its first n queues.
 */
static inline uint64_t driver_start(struct machine *m, unsigned slot, uint64_t want,
				    const struct ring *rings, unsigned n)
{
	uint64_t f = features_get(m, slot) & want;

	reg_set(m, slot, 0x70, 0);
	reg_set(m, slot, 0x70, 1);
	reg_set(m, slot, 0x70, 3);
	features_set(m, slot, f);
	reg_set(m, slot, 0x70, 0xb);
	GUEST_MUST(reg_get(m, slot, 0x70) == 0xb);
	for (unsigned i = 0; i < n; i++)
		queue_set(m, slot, i, &rings[i]);
	reg_set(m, slot, 0x70, 0xf);
	guest_sync(m);
	return f;
}

static inline void kick(struct machine *m, unsigned slot, unsigned q)
{
	reg_set(m, slot, 0x50, q);
}

#endif
