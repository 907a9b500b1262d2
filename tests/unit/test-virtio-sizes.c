/* How large queues are: what the device has, what a driver reads, what comes from another program.
 */
#include "tests/unit/check-main.h"
#include "tests/unit/virtio-section.h"

#define NUM_AT(config_bytes) (24 + (config_bytes) + 4) /* of queue 0, in a section */
#define QUEUE_BYTES          18

static const struct {
	const char *kind, *idstr;
	size_t num_at;
	unsigned n;
	uint32_t own[3];
} devices[] = {
    {"virtio-blk", "virtio-mmio@00000000feb00e00/virtio-blk", NUM_AT(57), 1, {256}         },
    {"virtio-net", "virtio-mmio@00000000feb00c00/virtio-net", NUM_AT(8),  3, {256, 256, 64}},
    {"virtio-rng", "virtio-mmio@00000000feb00a00/virtio-rng", NUM_AT(0),  1, {8}           },
};

/* What a driver reads in QueueNumMax. */
static uint32_t num_max(struct machine *m, unsigned q)
{
	reg_set(m, SLOT, 0x30, q);
	return reg_get(m, SLOT, 0x34);
}

static struct buf saved(const struct vms_entry *e)
{
	struct err err = {0};
	struct buf out = {0};

	ck_assert_msg(vms_save(e->desc, e->dev, &out, NULL, &err) == 0, "%s", err.msg);
	return out;
}

static uint32_t num_in(const struct buf *b, size_t i, unsigned q)
{
	return get_be32(b->data + devices[i].num_at + (size_t)QUEUE_BYTES * q);
}

static void load(const struct vms_entry *e, const struct buf *b)
{
	struct src in = src_mem(b->data, b->len);
	struct err err = {0};

	ck_assert_msg(vms_load(e->desc, e->dev, &in, e->desc->version, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(in.at, in.len);
}

static bool has_ringsize(const struct buf *b)
{
	return memmem(b->data, b->len, "virtio/ringsize", 15) != NULL;
}

/* ---- without a stream ---- */

START_TEST(driver_reads_the_real_size)
{
	for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
		struct fix f;

		fix_init(&f, false);
		(void)make(&f, devices[i].kind);
		for (unsigned q = 0; q < 4; q++)
			ck_assert_uint_eq(num_max(f.m, q), q < 3 ? devices[i].own[q] : 0);
		fix_fini(&f);
	}
}
END_TEST

START_TEST(sizes_that_are_given)
{
	static const struct {
		const char *kind, *key, *val;
		uint32_t max[3];
	} given[] = {
	    {"virtio-blk", "queue-size",    "4",    {4}            },
	    {"virtio-blk", "queue-size",    "1024", {1024}         },
	    {"virtio-net", "rx_queue_size", "1024", {1024, 256, 64}},
	    {"virtio-net", "tx_queue_size", "256",  {256, 256, 64} },
	};

	for (size_t i = 0; i < ARRAY_LEN(given); i++) {
		struct fix f;

		fix_init(&f, false);
		(void)make_with(&f, given[i].kind, given[i].key, given[i].val);
		for (unsigned q = 0; q < 3; q++)
			ck_assert_uint_eq(num_max(f.m, q), given[i].max[q]);
		fix_fini(&f);
	}
}
END_TEST

START_TEST(sizes_that_are_refused)
{
	static const struct {
		const char *driver, *key, *val, *says;
	} bad[] = {
	    {"virtio-blk-device", "queue-size",    "2",   "expects a number from 4 to 1024, not '2'"},
	    {"virtio-blk-device", "queue-size",    "100", "must be powers of two"                   },
	    {"virtio-net-device", "rx_queue_size", "128", "a number from 256 to 1024, not '128'"    },
	    {"virtio-net-device", "rx_queue_size", "300",
	     "Parameter 'rx_queue_size' expects a power of two, not 300"                            },
	    {"virtio-net-device", "tx_queue_size", "512", "tx_queue_size=512 is not supported"      },
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct cfg_device c = test_device(bad[i].driver, NULL);
		struct err err = {0};
		struct fix f;

		fix_init(&f, false);
		keyvals_add(&c.props, i < 2 ? "drive" : "netdev", i < 2 ? "disk0" : "net0");
		keyvals_add(&c.props, bad[i].key, bad[i].val);
		ck_assert_int_lt(device_create(f.m, &c, SLOT, &f.be, &err), 0);
		ck_assert_msg(strstr(err.msg, bad[i].says) != NULL, "%zu: %s", i, err.msg);
		device_free(&c);
		fix_fini(&f);
	}
}
END_TEST

static void override(struct fix *f, struct config *cfg, const char *size)
{
	*cfg = (struct config){0};
	keyvals_add(&cfg->globals, "virtio-mmio.x-override-queue-size", size);
	f->m->cfg = cfg;
}

START_TEST(transport_overrides)
{
	for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
		struct vms_entry *e;
		struct config cfg;
		struct buf out;
		struct fix f;

		fix_init(&f, false);
		override(&f, &cfg, "1024");
		e = make(&f, devices[i].kind);
		for (unsigned q = 0; q < 4; q++)
			ck_assert_uint_eq(num_max(f.m, q), q < devices[i].n ? 1024 : 0);
		/* as QEMU saves a device that no driver has touched */
		out = saved(e);
		for (unsigned q = 0; q < devices[i].n; q++)
			ck_assert_uint_eq(num_in(&out, i, q), 1024);
		ck_assert(!has_ringsize(&out));
		/* what two machines are compared by is the device's own */
		ck_assert_str_eq(f.m->board.devices[0].props[2].name, "queue-sizes");
		ck_assert_str_ne(f.m->board.devices[0].props[2].text, "1024");
		buf_free(&out);
		fix_fini(&f);
		keyvals_fini(&cfg.globals);
	}
}
END_TEST

