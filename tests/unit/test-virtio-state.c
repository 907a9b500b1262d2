/* virtio sections: those of real streams load and save again to the same bytes; broken ones are
 * refused. */
#include "tests/unit/check-main.h"
#include "tests/unit/virtio-section.h"

static const struct {
	const char *stream, *idstr, *kind;
	bool vnet_hdr;
	struct {
		uint64_t avail, used;
		uint16_t idx;
	} rings[3]; /* where the stream says they are, and how far they are */
} sections[] = {
    {"mod",    "virtio-mmio@00000000feb02e00/virtio-blk", "virtio-blk", false, {{0}}                                                                               },
    {"mod",    "virtio-mmio@00000000feb02c00/virtio-net", "virtio-net", false, {{0}}                                                                               },
    {"mod",    "virtio-mmio@00000000feb02a00/virtio-rng", "virtio-rng", false, {{0}}                                                                               },
    {"linux2",
     "virtio-mmio@00000000feb00e00/virtio-blk",	   "virtio-blk",
     false,								    {{0x541c000, 0x541d000, 379}}						       },
    {"linux2",
     "virtio-mmio@00000000feb00c00/virtio-net",	   "virtio-net",
     true,								     {{0x5624000, 0x5625000, 55}, {0x5634000, 0x5635000, 56}, {0x5644000, 0x5645000, 12}}},
    {"linux2",
     "virtio-mmio@00000000feb00a00/virtio-rng",	   "virtio-rng",
     false,								    {{0x54bc000, 0x54bd000, 5}}							 },
};

static void fill_rings(struct fix *f, size_t i)
{
	for (size_t q = 0; q < ARRAY_LEN(sections[i].rings) && sections[i].rings[q].avail; q++) {
		put16(&f->m->mem, sections[i].rings[q].avail + 2, sections[i].rings[q].idx);
		put16(&f->m->mem, sections[i].rings[q].used + 2, sections[i].rings[q].idx);
	}
}

START_TEST(real_sections_survive)
{
	for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
		struct section s = section_open(sections[i].stream, sections[i].idstr, 0);
		struct vms_entry *e;
		struct fix f;

		fix_init(&f, sections[i].vnet_hdr);
		e = make(&f, sections[i].kind);
		fill_rings(&f, i);
		section_load(&s, e->desc, e->dev);
		section_compare(&s, e->desc, e->dev, sections[i].idstr, 0);
		/* The guest goes on here, is paused and moves on: still the same. */
		guest_resume(f.m);
		guest_pause(f.m);
		section_compare(&s, e->desc, e->dev, sections[i].idstr, 0);
		section_close(&s);
		fix_fini(&f);
	}
}
END_TEST

/*
 * Sections of QEMU's own machine, where a driver is at work and where there is
 * none: they load behind a legacy transport, save again to the same bytes, and
 * do so after the guest has run.  The rings are where the first page is.
 */
static const struct {
	const char *stream, *idstr, *kind;
	struct {
		uint64_t avail, used;
		uint16_t idx;
	} rings[2];
} legacy[] = {
    {"irqk1", "virtio-mmio@00000000feb00e00/virtio-blk", "virtio-blk", {{0}}                     },
    {"irqk1", "virtio-mmio@00000000feb00c00/virtio-net", "virtio-net", {{0}}                     },
    {"irqk1", "virtio-mmio@00000000feb00a00/virtio-rng", "virtio-rng", {{0}}                     },
    {"stock", "virtio-mmio@00000000feb02e00/virtio-blk", "virtio-blk", {{0x11c100, 0x11d000, 14}}},
    {"stock",
     "virtio-mmio@00000000feb02c00/virtio-net",	  "virtio-net",
     {{0x122100, 0x123000, 6}, {0x125100, 0x126000, 7}}                                          },
    {"stock", "virtio-mmio@00000000feb02a00/virtio-rng", "virtio-rng", {{0x11f100, 0x120000, 7}} },
};

