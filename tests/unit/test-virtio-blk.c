/* virtio-blk end to end: a driver's ring, the device, a file; with both block drivers. */
#include "tests/unit/check-main.h"
#include "tests/unit/image-files.h"
#include "tests/unit/virtio-backends.h"

#define SLOT    7
#define BYTES   (4 * MiB)
#define HEADER  0x40000ULL
#define DATA    0x41000ULL
#define STATUS  0x60000ULL
#define NEXT    VIRTQ_DESC_NEXT
#define WR      VIRTQ_DESC_WRITE
#define ALL     UINT64_MAX
#define NO_WCE  (~VIRTIO_BIT(11))
#define F_FLUSH VIRTIO_BIT(9)

struct fix {
	struct machine *m;
	struct disk disk;
	struct block_node *nodes[1];
	struct backends be;
	struct ring r;
};

static int create(struct fix *f, const char *const *props, struct err *err)
{
	struct cfg_device cfg = test_device("virtio-blk-device", "d0");
	int ret;

	for (; props && *props; props += 2)
		keyvals_add(&cfg.props, props[0], props[1]);
	if (!keyvals_get(&cfg.props, "drive"))
		keyvals_add(&cfg.props, "drive", "disk0");
	ret = device_create(f->m, &cfg, SLOT, &f->be, err);
	device_free(&cfg);
	return ret;
}

static void fix_base(struct fix *f, bool threads, bool readonly)
{
	f->m = guest_machine();
	disk_open(&f->disk, BYTES, threads, readonly, true);
	f->nodes[0] = f->disk.node;
	f->be = (struct backends){
	    .blocks = {.v = f->nodes, .n = 1}
        };
	f->r = ring_at(&f->m->mem, 0x10000, 256);
}

static void fix_init(struct fix *f, bool threads, const char *const *props)
{
	struct err err = {0};

	fix_base(f, threads, false);
	ck_assert_msg(create(f, props, &err) == 0, "%s", err.msg);
	guest_resume(f->m);
}

static void fix_fini(struct fix *f)
{
	guest_end_devices(f->m);
	disk_close(&f->disk);
	guest_free(f->m);
}

static uint8_t *at(struct fix *f, uint64_t gpa)
{
	return memory_ptr(&f->m->mem, gpa, 1);
}

static void header(struct fix *f, uint32_t type, uint64_t sector)
{
	uint8_t *h = at(f, HEADER);

	put_le32(h, type);
	put_le32(h + 4, 0);
	put_le64(h + 8, sector);
	*at(f, STATUS) = 0xee;
}

/* One request with 'len' bytes at DATA; its status.  *written: what the used ring says. */
static uint8_t request(struct fix *f, uint32_t type, uint64_t sector, uint32_t len,
		       uint32_t *written)
{
	bool in = type == 0 || type == 8;
	uint32_t used;

	header(f, type, sector);
	ring_desc(&f->r, 0, HEADER, 16, NEXT, len ? 1 : 2);
	ring_desc(&f->r, 1, DATA, len, (uint16_t)(NEXT | (in ? WR : 0)), 2);
	ring_desc(&f->r, 2, STATUS, 1, WR, 0);
	ring_avail(&f->r, 0);
	kick(f->m, SLOT, 0);
	guest_wait_idle(f->m);
	used = ring_take(&f->r, 0);
	if (written)
		*written = used;
	return *at(f, STATUS);
}

static const char *board_text(const struct board_device *d, const char *name)
{
	for (size_t i = 0; i < d->n_props; i++)
		if (!strcmp(d->props[i].name, name))
			return d->props[i].text;
	return "";
}

