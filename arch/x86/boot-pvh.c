/*
 * boot-pvh.c - an ELF file through its PVH entry note
 *
 * The note (owner "Xen", type 18) gives a 32-bit entry point; the guest
 * starts there in protected mode without paging, EBX pointing at a start info
 * with memory map, command line, initrd and RSDP.
 */
#include <elf.h>
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

#define NOTE_PHYS32_ENTRY   18
#define PROGRAM_HEADERS_MAX 256
#define LOW_START           0x1000  /* behind the GDT */
#define LOW_END             0x9fc00 /* of conventional memory */

bool elf_kernel_probe(const uint8_t *file, size_t bytes)
{
	return bytes >= EI_NIDENT && memcmp(file, ELFMAG, SELFMAG) == 0;
}

/* What both classes of file say, in one form. */
struct elf_file {
	const uint8_t *data;
	size_t bytes;
	bool is64;
	uint64_t entry, phoff;
	size_t phnum, phentsize;
};

struct program_header {
	uint32_t type;
	uint64_t off, paddr, file_bytes, mem_bytes, align;
};

static bool inside(size_t bytes, uint64_t off, uint64_t len)
{
	return off <= bytes && len <= bytes - off;
}

static int open_elf(struct elf_file *f, const char *path, struct err *err)
{
	Elf64_Ehdr h64;
	Elf32_Ehdr h32;
	unsigned machine;

	f->is64 = f->data[EI_CLASS] == ELFCLASS64;
	if (f->data[EI_DATA] != ELFDATA2LSB || f->bytes < sizeof(h32) ||
	    (f->is64 && f->bytes < sizeof(h64)))
		return err_set(err, EINVAL, "kernel file '%s' is no ELF file for x86", path);
	if (f->is64) {
		memcpy(&h64, f->data, sizeof(h64));
		machine = h64.e_machine;
		f->entry = h64.e_entry;
		f->phoff = h64.e_phoff;
		f->phnum = h64.e_phnum;
		f->phentsize = h64.e_phentsize;
	} else {
		memcpy(&h32, f->data, sizeof(h32));
		machine = h32.e_machine;
		f->entry = h32.e_entry;
		f->phoff = h32.e_phoff;
		f->phnum = h32.e_phnum;
		f->phentsize = h32.e_phentsize;
	}
	if (machine != EM_X86_64 && machine != EM_386)
		return err_set(err, EINVAL, "kernel file '%s' is no ELF file for x86", path);
	if (f->phentsize != (f->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) ||
	    f->phnum > PROGRAM_HEADERS_MAX ||
	    !inside(f->bytes, f->phoff, (uint64_t)f->phnum * f->phentsize))
		return err_set(err, EINVAL,
			       "kernel file '%s' is an ELF file with broken program "
			       "headers",
			       path);
	return 0;
}

static struct program_header read_header(const struct elf_file *f, size_t i)
{
	const uint8_t *at = f->data + f->phoff + i * f->phentsize;
	Elf64_Phdr p64;
	Elf32_Phdr p32;

	if (f->is64) {
		memcpy(&p64, at, sizeof(p64));
		return (struct program_header){p64.p_type,   p64.p_offset, p64.p_paddr,
					       p64.p_filesz, p64.p_memsz,  p64.p_align};
	}
	memcpy(&p32, at, sizeof(p32));
	return (struct program_header){p32.p_type,   p32.p_offset, p32.p_paddr,
				       p32.p_filesz, p32.p_memsz,  p32.p_align};
}

static int add_segment(struct elf_kernel *k, const struct program_header *p, const char *path,
		       struct err *err)
{
	uint64_t end;

	if (p->mem_bytes == 0)
		return 0;
	if (k->n_segments == ELF_SEGMENTS_MAX)
		return err_set(err, EINVAL, "kernel file '%s' has more than %d segments to load",
			       path, ELF_SEGMENTS_MAX);
	if (p->file_bytes > p->mem_bytes || __builtin_add_overflow(p->paddr, p->mem_bytes, &end) ||
	    end > UINT32_MAX)
		return err_set(err, EINVAL,
			       "kernel file '%s' has a segment that does not fit into "
			       "the first 4 GiB",
			       path);
	if (p->paddr < LOW_START || (p->paddr < MiB && end > LOW_END))
		return err_set(err, EINVAL,
			       "kernel file '%s' loads at 0x%" PRIx64 " to 0x%" PRIx64
			       ": below 1 MiB only 0x%x to 0x%x is free",
			       path, p->paddr, end, LOW_START, LOW_END);
	k->segments[k->n_segments++] = (struct elf_segment){
	    .off = p->off, .file_bytes = p->file_bytes, .gpa = p->paddr, .mem_bytes = p->mem_bytes};
	k->end_gpa = MAX(k->end_gpa, end);
	return 0;
}

