#include "devices/debug-exit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/device.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"
#include "vmm/options/device-row.h"

static uint64_t port_read(void *dev, uint64_t off, unsigned len)
{
	(void)dev;
	(void)off;
	(void)len;
	return 0;
}

static void port_write(void *dev, uint64_t off, unsigned len, uint64_t val)
{
	struct device *d = dev;

	(void)off;
	(void)len;
	machine_request_exit(d->m, (int)((val << 1 | 1) & 0xff), CAUSE_GUEST_SHUTDOWN);
}

static const struct bus_ops port_ops = {.read = port_read, .write = port_write};

static void debug_exit_destroy(struct device *d)
{
	free(d);
}

static const struct device_ops debug_exit_ops = {
    .name = "isa-debug-exit",
    .destroy = debug_exit_destroy,
};

static int debug_exit_create(struct machine *m, const struct cfg_device *cfg, unsigned slot,
			     struct backends *be, struct err *err)
{
	uint64_t base = device_number(cfg, "iobase"), bytes = device_number(cfg, "iosize");
	struct board_device *b;
	struct device *d;
	int ret;

	(void)slot;
	(void)be;
	if (base + bytes > 0x10000)
		return err_set(err, EINVAL, "isa-debug-exit: ports 0x%llx to 0x%llx do not exist",
			       (unsigned long long)base, (unsigned long long)(base + bytes - 1));
	d = NEW(struct device);
	d->ops = &debug_exit_ops;
	ret = bus_add(&m->ports, base, bytes, &port_ops, d, err);
	if (ret < 0) {
		free(d);
		return err_prefix(err, ret, "isa-debug-exit");
	}
	d->id = cfg->id ? xstrdup(cfg->id) : NULL;
	b = board_add(&m->board, BOARD_DEBUG_EXIT, "isa-debug-exit");
	if (b) {
		b->base = base;
		b->bytes = bytes;
	}
	machine_add_device(m, d);
	return 0;
}

static const struct opt_prop props[] = {
    DEVICE_NUMBER("iobase", 0, 0xffff, "0x501", "the first port"),
    DEVICE_NUMBER("iosize", 1, 8, "2", "how many ports"),
    {.key = NULL},
};

const struct device_row debug_exit_row = {
    .name = "isa-debug-exit",
    .kind = DEVICE_PORT,
    .help = "a port that ends minivmm: [iobase=PORT][,iosize=N]",
    .props = props,
    .create = debug_exit_create,
};
