/* boot.c - what kinds of boot share: the memory map, the place of the initrd, flat segments */
#include "arch/x86/boot.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "arch/x86/cpu-state.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

#define SIZE_TEXT 32

size_t boot_e820(uint64_t ram_bytes, struct e820_range out[E820_MAX])
{
	uint64_t low = MIN(ram_bytes, BOARD_LOWMEM_LIMIT);
	size_t n = 0;

	out[n++] = (struct e820_range){0, 0x9fc00, E820_RAM};
	out[n++] = (struct e820_range){0x9fc00, 0x400, E820_RESERVED};
	out[n++] = (struct e820_range){BOOT_ACPI, MiB - BOOT_ACPI, E820_RESERVED};
	if (low > MiB)
		out[n++] = (struct e820_range){MiB, low - MiB, E820_RAM};
	if (ram_bytes > low)
		out[n++] = (struct e820_range){BOARD_HIGHMEM_BASE, ram_bytes - low, E820_RAM};
	return n;
}

/* In MiB from one on. */
static const char *size_text(uint64_t bytes, char text[SIZE_TEXT])
{
	if (bytes < MiB)
		(void)snprintf(text, SIZE_TEXT, "%" PRIu64 " bytes", bytes);
	else
		(void)snprintf(text, SIZE_TEXT, "%.1f MiB", (double)bytes / (double)MiB);
	return text;
}

int boot_place_initrd(size_t bytes, const char *path, uint64_t kernel_end, uint64_t limit,
		      uint64_t *gpa, struct err *err)
{
	char size[2][SIZE_TEXT];

	if (kernel_end > limit || bytes > limit - kernel_end ||
	    ALIGN_DOWN(limit - bytes, PAGE_BYTES) < kernel_end)
		return err_set(err, EINVAL,
			       "initrd file '%s' of %s is too large: the kernel leaves it %s", path,
			       size_text(bytes, size[0]),
			       size_text(kernel_end > limit ? 0 : limit - kernel_end, size[1]));
	*gpa = ALIGN_DOWN(limit - bytes, PAGE_BYTES);
	return 0;
}

int boot_write(struct machine *m, uint64_t gpa, const void *p, uint64_t bytes, const char *what,
	       struct err *err)
{
	int ret = memory_write(&m->mem, gpa, p, bytes);

	if (ret == -ENOSPC)
		return memory_say_no_room(&m->mem, gpa, err);
	if (ret < 0)
		return err_set(err, EFAULT,
			       "the %s does not fit into the guest's memory at 0x%" PRIx64, what,
			       gpa);
	return 0;
}

#define SELECTOR_CODE 0x10
#define SELECTOR_DATA 0x18
#define SELECTOR_TSS  0x20
#define GDT_ENTRIES   6

#define FLAGS_CODE (SEG_P | SEG_S | SEG_G | 0xbU << SEG_TYPE_SHIFT)
#define FLAGS_DATA (SEG_P | SEG_S | SEG_G | SEG_DB | 3U << SEG_TYPE_SHIFT)
#define FLAGS_TSS  (SEG_P | 0xbU << SEG_TYPE_SHIFT) /* busy */

/* A descriptor with base 0; 'limit' in the units that the G flag says. */
static uint64_t descriptor(uint32_t flags, uint32_t limit)
{
	return (uint64_t)(flags | (limit & 0xf0000)) << 32 | (limit & 0xffff);
}

int boot_flat_segments(struct machine *m, struct cpu_state *bsp, bool long_mode, struct err *err)
{
	uint32_t code = FLAGS_CODE | (long_mode ? SEG_L : SEG_DB);
	uint64_t gdt[GDT_ENTRIES] = {0};
	const struct x86_segment data = {
	    .selector = SELECTOR_DATA, .limit = UINT32_MAX, .flags = FLAGS_DATA};

	gdt[SELECTOR_CODE / 8] = htole64(descriptor(code, 0xfffff));
	gdt[SELECTOR_DATA / 8] = htole64(descriptor(FLAGS_DATA, 0xfffff));
	gdt[SELECTOR_TSS / 8] = htole64(descriptor(FLAGS_TSS, 0x67));
	for (unsigned i = 0; i < SEG_COUNT; i++)
		bsp->segs[i] = data;
	bsp->segs[SEG_CS].selector = SELECTOR_CODE;
	bsp->segs[SEG_CS].flags = code;
	bsp->tr = (struct x86_segment){.selector = SELECTOR_TSS, .limit = 0x67, .flags = FLAGS_TSS};
	bsp->gdt = (struct x86_segment){.base = BOOT_GDT, .limit = sizeof(gdt) - 1};
	bsp->idt = (struct x86_segment){0};
	bsp->rflags = RFLAGS_SET;
	bsp->regs[GPR_RDX] = 0;
	return boot_write(m, BOOT_GDT, gdt, sizeof(gdt), "descriptor table", err);
}
