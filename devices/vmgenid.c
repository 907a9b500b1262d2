/*
 * vmgenid.c - the generation ID: its place in guest memory, its state, its change
 *
 * A booted guest has the ID at BOARD_VMGENID_GPA, in a page that the memory map
 * reserves, and reads the address from ACPI device VGEN.  A guest that comes in a
 * stream has it where the section says, which is 0 when it was booted by firmware: that
 * is given no ACPI tables here, nor by QEMU's microvm.
 *
 *     booted, reset   the same ID as before; guid=, or a random one
 *     moved           what stands in the guest's memory is the ID: it is in no section
 *     loaded          guid= the first time, unless the guest has that one; else random
 *
 * The new ID is written while the guest stands still, without the machine
 * lock, because its page may have to be fetched first.  Then the event is raised:
 * a guest with interrupts on takes it in front of its first instruction.
 */
#include "devices/vmgenid.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "devices/ged.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"
#include "vmm/options/device-row.h"

/* ---- the ID ---- */

static void set_guid(struct vmgenid *v, const uint8_t guid[UUID_BYTES])
{
	memcpy(v->guid, guid, UUID_BYTES);
	uuid_swap(guid, v->guest_bytes);
	if (v->has_wanted && !memcmp(guid, v->wanted, UUID_BYTES))
		v->used = true;
}

/* guid= if this guest has not had it yet, and 'old' is another one. */
static int new_guid(const struct vmgenid *v, const uint8_t old[UUID_BYTES],
		    uint8_t guid[UUID_BYTES], struct err *err)
{
	int ret;

	if (v->has_wanted && !v->used && memcmp(v->wanted, old, UUID_BYTES) != 0) {
		memcpy(guid, v->wanted, UUID_BYTES);
		return 0;
	}
	if (v->has_wanted)
		log_warn("vmgenid: guid=%s is not new: the loaded guest gets a random one",
			 uuid_text(v->wanted).s);
	ret = uuid_random(guid);
	return ret < 0
		   ? err_set(err, -ret, "vmgenid: no random bytes for a new ID: %s", err_text(-ret))
		   : 0;
}

static uint64_t guest_address(struct machine *m, const struct vmgenid *v)
{
	uint64_t gpa;

	machine_lock(m);
	gpa = get_le64(v->address_le);
	machine_unlock(m);
	return gpa;
}

static int say_memory(struct machine *m, uint64_t gpa, int ret, struct err *err)
{
	if (ret == -ENOSPC)
		return memory_say_no_room(&m->mem, gpa, err);
	return err_set(err, -ret, "vmgenid: the ID at 0x%" PRIx64 " of guest memory: %s", gpa,
		       err_text(-ret));
}

/* What the guest has; without a place that is what it would have had here. */
static int read_guid(struct machine *m, struct vmgenid *v, uint64_t gpa, uint8_t guid[UUID_BYTES],
		     struct err *err)
{
	uint8_t bytes[UUID_BYTES];
	int ret;

	if (!gpa) {
		memcpy(guid, v->guid, UUID_BYTES);
		return 0;
	}
	ret = memory_read(&m->mem, gpa, bytes, sizeof(bytes));
	if (ret < 0)
		return say_memory(m, gpa, ret, err);
	uuid_swap(bytes, guid);
	return 0;
}

int vmgenid_kept(struct machine *m, struct err *err)
{
	struct vmgenid *v = vmgenid_find(m);
	uint8_t guid[UUID_BYTES];
	int ret;

	if (!v)
		return 0;
	ret = read_guid(m, v, guest_address(m, v), guid, err);
	if (ret < 0)
		return ret;
	machine_lock(m);
	set_guid(v, guid);
	machine_unlock(m);
	return 0;
}

int vmgenid_changed(struct machine *m, struct err *err)
{
	struct vmgenid *v = vmgenid_find(m);
	uint8_t guid[UUID_BYTES], bytes[UUID_BYTES];
	uint64_t gpa;
	int ret;

	if (!v)
		return 0;
	gpa = guest_address(m, v);
	ret = read_guid(m, v, gpa, guid, err);
	if (ret == 0)
		ret = new_guid(v, guid, guid, err);
	if (ret < 0)
		return ret;
	uuid_swap(guid, bytes);
	ret = gpa ? memory_write(&m->mem, gpa, bytes, sizeof(bytes)) : 0;
	if (ret < 0)
		return say_memory(m, gpa, ret, err);
	machine_lock(m);
	set_guid(v, guid);
	if (gpa)
		ged_raise(m, GED_EVENT_GENERATION);
	machine_unlock(m);
	return 0;
}

/* ---- state ---- */