/* Notes are {u32 name, desc sizes, u32 type}, name, desc, each padded to 4 bytes. */
static void scan_notes(const struct elf_file *f, const struct program_header *p, uint64_t *entry,
		       bool *found)
{
	const uint8_t *at = f->data + p->off;
	size_t left = p->file_bytes;

	while (left >= sizeof(Elf64_Nhdr) && !*found) {
		Elf64_Nhdr n;
		uint64_t name_bytes, desc_bytes;

		memcpy(&n, at, sizeof(n));
		name_bytes = ALIGN_UP((uint64_t)n.n_namesz, 4);
		desc_bytes = ALIGN_UP((uint64_t)n.n_descsz, 4);
		left -= sizeof(n);
		at += sizeof(n);
		if (name_bytes > left || n.n_descsz > left - name_bytes)
			return;
		if (n.n_type == NOTE_PHYS32_ENTRY && n.n_namesz == 4 && memcmp(at, "Xen", 4) == 0 &&
		    (n.n_descsz == 4 || n.n_descsz == 8)) {
			*entry = n.n_descsz == 4 ? get_le32(at + 4) : get_le64(at + 4);
			*found = true;
		}
		at += name_bytes + MIN(desc_bytes, left - name_bytes);
		left -= name_bytes + MIN(desc_bytes, left - name_bytes);
	}
}

static bool in_segment(const struct elf_kernel *k, uint64_t gpa)
{
	for (size_t i = 0; i < k->n_segments; i++)
		if (gpa >= k->segments[i].gpa &&
		    gpa - k->segments[i].gpa < k->segments[i].mem_bytes)
			return true;
	return false;
}

/* There is no PVH note. */
static int use_multiboot(const struct elf_file *f, struct elf_kernel *k, const char *path,
			 struct err *err)
{
	uint32_t flags;

	if (!multiboot_probe(f->data, f->bytes, &flags))
		return err_set(err, EINVAL,
			       "kernel file '%s' is an ELF file without a PVH entry note or a "
			       "Multiboot header",
			       path);
	k->multiboot = true;
	k->entry = f->entry;
	return multiboot_check(flags, f->is64, path, err);
}

int elf_kernel_parse(const uint8_t *file, size_t bytes, const char *path, struct elf_kernel *out,
		     struct err *err)
{
	struct elf_file f = {.data = file, .bytes = bytes};
	struct elf_kernel k = {
	    .end_gpa = MiB, .info_gpa = BOOT_PVH_INFO, .cmdline_gpa = BOOT_CMDLINE};
	bool found = false;
	int ret;

	if (!elf_kernel_probe(file, bytes))
		return err_set(err, EINVAL, "kernel file '%s' is not an ELF file", path);
	ret = open_elf(&f, path, err);
	for (size_t i = 0; i < f.phnum && ret == 0; i++) {
		struct program_header p = read_header(&f, i);

		if (p.type != PT_LOAD && p.type != PT_NOTE)
			continue;
		if (!inside(bytes, p.off, p.file_bytes))
			return err_set(err, EINVAL,
				       "kernel file '%s' is cut short: segment %zu ends "
				       "behind the file",
				       path, i);
		if (p.type == PT_LOAD)
			ret = add_segment(&k, &p, path, err);
		else
			scan_notes(&f, &p, &k.entry, &found);
	}
	if (ret == 0 && !found)
		ret = use_multiboot(&f, &k, path, err);
	if (ret < 0)
		return ret;
	if (!in_segment(&k, k.entry))
		return err_set(err, EINVAL,
			       "kernel file '%s' has its %s entry at 0x%" PRIx64
			       ", outside of what it loads",
			       path, k.multiboot ? "Multiboot" : "PVH", k.entry);
	*out = k;
	return 0;
}

static bool overlaps(uint64_t gpa, uint64_t bytes, uint64_t with, uint64_t with_bytes)
{
	return gpa < with + with_bytes && with < gpa + bytes;
}

static bool is_free(const struct elf_kernel *k, uint64_t gpa, uint64_t bytes)
{
	for (size_t i = 0; i < k->n_segments; i++)
		if (overlaps(gpa, bytes, k->segments[i].gpa, k->segments[i].mem_bytes))
			return false;
	return gpa + bytes <= LOW_END;
}