START_TEST(legacy_sections_survive)
{
	for (size_t i = 0; i < ARRAY_LEN(legacy); i++) {
		struct section s = section_open(legacy[i].stream, legacy[i].idstr, 0);
		struct vms_entry *e;
		struct fix f;

		fix_init_on(&f, false, &guest_stock_config);
		e = make(&f, legacy[i].kind);
		for (size_t q = 0; q < 2 && legacy[i].rings[q].avail; q++) {
			put16(&f.m->mem, legacy[i].rings[q].avail + 2, legacy[i].rings[q].idx);
			put16(&f.m->mem, legacy[i].rings[q].used + 2, legacy[i].rings[q].idx);
		}
		section_load(&s, e->desc, e->dev);
		section_compare(&s, e->desc, e->dev, legacy[i].idstr, 0);
		guest_resume(f.m);
		guest_pause(f.m);
		section_compare(&s, e->desc, e->dev, legacy[i].idstr, 0);
		section_close(&s);
		fix_fini(&f);
	}
}
END_TEST

START_TEST(running_driver_needs_its_own_transport)
{
	struct section s = section_open("linux2", sections[3].idstr, 0);
	struct src in = src_mem(s.body.data, s.body.len);
	struct err err = {0};
	struct vms_entry *e;
	struct fix f;

	fix_init_on(&f, false, &guest_stock_config);
	e = make(&f, "virtio-blk");
	ck_assert_int_lt(vms_load(e->desc, e->dev, &in, s.version, &err), 0);
	ck_assert_msg(strstr(err.msg, "force-legacy=off") != NULL, "%s", err.msg);
	fix_fini(&f);
	section_close(&s);
}
END_TEST

START_TEST(idstr_and_version)
{
	struct fix f;
	struct vms_entry *e;

	fix_init(&f, false);
	e = make(&f, "virtio-net");
	ck_assert_str_eq(e->idstr, "virtio-mmio@00000000feb00e00/virtio-net");
	ck_assert_uint_eq(e->desc->version, 11);
	ck_assert_int_eq(e->rank, VMS_RANK_VIRTIO);
	fix_fini(&f);
}
END_TEST

START_TEST(every_cut_is_refused)
{
	struct section s = section_open("linux2", sections[4].idstr, 0);
	struct fix f;
	struct vms_entry *e;

	fix_init(&f, true);
	e = make(&f, "virtio-net");
	fill_rings(&f, 4);
	/* The fields one by one, then some of the long tables. */
	for (size_t cut = 0; cut < s.body.len; cut += cut < 700 ? 1 : 211) {
		struct src in = src_mem(s.body.data, cut);
		struct err err = {0};

		/* Where a subsection begins, the driver's state is found to be incomplete. */
		ck_assert_int_lt(vms_load(e->desc, e->dev, &in, s.version, &err), 0);
		ck_assert_uint_gt(strlen(err.msg), 0);
		ck_assert_uint_eq(reg_get(f.m, SLOT, 0x70), 0); /* reset, not half loaded */
		if (cut > 48700) /* all that is cut now is virtio/started */
			break;
	}
	section_close(&s);
	fix_fini(&f);
}
END_TEST

/* One changed place in linux2's block device, and what is said of it. */
static const struct {
	size_t at;
	uint8_t bytes[4];
	size_t n;
	const char *says;
} changes[] = {
    {0,   {0, 0, 0, 2},             4, "feature selectors 2 and 0 are not 0 or 1"                  },
    {14,  {0xff, 0xff},             2, "queue selector 65535 is out of range"                      },
    {20,  {0, 0, 0, 56},            4, "configuration space has 56 bytes in the stream and 57 here"},
    {20,  {0xff, 0xff, 0xff, 0xff}, 4, "configuration space has 4294967295 bytes"                  },
    {81,  {0, 0, 0, 2},             4, "2 queues in the stream, 1 here"                            },
    {81,  {0xff, 0xff, 0xff, 0xff}, 4, "4294967295 elements of vq"                                 },
    {85,  {0, 0, 4, 1},             4, "queue 0 has 1025 entries"                                  },
    {85,  {0, 1, 0, 0},             4, "queue 0 has 65536 entries"                                 },
    {85,  {0, 0, 0, 0},             4, "queue 0 has 0 entries"                                     },
    {103, {1},		      1, "requests that the source stopped"                          },
    {113, {'x'},		    1, "unknown subsection 'virtio/x4bit_features'"                },
};

