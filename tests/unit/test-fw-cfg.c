/* Selector, data port, directory and DMA of the firmware configuration device. */
#include <check.h>
#include <errno.h>
#include <stdio.h>

#include "devices/fw-cfg.h"
#include "tests/unit/bare-machine.h"
#include "tests/unit/check-main.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define RAM    (1 * MiB)
#define REQ    0x1000
#define TARGET 0x2000

#define PORT_SELECT   0
#define PORT_DATA     1
#define PORT_DMA_HIGH 4
#define PORT_DMA_LOW  8

static const struct config cfg = {.ram_bytes = 5ULL * GiB,
				  .cpus = 2,
				  .maxcpus = 4,
				  .kernel = (char *)"k",
				  .append = (char *)"quiet"};
static struct machine *m;
static struct fw_cfg *fw;

static void setup(void)
{
	const struct ram_backend be = {.kind = RAM_ANONYMOUS, .fd = -1};
	struct ram_block *b;

	m = bare_machine_new(&cfg);
	machine_lock(m);
	b = memory_add_block(&m->mem, "ram", RAM, &be, NULL);
	ck_assert_int_eq(memory_map_block(&m->mem, b, 0, 0, RAM, NULL), 0);
	ck_assert_int_eq(fw_cfg_create(m, NULL), 0);
	fw = fw_cfg_find(m);
	ck_assert_ptr_nonnull(fw);
}

static void teardown(void)
{
	machine_unlock(m);
	bare_machine_free(m);
}

static uint64_t item(uint16_t key, unsigned bytes)
{
	uint64_t val = 0;

	bus_write(&m->ports, 0x510, 2, key);
	for (unsigned i = 0; i < bytes; i++)
		val |= bus_read(&m->ports, 0x511, 1) << 8 * i;
	return val;
}

static uint32_t dma(uint32_t control, uint32_t len, uint64_t gpa)
{
	uint8_t req[16];

	put_be32(req, control);
	put_be32(req + 4, len);
	put_be64(req + 8, gpa);
	ck_assert_int_eq(memory_write(&m->mem, REQ, req, sizeof(req)), 0);
	fw_cfg_write(fw, PORT_DMA_HIGH, 4, 0);
	fw_cfg_write(fw, PORT_DMA_LOW, 4, htobe32(REQ));
	ck_assert_int_eq(memory_read(&m->mem, REQ, req, 4), 0);
	return get_be32(req);
}

START_TEST(items)
{
	setup();
	ck_assert_uint_eq(item(0, 4), 0x554d4551); /* "QEMU" */
	ck_assert_uint_eq(item(1, 4), 3);
	ck_assert_uint_eq(item(3, 8), 5ULL * GiB);
	ck_assert_uint_eq(item(5, 2), 2);
	ck_assert_uint_eq(item(0x0f, 2), 4);
	ck_assert_uint_eq(item(0x8002, 4), 1);
	ck_assert_uint_eq(item(0x14, 4), 6);
	ck_assert_uint_eq(item(0x15, 6), 0x7465697571ULL);
	ck_assert_uint_eq(item(1, 8), 3);      /* zeros after the end */
	ck_assert_uint_eq(item(0x06, 4), 0);   /* no such item */
	ck_assert_uint_eq(item(0x3fff, 4), 0); /* no such key */
	ck_assert_uint_eq(fw->cur_entry, FW_CFG_NONE);
	ck_assert_uint_eq(item(0x4001, 4), 3); /* the write bit does not matter */
	teardown();
}
END_TEST

START_TEST(directory)
{
	static const char *const names[] = {"bios-geometry", "bootorder", "etc/acpi/rsdp",
					    "etc/boot-fail-wait", "etc/e820"};
	uint8_t dir[4 + 64 * ARRAY_LEN(names)];

	setup();
	ck_assert_int_eq(fw_cfg_add_file(fw, "etc/acpi/rsdp", "RSDP", 4, NULL), 0);
	bus_write(&m->ports, 0x510, 2, FW_CFG_FILE_DIR);
	for (size_t i = 0; i < sizeof(dir); i++)
		dir[i] = (uint8_t)bus_read(&m->ports, 0x511, 1);
	ck_assert_uint_eq(get_be32(dir), ARRAY_LEN(names));
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		ck_assert_str_eq((char *)dir + 4 + 64 * i + 8, names[i]);
		ck_assert_uint_eq(get_be16(dir + 4 + 64 * i + 4), 0x20 + i);
	}
	ck_assert_uint_eq(item(0x22, 4), 0x50445352);
	ck_assert_uint_eq(get_be32(dir + 4 + 64 * 4), 40); /* two ranges of RAM */
	bus_write(&m->ports, 0x510, 2, 0x24);
	for (int i = 0; i < 20; i++)
		(void)bus_read(&m->ports, 0x511, 1);
	ck_assert_uint_eq(bus_read(&m->ports, 0x511, 1), 0); /* 4 GiB, little endian */
	ck_assert_uint_eq(fw->cur_offset, 21);
	teardown();
}
END_TEST

