/* The transport's register file, by a driver that does everything right, and by one that does not.
 */
#include "tests/unit/check-main.h"
#include "tests/unit/virtio-backends.h"

#define SLOT 5
#define ALL  UINT64_MAX

static struct machine *with_rng_on(const struct config *config)
{
	struct machine *m = guest_machine_of(config);
	struct cfg_device cfg = test_device("virtio-rng-device", "r0");
	struct err err = {0};

	ck_assert_msg(device_create(m, &cfg, SLOT, NULL, &err) == 0, "%s", err.msg);
	guest_resume(m);
	return m;
}

static struct machine *with_rng(void)
{
	return with_rng_on(&guest_no_config);
}

static void end(struct machine *m)
{
	guest_end_devices(m);
	guest_free(m);
}

START_TEST(identity)
{
	struct machine *m = with_rng();

	ck_assert_uint_eq(reg_get(m, SLOT, 0x00), 0x74726976);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x04), 2);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x08), 4);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x0c), 0x554d4551);
	ck_assert_uint_eq(features_get(m, SLOT), 0x10130000000);
	reg_set(m, SLOT, 0x14, 7); /* any selector but 0 is 1 */
	ck_assert_uint_eq(reg_get(m, SLOT, 0x10), 0x101);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x34), 8);
	reg_set(m, SLOT, 0x30, 1);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x34), 0);
	reg_set(m, SLOT, 0x30, 1024); /* ignored */
	reg_set(m, SLOT, 0x30, 0);
	for (uint64_t off = 0xb0; off <= 0xbc; off += 4)
		ck_assert_uint_eq(reg_get(m, SLOT, off), UINT32_MAX);
	ck_assert_uint_eq(reg_get(m, SLOT, 0xc0), 0);
	ck_assert_uint_eq(reg_get(m, SLOT, 0xfc), 0);
	end(m);
}
END_TEST

START_TEST(only_aligned_words_below_the_config_space)
{
	struct machine *m = with_rng();

	ck_assert_uint_eq(bus_read(&m->mmio, slot_base(SLOT), 1), 0);
	ck_assert_uint_eq(bus_read(&m->mmio, slot_base(SLOT), 2), 0);
	ck_assert_uint_eq(bus_read(&m->mmio, slot_base(SLOT) + 2, 4), 0);
	ck_assert_uint_eq(bus_read(&m->mmio, slot_base(SLOT), 8), 0);
	bus_write(&m->mmio, slot_base(SLOT) + 0x70, 1, 1);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x70), 0);
	/* no config space: all ones at every width */
	ck_assert_uint_eq(bus_read(&m->mmio, slot_base(SLOT) + 0x100, 1), 0xff);
	ck_assert_uint_eq(bus_read(&m->mmio, slot_base(SLOT) + 0x102, 2), 0xffff);
	ck_assert_uint_eq(bus_read(&m->mmio, slot_base(SLOT) + 0x1fc, 4), 0xffffffff);
	bus_write(&m->mmio, slot_base(SLOT) + 0x100, 4, 1);
	end(m);
}
END_TEST

START_TEST(empty_slots)
{
	struct machine *m = with_rng();

	ck_assert_int_eq(virtio_mmio_add_empty_slots(m, 1U << SLOT, NULL), 0);
	for (unsigned i = 0; i < BOARD_VIRTIO_SLOTS; i++) {
		if (i == SLOT)
			continue;
		reg_set(m, i, 0x70, 1);
		for (uint64_t off = 0; off < 0x200; off += 4) {
			uint32_t want = off == 0x00   ? 0x74726976
					: off == 0x04 ? 2
					: off == 0x0c ? 0x554d4551
						      : 0;

			ck_assert_uint_eq(reg_get(m, i, off), want);
		}
	}
	ck_assert_int_lt(virtio_mmio_add_empty_slots(m, 0, NULL), 0); /* they are taken */
	end(m);
}
END_TEST

static void refuse_features(struct machine *m, uint64_t f)
{
	reg_set(m, SLOT, 0x70, 0);
	reg_set(m, SLOT, 0x70, 3);
	features_set(m, SLOT, f);
	reg_set(m, SLOT, 0x70, 0xb);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x70), 3);
}

START_TEST(feature_negotiation)
{
	struct machine *m = with_rng();

	refuse_features(m, 0);
	refuse_features(m, VIRTIO_F_EVENT_IDX); /* without VERSION_1 */
	refuse_features(m, VIRTIO_F_VERSION_1 | 1);
	refuse_features(m, VIRTIO_F_VERSION_1 | VIRTIO_BIT(63));
	(void)driver_start(m, SLOT, VIRTIO_F_VERSION_1, NULL, 0);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x70), 0xf);
	reg_set(m, SLOT, 0x70, 0);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x70), 0);
	end(m);
}
END_TEST

