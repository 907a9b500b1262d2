/*
 * boot-kinds.c - which kind of kernel or firmware it is; each kind is in a file of its own
 *
 * The files are read once, and what they are is found out from their content;
 * staging copies them into guest memory at every reset.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arch/x86/acpi.h"
#include "arch/x86/boot.h"
#include "arch/x86/x86.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define FIRMWARE_MAX (16 * MiB)

/* ---- files ---- */

/* The whole of a file, at most 'max' bytes; *data is owned. */
static int read_all(int fd, size_t max, uint8_t **data, size_t *bytes, const char *what,
		    const char *path, struct err *err)
{
	uint8_t *p = NULL;
	size_t len = 0, cap = 0;

	for (;;) {
		ssize_t n;

		if (len == cap) {
			uint8_t *more;

			cap = cap ? cap * 2 : MiB;
			more = realloc(p, cap);
			if (!more) {
				free(p);
				return err_set(err, ENOMEM, "no memory for %s file '%s'", what,
					       path);
			}
			p = more;
		}
		n = read(fd, p + len, cap - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int errnum = errno;

			free(p);
			return err_set(err, errnum, "could not read %s file '%s': %s", what, path,
				       err_text(errnum));
		}
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max) {
			free(p);
			return err_set(err, EFBIG,
				       "%s file '%s' is too large: it does not fit into "
				       "%zu MiB",
				       what, path, max / (size_t)MiB);
		}
	}
	*data = p;
	*bytes = len;
	return 0;
}

static int read_file(const char *path, const char *what, uint64_t max, uint8_t **data,
		     size_t *bytes, struct err *err)
{
	struct err why = {0};
	int fd = path_open(path, O_RDONLY, 0, &why), ret;

	if (fd < 0)
		return err_set(err, -fd, "could not open %s file '%s': %s", what, path,
			       path_is_fdset(path) ? why.msg : err_text(-fd));
	ret = read_all(fd, (size_t)max, data, bytes, what, path, err);
	path_close(fd);
	return ret;
}

static uint64_t low_bytes(const struct machine *m)
{
	return MIN(m->cfg->ram_bytes, BOARD_LOWMEM_LIMIT);
}

/* Of what an ELF file is given, with the terminating NUL. */
static size_t cmdline_bytes(const struct machine *m, const struct boot_image *b)
{
	size_t n = m->cfg->append ? strlen(m->cfg->append) + 1 : 1;

	return b->elf.multiboot ? n + strlen(m->cfg->kernel) + 1 : n;
}

static int load_kernel(struct machine *m, struct boot_image *b, uint64_t *end, uint64_t *limit,
		       struct err *err)
{
	const char *path = m->cfg->kernel;
	int ret = read_file(path, "kernel", low_bytes(m), &b->kernel, &b->kernel_bytes, err);

	if (ret < 0)
		return ret;
	*limit = low_bytes(m);
	if (elf_kernel_probe(b->kernel, b->kernel_bytes)) {
		b->kind = BOOT_PVH;
		ret = elf_kernel_parse(b->kernel, b->kernel_bytes, path, &b->elf, err);
		if (ret == 0)
			ret = elf_kernel_place(&b->elf, cmdline_bytes(m, b), path, err);
		*end = b->elf.end_gpa;
		if (ret == 0 && *end > *limit)
			ret = err_set(err, EINVAL,
				      "kernel file '%s' loads up to 0x%" PRIx64
				      "; the guest has %" PRIu64 " MiB below 3 GiB",
				      path, *end, (uint64_t)(*limit / MiB));
		return ret;
	}
	if (!bzimage_probe(b->kernel, b->kernel_bytes))
		return err_set(err, EINVAL,
			       "kernel file '%s' is not a Linux kernel: neither a bzImage "
			       "(no HdrS at 0x202) nor an ELF file",
			       path);
	b->kind = BOOT_BZIMAGE;
	ret = bzimage_parse(b->kernel, b->kernel_bytes, path, &b->bz, err);
	if (ret < 0)
		return ret;
	if (!b->bz.initrd_anywhere)
		*limit = MIN(*limit, (uint64_t)b->bz.initrd_max + 1);
	return bzimage_place(&b->bz, b->kernel_bytes, path, low_bytes(m), &b->kernel_gpa, end, err);
}

static int check_cmdline(const struct machine *m, const struct boot_image *b, struct err *err)
{
	size_t max = BOOT_CMDLINE_MAX - 1;
	size_t len = cmdline_bytes(m, b) - 1;

	if (b->kind == BOOT_BZIMAGE && b->bz.cmdline_max > 0)
		max = MIN(max, (size_t)b->bz.cmdline_max);
	if (len > max)
		return err_set(err, EINVAL,
			       "the command line of %zu characters is too long: the "
			       "kernel takes %zu",
			       len, max);
	return 0;
}

