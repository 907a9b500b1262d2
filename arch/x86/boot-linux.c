/*
 * boot-linux.c - a bzImage through the 64-bit entry of the x86 boot protocol
 *
 * The kernel's setup header says how it wants to be loaded; it is copied into
 * the zero page and completed with command line, initrd, memory map and the
 * RSDP (machine-microvm 1.11).
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

/* Offsets in the file, and the same ones in the zero page. */
#define ZP_RSDP             0x070
#define ZP_EXT_RAMDISK      0x0c0
#define ZP_EXT_RAMDISK_SIZE 0x0c4
#define ZP_EXT_CMDLINE      0x0c8
#define ZP_E820_ENTRIES     0x1e8
#define HDR_START           0x1f1
#define HDR_SETUP_SECTS     0x1f1
#define HDR_BOOT_FLAG       0x1fe
#define HDR_LENGTH          0x201 /* of what follows 0x202 */
#define HDR_MAGIC           0x202
#define HDR_VERSION         0x206
#define HDR_LOADER          0x210
#define HDR_LOADFLAGS       0x211
#define HDR_CODE32_START    0x214
#define HDR_RAMDISK         0x218
#define HDR_RAMDISK_SIZE    0x21c
#define HDR_CMDLINE         0x228
#define HDR_INITRD_MAX      0x22c
#define HDR_ALIGNMENT       0x230
#define HDR_RELOCATABLE     0x234
#define HDR_XLOADFLAGS      0x236
#define HDR_CMDLINE_SIZE    0x238
#define HDR_SETUP_DATA      0x250
#define HDR_PREF_ADDRESS    0x258
#define HDR_INIT_SIZE       0x260
#define HDR_END_MIN         0x264
#define HDR_END_MAX         0x290
#define ZP_E820_TABLE       0x2d0
#define ZP_E820_BYTES       20

#define VERSION_MIN        0x020c
#define LOADFLAG_HIGH      (1U << 0)
#define LOADFLAG_HEAP      (1U << 7)
#define XLOADFLAG_64       (1U << 0)
#define XLOADFLAG_ABOVE_4G (1U << 1)
#define LOADER_UNDEFINED   0xff
#define ENTRY_64_OFFSET    0x200
#define SECTOR             512
#define SETUP_DATA_DTB     2

bool bzimage_probe(const uint8_t *file, size_t bytes)
{
	return bytes >= HDR_MAGIC + 4 && memcmp(file + HDR_MAGIC, "HdrS", 4) == 0;
}

int bzimage_parse(const uint8_t *file, size_t bytes, const char *path, struct bzimage *out,
		  struct err *err)
{
	struct bzimage bz = {0};
	size_t sects, end;
	unsigned version;