START_TEST(features_and_config)
{
	static const char qemu[] = "002000000000000000000000fe0000000800103f0002000000000000000000"
				   "0001000100ffff3f000100000001000000ffff3f000100000001";
	struct fix f;
	char hex[2 * 57 + 1];

	fix_init(&f, true, NULL);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 8), 2);
	ck_assert_uint_eq(features_get(f.m, SLOT), 0x10130006e54);
	for (unsigned i = 0; i < 57; i++)
		(void)snprintf(hex + 2L * i, 3, "%02x",
			       (unsigned)bus_read(&f.m->mmio, slot_base(SLOT) + 0x100 + i, 1));
	ck_assert_str_eq(hex, qemu);
	ck_assert_uint_eq(bus_read(&f.m->mmio, slot_base(SLOT) + 0x100, 2), 0x2000);
	ck_assert_uint_eq(bus_read(&f.m->mmio, slot_base(SLOT) + 0x10c, 4), 0xfe);
	ck_assert_uint_eq(bus_read(&f.m->mmio, slot_base(SLOT) + 0x138, 1), 1);
	ck_assert_uint_eq(bus_read(&f.m->mmio, slot_base(SLOT) + 0x138, 2), 0xffff);
	ck_assert_uint_eq(bus_read(&f.m->mmio, slot_base(SLOT) + 0x139, 1), 0xff);
	ck_assert_str_eq(board_text(&f.m->board.devices[0], "capacity"), "8192");
	ck_assert_str_eq(board_text(&f.m->board.devices[0], "features"), "0x10130006e54");
	ck_assert_str_eq(board_text(&f.m->board.devices[0], "read-only"), "off");
	fix_fini(&f);
}
END_TEST

START_TEST(config_with_large_blocks)
{
	static const char *const props[] = {"logical_block_size", "4096", NULL};
	struct fix f;

	fix_init(&f, true, props);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x114), 4096);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x12c), 8);
	(void)driver_start(f.m, SLOT, ALL, &f.r, 1);
	ck_assert_uint_eq(request(&f, 0, 8, 4096, NULL), 0);
	ck_assert_uint_eq(request(&f, 0, 8, 512, NULL), 1);
	ck_assert_uint_eq(request(&f, 0, 7, 4096, NULL), 1);
	fix_fini(&f);
}
END_TEST

static void read_write(bool threads)
{
	struct fix f;
	uint32_t written;
	uint8_t buf[1024];

	fix_init(&f, threads, NULL);
	(void)driver_start(f.m, SLOT, ALL, &f.r, 1);
	memset(at(&f, DATA), 0x5a, 1024);
	ck_assert_uint_eq(request(&f, 1, 8190, 1024, &written), 0);
	ck_assert_uint_eq(written, 1);
	ck_assert_int_eq(pread(f.disk.fd, buf, sizeof(buf), 8190 * 512), 1024);
	ck_assert_mem_eq(buf, at(&f, DATA), 1024);
	memset(at(&f, DATA), 0, 1024);
	ck_assert_uint_eq(request(&f, 0, 8190, 1024, &written), 0);
	ck_assert_uint_eq(written, 1025);
	ck_assert_mem_eq(buf, at(&f, DATA), 1024);
	ck_assert_uint_eq(request(&f, 4, 0, 0, &written), 0);
	ck_assert_uint_eq(f.disk.node->stats.flush_ops, 1);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x60), 1);
	fix_fini(&f);
}

START_TEST(reads_and_writes)
{
	read_write(true);
	read_write(false);
}
END_TEST

START_TEST(any_layout)
{
	struct fix f;
	uint64_t table = 0x50000;

	fix_init(&f, false, NULL);
	(void)driver_start(f.m, SLOT, ALL, &f.r, 1);
	header(&f, 1, 1);
	memset(at(&f, DATA), 0x77, 512);
	memcpy(at(&f, DATA) - 6, at(&f, HEADER) + 10, 6);
	/* the header in two, its end together with the data; all in an indirect table */
	desc_at(&f.m->mem, table, HEADER, 3, NEXT, 1);
	desc_at(&f.m->mem, table + 16, HEADER + 3, 7, NEXT, 2);
	desc_at(&f.m->mem, table + 32, DATA - 6, 6 + 500, NEXT, 3);
	desc_at(&f.m->mem, table + 48, DATA + 500, 12, NEXT, 4);
	desc_at(&f.m->mem, table + 64, STATUS, 1, WR, 0);
	ring_desc(&f.r, 9, table, 80, VIRTQ_DESC_INDIRECT, 0);
	ring_avail(&f.r, 9);
	kick(f.m, SLOT, 0);
	guest_wait_idle(f.m);
	ck_assert_uint_eq(ring_take(&f.r, 9), 1);
	ck_assert_uint_eq(*at(&f, STATUS), 0);
	memset(at(&f, DATA), 0, 512);
	/* data and status in one piece */
	header(&f, 0, 1);
	ring_desc(&f.r, 0, HEADER, 16, NEXT, 1);
	ring_desc(&f.r, 1, DATA, 513, WR, 0);
	ring_avail(&f.r, 0);
	kick(f.m, SLOT, 0);
	guest_wait_idle(f.m);
	ck_assert_uint_eq(ring_take(&f.r, 0), 513);
	for (unsigned i = 0; i < 512; i++)
		ck_assert_uint_eq(at(&f, DATA)[i], 0x77);
	ck_assert_uint_eq(at(&f, DATA)[512], 0);
	fix_fini(&f);
}
END_TEST