/* A place is RAM, or there is none. */
static int vmgenid_post_load(void *dev, uint32_t version, struct err *err)
{
	struct vmgenid *v = dev;
	uint64_t gpa = get_le64(v->address_le), off, len = UUID_BYTES;

	(void)version;
	if (gpa && (!memory_block_at(&v->dev.m->mem, gpa, &off, &len) || len < UUID_BYTES))
		return err_set(err, EINVAL,
			       "vmgenid_addr_le: there is no RAM for 16 bytes at 0x%" PRIx64, gpa);
	return 0;
}

static const struct vms_field fields[] = {
    VMS_ARRAY(uint8_t, struct vmgenid, address_le, "vmgenid_addr_le"),
    VMS_LAST,
};

const struct vms_desc vmgenid_vmstate = {
    .name = "vmgenid",
    .version = 1,
    .min_version = 1,
    .fields = fields,
    .post_load = vmgenid_post_load,
};

/* ---- the device ---- */

/* The tables that name the place are put there when a kernel is booted, not for firmware. */
static void vmgenid_reset(struct device *d)
{
	struct vmgenid *v = container_of(d, struct vmgenid, dev);

	put_le64(v->address_le, d->m->cfg->kernel ? BOARD_VMGENID_GPA : 0);
}

static void vmgenid_destroy(struct device *d)
{
	free(container_of(d, struct vmgenid, dev));
}

static const struct device_ops vmgenid_ops = {
    .name = "vmgenid",
    .reset = vmgenid_reset,
    .destroy = vmgenid_destroy,
};

struct vmgenid *vmgenid_find(struct machine *m)
{
	list_for_each (d, &m->devices, struct device, link)
		if (d->ops == &vmgenid_ops)
			return container_of(d, struct vmgenid, dev);
	return NULL;
}

static int first_guid(struct vmgenid *v, const char *text, struct err *err)
{
	uint8_t guid[UUID_BYTES];
	int ret;

	v->has_wanted = uuid_parse(text, v->wanted);
	/* A guest that is expected brings its own, and has not had this one. */
	if (v->has_wanted && !v->dev.m->cfg->incoming && !v->dev.m->cfg->loadvm) {
		set_guid(v, v->wanted);
		return 0;
	}
	ret = uuid_random(guid);
	if (ret < 0)
		return err_set(err, -ret, "vmgenid: no random bytes: %s", err_text(-ret));
	set_guid(v, guid);
	return 0;
}

static int vmgenid_create(struct machine *m, const struct cfg_device *cfg, unsigned slot,
			  struct backends *be, struct err *err)
{
	struct board_device *b;
	struct vmgenid *v;
	int ret;

	(void)slot;
	(void)be;
	if (vmgenid_find(m))
		return err_set(err, EEXIST, "at most one vmgenid device is permitted");
	v = NEW(struct vmgenid);
	v->dev.ops = &vmgenid_ops;
	v->dev.m = m;
	ret = first_guid(v, device_text(cfg, "guid"), err);
	if (ret < 0) {
		free(v);
		return ret;
	}
	v->dev.id = cfg->id ? xstrdup(cfg->id) : NULL;
	vmgenid_reset(&v->dev);
	if (m->cfg->bios && !m->cfg->kernel && !m->cfg->incoming && !m->cfg->loadvm)
		log_warn("vmgenid: firmware is given no ACPI tables, so that this guest will not "
			 "find its generation ID");
	vms_register(&m->vmstate, VMS_RANK_VIRTIO, "vmgenid", 0, -1, &vmgenid_vmstate, v);
	b = board_add(&m->board, BOARD_VMGENID, "vmgenid");
	if (b) {
		b->base = BOARD_VMGENID_GPA;
		b->bytes = UUID_BYTES;
		b->content = v->guest_bytes;
	}
	machine_add_device(m, &v->dev);
	return 0;
}

static int check_guid(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	uint8_t guid[UUID_BYTES];

	(void)p;
	(void)base;
	if (!strcmp(val, "auto") || uuid_parse(val, guid))
		return 0;
	return err_set(err, EINVAL, "Property 'vmgenid.guid' doesn't take value '%.96s'", val);
}

static const struct opt_prop props[] = {
    {.key = "guid",
     .kind = OPT_CALL,
     .off = OPT_NOWHERE,
     .values = "UUID|auto",
     .set = check_guid,
     .otherwise = "auto",
     .help = "the ID of a guest that is booted, and the new one of a guest that is loaded from a "
	     "file; auto: a random one each time"},
    {.key = NULL},
};

const struct device_row vmgenid_row = {
    .name = "vmgenid",
    .kind = DEVICE_PORT,
    .help = "the generation ID, by which a guest learns that it was loaded from a file: "
	    "[guid=UUID|auto]",
    .props = props,
    .create = vmgenid_create,
};
