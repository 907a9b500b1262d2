/*
 * pvpanic.c - the port on which a guest reports its panic
 *
 * A read returns the events that are understood (bit 0, panicked); a write of
 * that bit requests the machine's panic action.
 */
#include "devices/pvpanic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/bus.h"
#include "vmm/device.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"
#include "vmm/options/device-row.h"

#define PVPANIC_PANICKED 1U

struct pvpanic {
	struct device dev;
};

/* Reading tells which events are understood. */
static uint64_t pvpanic_read(void *dev, uint64_t off, unsigned len)
{
	(void)dev;
	(void)off;
	(void)len;
	return PVPANIC_PANICKED;
}

static void pvpanic_write(void *dev, uint64_t off, unsigned len, uint64_t val)
{
	struct pvpanic *p = dev;

	(void)off;
	(void)len;
	if (val & PVPANIC_PANICKED)
		machine_request_panic(p->dev.m);
}

static void pvpanic_destroy(struct device *d)
{
	free(container_of(d, struct pvpanic, dev));
}

static const struct device_ops pvpanic_ops = {.name = "pvpanic", .destroy = pvpanic_destroy};
static const struct bus_ops pvpanic_port = {pvpanic_read, pvpanic_write};

static int pvpanic_create(struct machine *m, const struct cfg_device *cfg, unsigned slot,
			  struct backends *be, struct err *err)
{
	uint64_t port = device_number(cfg, "ioport");
	struct board_device *b;
	struct pvpanic *p;
	int ret;

	(void)slot;
	(void)be;
	p = NEW(struct pvpanic);
	p->dev.ops = &pvpanic_ops;
	p->dev.id = cfg->id ? xstrdup(cfg->id) : NULL;
	ret = bus_add(&m->ports, port, 1, &pvpanic_port, p, err);
	if (ret < 0) {
		free(p->dev.id);
		free(p);
		return ret;
	}
	b = board_add(&m->board, BOARD_PVPANIC, "pvpanic");
	if (b) {
		b->base = port;
		b->bytes = 1;
	}
	machine_add_device(m, &p->dev);
	return 0;
}

static const struct opt_prop props[] = {
    DEVICE_NUMBER("ioport", 0, UINT16_MAX, "0x505", "the port"),
    {.key = NULL},
};

const struct device_row pvpanic_row = {
    .name = "pvpanic",
    .kind = DEVICE_PORT,
    .help = "a port through which the guest says that it panicked: [ioport=PORT]",
    .props = props,
    .create = pvpanic_create,
};
