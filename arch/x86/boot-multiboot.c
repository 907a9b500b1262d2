/*
 * boot-multiboot.c - an ELF file without a PVH note, through its Multiboot header
 *
 * The header (Multiboot 0.6.96, 3.1) stands on a multiple of 4 in the first 8 KiB
 * of the file: magic, flags, and what makes their sum zero.  The guest starts in
 * protected mode without paging at the file's entry point, EAX holding a magic and
 * EBX pointing at an information block with the size and the map of memory, the
 * command line and the initrd as the one module.  As with QEMU the command line
 * begins with the file's name.  kvm-unit-tests are such files.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "arch/x86/boot.h"
#include "arch/x86/cpu-state.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define SEARCH_BYTES 8192
#define HEADER_MAGIC 0x1badb002U
#define LOADER_MAGIC 0x2badb002U

/* the header's flags */
#define WANTS_ALIGNED (1U << 0) /* modules on pages: they are */
#define WANTS_MEMORY  (1U << 1) /* sizes and map of memory: always there */
#define WANTS_VIDEO   (1U << 2)
#define HAS_ADDRESSES (1U << 16) /* of a file that is no ELF */
#define MUST_KNOW     0xffffU

/* the block's flags: which of its members there are */
#define INFO_MEMORY  (1U << 0)
#define INFO_CMDLINE (1U << 2)
#define INFO_MODULES (1U << 3)
#define INFO_MAP     (1U << 6)
#define INFO_LOADER  (1U << 9)

#define OFF_LOADER  112
#define OFF_MODULES 128
#define OFF_MAP     160
#define MAP_BYTES   24
#define LOW_KIB     639 /* up to 0x9fc00 */

bool multiboot_probe(const uint8_t *file, size_t bytes, uint32_t *flags)
{
	for (size_t at = 0; at + 12 <= MIN(bytes, SEARCH_BYTES); at += 4) {
		*flags = get_le32(file + at + 4);
		if (get_le32(file + at) == HEADER_MAGIC &&
		    HEADER_MAGIC + *flags + get_le32(file + at + 8) == 0)
			return true;
	}
	return false;
}

int multiboot_check(uint32_t flags, bool is64, const char *path, struct err *err)
{
	if (is64)
		return err_set(err, ENOTSUP,
			       "kernel file '%s' has no PVH entry note but a Multiboot header, and "
			       "with that only a 32-bit file can be started: 'objcopy -O "
			       "elf32-i386' makes one of it",
			       path);
	if (flags & WANTS_VIDEO)
		return err_set(err, ENOTSUP,
			       "kernel file '%s' asks for a video mode in its Multiboot header: "
			       "the board has no video, give it a PVH entry note or clear the flag",
			       path);
	if (flags & (HAS_ADDRESSES | (MUST_KNOW & ~(WANTS_ALIGNED | WANTS_MEMORY))))
		return err_set(err, ENOTSUP,
			       "kernel file '%s' has flags 0x%" PRIx32
			       " in its Multiboot header, of which only 0x3 are supported (no load "
			       "addresses: they are taken from the ELF file)",
			       path, flags);
	return 0;
}

char *multiboot_cmdline(const struct config *cfg)
{
	return xasprintf("%s%s%s", cfg->kernel, cfg->append ? " " : "",
			 cfg->append ? cfg->append : "");
}

static size_t put_map(const struct machine *m, uint8_t *at, uint32_t *upper_kib)
{
	struct e820_range map[E820_MAX];
	size_t n = boot_e820(m->cfg->ram_bytes, map);

	for (size_t i = 0; i < n; i++, at += MAP_BYTES) {
		put_le32(at, MAP_BYTES - 4); /* of what follows */
		put_le64(at + 4, map[i].gpa);
		put_le64(at + 12, map[i].bytes);
		put_le32(at + 20, map[i].type);
		if (map[i].gpa == MiB)
			*upper_kib = (uint32_t)(map[i].bytes / KiB);
	}
	return n * MAP_BYTES;
}

int multiboot_stage_info(struct machine *m, const struct boot_image *b, struct cpu_state *bsp,
			 struct err *err)
{
	uint8_t info[OFF_MAP + E820_MAX * MAP_BYTES] = {0};
	uint32_t at = (uint32_t)b->elf.info_gpa, upper_kib = 0;

	put_le32(info + 44, (uint32_t)put_map(m, info + OFF_MAP, &upper_kib));
	put_le32(info + 48, at + OFF_MAP);
	put_le32(info, INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MAP | INFO_LOADER);
	put_le32(info + 4, LOW_KIB);
	put_le32(info + 8, upper_kib);
	put_le32(info + 16, (uint32_t)b->elf.cmdline_gpa);
	put_le32(info + 24, at + OFF_MODULES);
	put_le32(info + 64, at + OFF_LOADER);
	memcpy(info + OFF_LOADER, "minivmm", 8);
	if (b->initrd_bytes > 0) {
		put_le32(info + 20, 1);
		put_le32(info + OFF_MODULES, (uint32_t)b->initrd_gpa);
		put_le32(info + OFF_MODULES + 4, (uint32_t)(b->initrd_gpa + b->initrd_bytes));
		put_le32(info + OFF_MODULES + 8, (uint32_t)b->elf.cmdline_gpa);
	}
	bsp->regs[GPR_RAX] = LOADER_MAGIC;
	return boot_write(m, at, info, sizeof(info), "Multiboot information", err);
}
