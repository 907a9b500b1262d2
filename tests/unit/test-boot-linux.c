/* bzImages: one that is right, and every way of being wrong. */
#include <errno.h>

#include "tests/unit/boot-rig.h"
#include "tests/unit/check-main.h"

#define SETUP_SECTS 3
#define SETUP       ((SETUP_SECTS + 1) * 512)
#define PAYLOAD     0x3000
#define IMAGE       (SETUP + PAYLOAD)

static void make_image(uint8_t *img)
{
	memset(img, 0, IMAGE);
	img[0x1f1] = SETUP_SECTS;
	put_le16(img + 0x1fe, 0xaa55);
	img[0x200] = 0xeb;
	img[0x201] = 0x6a;
	memcpy(img + 0x202, "HdrS", 4);
	put_le16(img + 0x206, 0x020f);
	img[0x211] = 0x81;
	put_le32(img + 0x22c, 0x7fffffff);
	put_le32(img + 0x230, 0x200000);
	img[0x234] = 1;
	put_le16(img + 0x236, 0x3f);
	put_le32(img + 0x238, 2047);
	put_le64(img + 0x258, 0x1000000);
	put_le32(img + 0x260, 0x800000);
	for (size_t i = SETUP; i < IMAGE; i++)
		img[i] = (uint8_t)(i * 13);
}

START_TEST(test_staged)
{
	struct boot_rig *r = rig_new(64 * MiB);
	static uint8_t img[IMAGE], initrd[5000];
	const uint8_t *zp;
	uint64_t top;

	make_image(img);
	memset(initrd, 0x77, sizeof(initrd));
	rig_write(r->path, img, sizeof(img));
	rig_write(r->initrd_path, initrd, sizeof(initrd));
	r->cfg.initrd = r->initrd_path;
	set(&r->cfg.append, "console=ttyS0 quiet");
	ck_assert_str_eq(rig_load(r), "");
	rig_stage(r, true);

	zp = rig_at(r, BOOT_ZERO_PAGE, 4096);
	top = get_le32(zp + 0x218);
	ck_assert_uint_eq(top, 64 * MiB - 8192);
	ck_assert_uint_eq(get_le32(zp + 0x21c), sizeof(initrd));
	ck_assert_mem_eq(rig_at(r, top, sizeof(initrd)), initrd, sizeof(initrd));
	ck_assert_mem_eq(rig_at(r, 0x1000000, PAYLOAD), img + SETUP, PAYLOAD);
	ck_assert_uint_eq(zp[0x210], 0xff);
	ck_assert_uint_eq(zp[0x211], 0x01);
	ck_assert_str_eq((const char *)rig_at(r, get_le32(zp + 0x228), 64), "console=ttyS0 quiet");
	ck_assert_uint_eq(get_le64(zp + 0x70), BOOT_ACPI);
	ck_assert_mem_eq(rig_at(r, BOOT_ACPI, 8), "RSD PTR ", 8);
	ck_assert_uint_eq(get_le64(zp + 0x250), BOOT_SETUP_DATA);
	ck_assert_uint_eq(get_le32(rig_at(r, BOOT_SETUP_DATA, 16) + 8), 2);
	ck_assert_uint_eq(zp[0x1e8], 4);
	ck_assert_uint_eq(get_le64(zp + 0x2d0 + 3 * 20), MiB);
	ck_assert_uint_eq(get_le64(zp + 0x2d0 + 3 * 20 + 8), 63 * MiB);
	/* nothing of the setup header's surroundings has come along */
	ck_assert_uint_eq(zp[0x1f0], 0);
	ck_assert_uint_eq(zp[0x26c], 0);

	ck_assert_uint_eq(r->bsp.rip, 0x1000200);
	ck_assert_uint_eq(r->bsp.regs[GPR_RSI], BOOT_ZERO_PAGE);
	ck_assert_uint_eq(r->bsp.rflags, 2);
	ck_assert_uint_eq(r->bsp.segs[SEG_CS].flags, 0x00a09b00);
	ck_assert_uint_eq(r->bsp.segs[SEG_DS].flags, 0x00c09300);
	ck_assert_uint_eq(r->bsp.efer, 0x500);
	/* the identity map: 2 MiB page 511 of GiB 3 */
	ck_assert_uint_eq(get_le64(rig_at(r, BOOT_PAGE_TABLES + 5 * 4096, 4096) + 8 * 511),
			  4 * GiB - 2 * MiB + 0x83);
	ck_assert_uint_eq(get_le64(rig_at(r, BOOT_GDT, 48) + 0x10), 0x00af9b000000ffff);
	ck_assert_uint_eq(get_le64(rig_at(r, BOOT_GDT, 48) + 0x18), 0x00cf93000000ffff);
	rig_free(r);
}
END_TEST

