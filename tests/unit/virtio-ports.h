/*
 * virtio-ports.h - a virtio-serial device with a console (port 0) and a port (1) for tests:
 * chardevs that take what the test lets them, six rings
 */
#ifndef MINIVMM_TESTS_VIRTIO_PORTS_H
#define MINIVMM_TESTS_VIRTIO_PORTS_H

#include "devices/chardev/backend.h"
#include "tests/unit/virtio-backends.h"

#define PORTS_SLOT     7
#define PORTS_RINGS    6
#define PORTS_RING(q)  (0x100000ULL + 0x10000ULL * (q))
#define PORTS_DATA     0x400000ULL /* messages and data of the test */
#define CONTROL_IN     2
#define CONTROL_OUT    3
#define PORT_IN        4
#define PORT_OUT       5
#define MULTIPORT      (1ULL << 1)
#define PORTS_FEATURES (VIRTIO_F_VERSION_1 | MULTIPORT)

struct fake_chardev {
	struct chardev c;
	uint8_t got[256 * KiB];
	size_t n_got, room; /* what it has taken; what it still takes */
	int error;          /* what write() says instead */
};

static inline ssize_t fake_write(struct chardev *c, const uint8_t *p, size_t n)
{
	struct fake_chardev *f = container_of(c, struct fake_chardev, c);

	if (f->error)
		return f->error;
	n = MIN(n, MIN(f->room, sizeof(f->got) - f->n_got));
	memcpy(f->got + f->n_got, p, n);
	f->n_got += n;
	f->room -= n;
	return (ssize_t)n;
}

static const struct chardev_ops fake_chardev_ops = {.type = "fake", .write = fake_write};

struct ports {
	struct machine *m;
	struct fake_chardev chr[2]; /* "console", "port" */
	struct chardev *chardevs[2];
	struct backends be;
	struct ring ring[PORTS_RINGS];
	struct vms_entry *entry;
};

static inline void ports_add(struct ports *p, const char *driver, const char *id, const char *key,
			     const char *val)
{
	struct cfg_device cfg = test_device(driver, id);
	struct err err = {0};

	if (key)
		keyvals_add(&cfg.props, key, val);
	GUEST_MUST(device_create(p->m, &cfg, PORTS_SLOT, &p->be, &err) == 0);
	device_free(&cfg);
}

/* With the console alone, or the port too. */
static inline struct ports *ports_new_of(const struct config *cfg, unsigned n)
{
	struct ports *p = NEW(struct ports);
	static const char *const ids[] = {"console", "port"};

	p->m = guest_machine_of(cfg);
	for (size_t i = 0; i < 2; i++) {
		p->chr[i].c = (struct chardev){.ops = &fake_chardev_ops,
					       .m = p->m,
					       .loop = p->m->loop,
					       .id = (char *)(uintptr_t)ids[i],
					       .log_fd = -1};
		p->chr[i].room = SIZE_MAX;
		p->chardevs[i] = &p->chr[i].c;
	}
	p->be.chardevs = (struct chardevs){.v = p->chardevs, .n = 2};
	machine_lock(p->m);
	ports_add(p, "virtio-serial-device", NULL, NULL, NULL);
	ports_add(p, "virtconsole", NULL, "chardev", "console");
	if (n > 1)
		ports_add(p, "virtserialport", "agent", "chardev", "port");
	machine_unlock(p->m);
	p->entry = container_of(p->m->vmstate.entries.next, struct vms_entry, link);
	return p;
}

static inline struct ports *ports_new(void)
{
	return ports_new_of(&guest_no_config, 2);
}

static inline void ports_free(struct ports *p)
{
	guest_end_devices(p->m);
	guest_free(p->m);
	free(p);
}

static inline void ports_stop_loop(void *opaque)
{
	loop_stop(opaque);
}

/* What the I/O loop and the main loop have to do for each other is done. */
static inline void ports_settle(struct ports *p)
{
	for (int i = 0; i < 40; i++) {
		guest_sync(p->m);
		loop_post(p->m->loop, ports_stop_loop, p->m->loop);
		loop_run(p->m->loop);
	}
}

static inline void ports_connect(struct ports *p, bool on)
{
	machine_lock(p->m);
	chardev_set_connected(&p->chr[1].c, on);
	machine_unlock(p->m);
	ports_settle(p);
}

/* Bytes from the peer; how many were taken. */
static inline size_t ports_from_peer(struct ports *p, const void *bytes, size_t n)
{
	machine_lock(p->m);
	n = MIN(n, chardev_room(&p->chr[1].c));
	chardev_deliver(&p->chr[1].c, bytes, n);
	machine_unlock(p->m);
	ports_settle(p);
	return n;
}

static inline void ports_writable(struct ports *p, size_t room)
{
	p->chr[1].room = room;
	machine_lock(p->m);
	chardev_tell_writable(&p->chr[1].c);
	machine_unlock(p->m);
	ports_settle(p);
}

/* The driver comes up with all six rings. */
static inline void ports_start(struct ports *p, uint64_t features)
{
	guest_resume(p->m);
	for (unsigned q = 0; q < PORTS_RINGS; q++)
		p->ring[q] = ring_at(&p->m->mem, PORTS_RING(q), 16);
	(void)driver_start(p->m, PORTS_SLOT, features, p->ring, PORTS_RINGS);
	ports_settle(p);
}

/* Make a buffer available in queue q: descriptor i, n bytes at PORTS_DATA + off. */
static inline void ports_offer(struct ports *p, unsigned q, uint16_t i, uint64_t off, uint32_t n)
{
	ring_desc(&p->ring[q], i, PORTS_DATA + off, n, q & 1 ? 0 : VIRTQ_DESC_WRITE, 0);
	ring_avail(&p->ring[q], i);
	kick(p->m, PORTS_SLOT, q);
	ports_settle(p);
}

static inline uint8_t *ports_at(struct ports *p, uint64_t off)
{
	return memory_ptr(&p->m->mem, PORTS_DATA + off, 1);
}

/* A control message from the guest. */
static inline void ports_say(struct ports *p, uint32_t id, uint16_t event, uint16_t value)
{
	static const uint64_t at = 0x3000;

	put_le32(ports_at(p, at), id);
	put_le16(ports_at(p, at + 4), event);
	put_le16(ports_at(p, at + 6), value);
	ports_offer(p, CONTROL_OUT, 0, at, 8);
	(void)ring_take(&p->ring[CONTROL_OUT], 0);
}

#endif
