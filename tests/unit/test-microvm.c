/* The board: where RAM is seen, which devices there are, and what is refused. */
#include <check.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "devices/debug-exit.h"
#include "devices/fw-cfg.h"
#include "devices/microvm.h"
#include "tests/unit/bare-machine.h"
#include "tests/unit/check-main.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static struct err err;

static const struct mem_slot *slot_at(const struct machine *m, uint64_t gpa)
{
	for (size_t i = 0; i < m->mem.n_slots; i++)
		if (m->mem.slots[i].gpa == gpa)
			return &m->mem.slots[i];
	return NULL;
}

static void expect_slot(const struct machine *m, uint64_t gpa, uint64_t bytes, const char *block,
			uint64_t off)
{
	const struct mem_slot *s = slot_at(m, gpa);

	ck_assert_msg(s != NULL, "nothing at 0x%llx", (unsigned long long)gpa);
	ck_assert_uint_eq(s->bytes, bytes);
	ck_assert_str_eq(s->block->name, block);
	ck_assert_uint_eq(s->off, off);
}

START_TEST(small_memory)
{
	struct config cfg = {.ram_bytes = 128 * MiB, .cpus = 1};
	struct machine *m = bare_machine_new(&cfg);

	ck_assert_int_eq(microvm_create_memory(m, &err), 0);
	ck_assert_uint_eq(m->mem.n_slots, 4);
	expect_slot(m, 0, 0xf0000, "microvm.ram", 0);
	expect_slot(m, 0xf0000, 0x10000, "pc.bios", 0);
	expect_slot(m, MiB, 127 * MiB, "microvm.ram", MiB);
	expect_slot(m, 0xffff0000, 0x10000, "pc.bios", 0);
	ck_assert_uint_eq(m->mem.blocks[0]->bytes, 128 * MiB);
	ck_assert_ptr_eq(memory_ptr(&m->mem, 0xffff0, 16), memory_ptr(&m->mem, 0xfffffff0, 16));
	bare_machine_free(m);
}
END_TEST

START_TEST(large_memory)
{
	struct config cfg = {.ram_bytes = 5 * GiB, .cpus = 1};
	struct machine *m = bare_machine_new(&cfg);

	ck_assert_int_eq(microvm_create_memory(m, &err), 0);
	expect_slot(m, MiB, 3 * GiB - MiB, "microvm.ram", MiB);
	expect_slot(m, 4 * GiB, 2 * GiB, "microvm.ram", 3 * GiB);
	bare_machine_free(m);
}
END_TEST

static char *make_file(size_t bytes)
{
	char *path = xstrdup("/tmp/minivmm-bios-XXXXXX");
	int fd = mkstemp(path);

	ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
	(void)close(fd);
	return path;
}

/* 192 KiB of firmware: the last 128 KiB of it show below 1 MiB. */
START_TEST(firmware)
{
	struct config cfg = {.ram_bytes = 16 * MiB, .cpus = 1, .bios = make_file(192 * KiB)};
	struct machine *m = bare_machine_new(&cfg);

	ck_assert_int_eq(microvm_create_memory(m, &err), 0);
	expect_slot(m, 0xe0000, 0x20000, "pc.bios", 0x10000);
	expect_slot(m, 4 * GiB - 192 * KiB, 192 * KiB, "pc.bios", 0);
	bare_machine_free(m);
	(void)unlink(cfg.bios);
	free(cfg.bios);
}
END_TEST

START_TEST(memory_backend)
{
	struct cfg_object o = {.type = (char *)"memory-backend-memfd",
			       .id = (char *)"mem",
			       .size = 32 * MiB,
			       .share = true};
	struct config cfg = {.ram_bytes = 32 * MiB,
			     .cpus = 1,
			     .objects = &o,
			     .n_objects = 1,
			     .memory_backend = (char *)"mem"};
	struct machine *m = bare_machine_new(&cfg);

	ck_assert_int_eq(microvm_create_memory(m, &err), 0);
	expect_slot(m, 0, 0xf0000, "mem", 0);
	ck_assert_int_ge(m->mem.blocks[0]->fd, 0);
	bare_machine_free(m);
}
END_TEST