START_TEST(bounds)
{
	struct fix f;

	fix_init(&f, true, NULL);
	(void)driver_start(f.m, SLOT, ALL, &f.r, 1);
	ck_assert_uint_eq(request(&f, 0, 8192, 512, NULL), 1);
	ck_assert_uint_eq(request(&f, 0, 8191, 1024, NULL), 1);
	ck_assert_uint_eq(request(&f, 0, UINT64_MAX, 512, NULL), 1);
	ck_assert_uint_eq(request(&f, 1, UINT64_MAX / 512, 512, NULL), 1);
	ck_assert_uint_eq(request(&f, 0, 0, 100, NULL), 1);
	ck_assert_uint_eq(request(&f, 0, 8192, 0, NULL), 0); /* nothing of nothing */
	ck_assert_uint_eq(request(&f, 77, 0, 512, NULL), 2);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x70), 0xf);
	fix_fini(&f);
}
END_TEST

START_TEST(serial_number)
{
	static const char *const props[] = {"serial", "S-1", NULL};
	static const char *const long_one[] = {"serial", "123456789012345678901", NULL};
	struct err err = {0};
	struct fix f;

	fix_init(&f, true, props);
	(void)driver_start(f.m, SLOT, ALL, &f.r, 1);
	memset(at(&f, DATA), 0xee, 20);
	ck_assert_uint_eq(request(&f, 8, 0, 20, NULL), 0);
	ck_assert_str_eq((char *)at(&f, DATA), "S-1");
	fix_fini(&f);
	fix_base(&f, true, false);
	ck_assert_int_lt(create(&f, long_one, &err), 0);
	ck_assert_msg(strstr(err.msg, "longer than 20") != NULL, "%s", err.msg);
	fix_fini(&f);
}
END_TEST

static uint8_t range(struct fix *f, uint32_t type, uint64_t sector, uint32_t n, uint32_t flags,
		     uint32_t len)
{
	put_le64(at(f, DATA), sector);
	put_le32(at(f, DATA) + 8, n);
	put_le32(at(f, DATA) + 12, flags);
	return request(f, type, 0, len, NULL);
}

START_TEST(discards_and_zeroes)
{
	struct fix f;
	uint8_t buf[1024];

	fix_init(&f, false, NULL);
	(void)driver_start(f.m, SLOT, ALL, &f.r, 1);
	memset(buf, 0x11, sizeof(buf));
	ck_assert_int_eq(pwrite(f.disk.fd, buf, 1024, 512), 1024);
	ck_assert_uint_eq(range(&f, 13, 1, 1, 1, 16), 0);
	ck_assert_int_eq(pread(f.disk.fd, buf, 1024, 512), 1024);
	ck_assert_uint_eq(buf[0], 0);
	ck_assert_uint_eq(buf[512], 0x11);
	ck_assert_uint_eq(range(&f, 11, 2, 1, 0, 16), 0);
	ck_assert_uint_eq(range(&f, 11, 2, 1, 1, 16), 2); /* unmap is no flag of discard */
	ck_assert_uint_eq(range(&f, 13, 2, 1, 2, 16), 2); /* reserved */
	ck_assert_uint_eq(range(&f, 13, 2, 1, 0, 32), 2); /* one range at a time */
	ck_assert_uint_eq(range(&f, 13, 8192, 1, 0, 16), 1);
	ck_assert_uint_eq(range(&f, 13, 0, UINT32_MAX, 0, 16), 1);
	fix_fini(&f);
}
END_TEST

