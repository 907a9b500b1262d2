/* boot-rig.h - a machine without KVM: memory, a config and kernel files to load */
#ifndef MINIVMM_TESTS_BOOT_RIG_H
#define MINIVMM_TESTS_BOOT_RIG_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arch/x86/boot.h"
#include "arch/x86/cpu-state.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

struct boot_rig {
	struct config cfg;
	struct machine m;
	struct boot_image image;
	struct cpu_state bsp;
	char dir[32], path[64], initrd_path[64];
};

static inline struct boot_rig *rig_new(uint64_t ram_bytes)
{
	const struct ram_backend be = {.kind = RAM_ANONYMOUS, .fd = -1};
	struct boot_rig *r = NEW(struct boot_rig);
	struct ram_block *ram, *bios;
	uint64_t low = MIN(ram_bytes, BOARD_LOWMEM_LIMIT);

	(void)snprintf(r->dir, sizeof(r->dir), "/tmp/boot-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(r->dir));
	(void)snprintf(r->path, sizeof(r->path), "%s/kernel", r->dir);
	(void)snprintf(r->initrd_path, sizeof(r->initrd_path), "%s/initrd", r->dir);
	r->cfg.kernel = r->path;
	r->cfg.ram_bytes = ram_bytes;
	r->cfg.cpus = 1;
	r->cfg.acpi = true;
	r->m.cfg = &r->cfg;
	memory_init(&r->m.mem, -1);
	ram = memory_add_block(&r->m.mem, "microvm.ram", ram_bytes, &be, NULL);
	bios = memory_add_block(&r->m.mem, "pc.bios", 64 * KiB, &be, NULL);
	ck_assert(ram && bios);
	ck_assert_int_eq(memory_map_block(&r->m.mem, ram, 0, 0, 0xf0000, NULL), 0);
	ck_assert_int_eq(memory_map_block(&r->m.mem, bios, 0, 0xf0000, 0x10000, NULL), 0);
	ck_assert_int_eq(memory_map_block(&r->m.mem, ram, MiB, MiB, low - MiB, NULL), 0);
	cpu_state_reset(&r->bsp, 0, 40, true);
	return r;
}

static inline void rig_free(struct boot_rig *r)
{
	boot_free(&r->image);
	(void)unlink(r->path);
	(void)unlink(r->initrd_path);
	(void)rmdir(r->dir);
	memory_fini(&r->m.mem);
	free(r);
}

/* The config owns its strings elsewhere; here they are the tests' own. */
static inline void set(char **member, const char *s)
{
	*member = (char *)(uintptr_t)s;
}

static inline void rig_write(const char *path, const void *p, size_t n)
{
	FILE *f = fopen(path, "wbe");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(p, 1, n, f), n);
	ck_assert_int_eq(fclose(f), 0);
}

/* What boot_load says against it, or "". */
static inline const char *rig_load(struct boot_rig *r)
{
	static struct err err;

	err.msg[0] = '\0';
	boot_free(&r->image);
	if (boot_load(&r->m, &r->image, &err) == 0)
		return "";
	ck_assert_str_ne(err.msg, "");
	return err.msg;
}

static inline void rig_stage(struct boot_rig *r, bool first)
{
	struct err err = {0};

	ck_assert_msg(boot_stage(&r->m, &r->image, first, &r->bsp, &err) == 0, "%s", err.msg);
}

static inline const uint8_t *rig_at(struct boot_rig *r, uint64_t gpa, uint64_t bytes)
{
	const uint8_t *p = memory_ptr(&r->m.mem, gpa, bytes);

	ck_assert_ptr_nonnull(p);
	return p;
}

#define ck_has(text, part)                                                                         \
	ck_assert_msg(strstr((text), (part)) != NULL, "'%s' lacks '%s'", (text), (part))

#endif
