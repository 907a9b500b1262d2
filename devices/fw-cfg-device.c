/* fw-cfg-device.c - items and files of the firmware configuration device, its state table, the
 * board's */
#include "devices/fw-cfg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define FW_CFG_PORTS 12

#define ID_TRADITIONAL 1
#define ID_DMA         2

#define CMDLINE_GPA 0x20000 /* where firmware puts the command line */

#define E820_RAM 1

/* ---- items and files ---- */

static void set_bytes(struct buf *b, const void *bytes, size_t len)
{
	buf_clear(b);
	buf_put(b, bytes, len);
}

void fw_cfg_set(struct fw_cfg *fw, uint16_t key, const void *bytes, size_t len)
{
	set_bytes(&fw->items[!!(key & FW_CFG_ARCH)][(key & 0x3fff) % FW_CFG_FIRST_FILE], bytes,
		  len);
}

void fw_cfg_set_le(struct fw_cfg *fw, uint16_t key, uint64_t val, size_t len)
{
	uint8_t le[8];

	put_le64(le, val);
	fw_cfg_set(fw, key, le, MIN(len, sizeof(le)));
}

/* Item 0x19: {be32 count} and for each file {be32 bytes, be16 key, be16 0, char name[56]}. */
static void write_directory(struct fw_cfg *fw)
{
	struct buf *dir = &fw->items[0][FW_CFG_FILE_DIR];

	buf_clear(dir);
	buf_be32(dir, (uint32_t)fw->n_files);
	for (size_t i = 0; i < fw->n_files; i++) {
		buf_be32(dir, (uint32_t)fw->files[i].bytes.len);
		buf_be16(dir, (uint16_t)(FW_CFG_FIRST_FILE + i));
		buf_be16(dir, 0);
		buf_put(dir, fw->files[i].name, FW_CFG_NAME_BYTES);
	}
}

/* The ACPI files' sizes are in the stream. */
static void note_size(struct fw_cfg *fw, const char *name, size_t len)
{
	if (!strcmp(name, "etc/acpi/tables"))
		fw->table_mr_size = len;
	else if (!strcmp(name, "etc/table-loader"))
		fw->linker_mr_size = len;
	else if (!strcmp(name, "etc/acpi/rsdp"))
		fw->rsdp_mr_size = len;
}

int fw_cfg_add_file(struct fw_cfg *fw, const char *name, const void *bytes, size_t len,
		    struct err *err)
{
	size_t at = 0;

	if (strlen(name) >= FW_CFG_NAME_BYTES || len > UINT32_MAX)
		return err_set(err, EINVAL, "fw_cfg: file '%s' of %zu bytes does not fit", name,
			       len);
	while (at < fw->n_files && strcmp(fw->files[at].name, name) < 0)
		at++;
	if (at == fw->n_files || strcmp(fw->files[at].name, name) != 0) {
		if (fw->n_files == FW_CFG_MAX_FILES)
			return err_set(err, ENOSPC, "fw_cfg: no room for file '%s' beside %d", name,
				       FW_CFG_MAX_FILES);
		memmove(&fw->files[at + 1], &fw->files[at],
			(fw->n_files - at) * sizeof(fw->files[0]));
		fw->files[at] = (struct fw_cfg_file){0};
		memcpy(fw->files[at].name, name, strlen(name));
		fw->n_files++;
	}
	set_bytes(&fw->files[at].bytes, bytes, len);
	note_size(fw, name, len);
	write_directory(fw);
	return 0;
}

/* Packed {le64 start, le64 bytes, le32 type}. */
static void e820_entry(struct buf *out, uint64_t start, uint64_t bytes)
{
	uint8_t e[20];

	put_le64(e, start);
	put_le64(e + 8, bytes);
	put_le32(e + 16, E820_RAM);
	buf_put(out, e, sizeof(e));
}