static void refuse(const struct config *cfg, const char *why)
{
	struct machine *m = bare_machine_new(cfg);

	ck_assert_int_lt(microvm_create_memory(m, &err), 0);
	ck_assert_msg(strstr(err.msg, why) != NULL, "'%s' does not say '%s'", err.msg, why);
	bare_machine_free(m);
}

START_TEST(memory_refused)
{
	struct cfg_object o = {.type = (char *)"rng-random", .id = (char *)"mem", .size = 2 * MiB};
	struct config cfg = {.ram_bytes = 512 * KiB};

	refuse(&cfg, "at least 1 MiB");
	cfg.ram_bytes = 2 * MiB;
	cfg.bios = (char *)"/nope/bios";
	refuse(&cfg, "could not load BIOS '/nope/bios': No such file or directory");
	cfg.bios = make_file(1000);
	refuse(&cfg, "is not a multiple of 64 KiB");
	(void)unlink(cfg.bios);
	free(cfg.bios);
	cfg.bios = NULL;
	cfg.memory_backend = (char *)"mem";
	refuse(&cfg, "Memory backend 'mem' not found");
	cfg.objects = &o;
	cfg.n_objects = 1;
	refuse(&cfg, "not a memory backend");
	o.size = MiB;
	refuse(&cfg, "is not the size of memory backend 'mem'");
}
END_TEST

static const struct vms_entry *entry(const struct machine *m, const char *idstr)
{
	return vms_find(&m->vmstate, idstr, 0);
}

START_TEST(all_devices)
{
	struct cfg_chardev chr = {.type = (char *)"null", .id = (char *)"c", .fd = -1};
	struct cfg_device dev = {
	    .row = &debug_exit_row, .driver = (char *)"isa-debug-exit", .id = (char *)"x"};
	struct config cfg = {.ram_bytes = 16 * MiB,
			     .cpus = 1,
			     .acpi = true,
			     .rtc = true,
			     .isa_serial = true,
			     .serial = (char *)"c",
			     .chardevs = &chr,
			     .n_chardevs = 1,
			     .devices = &dev,
			     .n_devices = 1};
	struct machine *m = bare_machine_new(&cfg);
	struct backends be = {0};

	ck_assert_int_eq(microvm_create_memory(m, &err), 0);
	ck_assert_int_eq(chardevs_open(&be.chardevs, m, &err), 0);
	ck_assert_int_eq(microvm_create_devices(m, &be, &err), 0);
	ck_assert_ptr_nonnull(entry(m, "fw_cfg"));
	ck_assert_ptr_nonnull(entry(m, "acpi-ged"));
	ck_assert_ptr_nonnull(entry(m, "mc146818rtc"));
	ck_assert_int_eq(entry(m, "mc146818rtc")->alias, 0x70);
	ck_assert_int_eq(entry(m, "serial")->alias, 0x3f8);
	ck_assert_uint_eq(m->board.n, 5);
	ck_assert_uint_eq(bus_read(&m->ports, 0x3fd, 1), 0x60);
	/* An unused transport says that nothing is behind it. */
	ck_assert_uint_eq(bus_read(&m->mmio, BOARD_VIRTIO_BASE, 4), 0x74726976);
	ck_assert_uint_eq(bus_read(&m->mmio, BOARD_VIRTIO_BASE + 8, 4), 0);
	bare_machine_run(m, true);
	bare_machine_run(m, false);
	bare_machine_free(m);
	chardevs_close(&be.chardevs);
}
END_TEST

START_TEST(fewest_devices)
{
	struct config cfg = {.ram_bytes = 16 * MiB, .cpus = 1};
	struct machine *m = bare_machine_new(&cfg);
	struct backends be = {0};

	ck_assert_int_eq(microvm_create_memory(m, &err), 0);
	ck_assert_int_eq(microvm_create_devices(m, &be, &err), 0);
	ck_assert_ptr_nonnull(entry(m, "fw_cfg"));
	ck_assert_ptr_null(entry(m, "acpi-ged"));
	ck_assert_ptr_null(entry(m, "serial"));
	ck_assert_uint_eq(bus_read(&m->ports, 0x3fd, 1) & 0xff, 0xff);
	bare_machine_free(m);
}
END_TEST