START_TEST(read_only_disk)
{
	struct fix f;

	fix_base(&f, false, true);
	ck_assert_int_eq(create(&f, NULL, NULL), 0);
	guest_resume(f.m);
	ck_assert_uint_eq(features_get(f.m, SLOT), 0x10130006e74);
	(void)driver_start(f.m, SLOT, ALL, &f.r, 1);
	ck_assert_uint_eq(request(&f, 0, 0, 512, NULL), 0);
	ck_assert_uint_eq(request(&f, 1, 0, 512, NULL), 1);
	ck_assert_uint_eq(range(&f, 13, 0, 1, 0, 16), 1);
	ck_assert_uint_eq(request(&f, 4, 0, 0, NULL), 0);
	fix_fini(&f);
}
END_TEST

START_TEST(write_cache)
{
	struct fix f;

	fix_init(&f, false, NULL);
	(void)driver_start(f.m, SLOT, ALL, &f.r, 1);
	ck_assert_uint_eq(request(&f, 1, 0, 512, NULL), 0);
	ck_assert_uint_eq(f.disk.node->stats.flush_ops, 0);
	bus_write(&f.m->mmio, slot_base(SLOT) + 0x120, 1, 0); /* the guest turns it off */
	ck_assert_uint_eq(bus_read(&f.m->mmio, slot_base(SLOT) + 0x120, 1), 0);
	ck_assert_uint_eq(request(&f, 1, 0, 512, NULL), 0);
	ck_assert_uint_eq(f.disk.node->stats.flush_ops, 1);
	fix_fini(&f);
}
END_TEST

START_TEST(no_write_cache_for_simple_drivers)
{
	struct fix f;

	fix_init(&f, false, NULL);
	(void)driver_start(f.m, SLOT, NO_WCE & ~F_FLUSH, &f.r, 1);
	ck_assert_uint_eq(request(&f, 1, 0, 512, NULL), 0);
	ck_assert_uint_eq(f.disk.node->stats.flush_ops, 1);
	fix_fini(&f);
}
END_TEST

static void note_error(void *opaque, const struct notification *n)
{
	int *seen = opaque;

	if (n->kind == NOTIFY_BLOCK_IO_ERROR && !strcmp(n->text2, "write"))
		*seen = (int)n->number;
}

START_TEST(host_errors_are_reported)
{
	struct fix f;
	int keep, seen = 0;
	struct notify_listener l = {.fn = note_error, .opaque = &seen};

	fix_init(&f, true, NULL);
	notify_subscribe(&f.m->notify, &l);
	(void)driver_start(f.m, SLOT, ALL, &f.r, 1);
	keep = f.disk.node->fd;
	f.disk.node->fd = open("/dev/full", O_RDWR | O_CLOEXEC);
	ck_assert_uint_eq(request(&f, 1, 0, 512, NULL), 1);
	(void)close(f.disk.node->fd);
	f.disk.node->fd = keep;
	loop_post(f.m->loop, (loop_fn *)loop_stop, f.m->loop);
	loop_run(f.m->loop);
	ck_assert_int_eq(seen, ENOSPC);
	notify_unsubscribe(&l);
	fix_fini(&f);
}
END_TEST

static void breaks(bool (*prepare)(struct fix *f))
{
	struct fix f;

	fix_init(&f, true, NULL);
	(void)driver_start(f.m, SLOT, ALL, &f.r, 1);
	header(&f, 0, 0);
	ck_assert(prepare(&f));
	ring_avail(&f.r, 0);
	kick(f.m, SLOT, 0);
	guest_wait_idle(f.m);
	ck_assert_uint_eq(ring_used_idx(&f.r), 0);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x70), 0x4f);
	fix_fini(&f);
}

static bool no_status(struct fix *f)
{
	ring_desc(&f->r, 0, HEADER, 16, 0, 0);
	return true;
}

static bool short_header(struct fix *f)
{
	ring_desc(&f->r, 0, HEADER, 15, NEXT, 1);
	ring_desc(&f->r, 1, STATUS, 1, WR, 0);
	return true;
}

