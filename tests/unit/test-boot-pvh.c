/* ELF files with a PVH note: 64 and 32 bit, and every way of being wrong. */
#include <elf.h>
#include <errno.h>

#include "tests/unit/boot-rig.h"
#include "tests/unit/check-main.h"

#define NOTE_OFF 0x400
#define TEXT_OFF 0x1000
#define TEXT     0x800
#define IMAGE    (TEXT_OFF + TEXT)
#define LOAD_GPA (2 * MiB)
#define BSS      0x5000
#define ENTRY    (LOAD_GPA + 0x40)

static void make_note(uint8_t *at, uint32_t type, uint32_t desc_bytes, uint64_t entry)
{
	put_le32(at, 4);
	put_le32(at + 4, desc_bytes);
	put_le32(at + 8, type);
	memcpy(at + 12, "Xen", 4);
	put_le64(at + 16, entry);
}

static void make_image(uint8_t *img)
{
	Elf64_Ehdr eh = {.e_type = ET_EXEC,
			 .e_machine = EM_X86_64,
			 .e_phoff = sizeof(eh),
			 .e_phentsize = sizeof(Elf64_Phdr),
			 .e_phnum = 2};
	Elf64_Phdr ph[2] = {
	    {.p_type = PT_LOAD,
	     .p_offset = TEXT_OFF,
	     .p_paddr = LOAD_GPA,
	     .p_filesz = TEXT,
	     .p_memsz = TEXT + BSS},
	    {.p_type = PT_NOTE, .p_offset = NOTE_OFF, .p_filesz = 44}
        };

	memset(img, 0, IMAGE);
	memcpy(eh.e_ident, ELFMAG, SELFMAG);
	eh.e_ident[EI_CLASS] = ELFCLASS64;
	eh.e_ident[EI_DATA] = ELFDATA2LSB;
	memcpy(img, &eh, sizeof(eh));
	memcpy(img + sizeof(eh), ph, sizeof(ph));
	/* another note stands before it */
	make_note(img + NOTE_OFF, 7, 4, 0);
	make_note(img + NOTE_OFF + 20, 18, 8, ENTRY);
	memset(img + TEXT_OFF, 0x90, TEXT);
}

static void make_image32(uint8_t *img)
{
	Elf32_Ehdr eh = {.e_type = ET_EXEC,
			 .e_machine = EM_386,
			 .e_phoff = sizeof(eh),
			 .e_phentsize = sizeof(Elf32_Phdr),
			 .e_phnum = 2};
	Elf32_Phdr ph[2] = {
	    {.p_type = PT_LOAD,
	     .p_offset = TEXT_OFF,
	     .p_paddr = LOAD_GPA,
	     .p_filesz = TEXT,
	     .p_memsz = TEXT},
	    {.p_type = PT_NOTE,   .p_offset = NOTE_OFF,    .p_filesz = 20}
        };

	memset(img, 0, IMAGE);
	memcpy(eh.e_ident, ELFMAG, SELFMAG);
	eh.e_ident[EI_CLASS] = ELFCLASS32;
	eh.e_ident[EI_DATA] = ELFDATA2LSB;
	memcpy(img, &eh, sizeof(eh));
	memcpy(img + sizeof(eh), ph, sizeof(ph));
	make_note(img + NOTE_OFF, 18, 4, ENTRY);
}

static const char *parse(const uint8_t *img, size_t bytes)
{
	static struct err err;
	struct elf_kernel k;

	err.msg[0] = '\0';
	return elf_kernel_parse(img, bytes, "k", &k, &err) == 0 ? "" : err.msg;
}

