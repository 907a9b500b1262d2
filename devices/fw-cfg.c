/*
 * fw-cfg.c - selector, data port and DMA of the firmware configuration device
 *
 * A DMA request is {be32 control, be32 length, be64 address} in guest memory.
 * Writing its address starts it: the address register is 64 bits wide, big
 * endian, and a write that touches the low half is the doorbell.  It is done
 * when the write returns; the control word then holds 0, or the error bit.
 */
#include "devices/fw-cfg.h"

#include <endian.h>
#include <string.h>

#include "vmm/base/bytes.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

#define PORT_SELECTOR 0
#define PORT_DATA     1
#define PORT_DMA_HIGH 4
#define PORT_DMA_LOW  8

#define KEY_MASK 0x3fff /* bit 14 asks for write access, which nothing here has */

#define DMA_ERROR  0x01
#define DMA_READ   0x02
#define DMA_SKIP   0x04
#define DMA_SELECT 0x08
#define DMA_WRITE  0x10

#define DMA_SIGNATURE 0x51454d5520434647ULL /* "QEMU CFG", what the address register reads as */

/* The bytes of the selected item, or NULL. */
static const struct buf *current(struct fw_cfg *fw)
{
	unsigned key = fw->cur_entry & KEY_MASK;

	if (fw->cur_entry == FW_CFG_NONE)
		return NULL;
	if (key < FW_CFG_FIRST_FILE)
		return &fw->items[!!(fw->cur_entry & FW_CFG_ARCH)][key];
	key -= FW_CFG_FIRST_FILE;
	return key < fw->n_files && !(fw->cur_entry & FW_CFG_ARCH) ? &fw->files[key].bytes : NULL;
}

static void select_key(struct fw_cfg *fw, uint16_t key)
{
	fw->cur_offset = 0;
	fw->cur_entry = (key & KEY_MASK) < FW_CFG_MAX_KEY ? key : FW_CFG_NONE;
}

static uint8_t read_byte(struct fw_cfg *fw)
{
	const struct buf *b = current(fw);

	if (!b || fw->cur_offset >= b->len)
		return 0;
	return b->data[fw->cur_offset++];
}

/* ---- DMA ---- */

/*
 * Guest memory is touched without the machine lock: a page may have to be
 * fetched first.  The vCPU that asked waits here; another one may
 * change the registers meanwhile, which only harms the guest.
 */
static int read_guest(struct machine *m, uint64_t gpa, void *to, uint64_t len)
{
	int ret;

	machine_unlock(m);
	ret = memory_read(&m->mem, gpa, to, len);
	machine_lock(m);
	return ret;
}

static int write_guest(struct machine *m, uint64_t gpa, const void *from, uint64_t len)
{
	int ret;

	machine_unlock(m);
	ret = memory_write(&m->mem, gpa, from, len);
	machine_lock(m);
	return ret;
}

static int zero_guest(struct machine *m, uint64_t gpa, uint64_t len)
{
	int ret;

	machine_unlock(m);
	ret = memory_zero(&m->mem, gpa, len);
	machine_lock(m);
	return ret;
}

/* Beyond an item's end there are zeros. */
static uint32_t dma_read(struct fw_cfg *fw, uint64_t gpa, uint32_t len)
{
	struct machine *m = fw->dev.m;
	const struct buf *b = current(fw);
	size_t left = b && fw->cur_offset < b->len ? b->len - fw->cur_offset : 0;
	uint32_t n = (uint32_t)MIN(len, left);

	if (n && write_guest(m, gpa, b->data + fw->cur_offset, n) < 0)
		return DMA_ERROR;
	fw->cur_offset += n;
	return zero_guest(m, gpa + n, len - n) < 0 ? DMA_ERROR : 0;
}

static void dma_skip(struct fw_cfg *fw, uint32_t len)
{
	const struct buf *b = current(fw);
	size_t left = b && fw->cur_offset < b->len ? b->len - fw->cur_offset : 0;

	fw->cur_offset += (uint32_t)MIN(len, left);
}

static void dma_run(struct fw_cfg *fw)
{
	struct machine *m = fw->dev.m;
	uint64_t gpa = fw->dma_addr;
	uint8_t req[16], status[4];
	uint32_t control, len, result = 0;

	fw->dma_addr = 0;
	if (read_guest(m, gpa, req, sizeof(req)) < 0) {
		put_be32(status, DMA_ERROR);
		(void)write_guest(m, gpa, status, sizeof(status)); /* it may be RAM in part */
		return;
	}
	control = get_be32(req);
	len = get_be32(req + 4);
	if (control & DMA_SELECT)
		select_key(fw, (uint16_t)(control >> 16));
	if (control & DMA_READ)
		result = dma_read(fw, get_be64(req + 8), len);
	else if (control & DMA_WRITE)
		result = len ? DMA_ERROR : 0;
	else if (control & DMA_SKIP)
		dma_skip(fw, len);
	put_be32(status, result);
	(void)write_guest(m, gpa, status, sizeof(status));
}

static void write_dma(struct fw_cfg *fw, uint64_t off, unsigned len, uint64_t val)
{
	if (off == PORT_DMA_HIGH && len == 8) {
		fw->dma_addr = be64toh(val);
		dma_run(fw);
	} else if (off == PORT_DMA_HIGH && len == 4) {
		fw->dma_addr = (uint64_t)be32toh((uint32_t)val) << 32;
	} else if (off == PORT_DMA_LOW && len == 4) {
		fw->dma_addr |= be32toh((uint32_t)val);
		dma_run(fw);
	}
}

/* ---- ports ---- */

uint64_t fw_cfg_read(struct fw_cfg *fw, uint64_t off, unsigned len)
{
	uint64_t val = 0;

	if (off < 2)
		return len == 1 ? read_byte(fw) : 0;
	if (off < PORT_DMA_HIGH)
		return UINT64_MAX;
	/* The register's first byte is the signature's highest. */
	for (unsigned i = 0; i < len; i++)
		val |= (DMA_SIGNATURE >> 8 * (7 - (off - PORT_DMA_HIGH + i)) & 0xff) << 8 * i;
	return val;
}

void fw_cfg_write(struct fw_cfg *fw, uint64_t off, unsigned len, uint64_t val)
{
	if (off == PORT_SELECTOR && len == 2)
		select_key(fw, (uint16_t)val);
	else if (off >= PORT_DMA_HIGH)
		write_dma(fw, off, len, val);
	/* what is written to the data port has nowhere to go */
}
