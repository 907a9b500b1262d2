/*
 * ged.c - the generic event device: registers, state table, power button
 *
 * The guest's ACPI code reads the event selector on GSI 9 and learns what is
 * pending.  S5 and the reset register are requests to the machine.  Memory hot
 * plug has a selector in the stream, which this board never uses.
 */
#include "devices/ged.h"

#include <stdlib.h>

#include "vmm/base/alloc.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

#define EVENT_BYTES 4
#define REGS_BYTES  3

enum reg { REG_SLEEP_CONTROL, REG_SLEEP_STATUS, REG_RESET };

#define SLEEP_ENABLE  0x20
#define SLEEP_TYPE(v) ((v) >> 2 & 7)
#define SLEEP_S5      5

/* ---- registers ---- */

uint32_t ged_read_events(struct ged *g)
{
	uint32_t sel = g->events.sel;

	g->events.sel = 0;
	return sel;
}

void ged_write_register(struct ged *g, unsigned reg, uint8_t val)
{
	if (reg == REG_SLEEP_CONTROL && val & SLEEP_ENABLE && SLEEP_TYPE(val) == SLEEP_S5)
		machine_request_shutdown(g->dev.m, CAUSE_GUEST_SHUTDOWN);
	else if (reg == REG_RESET && val == GED_RESET_VALUE)
		machine_request_reset(g->dev.m, CAUSE_GUEST_RESET);
}

static void add_event(struct ged *g, uint32_t event)
{
	g->events.sel |= event;
	machine_irq(g->dev.m, BOARD_GSI_GED, true);
	machine_irq(g->dev.m, BOARD_GSI_GED, false);
}

void ged_press_power_button(struct ged *g)
{
	add_event(g, GED_EVENT_POWER_BUTTON);
}

static uint64_t event_read(void *dev, uint64_t off, unsigned len)
{
	(void)len;
	return off == 0 ? ged_read_events(dev) : 0;
}

static void event_write(void *dev, uint64_t off, unsigned len, uint64_t val)
{
	(void)dev;
	(void)off;
	(void)len;
	(void)val; /* read only */
}

static uint64_t regs_read(void *dev, uint64_t off, unsigned len)
{
	(void)dev;
	(void)off;
	(void)len;
	return 0;
}

static void regs_write(void *dev, uint64_t off, unsigned len, uint64_t val)
{
	for (unsigned i = 0; i < len; i++)
		ged_write_register(dev, (unsigned)off + i, (uint8_t)(val >> 8 * i));
}

static const struct bus_ops event_ops = {.read = event_read, .write = event_write};
static const struct bus_ops regs_ops = {.read = regs_read, .write = regs_write};

/* ---- state ---- */

static const struct vms_field events_fields[] = {
    VMS_U32(struct ged_events, sel, "sel"),
    VMS_LAST,
};

static const struct vms_desc events_vmstate = {
    .name = "acpi-ged-state",
    .version = 1,
    .min_version = 1,
    .fields = events_fields,
};

static const struct vms_field memhp_fields[] = {
    VMS_U32(struct ged_memhp, selector, "selector"),
    VMS_LAST,
};

static const struct vms_desc memhp_vmstate = {
    .name = "memory hotplug state",
    .version = 1,
    .min_version = 1,
    .fields = memhp_fields,
};

static const struct vms_field ged_memhp_fields[] = {
    VMS_STRUCT(struct ged, memhp, "memhp_state", &memhp_vmstate),
    VMS_LAST,
};

static const struct vms_desc ged_memhp_vmstate = {
    .name = "acpi-ged/memhp",
    .version = 1,
    .min_version = 1,
    .fields = ged_memhp_fields,
};

static const struct vms_field ged_fields[] = {
    VMS_STRUCT(struct ged, events, "ged_state", &events_vmstate),
    VMS_LAST,
};

const struct vms_desc ged_vmstate = {
    .name = "acpi-ged",
    .version = 1,
    .min_version = 1,
    .fields = ged_fields,
    .subs = (const struct vms_desc *const[]){&ged_memhp_vmstate, NULL},
};

/* ---- the device ---- */

static void ged_reset(struct device *d)
{
	struct ged *g = container_of(d, struct ged, dev);

	g->events.sel = 0;
	g->memhp.selector = 0;
}

static void ged_destroy(struct device *d)
{
	d->m->powerdown = NULL;
	free(container_of(d, struct ged, dev));
}

static const struct device_ops ged_ops = {
    .name = "acpi-ged",
    .reset = ged_reset,
    .destroy = ged_destroy,
};

void ged_raise(struct machine *m, uint32_t event)
{
	list_for_each (d, &m->devices, struct device, link)
		if (d->ops == &ged_ops)
			add_event(container_of(d, struct ged, dev), event);
}

static void ged_powerdown(void *opaque)
{
	ged_press_power_button(opaque);
}

int ged_create(struct machine *m, struct err *err)
{
	struct ged *g = NEW(struct ged);
	struct board_device *b;
	int ret = bus_add(&m->mmio, BOARD_GED_EVENT, EVENT_BYTES, &event_ops, g, err);

	if (ret >= 0)
		ret = bus_add(&m->mmio, BOARD_GED_REGS, REGS_BYTES, &regs_ops, g, err);
	if (ret < 0) {
		free(g);
		return ret;
	}
	g->dev.ops = &ged_ops;
	m->powerdown = ged_powerdown;
	m->powerdown_opaque = g;
	vms_register(&m->vmstate, VMS_RANK_GED, "acpi-ged", 0, -1, &ged_vmstate, g);
	b = board_add(&m->board, BOARD_GED, "acpi-ged");
	if (b) {
		b->base = BOARD_GED_EVENT;
		b->bytes = EVENT_BYTES;
		b->gsi = BOARD_GSI_GED;
	}
	machine_add_device(m, &g->dev);
	return 0;
}