START_TEST(test_staged)
{
	struct boot_rig *r = rig_new(8 * MiB);
	static uint8_t img[IMAGE];
	const uint8_t *info;

	make_image(img);
	rig_write(r->path, img, sizeof(img));
	rig_write(r->initrd_path, "module", 6);
	r->cfg.initrd = r->initrd_path;
	set(&r->cfg.append, "count=7");
	ck_assert_str_eq(rig_load(r), "");
	memset(memory_ptr(&r->m.mem, LOAD_GPA, MiB), 0xcc, MiB); /* what an earlier run left */
	rig_stage(r, false);

	ck_assert_mem_eq(rig_at(r, LOAD_GPA, TEXT), img + TEXT_OFF, TEXT);
	for (size_t i = 0; i < BSS; i++)
		ck_assert_uint_eq(rig_at(r, LOAD_GPA + TEXT, BSS)[i], 0);
	ck_assert_uint_eq(*rig_at(r, LOAD_GPA + TEXT + BSS, 1), 0xcc);
	info = rig_at(r, BOOT_PVH_INFO, 512);
	ck_assert_uint_eq(get_le32(info), 0x336ec578);
	ck_assert_uint_eq(get_le32(info + 4), 1);
	ck_assert_uint_eq(get_le32(info + 12), 1);
	ck_assert_str_eq((const char *)rig_at(r, get_le64(info + 24), 16), "count=7");
	ck_assert_uint_eq(get_le64(info + 32), BOOT_ACPI);
	ck_assert_uint_eq(get_le32(info + 48), 4);
	ck_assert_mem_eq(rig_at(r, get_le64(rig_at(r, get_le64(info + 16), 32)), 6), "module", 6);
	ck_assert_uint_eq(get_le64(rig_at(r, get_le64(info + 40), 96) + 72 + 8), 7 * MiB);

	ck_assert_uint_eq(r->bsp.rip, ENTRY);
	ck_assert_uint_eq(r->bsp.regs[GPR_RBX], BOOT_PVH_INFO);
	ck_assert_uint_eq(r->bsp.cr0, 0x11);
	ck_assert_uint_eq(r->bsp.segs[SEG_CS].flags, 0x00c09b00);
	ck_assert_uint_eq(r->bsp.tr.flags, 0x8b00);
	rig_free(r);
}
END_TEST

START_TEST(test_32_bit)
{
	static uint8_t img[IMAGE];
	struct elf_kernel k;

	make_image32(img);
	ck_assert_int_eq(elf_kernel_parse(img, IMAGE, "k", &k, NULL), 0);
	ck_assert_uint_eq(k.entry, ENTRY);
	ck_assert_uint_eq(k.n_segments, 1);
	ck_assert_uint_eq(k.end_gpa, LOAD_GPA + TEXT);
}
END_TEST

/* Where the command line usually stands is the first room for the start info: each has its own. */
START_TEST(test_places_do_not_overlap)
{
	struct elf_kernel k = {
	    .info_gpa = BOOT_PVH_INFO,
	    .cmdline_gpa = BOOT_CMDLINE,
	    .n_segments = 1,
	    .segments[0] = {.gpa = 0x1000, .mem_bytes = BOOT_CMDLINE - 0x1000}
        };

	ck_assert_int_eq(elf_kernel_place(&k, 8, "k", NULL), 0);
	ck_assert_uint_eq(k.info_gpa, BOOT_CMDLINE);
	ck_assert_uint_eq(k.cmdline_gpa, BOOT_CMDLINE + PAGE_BYTES);
}
END_TEST

/* The image with a Multiboot header in the place of its note. */
static void make_multiboot(uint8_t *img, uint32_t flags)
{
	make_image32(img);
	memset(img + NOTE_OFF, 0, 20);
	put_le32(img + offsetof(Elf32_Ehdr, e_entry), ENTRY + 8);
	put_le32(img + TEXT_OFF + 4, 0x1badb002);
	put_le32(img + TEXT_OFF + 8, flags);
	put_le32(img + TEXT_OFF + 12, -(0x1badb002 + flags));
}