/* Post one buffer and return how many bytes came. */
static uint32_t ask(struct machine *m, struct ring *r, uint32_t len)
{
	ring_desc(r, 0, 0x40000, len, VIRTQ_DESC_WRITE, 0);
	ring_avail(r, 0);
	kick(m, SLOT, 0);
	guest_wait_idle(m);
	return ring_take(r, 0);
}

START_TEST(rng_serves_kicks_that_come_as_exits)
{
	struct machine *m = with_rng();
	struct ring r = ring_at(&m->mem, 0x10000, 16);
	const uint8_t *buf = memory_ptr(&m->mem, 0x40000, 64);
	uint8_t sum = 0;

	(void)driver_start(m, SLOT, ALL, &r, 1);
	ck_assert_uint_eq(ask(m, &r, 64), 64);
	for (int i = 0; i < 64; i++)
		sum |= buf[i];
	ck_assert_uint_ne(sum, 0);
	/* a level until it is acknowledged */
	ck_assert_uint_eq(reg_get(m, SLOT, 0x60), 1);
	reg_set(m, SLOT, 0x64, 2);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x60), 1);
	reg_set(m, SLOT, 0x64, 1);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x60), 0);
	/* more than it gives at a time */
	ck_assert_uint_eq(ask(m, &r, 1 << 20), 64 * KiB);
	end(m);
}
END_TEST

START_TEST(kicks_before_driver_ok_are_not_lost)
{
	struct machine *m = with_rng();
	struct ring r = ring_at(&m->mem, 0x10000, 16);

	reg_set(m, SLOT, 0x70, 3);
	features_set(m, SLOT, VIRTIO_F_VERSION_1);
	reg_set(m, SLOT, 0x70, 0xb);
	queue_set(m, SLOT, 0, &r);
	ring_desc(&r, 0, 0x40000, 8, VIRTQ_DESC_WRITE, 0);
	ring_avail(&r, 0);
	kick(m, SLOT, 0);
	guest_sync(m);
	ck_assert_uint_eq(ring_used_idx(&r), 0);
	reg_set(m, SLOT, 0x70, 0xf);
	guest_wait_idle(m);
	ck_assert_uint_eq(ring_take(&r, 0), 8);
	end(m);
}
END_TEST

START_TEST(pause_keeps_quiet_and_resume_looks)
{
	struct machine *m = with_rng();
	struct ring r = ring_at(&m->mem, 0x10000, 16);

	(void)driver_start(m, SLOT, ALL, &r, 1);
	guest_pause(m);
	ring_desc(&r, 0, 0x40000, 8, VIRTQ_DESC_WRITE, 0);
	ring_avail(&r, 0);
	kick(m, SLOT, 0);
	guest_sync(m);
	ck_assert_uint_eq(ring_used_idx(&r), 0);
	guest_resume(m);
	guest_sync(m);
	ck_assert_uint_eq(ring_take(&r, 0), 8);
	end(m);
}
END_TEST

START_TEST(queue_registers)
{
	struct machine *m = with_rng();
	struct ring r = ring_at(&m->mem, 0x10000, 16);

	reg_set(m, SLOT, 0x30, 0);
	reg_set(m, SLOT, 0x38, 12); /* no power of two: it does not become ready */
	reg_set(m, SLOT, 0x44, 1);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x44), 0);
	reg_set(m, SLOT, 0x38, 2048);
	reg_set(m, SLOT, 0x44, 1);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x44), 0);
	(void)driver_start(m, SLOT, ALL, &r, 1);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x44), 1);
	reg_set(m, SLOT, 0x80, 0xffff0000); /* in use: it stays where it is */
	ck_assert_uint_eq(ask(m, &r, 8), 8);
	reg_set(m, SLOT, 0x44, 0);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x44), 0);
	ring_avail(&r, 0);
	kick(m, SLOT, 0);
	guest_wait_idle(m);
	ck_assert_uint_eq(ring_used_idx(&r), 1);
	reg_set(m, SLOT, 0x30, 3); /* no such queue */
	reg_set(m, SLOT, 0x38, 16);
	reg_set(m, SLOT, 0x44, 1);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x44), 0);
	kick(m, SLOT, 77);
	end(m);
}
END_TEST