static bool no_header(struct fix *f)
{
	ring_desc(&f->r, 0, STATUS, 1, WR, 0);
	return true;
}

START_TEST(requests_without_header_or_status)
{
	breaks(no_status);
	breaks(short_header);
	breaks(no_header);
}
END_TEST

START_TEST(many_requests_drain_before_pause)
{
	struct fix f;
	unsigned n = 200;

	fix_init(&f, false, NULL);
	(void)driver_start(f.m, SLOT, ALL, &f.r, 1);
	header(&f, 1, 0);
	for (unsigned i = 0; i < 64; i++) {
		uint16_t d = (uint16_t)(i * 3);

		ring_desc(&f.r, d, HEADER, 16, NEXT, (uint16_t)(d + 1));
		ring_desc(&f.r, (uint16_t)(d + 1), DATA, 512, NEXT, (uint16_t)(d + 2));
		ring_desc(&f.r, (uint16_t)(d + 2), STATUS + i, 1, WR, 0);
	}
	for (unsigned i = 0; i < n; i++)
		ring_avail(&f.r, (uint16_t)(i % 64 * 3));
	kick(f.m, SLOT, 0);
	guest_sync(f.m);
	guest_pause(f.m);
	ck_assert_uint_eq(ring_used_idx(&f.r), n);
	guest_resume(f.m);
	fix_fini(&f);
}
END_TEST

START_TEST(reset_waits_for_requests)
{
	struct fix f;

	fix_init(&f, true, NULL);
	(void)driver_start(f.m, SLOT, ALL, &f.r, 1);
	header(&f, 1, 0);
	ring_desc(&f.r, 0, HEADER, 16, NEXT, 1);
	ring_desc(&f.r, 1, DATA, 512, NEXT, 2);
	ring_desc(&f.r, 2, STATUS, 1, WR, 0);
	for (unsigned i = 0; i < 100; i++)
		ring_avail(&f.r, 0);
	kick(f.m, SLOT, 0);
	guest_sync(f.m);
	reg_set(f.m, SLOT, 0x70, 0);
	ck_assert_uint_eq(ring_used_idx(&f.r), 100);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x60), 0);
	fix_fini(&f);
}
END_TEST

static const struct {
	const char *props[5];
	const char *says;
} refused[] = {
    {{"drive", "zz"},					      "Property 'virtio-blk-device.drive' can't find value 'zz'"          },
    {{"zz", "1"},						  "Property 'virtio-blk-device.zz' not found"                         },
    {{"num-queues", "2"},					  "num-queues=2 is not supported: a disk has one queue"               },
    {{"iothread", "io0"},					  "Property 'virtio-blk-device.iothread' not found"                   },
    {{"logical_block_size", "1000"},
     "virtio-blk-device: block sizes and queue-size must be powers of two"                                                             },
    {{"logical_block_size", "4096", "physical_block_size", "512"},
     "logical_block_size > physical_block_size"											},
    {{"werror", "stop"},
     "werror=stop is not supported: the guest is told of the error; use report"                                                        },
    {{"write-cache", "perhaps"},				   "Parameter 'write-cache' does not accept value 'perhaps'"           },
    {{"queue-size", "2048"},				       "Parameter 'queue-size' expects a number from 4 to 1024, not '2048'"},
};

START_TEST(properties)
{
	struct fix f;

	fix_base(&f, true, false);
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct err err = {0};

		ck_assert_int_lt(create(&f, refused[i].props, &err), 0);
		ck_assert_str_eq(err.msg, refused[i].says);
	}
	ck_assert_int_eq(create(&f, NULL, NULL), 0);
	{
		struct err err = {0};

		ck_assert_int_lt(create(&f, NULL, &err), 0);
		ck_assert_msg(strstr(err.msg, "it's in use") != NULL, "%s", err.msg);
	}
	fix_fini(&f);
}
END_TEST