START_TEST(test_multiboot)
{
	struct boot_rig *r = rig_new(8 * MiB);
	static uint8_t img[IMAGE];
	const uint8_t *info, *module;
	char line[128];

	make_multiboot(img, 3);
	rig_write(r->path, img, sizeof(img));
	rig_write(r->initrd_path, "module", 6);
	r->cfg.initrd = r->initrd_path;
	set(&r->cfg.append, "count=7");
	ck_assert_str_eq(rig_load(r), "");
	rig_stage(r, false);

	info = rig_at(r, BOOT_PVH_INFO, 512);
	ck_assert_uint_eq(get_le32(info), 0x24d);
	ck_assert_uint_eq(get_le32(info + 4), 639);
	ck_assert_uint_eq(get_le32(info + 8), 7 * 1024);
	(void)snprintf(line, sizeof(line), "%s count=7", r->path);
	ck_assert_str_eq((const char *)rig_at(r, get_le32(info + 16), sizeof(line)), line);
	ck_assert_uint_eq(get_le32(info + 20), 1);
	module = rig_at(r, get_le32(info + 24), 16);
	ck_assert_mem_eq(rig_at(r, get_le32(module), 6), "module", 6);
	ck_assert_uint_eq(get_le32(module + 4) - get_le32(module), 6);
	ck_assert_uint_eq(get_le32(info + 44), 4 * 24);
	ck_assert_uint_eq(get_le32(rig_at(r, get_le32(info + 48), 96) + 72), 20);
	ck_assert_uint_eq(get_le64(rig_at(r, get_le32(info + 48), 96) + 72 + 12), 7 * MiB);
	ck_assert_str_eq((const char *)rig_at(r, get_le32(info + 64), 8), "minivmm");

	ck_assert_uint_eq(r->bsp.rip, ENTRY + 8);
	ck_assert_uint_eq(r->bsp.regs[GPR_RAX], 0x2badb002);
	ck_assert_uint_eq(r->bsp.regs[GPR_RBX], BOOT_PVH_INFO);
	ck_assert_uint_eq(r->bsp.cr0, 0x11);
	rig_free(r);
}
END_TEST

START_TEST(test_multiboot_refused)
{
	static uint8_t img[IMAGE];

	make_multiboot(img, 0x10003);
	ck_has(parse(img, IMAGE), "flags 0x10003");
	make_multiboot(img, 1U << 3);
	ck_has(parse(img, IMAGE), "flags 0x8");
	make_multiboot(img, 1U << 2);
	ck_has(parse(img, IMAGE), "video mode");
	make_multiboot(img, 3);
	img[TEXT_OFF + 12]++;
	ck_has(parse(img, IMAGE), "without a PVH entry note or a Multiboot header");
	make_multiboot(img, 3);
	put_le32(img + offsetof(Elf32_Ehdr, e_entry), 0x1234);
	ck_has(parse(img, IMAGE), "has its Multiboot entry at 0x1234");
	make_image(img);
	img[NOTE_OFF + 20 + 12] = 'x';
	put_le32(img + TEXT_OFF, 0x1badb002);
	put_le32(img + TEXT_OFF + 4, 0);
	put_le32(img + TEXT_OFF + 8, -0x1badb002U);
	ck_has(parse(img, IMAGE), "objcopy -O elf32-i386");
}
END_TEST

#define PHDR(i, m) (sizeof(Elf64_Ehdr) + (i) * sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, m))

START_TEST(test_broken)
{
	static uint8_t img[IMAGE];

	make_image(img);
	ck_assert_str_eq(parse(img, IMAGE), "");
	put_le32(img + NOTE_OFF + 20 + 8, 17);
	ck_assert_str_eq(parse(img, IMAGE),
			 "kernel file 'k' is an ELF file without a PVH entry note or a "
			 "Multiboot header");
	make_image(img);
	img[NOTE_OFF + 20 + 12] = 'x';
	ck_has(parse(img, IMAGE), "without a PVH entry note");
	make_image(img);
	put_le32(img + NOTE_OFF, 0xffffffff);
	ck_has(parse(img, IMAGE), "without a PVH entry note");
	make_image(img);
	put_le32(img + NOTE_OFF + 4, 0xfffffff0);
	ck_has(parse(img, IMAGE), "without a PVH entry note");
	make_image(img);
	put_le64(img + NOTE_OFF + 20 + 16, 0x1234);
	ck_has(parse(img, IMAGE), "PVH entry at 0x1234");
	make_image(img);
	img[0] = 0;
	ck_has(parse(img, IMAGE), "is not an ELF file");
	make_image(img);
	img[EI_DATA] = ELFDATA2MSB;
	ck_has(parse(img, IMAGE), "no ELF file for x86");
	make_image(img);
	put_le16(img + offsetof(Elf64_Ehdr, e_machine), EM_AARCH64);
	ck_has(parse(img, IMAGE), "no ELF file for x86");
	make_image(img);
	put_le64(img + offsetof(Elf64_Ehdr, e_phoff), UINT64_MAX - 8);
	ck_has(parse(img, IMAGE), "broken program headers");
	make_image(img);
	put_le16(img + offsetof(Elf64_Ehdr, e_phnum), 0xffff);
	ck_has(parse(img, IMAGE), "broken program headers");
	make_image(img);
	put_le64(img + PHDR(0, p_filesz), UINT64_MAX);
	ck_has(parse(img, IMAGE), "segment 0 ends behind the file");
	make_image(img);
	put_le64(img + PHDR(0, p_memsz), TEXT - 1);
	ck_has(parse(img, IMAGE), "does not fit into the first 4 GiB");
	make_image(img);
	put_le64(img + PHDR(0, p_paddr), UINT64_MAX - 10);
	ck_has(parse(img, IMAGE), "does not fit into the first 4 GiB");
	make_image(img);
	put_le64(img + PHDR(0, p_paddr), 0x7c00);
	ck_has(parse(img, IMAGE), "has its PVH entry at 0x200040, outside");
	put_le64(img + PHDR(0, p_paddr), 0x800);
	ck_has(parse(img, IMAGE), "loads at 0x800 to 0x6000: below 1 MiB only 0x1000 to 0x9fc00");
	put_le64(img + PHDR(0, p_paddr), 0x9f000);
	ck_has(parse(img, IMAGE), "below 1 MiB only 0x1000 to 0x9fc00 is free");
}
END_TEST