START_TEST(queue_reset_starts_over)
{
	struct machine *m = with_rng();
	struct ring r = ring_at(&m->mem, 0x10000, 16), r2 = ring_at(&m->mem, 0x30000, 4);

	(void)driver_start(m, SLOT, ALL, &r, 1);
	ck_assert_uint_eq(ask(m, &r, 8), 8);
	reg_set(m, SLOT, 0xc0, 1);
	ck_assert_uint_eq(reg_get(m, SLOT, 0xc0), 0);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x44), 0);
	queue_set(m, SLOT, 0, &r2);
	ck_assert_uint_eq(ask(m, &r2, 8), 8);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x70), 0xf);
	end(m);
}
END_TEST

static void expect_needs_reset(struct machine *m, struct ring *r)
{
	guest_wait_idle(m);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x70), 0x4f);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x60), 2);
	ck_assert_uint_eq(reg_get(m, SLOT, 0xfc), 1);
	/* silent now, whatever the driver says */
	reg_set(m, SLOT, 0x70, 0xf);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x70), 0x4f);
	kick(m, SLOT, 0);
	guest_wait_idle(m);
	ck_assert_uint_eq(ring_used_idx(r), 0);
	/* until it is reset */
	*r = ring_at(&m->mem, 0x30000, 4);
	(void)driver_start(m, SLOT, ALL, r, 1);
	ck_assert_uint_eq(ask(m, r, 8), 8);
}

START_TEST(malformed_ring_needs_reset)
{
	struct machine *m = with_rng();
	struct ring r = ring_at(&m->mem, 0x10000, 16);

	(void)driver_start(m, SLOT, ALL, &r, 1);
	ring_desc(&r, 0, GUEST_RAM, 8, VIRTQ_DESC_WRITE, 0);
	ring_avail(&r, 0);
	kick(m, SLOT, 0);
	expect_needs_reset(m, &r);
	end(m);
}
END_TEST

START_TEST(ring_outside_ram_needs_reset)
{
	struct machine *m = with_rng();
	struct ring r = ring_at(&m->mem, 0x10000, 16), bad = r;

	bad.used = GUEST_RAM;
	(void)driver_start(m, SLOT, ALL, &bad, 1);
	expect_needs_reset(m, &r);
	end(m);
}
END_TEST

START_TEST(device_reset_forgets_all)
{
	struct machine *m = with_rng();
	struct ring r = ring_at(&m->mem, 0x10000, 16);

	(void)driver_start(m, SLOT, ALL, &r, 1);
	ck_assert_uint_eq(ask(m, &r, 8), 8);
	guest_pause(m);
	list_for_each (d, &m->devices, struct device, link)
		d->ops->reset(d);
	guest_resume(m);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x70), 0);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x60), 0);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x44), 0);
	reg_set(m, SLOT, 0x14, 0);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x10), 0x30000000);
	end(m);
}
END_TEST

START_TEST(properties)
{
	static const struct {
		const char *key, *val, *says;
	} bad[] = {
	    {"zz",        "1",     "Property 'virtio-rng-device.zz' not found"                },
	    {"packed",    "on",    "packed=on is not supported: queues are split rings"       },
	    {"event_idx", "maybe", "Parameter 'event_idx' expects 'on' or 'off'"              },
	    {"rng",       "rng0",
	     "Device 'rng0' not found: rng= is the id of an -object rng-random or rng-builtin"},
	};
	struct machine *m = guest_machine();
	struct cfg_device cfg = test_device("virtio-rng-device", "r0");

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = {0};
		struct cfg_device c = test_device("virtio-rng-device", NULL);

		keyvals_add(&c.props, bad[i].key, bad[i].val);
		ck_assert_int_lt(device_create(m, &c, SLOT, NULL, &err), 0);
		ck_assert_str_eq(err.msg, bad[i].says);
		device_free(&c);
	}
	keyvals_add(&cfg.props, "event_idx", "off");
	keyvals_add(&cfg.props, "queue_reset", "off");
	keyvals_add(&cfg.props, "packed", "off");
	ck_assert_int_eq(device_create(m, &cfg, SLOT, NULL, NULL), 0);
	ck_assert_uint_eq(features_get(m, SLOT), 0x110000000);
	ck_assert_uint_eq(m->board.n, 1);
	ck_assert_str_eq(m->board.devices[0].name, "virtio-rng");
	ck_assert_str_eq(m->board.devices[0].id, "r0");
	ck_assert_uint_eq(m->board.devices[0].gsi, 16 + SLOT);
	device_free(&cfg);
	end(m);
}
END_TEST

#define PFN_SHIFT 12
#define RINGS_GPA 0x10000ULL
#define RING_NUM  16

/* A legacy driver sets the queue up: rings one behind the other, the used ring aligned. */
static struct ring legacy_start(struct machine *m, uint32_t align)
{
	struct ring r = ring_at(&m->mem, RINGS_GPA, RING_NUM);