static int add_e820(struct fw_cfg *fw, uint64_t ram_bytes, struct err *err)
{
	uint64_t low = MIN(ram_bytes, BOARD_LOWMEM_LIMIT);
	struct buf e820 = {0};
	int ret;

	e820_entry(&e820, 0, low);
	if (ram_bytes > low)
		e820_entry(&e820, BOARD_HIGHMEM_BASE, ram_bytes - low);
	ret = fw_cfg_add_file(fw, "etc/e820", e820.data, e820.len, err);
	buf_free(&e820);
	return ret;
}

static void add_cmdline(struct fw_cfg *fw, const char *append)
{
	const char *s = append ? append : "";

	fw_cfg_set_le(fw, FW_CFG_CMDLINE_ADDR, CMDLINE_GPA, 4);
	fw_cfg_set_le(fw, FW_CFG_CMDLINE_SIZE, strlen(s) + 1, 4);
	fw_cfg_set(fw, FW_CFG_CMDLINE_DATA, s, strlen(s) + 1);
}

int fw_cfg_add_standard(struct fw_cfg *fw, struct err *err)
{
	const struct config *cfg = fw->dev.m->cfg;
	static const uint8_t forever[4] = {0xff, 0xff, 0xff, 0xff};
	int ret;

	fw_cfg_set(fw, FW_CFG_SIGNATURE, "QEMU", 4);
	fw_cfg_set_le(fw, FW_CFG_ID, ID_TRADITIONAL | ID_DMA, 4);
	fw_cfg_set(fw, FW_CFG_UUID, cfg->uuid, sizeof(cfg->uuid));
	fw_cfg_set_le(fw, FW_CFG_RAM_SIZE, cfg->ram_bytes, 8);
	fw_cfg_set_le(fw, FW_CFG_NOGRAPHIC, 0, 2);
	fw_cfg_set_le(fw, FW_CFG_NB_CPUS, cfg->cpus, 2);
	fw_cfg_set_le(fw, FW_CFG_BOOT_MENU, 0, 2);
	fw_cfg_set_le(fw, FW_CFG_MAX_CPUS, cfg->maxcpus ? cfg->maxcpus : cfg->cpus, 2);
	fw_cfg_set_le(fw, FW_CFG_IRQ0_OVERRIDE, 1, 4);
	if (cfg->kernel)
		add_cmdline(fw, cfg->append);
	ret = fw_cfg_add_file(fw, "bios-geometry", NULL, 0, err);
	if (ret >= 0)
		ret = fw_cfg_add_file(fw, "bootorder", NULL, 0, err);
	if (ret >= 0)
		ret = fw_cfg_add_file(fw, "etc/boot-fail-wait", forever, sizeof(forever), err);
	return ret < 0 ? ret : add_e820(fw, cfg->ram_bytes, err);
}

/* ---- state ---- */

static int acpi_sizes_pre_load(void *dev, struct err *err)
{
	struct fw_cfg *fw = dev;

	(void)err;
	fw->dma_addr = 0;
	fw->table_mr_size = fw->linker_mr_size = fw->rsdp_mr_size = 0;
	return 0;
}

/* Sizes that fill whole pages are those of the RAM blocks, which the other side knows. */
static bool acpi_sizes_needed(void *dev)
{
	const struct fw_cfg *fw = dev;

	return (fw->table_mr_size | fw->linker_mr_size | fw->rsdp_mr_size) % PAGE_BYTES != 0;
}

static const struct vms_field dma_fields[] = {
    VMS_U64(struct fw_cfg, dma_addr, "dma_addr"),
    VMS_LAST,
};

static const struct vms_desc dma_vmstate = {
    .name = "fw_cfg/dma",
    .version = 0,
    .min_version = 0,
    .fields = dma_fields,
};