/* A new disk with requests in its rings loads the section with 'n' bytes at 'at' changed. */
static int load_changed(struct fix *f, const struct section *s, size_t at, const uint8_t *bytes,
			size_t n, struct err *err)
{
	struct vms_entry *e;
	struct buf copy = {0};
	struct src in;
	int ret;

	fix_init(f, false);
	e = make(f, "virtio-blk");
	fill_rings(f, 3);
	buf_put(&copy, s->body.data, s->body.len);
	memcpy(copy.data + at, bytes, n);
	in = src_mem(copy.data, copy.len);
	ret = vms_load(e->desc, e->dev, &in, s->version, err);
	buf_free(&copy);
	return ret;
}

START_TEST(hostile_values_are_refused)
{
	struct section s = section_open("linux2", sections[3].idstr, 0);

	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		struct err err = {0};
		struct fix f;

		ck_assert_int_lt(
		    load_changed(&f, &s, changes[i].at, changes[i].bytes, changes[i].n, &err), 0);
		ck_assert_msg(strstr(err.msg, changes[i].says) != NULL, "change %zu: %s", i,
			      err.msg);
		fix_fini(&f);
	}
	section_close(&s);
}
END_TEST

/*
 * Places that a guest can change in QEMU's device or in ours: the section loads, and the device
 * needs a reset where the guest goes on.
 */
static const struct {
	size_t at;
	uint8_t bytes[4];
	size_t n;
} doings[] = {
    {12,  {0x04},		   1}, /* DRIVER_OK alone */
    {12,  {0x07},		   1}, /* ... after a driver that agreed on nothing */
    {85,  {0, 0, 3, 0xe8},          4}, /* a queue of 1000 */
    {93,  {0xff, 0xff, 0xff, 0xff}, 4}, /* a ring outside RAM */
    {100, {0x08},		   1}, /* one that is misaligned */
    {101, {0x40, 0x00},             2}, /* an available index that jumped */
};

START_TEST(what_a_guest_can_do_needs_a_reset)
{
	struct section s = section_open("linux2", sections[3].idstr, 0);

	for (size_t i = 0; i < ARRAY_LEN(doings); i++) {
		struct err err = {0};
		struct fix f;
		int ret = load_changed(&f, &s, doings[i].at, doings[i].bytes, doings[i].n, &err);

		ck_assert_msg(ret == 0, "%zu: %s", i, err.msg);
		ck_assert_uint_eq(reg_get(f.m, SLOT, 0x70) & VIRTIO_STATUS_NEEDS_RESET, 0);
		guest_resume(f.m);
		ck_assert_msg(reg_get(f.m, SLOT, 0x70) & VIRTIO_STATUS_NEEDS_RESET, "%zu", i);
		guest_pause(f.m);
		fix_fini(&f);
	}
	section_close(&s);
}
END_TEST

/* What the guest wrote to a disk's read-only configuration is no other disk. */
START_TEST(configuration_that_cannot_be_written)
{
	struct buf out = {0};
	struct err err = {0};
	struct vms_entry *e;
	struct src in;
	struct fix f;

	fix_init(&f, false);
	e = make(&f, "virtio-blk");
	bus_write(&f.m->mmio, slot_base(SLOT) + 0x100, 8, UINT64_MAX);
	ck_assert_int_eq(vms_save(e->desc, e->dev, &out, NULL, &err), 0);
	in = src_mem(out.data, out.len);
	ck_assert_msg(vms_load(e->desc, e->dev, &in, 2, &err) == 0, "%s", err.msg);
	buf_free(&out);
	fix_fini(&f);
}
END_TEST