START_TEST(test_e820)
{
	struct e820_range map[E820_MAX];

	ck_assert_uint_eq(boot_e820(512 * KiB, map), 3);
	ck_assert_uint_eq(boot_e820(3 * GiB, map), 4);
	ck_assert_uint_eq(map[0].bytes, 0x9fc00);
	ck_assert_uint_eq(map[1].type, E820_RESERVED);
	ck_assert_uint_eq(map[2].gpa, BOOT_ACPI);
	ck_assert_uint_eq(map[2].bytes, MiB - BOOT_ACPI);
	ck_assert_uint_ge(BOARD_VMGENID_GPA, BOOT_ACPI + BOOT_ACPI_MAX);
	ck_assert_uint_eq(boot_e820(5 * GiB, map), 5);
	ck_assert_uint_eq(map[3].bytes, 3 * GiB - MiB);
	ck_assert_uint_eq(map[4].gpa, 4 * GiB);
	ck_assert_uint_eq(map[4].bytes, 2 * GiB);
}
END_TEST

static const char *parse(const uint8_t *img, size_t bytes)
{
	static struct err err;
	struct bzimage bz;

	err.msg[0] = '\0';
	if (bzimage_parse(img, bytes, "k", &bz, &err) == 0)
		return "";
	return err.msg;
}

START_TEST(test_broken_headers)
{
	static uint8_t img[IMAGE];

	make_image(img);
	ck_assert_str_eq(parse(img, IMAGE), "");
	put_le16(img + 0x206, 0x0206);
	ck_assert_str_eq(parse(img, IMAGE),
			 "kernel file 'k' is a bzImage of boot protocol 2.06: 2.12 or later with a "
			 "64-bit entry is needed");
	make_image(img);
	img[0x202] = 'h';
	ck_has(parse(img, IMAGE), "no HdrS at 0x202");
	make_image(img);
	put_le16(img + 0x236, 0);
	ck_has(parse(img, IMAGE), "32-bit bzImage");
	make_image(img);
	img[0x211] = 0;
	ck_has(parse(img, IMAGE), "zImage");
	make_image(img);
	img[0x1fe] = 0;
	ck_has(parse(img, IMAGE), "broken header");
	make_image(img);
	img[0x201] = 0xff;
	ck_has(parse(img, IMAGE), "broken header");
	img[0x201] = 0x10;
	ck_has(parse(img, IMAGE), "broken header");
	make_image(img);
	img[0x1f1] = 0xff;
	ck_has(parse(img, IMAGE), "cut short");
	make_image(img);
	put_le32(img + 0x230, 0);
	ck_has(parse(img, IMAGE), "alignment of 0x0");
	put_le32(img + 0x230, 0x300000);
	ck_has(parse(img, IMAGE), "alignment of 0x300000");
	/* as old kernels have it: 0 stands for 4 */
	make_image(img);
	img[0x1f1] = 0;
	ck_assert_str_eq(parse(img, IMAGE), "");
}
END_TEST

START_TEST(test_every_cut)
{
	static uint8_t img[IMAGE];

	make_image(img);
	for (size_t cut = 0; cut < IMAGE; cut += cut < 0x300 ? 1 : 97) {
		uint8_t *copy = xcalloc(1, cut);

		memcpy(copy, img, cut);
		if (cut <= SETUP + 0x200)
			ck_assert_str_ne(parse(copy, cut), "");
		else
			ck_assert_str_eq(parse(copy, cut), "");
		free(copy);
	}
}
END_TEST

