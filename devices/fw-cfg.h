/*
 * fw-cfg.h - the firmware configuration device: ports 0x510 to 0x51b
 *
 * Items are bytes under a 16-bit key.  The guest selects a key, then reads its
 * bytes one by one from the data port, or has them written to its memory by
 * the DMA interface.  Keys from 0x20 on are files, listed by name in item
 * 0x19.  Everything here is read only for the guest.
 */
#ifndef MINIVMM_DEVICES_FW_CFG_H
#define MINIVMM_DEVICES_FW_CFG_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/buf.h"
#include "vmm/device.h"

struct err;
struct machine;
struct vms_desc;

#define FW_CFG_FIRST_FILE 0x20
#define FW_CFG_MAX_FILES  32
#define FW_CFG_MAX_KEY    (FW_CFG_FIRST_FILE + FW_CFG_MAX_FILES) /* keys are below */
#define FW_CFG_NAME_BYTES 56

enum fw_cfg_key {
	FW_CFG_SIGNATURE = 0x00,
	FW_CFG_ID = 0x01,
	FW_CFG_UUID = 0x02,
	FW_CFG_RAM_SIZE = 0x03,
	FW_CFG_NOGRAPHIC = 0x04,
	FW_CFG_NB_CPUS = 0x05,
	FW_CFG_KERNEL_ADDR = 0x07,
	FW_CFG_KERNEL_SIZE = 0x08,
	FW_CFG_INITRD_ADDR = 0x0a,
	FW_CFG_INITRD_SIZE = 0x0b,
	FW_CFG_BOOT_MENU = 0x0e,
	FW_CFG_MAX_CPUS = 0x0f,
	FW_CFG_KERNEL_ENTRY = 0x10,
	FW_CFG_KERNEL_DATA = 0x11,
	FW_CFG_INITRD_DATA = 0x12,
	FW_CFG_CMDLINE_ADDR = 0x13,
	FW_CFG_CMDLINE_SIZE = 0x14,
	FW_CFG_CMDLINE_DATA = 0x15,
	FW_CFG_SETUP_ADDR = 0x16,
	FW_CFG_SETUP_SIZE = 0x17,
	FW_CFG_SETUP_DATA = 0x18,
	FW_CFG_FILE_DIR = 0x19,
	FW_CFG_ARCH = 0x8000, /* the key is the processor's own, beside the common ones */
	FW_CFG_IRQ0_OVERRIDE = FW_CFG_ARCH | 0x02,
	FW_CFG_NONE = 0xffff, /* what cur_entry is after an unknown key */
};

struct fw_cfg_file {
	char name[FW_CFG_NAME_BYTES];
	struct buf bytes; /* owned */
};

struct fw_cfg {
	struct device dev;
	/* set at creation and then constant */
	struct buf items[2][FW_CFG_FIRST_FILE];     /* [1]: FW_CFG_ARCH; owned */
	struct fw_cfg_file files[FW_CFG_MAX_FILES]; /* sorted by name: the first is key 0x20 */
	size_t n_files;
	/* under the machine lock, in the stream */
	uint16_t cur_entry;
	uint32_t cur_offset;
	uint64_t dma_addr;
	uint64_t table_mr_size, linker_mr_size, rsdp_mr_size; /* of the ACPI files, 0: none */
};

/* Make the device of the board, with the items that tell memory, CPUs and command line. */
int fw_cfg_create(struct machine *m, struct err *err);
/* The machine's, or NULL.  Borrowed. */
struct fw_cfg *fw_cfg_find(struct machine *m);

/* Before vCPUs run.  The bytes are copied; a key or file that is there is replaced. */
void fw_cfg_set(struct fw_cfg *fw, uint16_t key, const void *bytes, size_t len);
void fw_cfg_set_le(struct fw_cfg *fw, uint16_t key, uint64_t val, size_t len); /* 2, 4, 8 bytes */
/* -ENOSPC: too many files.  -EINVAL: a name that does not fit.  Other files' keys may change. */
int fw_cfg_add_file(struct fw_cfg *fw, const char *name, const void *bytes, size_t len,
		    struct err *err);

/* The ports, for tests: the offset is from 0x510. */
uint64_t fw_cfg_read(struct fw_cfg *fw, uint64_t off, unsigned len);
void fw_cfg_write(struct fw_cfg *fw, uint64_t off, unsigned len, uint64_t val);
/* An empty device, no items. */
void fw_cfg_init(struct fw_cfg *fw, struct machine *m);
void fw_cfg_fini(struct fw_cfg *fw);
/* The items that do not depend on the guest's image (machine-microvm 1.8). */
int fw_cfg_add_standard(struct fw_cfg *fw, struct err *err);

extern const struct vms_desc fw_cfg_vmstate; /* over struct fw_cfg */

#endif