/* *gpa stays if it is free, and outside of the page 'taken', or becomes the lowest page that is. */
static int find_free(const struct elf_kernel *k, uint64_t bytes, uint64_t taken, uint64_t *gpa)
{
	if (is_free(k, *gpa, bytes) && !overlaps(*gpa, bytes, taken, PAGE_BYTES))
		return 0;
	for (uint64_t at = LOW_START; at < LOW_END; at += PAGE_BYTES) {
		if (!is_free(k, at, bytes) || overlaps(at, bytes, taken, PAGE_BYTES))
			continue;
		*gpa = at;
		return 0;
	}
	return -ENOSPC;
}

int elf_kernel_place(struct elf_kernel *k, size_t cmdline_bytes, const char *path, struct err *err)
{
	int ret = find_free(k, PAGE_BYTES, 0, &k->info_gpa);

	if (ret == 0)
		ret = find_free(k, cmdline_bytes, k->info_gpa, &k->cmdline_gpa);
	if (ret < 0)
		return err_set(err, -ret,
			       "kernel file '%s' leaves no room below 0x%x for its start info and "
			       "a command line of %zu bytes",
			       path, LOW_END, cmdline_bytes);
	return 0;
}

/* ---- staging ---- */

#define START_MAGIC      0x336ec578
#define START_INFO_BYTES 56
#define MODULE_BYTES     32
#define MEMMAP_BYTES     24
#define OFF_MODULES      64
#define OFF_MEMMAP       128

static int stage_start_info(struct machine *m, const struct boot_image *b, struct err *err)
{
	uint8_t info[OFF_MEMMAP + E820_MAX * MEMMAP_BYTES] = {0};
	struct e820_range map[E820_MAX];
	size_t n = boot_e820(m->cfg->ram_bytes, map);

	put_le32(info, START_MAGIC);
	put_le32(info + 4, 1); /* version */
	put_le64(info + 24, b->elf.cmdline_gpa);
	put_le64(info + 32, b->acpi.len > 0 ? BOOT_ACPI : 0);
	put_le64(info + 40, b->elf.info_gpa + OFF_MEMMAP);
	put_le32(info + 48, (uint32_t)n);
	if (b->initrd_bytes > 0) {
		put_le32(info + 12, 1);
		put_le64(info + 16, b->elf.info_gpa + OFF_MODULES);
		put_le64(info + OFF_MODULES, b->initrd_gpa);
		put_le64(info + OFF_MODULES + 8, b->initrd_bytes);
	}
	for (size_t i = 0; i < n; i++) {
		uint8_t *e = info + OFF_MEMMAP + i * MEMMAP_BYTES;

		put_le64(e, map[i].gpa);
		put_le64(e + 8, map[i].bytes);
		put_le32(e + 16, map[i].type);
	}
	return boot_write(m, b->elf.info_gpa, info, sizeof(info), "start info", err);
}

/* Untouched anonymous memory is zero already; writing to it would only make it real. */
static int clear_tail(struct machine *m, const struct elf_segment *s, bool first, struct err *err)
{
	static const uint8_t zeros[64 * 1024];
	const struct ram_block *ram = memory_find_block(&m->mem, "microvm.ram");
	uint64_t gpa = s->gpa + s->file_bytes, left = s->mem_bytes - s->file_bytes;

	if (first && ram && ram->fd < 0)
		return 0;
	while (left > 0) {
		uint64_t n = MIN(left, sizeof(zeros));
		int ret = boot_write(m, gpa, zeros, n, "kernel", err);

		if (ret < 0)
			return ret;
		gpa += n;
		left -= n;
	}
	return 0;
}

int elf_kernel_stage(struct machine *m, const struct boot_image *b, bool first,
		     struct cpu_state *bsp, struct err *err)
{
	CLEANUP(cleanup_free)
	char *cmdline = b->elf.multiboot ? multiboot_cmdline(m->cfg)
					 : xstrdup(m->cfg->append ? m->cfg->append : "");
	int ret = 0;

	for (size_t i = 0; i < b->elf.n_segments && ret == 0; i++) {
		const struct elf_segment *s = &b->elf.segments[i];

		ret = clear_tail(m, s, first, err);
		if (ret == 0 && s->file_bytes > 0)
			ret =
			    boot_write(m, s->gpa, b->kernel + s->off, s->file_bytes, "kernel", err);
	}
	if (ret == 0)
		ret = boot_write(m, b->elf.cmdline_gpa, cmdline, strlen(cmdline) + 1,
				 "command line", err);
	if (ret == 0)
		ret = b->elf.multiboot ? multiboot_stage_info(m, b, bsp, err)
				       : stage_start_info(m, b, err);
	if (ret == 0)
		ret = boot_flat_segments(m, bsp, false, err);
	if (ret < 0)
		return ret;
	bsp->cr0 = CR0_PE | CR0_ET;
	bsp->rip = b->elf.entry;
	bsp->regs[GPR_RBX] = b->elf.info_gpa;
	return 0;
}