	if (!bzimage_probe(file, bytes))
		return err_set(err, EINVAL, "kernel file '%s' is not a bzImage: no HdrS at 0x202",
			       path);
	if (bytes < HDR_END_MIN)
		return err_set(err, EINVAL, "kernel file '%s' is a bzImage cut short in its header",
			       path);
	version = get_le16(file + HDR_VERSION);
	if (version < VERSION_MIN)
		return err_set(err, EINVAL,
			       "kernel file '%s' is a bzImage of boot protocol %u.%02u: "
			       "2.12 or later with a 64-bit entry is needed",
			       path, version >> 8, version & 0xff);
	end = HDR_MAGIC + file[HDR_LENGTH];
	if (end < HDR_END_MIN || end > HDR_END_MAX || end > bytes ||
	    get_le16(file + HDR_BOOT_FLAG) != 0xaa55)
		return err_set(err, EINVAL, "kernel file '%s' is a bzImage with a broken header",
			       path);
	if (!(get_le16(file + HDR_XLOADFLAGS) & XLOADFLAG_64))
		return err_set(err, EINVAL,
			       "kernel file '%s' is a 32-bit bzImage: one with a 64-bit "
			       "entry is needed",
			       path);
	if (!(file[HDR_LOADFLAGS] & LOADFLAG_HIGH))
		return err_set(err, EINVAL,
			       "kernel file '%s' is a zImage, which loads low: a "
			       "bzImage is needed",
			       path);
	sects = file[HDR_SETUP_SECTS] ? file[HDR_SETUP_SECTS] : 4;
	bz.header_bytes = end - HDR_START;
	bz.setup_bytes = (sects + 1) * SECTOR;
	if (bz.setup_bytes + ENTRY_64_OFFSET >= bytes)
		return err_set(err, EINVAL,
			       "kernel file '%s' is cut short: its %zu setup bytes are "
			       "all there is",
			       path, bz.setup_bytes);
	bz.pref_address = get_le64(file + HDR_PREF_ADDRESS);
	bz.init_size = get_le32(file + HDR_INIT_SIZE);
	bz.alignment = get_le32(file + HDR_ALIGNMENT);
	bz.relocatable = file[HDR_RELOCATABLE] != 0;
	bz.initrd_max = get_le32(file + HDR_INITRD_MAX);
	bz.initrd_anywhere = get_le16(file + HDR_XLOADFLAGS) & XLOADFLAG_ABOVE_4G;
	bz.cmdline_max = get_le32(file + HDR_CMDLINE_SIZE);
	if (bz.alignment < PAGE_BYTES || (bz.alignment & (bz.alignment - 1)))
		return err_set(err, EINVAL, "kernel file '%s' asks for an alignment of 0x%" PRIx32,
			       path, bz.alignment);
	*out = bz;
	return 0;
}

int bzimage_place(const struct bzimage *bz, size_t file_bytes, const char *path, uint64_t low_bytes,
		  uint64_t *gpa, uint64_t *end, struct err *err)
{
	uint64_t need = ALIGN_UP(MAX(bz->init_size, file_bytes - bz->setup_bytes), PAGE_BYTES);
	uint64_t first = ALIGN_UP(MiB, (uint64_t)bz->alignment);
	uint64_t at = bz->pref_address;

	/* As it prefers; the lowest place when there is too little memory for that. */
	if (at < MiB || at > low_bytes || need > low_bytes - at) {
		if (!bz->relocatable || first > low_bytes || need > low_bytes - first)
			return err_set(err, EINVAL,
				       "kernel file '%s' needs %" PRIu64 " MiB of "
				       "memory from 0x%" PRIx64 " on; below 3 GiB the "
				       "guest has %" PRIu64 " MiB in all",
				       path, (uint64_t)(ALIGN_UP(need, MiB) / MiB), at,
				       (uint64_t)(low_bytes / MiB));
		at = first;
	}
	*gpa = at;
	*end = at + need;
	return 0;
}

static void put_e820(uint8_t *zp, uint64_t ram_bytes)
{
	struct e820_range map[E820_MAX];
	size_t n = boot_e820(ram_bytes, map);

	zp[ZP_E820_ENTRIES] = (uint8_t)n;
	for (size_t i = 0; i < n; i++) {
		uint8_t *e = zp + ZP_E820_TABLE + i * ZP_E820_BYTES;

		put_le64(e, map[i].gpa);
		put_le64(e + 8, map[i].bytes);
		put_le32(e + 16, map[i].type);
	}
}

static void fill_zero_page(uint8_t *zp, const struct machine *m, const struct boot_image *b)
{
	memcpy(zp + HDR_START, b->kernel + HDR_START, b->bz.header_bytes);
	zp[HDR_LOADER] = LOADER_UNDEFINED;
	zp[HDR_LOADFLAGS] = (uint8_t)((zp[HDR_LOADFLAGS] | LOADFLAG_HIGH) & ~LOADFLAG_HEAP);
	put_le32(zp + HDR_CODE32_START, (uint32_t)b->kernel_gpa);
	put_le32(zp + HDR_CMDLINE, BOOT_CMDLINE);
	put_le32(zp + ZP_EXT_CMDLINE, 0);
	put_le32(zp + HDR_RAMDISK, (uint32_t)b->initrd_gpa);
	put_le32(zp + HDR_RAMDISK_SIZE, (uint32_t)b->initrd_bytes);
	put_le32(zp + ZP_EXT_RAMDISK, 0);
	put_le32(zp + ZP_EXT_RAMDISK_SIZE, 0);
	put_le64(zp + HDR_SETUP_DATA, b->dtb.len > 0 ? BOOT_SETUP_DATA : 0);
	if (b->acpi.len > 0)
		put_le64(zp + ZP_RSDP, BOOT_ACPI);
	put_e820(zp, m->cfg->ram_bytes);
}