START_TEST(devices_refused)
{
	struct keyval zz = {.key = (char *)"zz", .val = (char *)"1"};
	struct cfg_device dev = {
	    .row = &debug_exit_row,
	    .driver = (char *)"isa-debug-exit",
	    .props = {.v = &zz, .n = 1}
        };
	struct config cfg = {.ram_bytes = 16 * MiB, .cpus = 1, .devices = &dev, .n_devices = 1};
	struct machine *m = bare_machine_new(&cfg);
	struct backends be = {0};

	ck_assert_int_eq(microvm_create_memory(m, &err), 0);
	ck_assert_int_lt(microvm_create_devices(m, &be, &err), 0);
	ck_assert_str_eq(err.msg, "Property 'isa-debug-exit.zz' not found");
	bare_machine_free(m);
}
END_TEST

/* Without -bios a load may give the firmware another size; all of the guest's memory is laid out
 * anew. */
START_TEST(firmware_of_the_source)
{
	struct config cfg = {.ram_bytes = 128 * MiB, .cpus = 1};
	struct machine *m = bare_machine_new(&cfg);
	struct ram_block *bios;

	ck_assert_int_eq(microvm_create_memory(m, &err), 0);
	bios = m->mem.blocks[1];
	memcpy(memory_ptr(&m->mem, 0x100000, 3), "ram", 3);
	ck_assert(machine_adopts(m, bios, 128 * KiB));
	ck_assert(!machine_adopts(m, m->mem.blocks[0], 128 * KiB));
	ck_assert(!machine_adopts(m, bios, 128 * KiB + 4096));
	ck_assert(!machine_adopts(m, bios, 0));
	ck_assert(!machine_adopts(m, bios, 32 * MiB));
	for (uint64_t kib = 128; kib >= 64; kib -= 64) {
		uint64_t bytes = kib * KiB;

		ck_assert_int_eq(m->board.ops->adopt(m, bios, bytes, &err), 0);
		ck_assert_uint_eq(m->mem.n_slots, 4);
		expect_slot(m, 0, MiB - bytes, "microvm.ram", 0);
		expect_slot(m, MiB - bytes, bytes, "pc.bios", 0);
		expect_slot(m, MiB, 127 * MiB, "microvm.ram", MiB);
		expect_slot(m, 4 * GiB - bytes, bytes, "pc.bios", 0);
		ck_assert_uint_eq(bios->gpa, 4 * GiB - bytes);
		*(uint8_t *)memory_ptr(&m->mem, 4 * GiB - 1, 1) = 0x5a;
		ck_assert_uint_eq(*(uint8_t *)memory_ptr(&m->mem, MiB - 1, 1), 0x5a);
		ck_assert_mem_eq(memory_ptr(&m->mem, 0x100000, 3), "ram", 3);
	}
	bare_machine_free(m);
	cfg.bios = make_file(64 * KiB);
	m = bare_machine_new(&cfg);
	ck_assert_int_eq(microvm_create_memory(m, &err), 0);
	ck_assert(!machine_adopts(m, m->mem.blocks[1], 128 * KiB)); /* the user's file decides */
	bare_machine_free(m);
	(void)unlink(cfg.bios);
	free(cfg.bios);
}
END_TEST

/* With a second IOAPIC virtio has 24 slots, on its pins. */
START_TEST(slots)
{
	struct config cfg = {.ram_bytes = 128 * MiB, .cpus = 1, .ioapic2 = true};
	struct machine *m = bare_machine_new(&cfg);
	struct backends be = {0};

	ck_assert_int_eq(microvm_create_devices(m, &be, &err), 0);
	ck_assert_uint_eq(board_virtio_slots(&m->board), 24);
	ck_assert_uint_eq(board_virtio_gsi(&m->board), 24);
	ck_assert_uint_eq(bus_read(&m->mmio, 0xfeb02e00, 4), 0x74726976);
	ck_assert_uint_eq(bus_read(&m->mmio, 0xfeb03000, 4), UINT64_MAX);
	bare_machine_free(m);
}
END_TEST

CHECK_MAIN("microvm", firmware_of_the_source, slots, small_memory, large_memory, firmware,
	   memory_backend, memory_refused, all_devices, fewest_devices, devices_refused)