START_TEST(override_that_is_no_power_of_two)
{
	struct cfg_device c = test_device("virtio-rng-device", NULL);
	struct err err = {0};
	struct config cfg;
	struct fix f;

	fix_init(&f, false);
	override(&f, &cfg, "1000");
	ck_assert_int_lt(device_create(f.m, &c, SLOT, &f.be, &err), 0);
	ck_assert_str_eq(err.msg, "virtio-mmio.x-override-queue-size=1000 is not a power of two");
	fix_fini(&f);
	keyvals_fini(&cfg.globals);
}
END_TEST

/* A driver may know QueueNumMax from a source that said 1024. */
START_TEST(larger_than_it_says)
{
	struct vms_entry *e;
	struct buf out;
	struct ring r;
	struct fix f;

	fix_init(&f, false);
	e = make(&f, "virtio-rng");
	guest_resume(f.m);
	r = ring_at(&f.m->mem, 0x10000, 1024);
	r.avail = 0x18000;
	r.used = 0x20000;
	(void)driver_start(f.m, SLOT, UINT64_MAX, &r, 1);
	ring_desc(&r, 0, 0x40000, 8, VIRTQ_DESC_WRITE, 0);
	ring_avail(&r, 0);
	kick(f.m, SLOT, 0);
	guest_wait_idle(f.m);
	ck_assert_uint_eq(ring_take(&r, 0), 8);
	guest_pause(f.m);
	out = saved(e);
	ck_assert_uint_eq(num_in(&out, 2, 0), 1024);
	ck_assert(has_ringsize(&out));
	buf_free(&out);
	fix_fini(&f);
}
END_TEST

/* ---- from a stream ---- */

