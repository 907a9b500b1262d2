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

#define DEFAULT_IOBASE 0x501
#define DEFAULT_IOSIZE 2
#define MAX_IOSIZE     8

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

/* A number property, 0x.. or decimal. */
static int get_number(const struct cfg_device *cfg, const char *key, uint64_t max, uint64_t *val,
		      struct err *err)
{
	const char *s = keyvals_get(&cfg->props, key);
	unsigned long long v;
	char *end;

	if (!s)
		return 0;
	errno = 0;
	v = strtoull(s, &end, 0);
	if (errno || end == s || *end || *s == '-' || v > max)
		return err_set(err, EINVAL,
			       "isa-debug-exit: %s is '%s', a number up to 0x%llx is needed", key,
			       s, (unsigned long long)max);
	*val = v;
	return 0;
}

static int check_props(const struct cfg_device *cfg, struct err *err)
{
	for (size_t i = 0; i < cfg->props.n; i++)
		if (strcmp(cfg->props.v[i].key, "iobase") != 0 &&
		    strcmp(cfg->props.v[i].key, "iosize") != 0)
			return err_set(err, EINVAL, "Property 'isa-debug-exit.%s' not found",
				       cfg->props.v[i].key);
	return 0;
}

int debug_exit_create(struct machine *m, const struct cfg_device *cfg, struct err *err)
{
	uint64_t base = DEFAULT_IOBASE, bytes = DEFAULT_IOSIZE;
	struct board_device *b;
	struct device *d;
	int ret = check_props(cfg, err);

	if (ret >= 0)
		ret = get_number(cfg, "iobase", 0xffff, &base, err);
	if (ret >= 0)
		ret = get_number(cfg, "iosize", MAX_IOSIZE, &bytes, err);
	if (ret < 0)
		return ret;
	if (!bytes || base + bytes > 0x10000)
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