static int place(struct bzimage bz, uint64_t low, uint64_t *gpa)
{
	struct err err = {0};
	uint64_t end = 0;
	int ret = bzimage_place(&bz, IMAGE, "k", low, gpa, &end, &err);

	if (ret == 0)
		ck_assert(end <= low && *gpa >= MiB);
	else
		ck_has(err.msg, "kernel file 'k' needs");
	return ret;
}

START_TEST(test_placement)
{
	struct bzimage bz = {.setup_bytes = SETUP,
			     .pref_address = 16 * MiB,
			     .alignment = 2 * MiB,
			     .init_size = 8 * MiB,
			     .relocatable = true};
	uint64_t gpa = 0;

	ck_assert_int_eq(place(bz, 64 * MiB, &gpa), 0);
	ck_assert_uint_eq(gpa, 16 * MiB);
	ck_assert_int_eq(place(bz, 24 * MiB, &gpa), 0);
	ck_assert_uint_eq(gpa, 16 * MiB);
	ck_assert_int_eq(place(bz, 20 * MiB, &gpa), 0);
	ck_assert_uint_eq(gpa, 2 * MiB);
	ck_assert_int_lt(place(bz, 9 * MiB, &gpa), 0);
	bz.pref_address = UINT64_MAX - 4096;
	ck_assert_int_eq(place(bz, 64 * MiB, &gpa), 0);
	ck_assert_uint_eq(gpa, 2 * MiB);
	bz.pref_address = 0;
	ck_assert_int_eq(place(bz, 64 * MiB, &gpa), 0);
	ck_assert_uint_eq(gpa, 2 * MiB);
	bz.relocatable = false;
	ck_assert_int_lt(place(bz, 64 * MiB, &gpa), 0);
	bz.relocatable = true;
	bz.alignment = 0x80000000;
	ck_assert_int_lt(place(bz, 64 * MiB, &gpa), 0);
	bz.alignment = 4096;
	bz.init_size = UINT32_MAX;
	ck_assert_int_lt(place(bz, 64 * MiB, &gpa), 0);
}
END_TEST

START_TEST(test_initrd_place)
{
	uint64_t gpa = 0;
	struct err err = {0};

	ck_assert_int_eq(boot_place_initrd(4096, "i", 16 * MiB, 16 * MiB + 4096, &gpa, NULL), 0);
	ck_assert_uint_eq(gpa, 16 * MiB);
	ck_assert_int_lt(boot_place_initrd(4097, "i", 16 * MiB, 16 * MiB + 4096, &gpa, &err), 0);
	ck_assert_str_eq(
	    err.msg, "initrd file 'i' of 4097 bytes is too large: the kernel leaves it 4096 bytes");
	ck_assert_int_lt(boot_place_initrd(1, "i", 16 * MiB, 8 * MiB, &gpa, NULL), 0);
	ck_assert_int_lt(boot_place_initrd(SIZE_MAX, "i", MiB, 8 * MiB, &gpa, NULL), 0);
}
END_TEST

START_TEST(test_wrong_files)
{
	struct boot_rig *r = rig_new(32 * MiB);
	static uint8_t img[IMAGE];
	uint8_t *large = xcalloc(1, 40 * MiB);
	char long_line[3000];

	set(&r->cfg.kernel, "/nope");
	ck_assert_str_eq(
	    rig_load(r),
	    "-kernel /nope: could not open kernel file '/nope': No such file or directory");
	set(&r->cfg.kernel, "/tmp");
	ck_assert_str_eq(rig_load(r),
			 "-kernel /tmp: could not read kernel file '/tmp': Is a directory");
	r->cfg.kernel = r->path;
	rig_write(r->path, "", 0);
	ck_has(rig_load(r),
	       "is not a Linux kernel: neither a bzImage (no HdrS at 0x202) nor an ELF file");
	rig_write(r->path, "#!/bin/sh\n", 10);
	ck_has(rig_load(r), "is not a Linux kernel");
	rig_write(r->path, large, 40 * MiB);
	ck_has(rig_load(r), "is too large: it does not fit into 32 MiB");

	make_image(img);
	put_le32(img + 0x260, 60 * MiB);
	rig_write(r->path, img, sizeof(img));
	ck_has(rig_load(r), "needs 60 MiB of memory from 0x1000000 on");
	make_image(img);
	rig_write(r->path, img, sizeof(img));
	memset(long_line, 'x', sizeof(long_line));
	long_line[2048] = '\0';
	r->cfg.append = long_line;
	ck_has(rig_load(r), "the command line of 2048 characters is too long: the kernel "
			    "takes 2047");
	long_line[2047] = '\0';
	ck_assert_str_eq(rig_load(r), "");

	set(&r->cfg.initrd, "/nope");
	ck_has(rig_load(r), "could not open initrd file '/nope'");
	r->cfg.initrd = r->initrd_path;
	rig_write(r->initrd_path, large, 9 * MiB);
	ck_has(rig_load(r), "is too large: the kernel leaves it 8.0 MiB");
	r->cfg.kernel = NULL;
	ck_has(rig_load(r), "-initrd needs a kernel");
	r->cfg.initrd = NULL;
	ck_has(rig_load(r), "-append needs a kernel");
	r->cfg.append = NULL;
	ck_assert_str_eq(rig_load(r), "");
	free(large);
	rig_free(r);
}
END_TEST

