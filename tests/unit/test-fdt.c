/* The device tree: well formed, and it names what the board has. */
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/internal.h"
#include "arch/x86/x86.h"
#include "tests/unit/check-main.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

static struct board_device *add(struct machine *m, enum board_kind kind, const char *name,
				uint64_t base, uint64_t bytes, unsigned gsi, int slot)
{
	struct board_device *d = board_add(&m->board, kind, name);

	ck_assert_ptr_nonnull(d);
	d->base = base;
	d->bytes = bytes;
	d->gsi = gsi;
	d->slot = slot;
	return d;
}

static const uint8_t *prop(const void *fdt, const char *path, const char *name, int bytes)
{
	int node = fdt_path_offset(fdt, path), len = -1;
	const void *p;

	ck_assert_msg(node >= 0, "%s: %s", path, fdt_strerror(node));
	p = fdt_getprop(fdt, node, name, &len);
	ck_assert_msg(p != NULL, "%s has no %s", path, name);
	if (bytes >= 0)
		ck_assert_int_eq(len, bytes);
	return p;
}

START_TEST(test_tree)
{
	struct config cfg = {.cpus = 2, .ram_bytes = 4 * GiB};
	struct machine *m = NEW(struct machine);
	struct x86 *x = NEW(struct x86);
	struct board_device *d;
	struct buf b = {0};

	cfg.append = xstrdup("quiet");
	m->cfg = &cfg;
	m->arch_state = x;
	x->boot.initrd_gpa = 0x2000000;
	x->boot.initrd_bytes = 0x1234;
	(void)add(m, BOARD_SERIAL, "serial", BOARD_PORT_SERIAL, 8, BOARD_GSI_SERIAL, -1);
	d = add(m, BOARD_VIRTIO_MMIO, "virtio-blk", 0xfeb00e00, 0x200, 23, 7);
	(void)strcpy(d->id, "disk0");
	board_prop(d, "capacity", "%u", 4096);
	ck_assert_int_eq(x86_build_fdt(m, &b, NULL), 0);

	ck_assert_int_eq(fdt_check_header(b.data), 0);
	ck_assert_uint_eq(fdt_totalsize(b.data), b.len);
	ck_assert_str_eq((const char *)prop(b.data, "/chosen", "bootargs", -1), "quiet");
	ck_assert_uint_eq(get_be64(prop(b.data, "/chosen", "linux,initrd-end", 8)), 0x2001234);
	ck_assert_uint_eq(get_be64(prop(b.data, "/memory@0", "reg", 32) + 8), 3 * GiB);
	ck_assert_uint_eq(get_be64(prop(b.data, "/memory@0", "reg", 32) + 16), 4 * GiB);
	ck_assert_uint_eq(get_be32(prop(b.data, "/cpus/cpu@1", "reg", 4)), 1);
	ck_assert_uint_eq(get_be64(prop(b.data, "/board/virtio-blk@feb00e00", "reg", 16)),
			  0xfeb00e00);
	ck_assert_uint_eq(get_be32(prop(b.data, "/board/virtio-blk@feb00e00", "interrupts", 8)),
			  23);
	ck_assert_uint_eq(get_be32(prop(b.data, "/board/virtio-blk@feb00e00", "minivmm,slot", 4)),
			  7);
	ck_assert_str_eq((const char *)prop(b.data, "/board/virtio-blk@feb00e00", "minivmm,id", -1),
			 "disk0");
	ck_assert_str_eq(
	    (const char *)prop(b.data, "/board/virtio-blk@feb00e00", "minivmm,capacity", -1),
	    "4096");
	ck_assert_uint_eq(get_be64(prop(b.data, "/board/serial@3f8", "minivmm,ports", 16)), 0x3f8);
	/* a kernel that makes devices of all nodes with "compatible" must not see the board's */
	ck_assert_ptr_null(
	    fdt_getprop(b.data, fdt_path_offset(b.data, "/board"), "compatible", NULL));
	buf_free(&b);
	free(cfg.append);
	free(x);
	free(m);
}
END_TEST

START_TEST(test_full_board)
{
	struct config cfg = {.cpus = 288, .ram_bytes = 128 * MiB};
	struct machine *m = NEW(struct machine);
	struct buf b = {0};

	m->cfg = &cfg;
	for (unsigned i = 0; i < BOARD_MAX_DEVICES; i++) {
		struct board_device *d =
		    add(m, BOARD_VIRTIO_MMIO, "virtio-net", 0xfeb00000 + i * 0x200, 0x200, 16, 0);

		memset(d->id, 'x', sizeof(d->id) - 1);
		for (unsigned k = 0; k < ARRAY_LEN(d->props); k++)
			board_prop(d, "a-rather-long-property", "%0100u", k);
	}
	ck_assert_int_eq(x86_build_fdt(m, &b, NULL), 0);
	ck_assert_int_eq(fdt_check_header(b.data), 0);
	ck_assert_uint_lt(b.len, BOOT_SETUP_DATA_MAX);
	buf_free(&b);
	free(m);
}
END_TEST

CHECK_MAIN("fdt", test_tree, test_full_board)
