/*
 * boot.h - what the guest starts from: a Linux kernel, an ELF file, or firmware
 *
 * Files are read once, parsed by pure functions and kept; staging copies them
 * into guest memory and sets the boot processor's registers, at every reset.
 *
 * Where things stand in guest memory, all below 1 MiB but kernel and initrd:
 *
 *     0x00500  GDT                       0x20000  command line
 *     0x06000  what an ELF file is told          0x30000  setup_data: the device tree
 *     0x07000  zero page                 0xd0000  RSDP and ACPI tables
 *     0x09000  page tables (6 pages)            0xdf000  generation ID (BOARD_VMGENID_GPA)
 */
#ifndef MINIVMM_ARCH_X86_BOOT_H
#define MINIVMM_ARCH_X86_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/buf.h"

struct board;
struct config;
struct cpu_state;
struct err;
struct machine;
struct memory;

#define BOOT_GDT            0x500
#define BOOT_PVH_INFO       0x6000
#define BOOT_ZERO_PAGE      0x7000
#define BOOT_PAGE_TABLES    0x9000
#define BOOT_STACK          0x8ff0
#define BOOT_CMDLINE        0x20000
#define BOOT_CMDLINE_MAX    0x10000 /* with the terminating NUL */
#define BOOT_SETUP_DATA     0x30000
#define BOOT_SETUP_DATA_MAX 0x60000
#define BOOT_ACPI           0xd0000
#define BOOT_ACPI_MAX       0xf000

#define E820_RAM      1
#define E820_RESERVED 2

struct e820_range {
	uint64_t gpa, bytes;
	uint32_t type;
};
#define E820_MAX 5

/* The map of machine-microvm 1.11 item 5; returns how many of out[] are used. */
size_t boot_e820(uint64_t ram_bytes, struct e820_range out[E820_MAX]);

enum boot_kind { BOOT_NONE, BOOT_BZIMAGE, BOOT_PVH, BOOT_FIRMWARE };

/* A bzImage, as its header tells. */
struct bzimage {
	size_t header_bytes; /* of the setup header, from 0x1f1 on */
	size_t setup_bytes;  /* where the part to load starts in the file */
	uint64_t pref_address;
	uint32_t alignment, init_size, initrd_max, cmdline_max;
	bool relocatable, initrd_anywhere;
};

#define ELF_SEGMENTS_MAX 32

struct elf_segment {
	uint64_t off, file_bytes, gpa, mem_bytes;
};

/* An ELF file with a PVH entry note, or with a Multiboot header. */
struct elf_kernel {
	bool multiboot;
	struct elf_segment segments[ELF_SEGMENTS_MAX];
	size_t n_segments;
	uint64_t entry;   /* 32-bit protected mode */
	uint64_t end_gpa; /* behind the highest segment; at least 1 MiB */
	/* what it is given; elsewhere than usual when segments stand there */
	uint64_t info_gpa, cmdline_gpa;
};

struct boot_image {
	enum boot_kind kind;
	uint8_t *kernel, *initrd; /* owned */
	size_t kernel_bytes, initrd_bytes;
	struct bzimage bz;
	struct elf_kernel elf;
	uint64_t kernel_gpa; /* bzImage: where it is loaded */
	uint64_t initrd_gpa;
	struct buf acpi, dtb; /* owned */
	uint8_t *firmware;    /* owned; of -bios, NULL without */
	size_t firmware_bytes;
	/* what the board's BOARD_VMGENID shows its guest; 0: there is none */
	uint64_t generation_gpa;
	uint8_t generation[16];
};

/*
 * Parse; pure and bounded.  'path' is for messages.  0, or -EINVAL with a
 * sentence that says what the file is not.
 */
int bzimage_parse(const uint8_t *file, size_t bytes, const char *path, struct bzimage *out,
		  struct err *err);
bool bzimage_probe(const uint8_t *file, size_t bytes);
int elf_kernel_parse(const uint8_t *file, size_t bytes, const char *path, struct elf_kernel *out,
		     struct err *err);
/*
 * Where its start info and a command line of so many bytes go: to their usual
 * places, or to free ones below 0x9fc00 when the kernel loads over those.
 */
int elf_kernel_place(struct elf_kernel *k, size_t cmdline_bytes, const char *path, struct err *err);
bool elf_kernel_probe(const uint8_t *file, size_t bytes);
/* Is there a Multiboot header?  Its flags. */
bool multiboot_probe(const uint8_t *file, size_t bytes, uint32_t *flags);
/* Can what they ask for be had?  -ENOTSUP. */
int multiboot_check(uint32_t flags, bool is64, const char *path, struct err *err);
/* The file's name and -append; owned. */
char *multiboot_cmdline(const struct config *cfg);

/* Where to load it in 'low_bytes' of memory below 3 GiB. */
int bzimage_place(const struct bzimage *bz, size_t file_bytes, const char *path, uint64_t low_bytes,
		  uint64_t *gpa, uint64_t *end, struct err *err);
/* The highest place for the initrd above 'kernel_end' and below 'limit'. */
int boot_place_initrd(size_t bytes, const char *path, uint64_t kernel_end, uint64_t limit,
		      uint64_t *gpa, struct err *err);

/* Put the firmware, or what stands in for it, at the reset vector. */
int boot_stage_firmware(struct machine *m, const struct boot_image *b, struct err *err);

/* boot-kinds.c: read and check what the config names; fills *b.  See x86_load_boot_files(). */
int boot_load(struct machine *m, struct boot_image *b, struct err *err);
void boot_free(struct boot_image *b);
/* Note what changes from boot to boot; machine lock held. */
void boot_refresh(struct boot_image *b, const struct board *board);
/* Copy into guest memory and set the registers of the boot processor, which are at their reset
 * values. */
int boot_stage(struct machine *m, const struct boot_image *b, bool first, struct cpu_state *bsp,
	       struct err *err);

/* The two ways of staging, each in its own file. */
int bzimage_stage(struct machine *m, const struct boot_image *b, struct cpu_state *bsp,
		  struct err *err);
int elf_kernel_stage(struct machine *m, const struct boot_image *b, bool first,
		     struct cpu_state *bsp, struct err *err);
/* Multiboot's counterpart to the PVH start info. */
int multiboot_stage_info(struct machine *m, const struct boot_image *b, struct cpu_state *bsp,
			 struct err *err);
/* Flat segments and a GDT that holds them; 64-bit code or 32-bit code. */
int boot_flat_segments(struct machine *m, struct cpu_state *bsp, bool long_mode, struct err *err);
/* memory_write with a sentence. */
int boot_write(struct machine *m, uint64_t gpa, const void *p, uint64_t bytes, const char *what,
	       struct err *err);

#endif