/* An old kernel wants its initrd low. */
START_TEST(test_initrd_limit)
{
	struct boot_rig *r = rig_new(64 * MiB);
	static uint8_t img[IMAGE];

	make_image(img);
	put_le16(img + 0x236, 1);
	put_le32(img + 0x22c, 0x01ffffff);
	rig_write(r->path, img, sizeof(img));
	rig_write(r->initrd_path, "initrd", 6);
	r->cfg.initrd = r->initrd_path;
	ck_assert_str_eq(rig_load(r), "");
	ck_assert_uint_eq(r->image.initrd_gpa, 32 * MiB - 4096);
	rig_free(r);
}
END_TEST

/* Without anything to run the processor idles; firmware that is there is left alone. */
START_TEST(test_nothing_to_boot)
{
	struct boot_rig *r = rig_new(2 * MiB);
	struct ram_block *bios = memory_find_block(&r->m.mem, "pc.bios");

	ck_assert_int_eq(memory_map_block(&r->m.mem, bios, 0, 0xffff0000, 64 * KiB, NULL), 0);
	r->cfg.kernel = NULL;
	ck_assert_str_eq(rig_load(r), "");
	rig_stage(r, true);
	ck_assert_uint_eq(r->bsp.rip, 0xfff0);
	ck_assert_uint_eq(bios->hva[0xfff0], 0xf4);
	bios->hva[0xfff0] = 0xea;
	rig_stage(r, false);
	ck_assert_uint_eq(bios->hva[0xfff0], 0xea);
	rig_free(r);
}
END_TEST

/* The generation ID is put beside the tables as it is at this boot, and only for a kernel. */
START_TEST(test_generation)
{
	struct boot_rig *r = rig_new(64 * MiB);
	struct board_device *d = board_add(&r->m.board, BOARD_VMGENID, "vmgenid");
	CLEANUP(cleanup_free) uint8_t *img = xcalloc(1, IMAGE);
	uint8_t id[16];

	make_image(img);
	rig_write(r->path, img, IMAGE);
	d->base = BOARD_VMGENID_GPA;
	d->bytes = sizeof(id);
	d->content = id;
	ck_assert_str_eq(rig_load(r), "");
	for (unsigned i = 1; i < 3; i++) {
		memset(id, (int)i, sizeof(id));
		boot_refresh(&r->image, &r->m.board);
		rig_stage(r, i == 1);
		ck_assert_mem_eq(rig_at(r, BOARD_VMGENID_GPA, sizeof(id)), id, sizeof(id));
	}
	r->image.kind = BOOT_NONE;
	memset(id, 3, sizeof(id));
	boot_refresh(&r->image, &r->m.board);
	rig_stage(r, false);
	ck_assert_uint_eq(*rig_at(r, BOARD_VMGENID_GPA, 1), 2);
	rig_free(r);
}
END_TEST

CHECK_MAIN("boot-linux", test_staged, test_e820, test_broken_headers, test_every_cut,
	   test_placement, test_initrd_place, test_wrong_files, test_initrd_limit,
	   test_nothing_to_boot, test_generation)
