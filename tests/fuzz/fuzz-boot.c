/* Both kernel loaders: any bytes parse or are refused, and what parses can be placed inside memory.
 */
#include <stdlib.h>

#include "arch/x86/boot.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define LOW_BYTES (128 * MiB)
#define LOW_START 0x1000
#define LOW_END   0x9fc00

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void try_linux(const uint8_t *data, size_t len)
{
	struct err err;
	struct bzimage bz;
	uint64_t gpa, end, initrd;

	if (bzimage_parse(data, len, "fuzz", &bz, &err) < 0)
		return;
	must(bz.setup_bytes < len && 0x1f1 + bz.header_bytes <= len && bz.header_bytes < 0x100);
	if (bzimage_place(&bz, len, "fuzz", LOW_BYTES, &gpa, &end, &err) < 0)
		return;
	must(gpa >= MiB && end <= LOW_BYTES && end - gpa >= len - bz.setup_bytes);
	if (boot_place_initrd(MiB, "fuzz", end, MIN(LOW_BYTES, (uint64_t)bz.initrd_max + 1),
			      &initrd, &err) == 0)
		must(initrd >= end && initrd + MiB <= LOW_BYTES);
}

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

/* What the kernel is given stands in conventional memory, apart from all else. */
static void try_place(struct elf_kernel *k, size_t cmdline_bytes)
{
	struct err err;

	if (elf_kernel_place(k, cmdline_bytes, "fuzz", &err) < 0)
		return;
	must(k->info_gpa >= LOW_START && k->info_gpa + PAGE_BYTES <= LOW_END);
	must(k->cmdline_gpa >= LOW_START && k->cmdline_gpa + cmdline_bytes <= LOW_END);
	must(!overlap(k->info_gpa, PAGE_BYTES, k->cmdline_gpa, cmdline_bytes));
	for (size_t i = 0; i < k->n_segments; i++) {
		const struct elf_segment *s = &k->segments[i];

		must(!overlap(k->info_gpa, PAGE_BYTES, s->gpa, s->mem_bytes));
		must(!overlap(k->cmdline_gpa, cmdline_bytes, s->gpa, s->mem_bytes));
	}
}

static void try_elf(const uint8_t *data, size_t len)
{
	struct elf_kernel k;
	struct err err;
	uint64_t sum = 0;

	if (elf_kernel_parse(data, len, "fuzz", &k, &err) < 0)
		return;
	must(k.n_segments > 0 && k.n_segments <= ELF_SEGMENTS_MAX);
	for (size_t i = 0; i < k.n_segments; i++) {
		const struct elf_segment *s = &k.segments[i];

		must(s->file_bytes <= s->mem_bytes && s->gpa + s->mem_bytes <= k.end_gpa);
		must(s->gpa >= MiB || (s->gpa >= LOW_START && s->gpa + s->mem_bytes <= LOW_END));
		/* what staging would copy is there */
		for (uint64_t b = 0; b < s->file_bytes; b++)
			sum += data[s->off + b];
	}
	must(sum <= UINT64_MAX && k.end_gpa <= UINT32_MAX);
	try_place(&k, len % 600 + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	try_linux(data, len);
	try_elf(data, len);
	return 0;
}
