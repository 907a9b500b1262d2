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

#define PVPANIC_PORT     0x505
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

static int parse_port(const struct cfg_device *cfg, uint64_t *port, struct err *err)
{
	const char *text = keyvals_get(&cfg->props, "ioport");
	char *end;

	for (size_t i = 0; i < cfg->props.n; i++)
		if (strcmp(cfg->props.v[i].key, "ioport") != 0)
			return err_set(err, EINVAL, "Property 'pvpanic.%s' not found",
				       cfg->props.v[i].key);
	if (text)
		*port = strtoull(text, &end, 0);
	if (text && (*end || end == text || *port > UINT16_MAX))
		return err_set(err, EINVAL, "Parameter 'ioport' expects a port number, not '%s'",
			       text);
	return 0;
}

int pvpanic_create(struct machine *m, const struct cfg_device *cfg, struct err *err)
{
	struct board_device *b;
	struct pvpanic *p;
	uint64_t port = PVPANIC_PORT;
	int ret = parse_port(cfg, &port, err);

	if (ret < 0)
		return ret;
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