/* One that starts where boot data usually stand, as programs for real mode do. */
START_TEST(test_low)
{
	struct boot_rig *r = rig_new(8 * MiB);
	static uint8_t img[IMAGE];
	const uint8_t *info;
	uint64_t gpa, cmdline;

	make_image(img);
	put_le64(img + PHDR(0, p_paddr), 0x4000);
	put_le64(img + PHDR(0, p_memsz), 0x20000);
	make_note(img + NOTE_OFF + 20, 18, 8, 0x4040);
	rig_write(r->path, img, sizeof(img));
	set(&r->cfg.append, "real mode");
	ck_assert_str_eq(rig_load(r), "");
	rig_stage(r, false);
	ck_assert_mem_eq(rig_at(r, 0x4000, TEXT), img + TEXT_OFF, TEXT);
	for (uint64_t i = 0x4000 + TEXT; i < 0x24000; i++)
		ck_assert_uint_eq(*rig_at(r, i, 1), 0);
	gpa = r->bsp.regs[GPR_RBX];
	ck_assert(gpa + PAGE_BYTES <= 0x4000 || gpa >= 0x24000);
	info = rig_at(r, gpa, 512);
	ck_assert_uint_eq(get_le32(info), 0x336ec578);
	ck_assert_uint_eq(get_le64(rig_at(r, get_le64(info + 40), 96) + 72 + 8), 7 * MiB);
	cmdline = get_le64(info + 24);
	ck_assert(cmdline + 10 <= gpa || cmdline >= gpa + PAGE_BYTES);
	ck_assert_str_eq((const char *)rig_at(r, cmdline, 16), "real mode");
	ck_assert_uint_eq(r->bsp.rip, 0x4040);
	rig_free(r);

	r = rig_new(8 * MiB);
	put_le64(img + PHDR(0, p_paddr), 0x1000);
	put_le64(img + PHDR(0, p_memsz), 0x9ec00);
	rig_write(r->path, img, sizeof(img));
	ck_has(rig_load(r), "leaves no room below 0x9fc00");
	rig_free(r);
}
END_TEST

START_TEST(test_every_cut)
{
	static uint8_t img[IMAGE];

	make_image(img);
	for (size_t cut = 0; cut < IMAGE; cut += cut < 0x500 ? 1 : 61) {
		uint8_t *copy = xcalloc(1, cut);

		memcpy(copy, img, cut);
		ck_assert_str_ne(parse(copy, cut), "");
		free(copy);
	}
}
END_TEST

START_TEST(test_too_large_for_memory)
{
	struct boot_rig *r = rig_new(8 * MiB);
	static uint8_t img[IMAGE];

	make_image(img);
	put_le64(img + PHDR(0, p_memsz), 100 * MiB);
	rig_write(r->path, img, sizeof(img));
	ck_has(rig_load(r), "loads up to 0x6600000; the guest has 8 MiB below 3 GiB");
	rig_free(r);
}
END_TEST

CHECK_MAIN("boot-pvh", test_staged, test_32_bit, test_places_do_not_overlap, test_multiboot,
	   test_multiboot_refused, test_broken, test_low, test_every_cut, test_too_large_for_memory)