/* The disk has another size: the driver is told, and what moves with the guest says so too. */
START_TEST(another_size)
{
	struct err err = {0};
	struct fix f;

	fix_init(&f, false, NULL);
	(void)driver_start(f.m, SLOT, ALL, &f.r, 1);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x60), 0);
	machine_lock(f.m);
	ck_assert_int_eq(block_node_resize(f.disk.node, f.m, BYTES + 512, &err), 0);
	machine_unlock(f.m);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x60), 2);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x100), BYTES / 512 + 1);
	ck_assert_str_eq(board_text(&f.m->board.devices[0], "capacity"), "8193");
	ck_assert_uint_eq(request(&f, 0, 8192, 512, NULL), 0);
	machine_lock(f.m);
	ck_assert_int_eq(block_node_resize(f.disk.node, f.m, MiB, &err), 0);
	ck_assert_int_eq(block_node_resize(f.disk.node, f.m, MiB + 1, &err), -EINVAL);
	machine_unlock(f.m);
	ck_assert_uint_eq(request(&f, 0, 2048, 512, NULL), 1);
	ck_assert_uint_eq(request(&f, 0, 2047, 512, NULL), 0);
	fix_fini(&f);
}
END_TEST

/* A qcow2 image below: what the driver does, and what the machine does when the guest moves. */
START_TEST(on_qcow2)
{
	const struct qcow2_create c = {.bytes = BYTES};
	struct cfg_blockdev cfg = {.node_name = (char *)(uintptr_t) "disk0",
				   .driver = (char *)(uintptr_t) "qcow2",
				   .writeback = true,
				   .discard = true};
	struct err err = {0};
	struct files files;
	struct fix f;

	files_init(&files);
	fix_base(&f, false, false);
	cfg.filename = (char *)(uintptr_t)file_qcow2(&files, "d.qcow2", &c);
	f.nodes[0] = block_node_new(&cfg, &err);
	ck_assert_msg(f.nodes[0] != NULL, "%s", err.msg);
	ck_assert_int_eq(block_node_take(f.nodes[0], &err), 0);
	ck_assert_int_eq(create(&f, NULL, &err), 0);
	guest_resume(f.m);
	(void)driver_start(f.m, SLOT, ALL, &f.r, 1);
	for (unsigned i = 0; i < 3; i++) {
		memset(at(&f, DATA), 0x5a + (int)i, 65536 + 512);
		ck_assert_uint_eq(request(&f, 1, i * 256, 65536 + 512, NULL), 0);
		memset(at(&f, DATA), 0, 65536 + 512);
		ck_assert_uint_eq(request(&f, 0, i * 256, 65536 + 512, NULL), 0);
		ck_assert_uint_eq(*at(&f, DATA), 0x5a + i);
		ck_assert_uint_eq(*at(&f, DATA + 65536 + 511), 0x5a + i);
		ck_assert_uint_eq(request(&f, 4, 0, 0, NULL), 0);
		guest_pause(f.m);
		machine_lock(f.m);
		ck_assert_msg(machine_handover(f.m, HANDOVER_RELEASE, &err) == 0, "%s", err.msg);
		ck_assert(!block_node_active(f.nodes[0]) && !f.nodes[0]->locked);
		judge(cfg.filename, false);
		ck_assert_msg(machine_handover(f.m, HANDOVER_ACQUIRE, &err) == 0, "%s", err.msg);
		ck_assert(block_node_active(f.nodes[0]) && f.nodes[0]->locked);
		machine_unlock(f.m);
		guest_resume(f.m);
		ck_assert_uint_eq(request(&f, 0, i * 256, 512, NULL), 0);
		ck_assert_uint_eq(*at(&f, DATA), 0x5a + i);
	}
	guest_end_devices(f.m);
	block_node_free(f.nodes[0]);
	judge(cfg.filename, false);
	disk_close(&f.disk);
	guest_free(f.m);
	files_fini(&files);
}
END_TEST

CHECK_MAIN("virtio-blk", features_and_config, config_with_large_blocks, reads_and_writes,
	   any_layout, bounds, serial_number, discards_and_zeroes, read_only_disk, write_cache,
	   no_write_cache_for_simple_drivers, host_errors_are_reported,
	   requests_without_header_or_status, many_requests_drain_before_pause,
	   reset_waits_for_requests, properties, another_size, on_qcow2)