static const struct vms_field acpi_sizes_fields[] = {
    VMS_U64(struct fw_cfg, table_mr_size, "table_mr_size"),
    VMS_U64(struct fw_cfg, linker_mr_size, "linker_mr_size"),
    VMS_U64(struct fw_cfg, rsdp_mr_size, "rsdp_mr_size"),
    VMS_LAST,
};

static const struct vms_desc acpi_sizes_vmstate = {
    .name = "fw_cfg/acpi_mr",
    .version = 1,
    .min_version = 1,
    .fields = acpi_sizes_fields,
    .needed = acpi_sizes_needed,
};

static const struct vms_field fw_cfg_fields[] = {
    VMS_U16(struct fw_cfg, cur_entry, "cur_entry"),
    VMS_U32(struct fw_cfg, cur_offset, "cur_offset[1]"),
    VMS_LAST,
};

const struct vms_desc fw_cfg_vmstate = {
    .name = "fw_cfg",
    .version = 2,
    .min_version = 2,
    .fields = fw_cfg_fields,
    .subs = (const struct vms_desc *const[]){&dma_vmstate, &acpi_sizes_vmstate, NULL},
    .pre_load = acpi_sizes_pre_load,
};

/* ---- the device ---- */

static uint64_t port_read(void *dev, uint64_t off, unsigned len)
{
	return fw_cfg_read(dev, off, len);
}

static void port_write(void *dev, uint64_t off, unsigned len, uint64_t val)
{
	fw_cfg_write(dev, off, len, val);
}

static const struct bus_ops port_ops = {.read = port_read, .write = port_write};

static void fw_cfg_reset(struct device *d)
{
	struct fw_cfg *fw = container_of(d, struct fw_cfg, dev);

	fw->cur_entry = FW_CFG_SIGNATURE;
	fw->cur_offset = 0;
	fw->dma_addr = 0;
}

static void fw_cfg_destroy(struct device *d)
{
	struct fw_cfg *fw = container_of(d, struct fw_cfg, dev);

	fw_cfg_fini(fw);
	free(fw);
}

static const struct device_ops fw_cfg_ops = {
    .name = "fw_cfg",
    .reset = fw_cfg_reset,
    .destroy = fw_cfg_destroy,
};

void fw_cfg_init(struct fw_cfg *fw, struct machine *m)
{
	*fw = (struct fw_cfg){
	    .dev = {.ops = &fw_cfg_ops, .m = m}
        };
}

void fw_cfg_fini(struct fw_cfg *fw)
{
	for (size_t i = 0; i < FW_CFG_FIRST_FILE; i++) {
		buf_free(&fw->items[0][i]);
		buf_free(&fw->items[1][i]);
	}
	for (size_t i = 0; i < fw->n_files; i++)
		buf_free(&fw->files[i].bytes);
	fw->n_files = 0;
}

struct fw_cfg *fw_cfg_find(struct machine *m)
{
	list_for_each (d, &m->devices, struct device, link)
		if (d->ops == &fw_cfg_ops)
			return container_of(d, struct fw_cfg, dev);
	return NULL;
}

int fw_cfg_create(struct machine *m, struct err *err)
{
	struct fw_cfg *fw = NEW(struct fw_cfg);
	struct board_device *b;
	int ret;

	fw_cfg_init(fw, m);
	ret = fw_cfg_add_standard(fw, err);
	if (ret >= 0)
		ret = bus_add(&m->ports, BOARD_PORT_FW_CFG, FW_CFG_PORTS, &port_ops, fw, err);
	if (ret < 0) {
		fw_cfg_destroy(&fw->dev);
		return ret;
	}
	vms_register(&m->vmstate, VMS_RANK_FW_CFG, "fw_cfg", 0, -1, &fw_cfg_vmstate, fw);
	b = board_add(&m->board, BOARD_FW_CFG, "fw_cfg");
	if (b) {
		b->base = BOARD_PORT_FW_CFG;
		b->bytes = FW_CFG_PORTS;
	}
	machine_add_device(m, &fw->dev);
	return 0;
}