static int load_tables(struct machine *m, struct boot_image *b, struct err *err)
{
	int ret;

	if (m->cfg->acpi)
		acpi_build(&m->board, m->cfg->cpus, BOOT_ACPI, &b->acpi);
	if (b->acpi.len > BOOT_ACPI_MAX)
		return err_set(err, ENOSPC, "the ACPI tables of %zu bytes are too large",
			       b->acpi.len);
	ret = x86_build_fdt(m, &b->dtb, err);
	if (ret == 0 && b->dtb.len > BOOT_SETUP_DATA_MAX - 16)
		ret = err_set(err, ENOSPC, "the device tree of %zu bytes is too large", b->dtb.len);
	return ret;
}

static int load_initrd(struct machine *m, struct boot_image *b, uint64_t end, uint64_t limit,
		       struct err *err)
{
	const char *path = m->cfg->initrd;
	int ret = read_file(path, "initrd", limit, &b->initrd, &b->initrd_bytes, err);

	if (ret == 0 && b->initrd_bytes > 0)
		ret = boot_place_initrd(b->initrd_bytes, path, end, limit, &b->initrd_gpa, err);
	return ret;
}

/* A message begins with the option that it is about, long ones shortened. */
static int say_option(const char *option, const char *value, int ret, struct err *err)
{
	if (ret == 0)
		return 0;
	return err_prefix(err, ret, "%s %.120s%s", option, value, strlen(value) > 120 ? "..." : "");
}

static int load_all(struct machine *m, struct boot_image *b, struct err *err)
{
	uint64_t end = 0, limit = 0;
	int ret = 0;

	if (m->cfg->initrd && !m->cfg->kernel)
		return err_set(err, EINVAL, "-initrd needs a kernel: give -kernel");
	if (m->cfg->append && !m->cfg->kernel)
		return err_set(err, EINVAL, "-append needs a kernel: give -kernel");
	if (m->cfg->kernel)
		ret = say_option("-kernel", m->cfg->kernel, load_kernel(m, b, &end, &limit, err),
				 err);
	if (ret == 0 && m->cfg->initrd)
		ret =
		    say_option("-initrd", m->cfg->initrd, load_initrd(m, b, end, limit, err), err);
	if (ret == 0 && m->cfg->append)
		ret = say_option("-append", m->cfg->append, check_cmdline(m, b, err), err);
	if (ret == 0 && m->cfg->bios)
		ret = say_option("-bios", m->cfg->bios,
				 read_file(m->cfg->bios, "firmware", FIRMWARE_MAX, &b->firmware,
					   &b->firmware_bytes, err),
				 err);
	if (!m->cfg->kernel && m->cfg->bios)
		b->kind = BOOT_FIRMWARE;
	if (ret == 0)
		ret = load_tables(m, b, err);
	return ret;
}

int boot_load(struct machine *m, struct boot_image *b, struct err *err)
{
	int ret = load_all(m, b, err);

	if (ret < 0)
		boot_free(b);
	return ret;
}

void boot_free(struct boot_image *b)
{
	free(b->kernel);
	free(b->initrd);
	free(b->firmware);
	buf_free(&b->acpi);
	buf_free(&b->dtb);
	memset(b, 0, sizeof(*b));
}

/* ---- staging ---- */

void boot_refresh(struct boot_image *b, const struct board *board)
{
	b->generation_gpa = 0;
	for (size_t i = 0; i < board->n; i++) {
		const struct board_device *d = &board->devices[i];

		if (d->kind == BOARD_VMGENID && d->content && d->bytes == sizeof(b->generation)) {
			b->generation_gpa = d->base;
			memcpy(b->generation, d->content, sizeof(b->generation));
		}
	}
}

/* For kernels: firmware makes tables of its own. */
static int stage_tables(struct machine *m, const struct boot_image *b, struct err *err)
{
	int ret = 0;

	if (b->kind != BOOT_BZIMAGE && b->kind != BOOT_PVH)
		return 0;
	if (b->acpi.len > 0)
		ret = boot_write(m, BOOT_ACPI, b->acpi.data, b->acpi.len, "ACPI tables", err);
	if (ret == 0 && b->generation_gpa)
		ret = boot_write(m, b->generation_gpa, b->generation, sizeof(b->generation),
				 "generation ID", err);
	return ret;
}

int boot_stage(struct machine *m, const struct boot_image *b, bool first, struct cpu_state *bsp,
	       struct err *err)
{
	int ret = boot_stage_firmware(m, b, err);

	if (ret == 0 && b->initrd_bytes > 0)
		ret = boot_write(m, b->initrd_gpa, b->initrd, b->initrd_bytes, "initrd", err);
	if (ret == 0)
		ret = stage_tables(m, b, err);
	if (ret < 0)
		return ret;
	switch (b->kind) {
	case BOOT_BZIMAGE:
		return bzimage_stage(m, b, bsp, err);
	case BOOT_PVH:
		return elf_kernel_stage(m, b, first, bsp, err);
	case BOOT_FIRMWARE:
	case BOOT_NONE:
		break; /* what is at the reset vector runs */
	}
	return 0;
}
