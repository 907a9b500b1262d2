/* virtio-nic.h - a network card over a network that keeps what it is sent, for unit tests */
#ifndef MINIVMM_TESTS_VIRTIO_NIC_H
#define MINIVMM_TESTS_VIRTIO_NIC_H

#include "devices/virtio/nic.h"
#include "tests/unit/virtio-backends.h"

#define SLOT     6
#define ALL      UINT64_MAX
#define NEXT     VIRTQ_DESC_NEXT
#define WR       VIRTQ_DESC_WRITE
#define BUF      0x60000ULL /* of a transmit or control chain */
#define ACK      0x6f000ULL
#define RXBUF(i) (0x80000ULL + 0x800 * (i))

static const uint8_t own[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
static const uint8_t other[6] = {0x52, 0x54, 0x00, 0x00, 0x00, 0x01};
static const uint8_t multicast[6] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x01};
static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

struct fix {
	struct machine *m;
	struct fake_net net;
	struct net_backend *nets[1];
	struct backends be;
	struct ring r[3];
};

static inline int create(struct fix *f, unsigned slot, const char *const *props, struct err *err)
{
	struct cfg_device cfg = test_device("virtio-net-device", "nic0");
	int ret;

	for (; props && *props; props += 2)
		keyvals_add(&cfg.props, props[0], props[1]);
	if (!keyvals_get(&cfg.props, "netdev"))
		keyvals_add(&cfg.props, "netdev", "net0");
	ret = device_create(f->m, &cfg, slot, &f->be, err);
	device_free(&cfg);
	return ret;
}

static inline void fix_base_on(struct fix *f, bool vnet_hdr, const struct config *cfg)
{
	f->m = guest_machine_of(cfg);
	fake_net_init(&f->net, f->m, vnet_hdr);
	f->nets[0] = &f->net.be;
	f->be = (struct backends){
	    .nets = {.v = f->nets, .n = 1}
        };
	for (unsigned i = 0; i < 3; i++)
		f->r[i] = ring_at(&f->m->mem, 0x10000 * (i + 1), 64);
}

static inline void fix_base(struct fix *f, bool vnet_hdr)
{
	fix_base_on(f, vnet_hdr, &guest_no_config);
}

static inline void fix_init(struct fix *f, bool vnet_hdr, uint64_t features)
{
	struct err err = {0};

	fix_base(f, vnet_hdr);
	ck_assert_msg(create(f, SLOT, NULL, &err) == 0, "%s", err.msg);
	guest_resume(f->m);
	(void)driver_start(f->m, SLOT, features, f->r, 3);
}

static inline void fix_fini(struct fix *f)
{
	guest_end_devices(f->m);
	guest_free(f->m);
}

static inline uint8_t *at(struct fix *f, uint64_t gpa)
{
	return memory_ptr(&f->m->mem, gpa, 1);
}

/* ---- the network's side, on the I/O loop ---- */

struct arrival {
	struct fix *f;
	const uint8_t *frame;
	size_t n;
	int ret;
};

static inline void arrive_on_io(void *opaque)
{
	struct arrival *a = opaque;
	const struct net_backend *b = &a->f->net.be;

	a->ret = b->client->receive(b->client_opaque, a->frame, a->n);
}

static inline int arrive(struct fix *f, const uint8_t *frame, size_t n)
{
	struct arrival a = {.f = f, .frame = frame, .n = n};

	loop_call(f->m->io, arrive_on_io, &a);
	return a.ret;
}

static inline void writable_on_io(void *opaque)
{
	struct fix *f = opaque;

	f->net.be.client->writable(f->net.be.client_opaque);
}

/* A frame of n bytes for 'to'. */
static inline void make_frame(uint8_t *p, size_t n, const uint8_t *to)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)i;
	memcpy(p, to, 6);
	put_be16(p + 12, 0x0800);
}

static inline int arrive_for(struct fix *f, const uint8_t *to)
{
	uint8_t frame[60];

	make_frame(frame, sizeof(frame), to);
	return arrive(f, frame, sizeof(frame));
}

/* ---- the driver's side ---- */

/* Post n receive buffers of len bytes. */
static inline void post_buffers(struct fix *f, unsigned n, uint32_t len)
{
	for (unsigned i = 0; i < n; i++) {
		ring_desc(&f->r[0], (uint16_t)i, RXBUF(i), len, WR, 0);
		ring_avail(&f->r[0], (uint16_t)i);
	}
	kick(f->m, SLOT, NIC_RX);
	guest_sync(f->m);
}

/* Was the last frame let through?  Buffers are posted as needed. */
static inline bool passes(struct fix *f, const uint8_t *to)
{
	uint16_t before = ring_used_idx(&f->r[0]);

	ring_desc(&f->r[0], 0, RXBUF(0), 2048, WR, 0);
	if (f->r[0].avail_idx == before)
		ring_avail(&f->r[0], 0);
	ck_assert_int_eq(arrive_for(f, to), 0);
	return ring_used_idx(&f->r[0]) != before;
}

static inline uint8_t control(struct fix *f, uint8_t class, uint8_t cmd, const void *data, size_t n)
{
	uint8_t *p = at(f, BUF);

	p[0] = class;
	p[1] = cmd;
	if (n)
		memcpy(p + 2, data, n);
	*at(f, ACK) = 0xee;
	ring_desc(&f->r[2], 0, BUF, (uint32_t)n + 2, NEXT, 1);
	ring_desc(&f->r[2], 1, ACK, 1, WR, 0);
	ring_avail(&f->r[2], 0);
	kick(f->m, SLOT, NIC_CTRL);
	guest_sync(f->m);
	ck_assert_uint_eq(ring_take(&f->r[2], 0), 1);
	return *at(f, ACK);
}

static inline uint8_t mode(struct fix *f, uint8_t cmd, uint8_t on)
{
	return control(f, 0, cmd, &on, 1);
}

#endif