	r.avail = RINGS_GPA + 16ULL * RING_NUM;
	r.used = ALIGN_UP(r.avail + 6 + 2ULL * RING_NUM, align);
	reg_set(m, SLOT, 0x70, 0);
	reg_set(m, SLOT, 0x70, 3);
	reg_set(m, SLOT, 0x24, 0);
	reg_set(m, SLOT, 0x20, reg_get(m, SLOT, 0x10));
	reg_set(m, SLOT, 0x28, 1U << PFN_SHIFT);
	reg_set(m, SLOT, 0x30, 0);
	reg_set(m, SLOT, 0x38, RING_NUM);
	reg_set(m, SLOT, 0x3c, align);
	reg_set(m, SLOT, 0x40, RINGS_GPA >> PFN_SHIFT);
	reg_set(m, SLOT, 0x70, 7);
	guest_sync(m);
	return r;
}

START_TEST(legacy_registers)
{
	struct machine *m = with_rng_on(&guest_stock_config);

	ck_assert_uint_eq(reg_get(m, SLOT, 0x04), 1);
	reg_set(m, SLOT, 0x14, 0);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x10), 0x39000000);
	reg_set(m, SLOT, 0x14, 1);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x10), 0);
	reg_set(m, SLOT, 0x14, 0);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x40), 0);
	(void)legacy_start(m, 4096);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x40), RINGS_GPA >> PFN_SHIFT);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x70), 7);
	/* what version 2 has is not there */
	reg_set(m, SLOT, 0x80, 0x5000);
	reg_set(m, SLOT, 0x44, 0);
	reg_set(m, SLOT, 0xc0, 1);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x44), 0);
	ck_assert_uint_eq(reg_get(m, SLOT, 0xfc), 0);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x40), RINGS_GPA >> PFN_SHIFT);
	/* a queue that there is not */
	reg_set(m, SLOT, 0x30, 3);
	reg_set(m, SLOT, 0x40, 7);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x40), 0);
	/* page 0 resets the device */
	reg_set(m, SLOT, 0x30, 0);
	reg_set(m, SLOT, 0x40, 0);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x70), 0);
	end(m);
	m = with_rng_on(&guest_stock_config);
	ck_assert_int_eq(virtio_mmio_add_empty_slots(m, 1U << SLOT, NULL), 0);
	ck_assert_uint_eq(reg_get(m, 0, 0x04), 1);
	end(m);
}
END_TEST

START_TEST(legacy_queue_is_served)
{
	static const uint32_t aligns[] = {4096, 64, 8192};

	for (size_t i = 0; i < ARRAY_LEN(aligns); i++) {
		struct machine *m = with_rng_on(&guest_stock_config);
		struct ring r = legacy_start(m, aligns[i]);

		ring_desc(&r, 0, 0x40000, 64, VIRTQ_DESC_WRITE, 0);
		ring_avail(&r, 0);
		kick(m, SLOT, 0);
		guest_wait_idle(m);
		ck_assert_uint_eq(ring_take(&r, 0), 64);
		ck_assert_uint_eq(reg_get(m, SLOT, 0x60), 1);
		end(m);
	}
}
END_TEST

/* It has no status for that: the device is silent until it is reset. */
START_TEST(legacy_broken_ring)
{
	struct machine *m = with_rng_on(&guest_stock_config);
	struct ring r = legacy_start(m, 4096);

	ring_avail(&r, 999);
	kick(m, SLOT, 0);
	guest_wait_idle(m);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x70), 7);
	ck_assert_uint_eq(reg_get(m, SLOT, 0x60), 0);
	r = legacy_start(m, 4096);
	put16(&m->mem, r.avail + 2, 0);
	put16(&m->mem, r.used + 2, 0);
	r = legacy_start(m, 4096);
	ring_desc(&r, 0, 0x40000, 8, VIRTQ_DESC_WRITE, 0);
	ring_avail(&r, 0);
	kick(m, SLOT, 0);
	guest_wait_idle(m);
	ck_assert_uint_eq(ring_take(&r, 0), 8);
	end(m);
}
END_TEST

CHECK_MAIN("virtio-mmio", legacy_registers, legacy_queue_is_served, legacy_broken_ring, identity,
	   only_aligned_words_below_the_config_space, empty_slots, feature_negotiation,
	   rng_serves_kicks_that_come_as_exits, kicks_before_driver_ok_are_not_lost,
	   pause_keeps_quiet_and_resume_looks, queue_registers, queue_reset_starts_over,
	   malformed_ring_needs_reset, ring_outside_ram_needs_reset, device_reset_forgets_all,
	   properties)