/* From QEMU it comes as the guest wrote it, and the guest can move all the same. */
START_TEST(capacity_that_a_guest_has_written)
{
	static const uint8_t written[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	struct section s = section_open("linux2", sections[3].idstr, 0);
	struct err err = {0};
	struct fix f;
	int ret = load_changed(&f, &s, 24, written, sizeof(written), &err);

	ck_assert_msg(ret == 0, "%s", err.msg);
	ck_assert_uint_ne(bus_read(&f.m->mmio, slot_base(SLOT) + 0x100, 4), UINT32_MAX);
	section_close(&s);
	fix_fini(&f);
}
END_TEST

START_TEST(features_that_are_not_here)
{
	struct section s = section_open("linux2", sections[4].idstr, 0);
	struct src in = src_mem(s.body.data, s.body.len);
	struct err err = {0};
	struct vms_entry *e;
	struct fix f;

	fix_init(&f, false); /* a back end without offloads */
	e = make(&f, "virtio-net");
	fill_rings(&f, 4);
	ck_assert_int_lt(vms_load(e->desc, e->dev, &in, s.version, &err), 0);
	ck_assert_msg(strstr(err.msg, "offloads") != NULL, "%s", err.msg);
	fix_fini(&f);
	section_close(&s);

	s = section_open("linux2", sections[3].idstr, 0);
	s.body.data[16] |= 0x08; /* a feature bit from nowhere, low half and whole */
	in = src_mem(s.body.data, s.body.len);
	fix_init(&f, false);
	e = make(&f, "virtio-blk");
	fill_rings(&f, 3);
	s.body.data[103 + 1 + 2 + 21 + 4 + 4] |= 0x08;
	ck_assert_int_lt(vms_load(e->desc, e->dev, &in, s.version, &err), 0);
	ck_assert_msg(strstr(err.msg, "features that are not offered here: bit 27;") != NULL, "%s",
		      err.msg);
	fix_fini(&f);
	section_close(&s);
}
END_TEST

START_TEST(legacy_transport_idle_is_fine_running_is_refused)
{
	struct section s = section_open("irqk1", "virtio-mmio@00000000feb00e00/virtio-blk", 0);
	struct err err = {0};
	struct vms_entry *e;
	struct src in;
	struct fix f;

	fix_init(&f, false);
	e = make(&f, "virtio-blk");
	section_load(&s, e->desc, e->dev);
	s.body.data[12] = 7; /* DRIVER_OK */
	in = src_mem(s.body.data, s.body.len);
	ck_assert_int_lt(vms_load(e->desc, e->dev, &in, s.version, &err), 0);
	ck_assert_msg(strstr(err.msg, "legacy virtio-mmio") != NULL, "%s", err.msg);
	section_close(&s);
	fix_fini(&f);
}
END_TEST

START_TEST(broken_device_stays_broken)
{
	struct buf out = {0};
	struct err err = {0};
	struct vms_entry *e;
	struct ring r;
	struct src in;
	struct fix f;

	fix_init(&f, false);
	e = make(&f, "virtio-rng");
	guest_resume(f.m);
	r = ring_at(&f.m->mem, 0x10000, 8);
	(void)driver_start(f.m, SLOT, UINT64_MAX, &r, 1);
	ring_avail(&r, 99);
	kick(f.m, SLOT, 0);
	guest_sync(f.m);
	guest_pause(f.m);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x70), 0x4f);
	ck_assert_int_eq(vms_save(e->desc, e->dev, &out, NULL, &err), 0);
	list_for_each (d, &f.m->devices, struct device, link)
		d->ops->reset(d);
	in = src_mem(out.data, out.len);
	ck_assert_msg(vms_load(e->desc, e->dev, &in, 1, &err) == 0, "%s", err.msg);
	guest_resume(f.m);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x70), 0x4f);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x60), 2);
	kick(f.m, SLOT, 0);
	guest_wait_idle(f.m);
	ck_assert_uint_eq(ring_used_idx(&r), 0);
	buf_free(&out);
	fix_fini(&f);
}
END_TEST

CHECK_MAIN("virtio-state", real_sections_survive, legacy_sections_survive,
	   running_driver_needs_its_own_transport, idstr_and_version, every_cut_is_refused,
	   hostile_values_are_refused, what_a_guest_can_do_needs_a_reset,
	   configuration_that_cannot_be_written, capacity_that_a_guest_has_written,
	   features_that_are_not_here, legacy_transport_idle_is_fine_running_is_refused,
	   broken_device_stays_broken)