/* QEMU 11.1 says real sizes, too: its drivers' queues are saved again to the same bytes. */
START_TEST(sections_of_11_1_survive)
{
	for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
		struct section s = section_open("q11-active", devices[i].idstr, 0);
		struct vms_entry *e;
		struct fix f;

		fix_init(&f, false);
		e = make(&f, devices[i].kind);
		section_load(&s, e->desc, e->dev);
		section_compare(&s, e->desc, e->dev, devices[i].idstr, 0);
		guest_resume(f.m);
		ck_assert_uint_eq(reg_get(f.m, SLOT, 0x70), 0xf);
		guest_pause(f.m);
		section_compare(&s, e->desc, e->dev, devices[i].idstr, 0);
		section_close(&s);
		fix_fini(&f);
	}
}
END_TEST

/* QEMU 10.0 said 1024 and the driver took it: it keeps it here, and where it goes next. */
START_TEST(queues_of_1024_stay)
{
	for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
		struct section s = section_open("q10-active", devices[i].idstr, 0);
		struct buf out = s.body, twice;
		struct fix f;

		for (int turn = 0; turn < 2; turn++) { /* from there, then from here */
			struct vms_entry *e;

			fix_init(&f, false);
			e = make(&f, devices[i].kind);
			load(e, &out);
			guest_resume(f.m);
			ck_assert_uint_eq(reg_get(f.m, SLOT, 0x70), 0xf);
			guest_pause(f.m);
			twice = saved(e);
			/* (its driver left the control queue alone) */
			for (unsigned q = 0; q < devices[i].n; q++)
				ck_assert_uint_eq(num_in(&twice, i, q), q < 2 ? 1024 : 64);
			ck_assert(has_ringsize(&twice));
			/* a driver that starts anew makes queues that go everywhere */
			reg_set(f.m, SLOT, 0x70, 0);
			ck_assert_uint_eq(num_max(f.m, 0), devices[i].own[0]);
			fix_fini(&f);
			if (turn == 1)
				buf_free(&out);
			out = twice;
		}
		buf_free(&out);
		section_close(&s);
	}
}
END_TEST

/* An untouched device of 10.0 calls its queues 1024 entries large; it has to, no driver knows. */
START_TEST(untouched_queues_get_their_own_size)
{
	for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
		struct section s = section_open("q10-dev", devices[i].idstr, 0);
		struct vms_entry *e;
		struct buf out;
		struct fix f;

		fix_init(&f, false);
		e = make(&f, devices[i].kind);
		ck_assert_uint_eq(num_in(&s.body, i, 0), 1024);
		load(e, &s.body);
		out = saved(e);
		for (unsigned q = 0; q < devices[i].n; q++)
			ck_assert_uint_eq(num_in(&out, i, q), devices[i].own[q]);
		ck_assert(!has_ringsize(&out));
		buf_free(&out);
		section_close(&s);
		fix_fini(&f);
	}
}
END_TEST

/* Halfway through its set-up a driver has said the size and no more. */
START_TEST(size_that_was_just_written)
{
	struct section s = section_open("q10-dev", devices[2].idstr, 0);
	const uint8_t *state = memmem(s.body.data, s.body.len, "virtio_mmio/state", 17);
	struct vms_entry *e;
	struct buf out;
	struct fix f;

	fix_init(&f, false);
	e = make(&f, "virtio-rng");
	ck_assert_ptr_nonnull(state);
	put_be16(s.body.data + (state - s.body.data) + 17 + 4 + 8, 1024); /* QueueNum */
	load(e, &s.body);
	out = saved(e);
	ck_assert_uint_eq(num_in(&out, 2, 0), 1024);
	buf_free(&out);
	section_close(&s);
	fix_fini(&f);
}
END_TEST

CHECK_MAIN("virtio-sizes", driver_reads_the_real_size, sizes_that_are_given, sizes_that_are_refused,
	   transport_overrides, override_that_is_no_power_of_two, larger_than_it_says,
	   sections_of_11_1_survive, queues_of_1024_stay, untouched_queues_get_their_own_size,
	   size_that_was_just_written)
