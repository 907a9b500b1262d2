/*
 * microvm.c - the board: its memory, what it always has, and the user's devices (device-table.c)
 *
 * RAM, from low to high (machine-microvm 1.2), for 64 KiB of firmware:
 *
 *	0 ........ 0xf0000 ........ 1 MiB ........ 3 GiB ........ 4 GiB .......
 *	   ram     |  pc.bios, end  |     ram      |  devices     |    ram
 *	                                            pc.bios ends at 4 GiB
 *
 * The RAM block is seen at its own offsets below 3 GiB and, from offset 3 GiB
 * on, 1 GiB higher.  What pc.bios covers below 1 MiB of it is in the block,
 * and in the stream, but no guest sees it.
 */
#include "devices/microvm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/device-table.h"
#include "devices/fw-cfg.h"
#include "devices/ged.h"
#include "devices/rtc.h"
#include "devices/serial.h"
#include "devices/virtio/virtio-devices.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define FIRMWARE_BLOCK     "pc.bios"
#define FIRMWARE_UNIT      (64 * KiB)
#define FIRMWARE_MAX       (16 * MiB)
#define FIRMWARE_LOW_BYTES (128 * KiB) /* at most this much of it shows below 1 MiB */

/* ---- memory ---- */

static int backend_of(const struct cfg_object *o, struct ram_backend *be, struct err *err)
{
	be->share = o->share;
	be->prealloc = o->prealloc;
	be->hugetlb = o->hugetlb;
	be->hugetlb_bytes = o->hugetlb_bytes;
	be->no_reserve = !o->reserve;
	be->path = o->mem_path;
	if (!strcmp(o->type, "memory-backend-ram"))
		be->kind = RAM_ANONYMOUS;
	else if (!strcmp(o->type, "memory-backend-memfd"))
		be->kind = RAM_MEMFD;
	else if (!strcmp(o->type, "memory-backend-file") && o->mem_path)
		be->kind = RAM_FILE;
	else if (!strcmp(o->type, "memory-backend-file"))
		return err_set(err, EINVAL, "-object %s,id=%s: mem-path property is not set",
			       o->type, o->id);
	else
		return err_set(err, EINVAL, "object '%s' is a %s, not a memory backend", o->id,
			       o->type);
	if (o->readonly)
		return err_set(err, EINVAL, "memory backend '%s' is read only: it cannot be RAM",
			       o->id);
	return 0;
}

/* The block is named after the backend's id, if one is given (migration-stream 3.2). */
static struct ram_block *add_ram(struct machine *m, struct err *err)
{
	const struct config *cfg = m->cfg;
	struct ram_backend be = {
	    .kind = RAM_ANONYMOUS,
	    .fd = -1,
	    .no_dump = !cfg->dump_guest_core,
	    .merge = cfg->mem_merge,
	};
	struct ram_block *ram = NULL;
	const struct cfg_object *o;

	if (!cfg->memory_backend)
		return memory_add_block(&m->mem, "microvm.ram", cfg->ram_bytes, &be, err);
	o = config_object(cfg, cfg->memory_backend);
	if (!o) {
		(void)err_set(err, ENOENT, "Memory backend '%s' not found", cfg->memory_backend);
		return NULL;
	}
	if (o->size != cfg->ram_bytes) {
		(void)err_set(err, EINVAL,
			      "the machine's memory, %.1f MiB, is not the size of memory backend "
			      "'%s', %.1f MiB",
			      (double)cfg->ram_bytes / (double)MiB, o->id,
			      (double)o->size / (double)MiB);
		return NULL;
	}
	if (backend_of(o, &be, err) == 0)
		ram = memory_add_block(&m->mem, o->id, cfg->ram_bytes, &be, err);
	if (!ram)
		(void)config_where(o->where, 0, err);
	return ram;
}

static int firmware_bytes(const char *path, int fd, uint64_t *bytes, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "-bios %s: could not load BIOS '%s': %s", path, path,
			       err_text(errno));
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || (uint64_t)st.st_size % FIRMWARE_UNIT != 0 ||
	    (uint64_t)st.st_size > FIRMWARE_MAX)
		return err_set(err, EINVAL,
			       "-bios %s: could not load BIOS '%s': its size, %lld bytes, is not a "
			       "multiple of 64 KiB up to 16 MiB",
			       path, path, (long long)st.st_size);
	*bytes = (uint64_t)st.st_size;
	return 0;
}

/* As large as the firmware that is put there when the guest is booted, else 64 KiB of zeros. */
static struct ram_block *add_firmware(struct machine *m, struct err *err)
{
	const struct ram_backend be = {
	    .kind = RAM_ANONYMOUS,
	    .fd = -1,
	    .max_bytes = m->cfg->bios ? 0 : FIRMWARE_MAX,
	    .no_dump = !m->cfg->dump_guest_core,
	    .merge = m->cfg->mem_merge,
	};
	const char *path = m->cfg->bios;
	uint64_t bytes = FIRMWARE_UNIT;
	int fd = -1, ret = 0;

	if (path) {
		fd = path_open(path, O_RDONLY, 0, NULL);
		if (fd < 0) {
			(void)err_set(err, -fd, "-bios %s: could not load BIOS '%s': %s", path,
				      path, err_text(-fd));
			return NULL;
		}
		ret = firmware_bytes(path, fd, &bytes, err);
		path_close(fd);
		if (ret < 0)
			return NULL;
	}
	return memory_add_block(&m->mem, FIRMWARE_BLOCK, bytes, &be, err);
}