START_TEST(files_refused)
{
	struct err err = {0};
	char name[64];

	setup();
	ck_assert_int_eq(
	    fw_cfg_add_file(fw, "0123456789012345678901234567890123456789012345678901234567890", "",
			    0, &err),
	    -EINVAL);
	for (int i = 0; i < FW_CFG_MAX_FILES; i++) {
		(void)snprintf(name, sizeof(name), "f%d", i);
		if (fw_cfg_add_file(fw, name, "", 0, &err) < 0)
			break;
	}
	ck_assert_uint_eq(fw->n_files, FW_CFG_MAX_FILES);
	ck_assert_int_eq(fw_cfg_add_file(fw, "g", "", 0, &err), -ENOSPC);
	ck_assert_int_eq(fw_cfg_add_file(fw, "f1", "new", 3, &err), 0); /* replaced */
	teardown();
}
END_TEST

START_TEST(dma_signature)
{
	setup();
	ck_assert_uint_eq(bus_read(&m->ports, 0x514, 4), 0x554d4551);
	ck_assert_uint_eq(bus_read(&m->ports, 0x518, 4), 0x47464320);
	ck_assert_uint_eq(bus_read(&m->ports, 0x51b, 1), 'G');
	ck_assert_uint_eq(bus_read(&m->ports, 0x512, 1) & 0xff, 0xff);
	teardown();
}
END_TEST

START_TEST(dma_reads)
{
	char text[8];

	setup();
	memset(text, 0x55, sizeof(text));
	ck_assert_int_eq(memory_write(&m->mem, TARGET, text, sizeof(text)), 0);
	ck_assert_uint_eq(dma(0x15U << 16 | 0x08 | 0x02, 8, TARGET), 0);
	ck_assert_int_eq(memory_read(&m->mem, TARGET, text, sizeof(text)), 0);
	ck_assert_mem_eq(text, "quiet\0\0", 8); /* zeros after the end */
	ck_assert_uint_eq(dma(0x15U << 16 | 0x08, 0, 0), 0);
	ck_assert_uint_eq(dma(0x04, 2, 0), 0);
	ck_assert_uint_eq(fw->cur_offset, 2);
	ck_assert_uint_eq(dma(0x02, 3, TARGET), 0);
	ck_assert_int_eq(memory_read(&m->mem, TARGET, text, 3), 0);
	ck_assert_mem_eq(text, "iet", 3);
	ck_assert_uint_eq(dma(0x04, UINT32_MAX, 0), 0); /* to the end, not beyond */
	ck_assert_uint_eq(fw->cur_offset, 6);
	teardown();
}
END_TEST

START_TEST(dma_hostile)
{
	setup();
	ck_assert_uint_eq(dma(0x15U << 16 | 0x08 | 0x02, 6, RAM), 1);
	ck_assert_uint_eq(dma(0x15U << 16 | 0x08 | 0x02, 6, UINT64_MAX - 2), 1);
	ck_assert_uint_eq(dma(0x15U << 16 | 0x08 | 0x02, UINT32_MAX, TARGET), 1);
	ck_assert_uint_eq(dma(0x15U << 16 | 0x08 | 0x10, 6, TARGET), 1); /* not writable */
	/* A request that is not in memory, or half of it. */
	fw_cfg_write(fw, PORT_DMA_HIGH, 4, htobe32(0xffffffff));
	fw_cfg_write(fw, PORT_DMA_LOW, 4, htobe32(0xfffffff8));
	fw_cfg_write(fw, PORT_DMA_HIGH, 8, htobe64(RAM - 8));
	ck_assert_uint_eq(fw->dma_addr, 0);
	teardown();
}
END_TEST

START_TEST(hostile_cursor)
{
	setup();
	for (unsigned key = 0; key < 0x10000; key += 7) {
		fw->cur_entry = (uint16_t)key;
		fw->cur_offset = UINT32_MAX;
		ck_assert_uint_eq(fw_cfg_read(fw, PORT_DATA, 1), 0);
	}
	teardown();
}
END_TEST

CHECK_MAIN("fw-cfg", items, directory, files_refused, dma_signature, dma_reads, dma_hostile,
	   hostile_cursor)