/* {u64 next, u32 type, u32 length}, then the device tree. */
static int stage_setup_data(struct machine *m, const struct boot_image *b, struct err *err)
{
	uint8_t head[16] = {0};
	int ret;

	if (b->dtb.len == 0)
		return 0;
	put_le32(head + 8, SETUP_DATA_DTB);
	put_le32(head + 12, (uint32_t)b->dtb.len);
	ret = boot_write(m, BOOT_SETUP_DATA, head, sizeof(head), "setup data", err);
	if (ret < 0)
		return ret;
	return boot_write(m, BOOT_SETUP_DATA + sizeof(head), b->dtb.data, b->dtb.len, "device tree",
			  err);
}

#define PTE_PRESENT_WRITE 3ULL
#define PTE_LARGE         (1ULL << 7)
#define IDENTITY_GIB      4

/* One identity map of the first 4 GiB in pages of 2 MiB: PML4, PDPT, four page directories. */
static int stage_page_tables(struct machine *m, struct err *err)
{
	uint64_t table[512];
	uint64_t pdpt = BOOT_PAGE_TABLES + PAGE_BYTES, pd = pdpt + PAGE_BYTES;
	int ret;

	memset(table, 0, sizeof(table));
	table[0] = htole64(pdpt | PTE_PRESENT_WRITE);
	ret = boot_write(m, BOOT_PAGE_TABLES, table, sizeof(table), "page tables", err);
	memset(table, 0, sizeof(table));
	for (unsigned i = 0; i < IDENTITY_GIB; i++)
		table[i] = htole64((pd + i * PAGE_BYTES) | PTE_PRESENT_WRITE);
	if (ret == 0)
		ret = boot_write(m, pdpt, table, sizeof(table), "page tables", err);
	for (uint64_t i = 0; i < IDENTITY_GIB && ret == 0; i++) {
		for (uint64_t k = 0; k < 512; k++)
			table[k] = htole64((i * GiB + k * 2 * MiB) | PTE_PRESENT_WRITE | PTE_LARGE);
		ret = boot_write(m, pd + i * PAGE_BYTES, table, sizeof(table), "page tables", err);
	}
	return ret;
}

int bzimage_stage(struct machine *m, const struct boot_image *b, struct cpu_state *bsp,
		  struct err *err)
{
	CLEANUP(cleanup_free) uint8_t *zp = xcalloc(1, PAGE_BYTES);
	const char *cmdline = m->cfg->append ? m->cfg->append : "";
	int ret;

	ret = boot_write(m, b->kernel_gpa, b->kernel + b->bz.setup_bytes,
			 b->kernel_bytes - b->bz.setup_bytes, "kernel", err);
	if (ret == 0)
		ret =
		    boot_write(m, BOOT_CMDLINE, cmdline, strlen(cmdline) + 1, "command line", err);
	if (ret == 0)
		ret = stage_setup_data(m, b, err);
	fill_zero_page(zp, m, b);
	if (ret == 0)
		ret = boot_write(m, BOOT_ZERO_PAGE, zp, PAGE_BYTES, "zero page", err);
	if (ret == 0)
		ret = stage_page_tables(m, err);
	if (ret == 0)
		ret = boot_flat_segments(m, bsp, true, err);
	if (ret < 0)
		return ret;
	bsp->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	bsp->cr3 = BOOT_PAGE_TABLES;
	bsp->cr4 = CR4_PAE;
	bsp->efer = EFER_LME | EFER_LMA;
	bsp->rip = b->kernel_gpa + ENTRY_64_OFFSET;
	bsp->regs[GPR_RSI] = BOOT_ZERO_PAGE;
	bsp->regs[GPR_RSP] = BOOT_STACK;
	return 0;
}