static int map(struct machine *m, struct ram_block *b, uint64_t off, uint64_t gpa, uint64_t end,
	       struct err *err)
{
	return end > gpa ? memory_map_block(&m->mem, b, off, gpa, end - gpa, err) : 0;
}

/* Both blocks, where the guest sees them. */
static int map_all(struct machine *m, struct ram_block *ram, struct ram_block *bios,
		   struct err *err)
{
	uint64_t bytes = ram->bytes, low = MIN(bytes, BOARD_LOWMEM_LIMIT);
	uint64_t shown = MIN(bios->bytes, FIRMWARE_LOW_BYTES); /* of it, below 1 MiB */
	int ret = map(m, ram, 0, 0, MiB - shown, err);

	if (ret >= 0)
		ret = map(m, ram, MiB, MiB, low, err);
	if (ret >= 0)
		ret = map(m, ram, low, BOARD_HIGHMEM_BASE, BOARD_HIGHMEM_BASE + bytes - low, err);
	if (ret >= 0)
		ret = map(m, bios, 0, BOARD_HIGHMEM_BASE - bios->bytes, BOARD_HIGHMEM_BASE, err);
	if (ret >= 0)
		ret = map(m, bios, bios->bytes - shown, MiB - shown, MiB, err);
	return ret;
}

static bool adopts_firmware(const struct machine *m, const struct ram_block *b, uint64_t bytes)
{
	return !m->cfg->bios && m->mem.n_blocks == 2 && b == m->mem.blocks[1] &&
	       strcmp(b->name, FIRMWARE_BLOCK) == 0 && bytes > 0 && bytes % FIRMWARE_UNIT == 0 &&
	       bytes <= b->max_bytes;
}

static int adopt_firmware(struct machine *m, struct ram_block *bios, uint64_t bytes,
			  struct err *err)
{
	int ret;

	if (m->dirty)
		return err_set(err, EBUSY,
			       "the source's firmware has 0x%" PRIx64 " bytes, and written pages "
			       "are being tracked: let calc-dirty-rate end first",
			       bytes);
	ret = memory_unmap_all(&m->mem, err);
	if (ret >= 0)
		ret = memory_resize_block(bios, bytes, err);
	return ret < 0 ? ret : map_all(m, m->mem.blocks[0], bios, err);
}

static const struct board_ops board_ops = {.adopts = adopts_firmware, .adopt = adopt_firmware};

int microvm_create_memory(struct machine *m, struct err *err)
{
	uint64_t bytes = m->cfg->ram_bytes;
	struct ram_block *ram, *bios;

	if (bytes < MiB || bytes % PAGE_BYTES)
		return err_set(err, EINVAL,
			       "%" PRIu64
			       " bytes of memory: at least 1 MiB and whole pages of 4 KiB "
			       "are needed",
			       bytes);
	ram = add_ram(m, err);
	bios = ram ? add_firmware(m, err) : NULL;
	if (!bios)
		return -EINVAL;
	m->board.ops = &board_ops;
	return map_all(m, ram, bios, err);
}

/* ---- devices ---- */

static int add_serial(struct machine *m, struct backends *be, struct err *err)
{
	struct chardev *chr;

	if (!m->cfg->isa_serial || !m->cfg->serial)
		return 0;
	chr = chardevs_find(&be->chardevs, m->cfg->serial);
	if (!chr)
		return err_set(err, ENOENT, "chardev '%s' of the serial port not found",
			       m->cfg->serial);
	return serial_create(m, chr, err);
}

/* What every board has, in the order in which the guest's tables list it. */
static int add_fixed(struct machine *m, struct backends *be, struct err *err)
{
	int ret = fw_cfg_create(m, err);

	if (ret >= 0 && m->cfg->acpi)
		ret = ged_create(m, err);
	if (ret >= 0 && m->cfg->rtc)
		ret = rtc_create(m, err);
	return ret < 0 ? ret : add_serial(m, be, err);
}

/* The user's devices, each on the highest transport that is free (machine-microvm 1.5). */
static int add_optional(struct machine *m, struct backends *be, struct err *err)
{
	unsigned free_slots = board_virtio_slots(&m->board);
	uint32_t used = 0;

	for (size_t i = 0; i < m->cfg->n_devices; i++) {
		const struct cfg_device *d = &m->cfg->devices[i];
		int ret;

		if (d->row->kind == DEVICE_VIRTIO) {
			if (!free_slots)
				return err_set(err, ENOSPC,
					       "No transport is left for %s: the board has %u for "
					       "virtio devices%s",
					       d->driver, board_virtio_slots(&m->board),
					       m->board.ioapic2 ? ""
								: "; -machine ioapic2=on has 24");
			used |= 1U << --free_slots;
		}
		ret = device_create(m, d, free_slots, be, err);
		if (ret < 0)
			return config_where(d->where, ret, err);
	}
	return virtio_mmio_add_empty_slots(m, used, err);
}

int microvm_create_devices(struct machine *m, struct backends *be, struct err *err)
{
	int ret;

	m->board.ioapic2 = m->cfg->ioapic2;
	m->board.legacy_virtio = virtio_mmio_is_legacy(m);
	ret = add_fixed(m, be, err);
	if (ret >= 0)
		ret = add_optional(m, be, err);
	return ret < 0 ? ret : block_nodes_keep(&be->blocks, m, err);
}
