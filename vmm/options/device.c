/*
 * options-device.c - -device and -global
 *
 * Which models there are is known here, and what to use in the place of those
 * that are not; their properties are checked by the devices themselves.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

static const struct model {
	const char *name, *help;
} models[] = {
    {"virtio-blk-device", "a disk: drive=ID[,serial=S][,num-queues=N][,write-cache=on|off]..." },
    {"virtio-net-device", "a network card: netdev=ID[,mac=MAC]..."                             },
    {"virtio-rng-device", "random bytes from the host"                                         },
    {"isa-debug-exit",    "a port that ends minivmm: [iobase=PORT][,iosize=N]"                 },
    {"pvpanic",           "a port through which the guest says that it panicked: [ioport=PORT]"},
    {"isa-serial",        "the UART: chardev=ID (the same as -serial chardev:ID)"              },
};

static const struct {
	const char *name, *use;
} elsewhere[] = {
    {"virtio-blk",             "microvm has no PCI bus; use virtio-blk-device" },
    {"virtio-net",             "microvm has no PCI bus; use virtio-net-device" },
    {"virtio-rng",             "microvm has no PCI bus; use virtio-rng-device" },
    {"e1000",		  "microvm has no PCI bus; use virtio-net-device" },
    {"e1000e",		 "microvm has no PCI bus; use virtio-net-device" },
    {"rtl8139",		"microvm has no PCI bus; use virtio-net-device" },
    {"vmxnet3",		"microvm has no PCI bus; use virtio-net-device" },
    {"ne2k_isa",               "use virtio-net-device"                         },
    {"nvme",		   "microvm has no PCI bus; use virtio-blk-device" },
    {"ahci",		   "microvm has no PCI bus; use virtio-blk-device" },
    {"ide-hd",		 "microvm has no IDE bus; use virtio-blk-device" },
    {"ide-cd",		 "microvm has no IDE bus; use virtio-blk-device" },
    {"scsi-hd",		"microvm has no SCSI bus; use virtio-blk-device"},
    {"scsi-cd",		"microvm has no SCSI bus; use virtio-blk-device"},
    {"pci-serial",             "microvm has no PCI bus; use -serial"           },
    {"VGA",		    "microvm has no display; use -serial"           },
    {"usb-tablet",             "microvm has no USB"                            },
    {"usb-kbd",		"microvm has no USB"                            },
    {"qemu-xhci",              "microvm has no USB"                            },
    {"virtio-balloon-device",  "memory cannot be taken back from a guest yet"  },
    {"virtio-serial-device",   "use -serial"                                   },
    {"virtconsole",            "use -serial"				   },
    {"virtserialport",         "use virtio-net-device"                         },
    {"virtio-scsi-device",     "use virtio-blk-device"                         },
    {"virtio-9p-device",       "use a disk or the network"                     },
    {"virtio-gpu-device",      "microvm has no display; use -serial"           },
    {"virtio-keyboard-device", "use -serial"                                   },
    {"virtio-crypto-device",   "leave it out"                                  },
    {"virtio-iommu-device",    "leave it out"                                  },
    {"virtio-mem-pci",         "there is no memory hotplug; use -m"            },
    {"vhost-vsock-device",     "use virtio-net-device"                         },
    {"vhost-user-fs-device",   "use a disk or the network"                     },
    {"vhost-user-blk-device",  "use virtio-blk-device"                         },
    {"vmgenid",		"leave it out"				  },
    {"vmcoreinfo",             "leave it out"				  },
    {"loader",		 "use -kernel and -initrd"                       },
    {"i6300esb",               "there is no watchdog"                          },
    {"ib700",		  "there is no watchdog"                          },
    {"pc-dimm",		"there is no memory hotplug; use -m"            },
};

/* virtio-X-pci, with or without -transitional, is X on another bus. */
static int refuse_pci(const char *name, struct err *err)
{
	const char *pci = strstr(name, "-pci");
	size_t stem = pci ? (size_t)(pci - name) : 0;

	if (!pci || stem > 32 ||
	    (strncmp(name, "virtio-", 7) != 0 && strncmp(name, "vhost-", 6) != 0))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(models); i++) {
		if (!strncmp(models[i].name, name, stem) &&
		    !strcmp(models[i].name + stem, "-device"))
			return err_set(err, ENOTSUP, OPT_QUOTE ": microvm has no PCI bus; use %s",
				       name, models[i].name);
	}
	return err_set(err, ENOTSUP, OPT_QUOTE ": microvm has no PCI bus", name);
}

static bool is_model(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(models); i++) {
		if (!strcmp(models[i].name, name))
			return true;
	}
	return false;
}

static int check_model(const char *name, struct err *err)
{
	int ret;

	if (is_model(name))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++) {
		if (!strcmp(elsewhere[i].name, name))
			return err_set(
			    err, ENOTSUP, "%s%s: %s", name,
			    strstr(elsewhere[i].use, "microvm has") ? "" : " is not supported",
			    elsewhere[i].use);
	}
	ret = refuse_pci(name, err);
	if (ret < 0)
		return ret;
	return err_set(err, EINVAL, "'" OPT_QUOTE "' is not a valid device model name", name);
}

static bool device_help(struct opt_parse *p)
{
	const char *name = p->val;
	size_t n = strcspn(name, ",");

	if (!opt_wants_help(p->val))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(models); i++) {
		bool this = strlen(models[i].name) == n && !memcmp(models[i].name, name, n);

		if (this || !name[n])
			(void)printf("%-20s %s\n", models[i].name, models[i].help);
	}
	p->done = true;
	return true;
}

static bool id_used(const struct config *cfg, const char *id)
{
	for (size_t i = 0; i < cfg->n_devices; i++) {
		if (cfg->devices[i].id && !strcmp(cfg->devices[i].id, id))
			return true;
	}
	return false;
}

/* ---- isa-serial: another way to write -serial chardev:ID ---- */

struct uart {
	char *chardev;
	uint32_t index, iobase, irq;
};

#define UART(member) offsetof(struct uart, member)

static const struct opt_prop uart_props[] = {
    PROP_SEEN("driver", NULL, NULL),
    PROP_SEEN("id", NULL, NULL),
    PROP("chardev", OPT_STRING, UART(chardev), NULL, NULL),
    PROP("index", OPT_U32, UART(index), NULL, NULL),
    PROP("iobase", OPT_U32, UART(iobase), NULL, NULL),
    PROP("irq", OPT_U32, UART(irq), NULL, NULL),
    PROP_END,
};
static const struct opt_list uart_list = {
    .title = "-device isa-serial",
    .style = OPT_STYLE_QOM,
    .owner = "isa-serial",
    .props = uart_props,
};

static int add_uart(struct opt_parse *p, const struct keyvals *kv, struct err *err)
{
	struct uart u = {.iobase = 0x3f8, .irq = 4};
	int ret = opt_apply(p, &uart_list, &u, kv, err);

	if (ret == 0 && !u.chardev)
		ret = opt_missing("chardev", err);
	if (ret == 0 && (u.index || u.iobase != 0x3f8 || u.irq != 4))
		ret = err_set(err, ENOTSUP,
			      "the UART is at index=0,iobase=0x3f8,irq=4 and nowhere else");
	if (ret == 0 && p->cfg->serial)
		ret = err_set(err, ENOTSUP, "the board has one serial port, and it is in use");
	if (ret == 0) {
		p->serial_given = true;
		opt_set_str(&p->cfg->serial, u.chardev);
		opt_add_ref(p, REF_SERIAL, u.chardev);
	}
	free(u.chardev);
	return ret;
}

static int add_device(struct opt_parse *p, const struct keyvals *kv, struct err *err)
{
	const char *driver = keyvals_get(kv, "driver"), *id = keyvals_get(kv, "id");
	struct cfg_device *d;
	int ret;

	if (!driver || !*driver)
		return opt_missing("driver", err);
	ret = check_model(driver, err);
	if (ret == 0 && id)
		ret = opt_need_id("id", id, err);
	if (ret < 0)
		return ret;
	if (id && id_used(p->cfg, id))
		return opt_duplicate(id, "device", err);
	if (!strcmp(driver, "isa-serial"))
		return add_uart(p, kv, err);
	d = OPT_ADD(p->cfg->devices, p->cfg->n_devices);
	d->driver = xstrdup(driver);
	d->id = id ? xstrdup(id) : NULL;
	for (size_t i = 0; i < kv->n; i++) {
		if (strcmp(kv->v[i].key, "driver") != 0 && strcmp(kv->v[i].key, "id") != 0)
			keyvals_add(&d->props, kv->v[i].key, kv->v[i].val);
	}
	return 0;
}

int opt_device(struct opt_parse *p, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals kv = {0};
	int ret;

	if (device_help(p))
		return 0;
	ret = opt_split_any(&kv, p->val, "driver", false, err);
	return ret < 0 ? ret : add_device(p, &kv, err);
}

/* ---- -global ---- */

static int global_virtio_mmio(const char *prop, const char *val, struct err *err)
{
	bool legacy;

	if (strcmp(prop, "force-legacy") != 0)
		return err_set(err, EINVAL,
			       "can't apply global virtio-mmio." OPT_QUOTE "=" OPT_QUOTE
			       ": Property 'virtio-mmio." OPT_QUOTE "' not found",
			       prop, val, prop);
	if (opt_parse_bool(val, &legacy) < 0)
		return err_set(err, EINVAL,
			       "can't apply global virtio-mmio.force-legacy=" OPT_QUOTE
			       ": Parameter 'force-legacy' expects 'on' or 'off'",
			       val);
	if (legacy)
		return err_set(err, ENOTSUP,
			       "force-legacy=on is not supported: virtio-mmio is "
			       "version 2; use force-legacy=off");
	return 0;
}

/* Most of these are migration's own affair. */
static int global_migration(struct config *cfg, const char *prop, const char *val, struct err *err)
{
	bool on;

	if (strcmp(prop, "exit-on-error") != 0) {
		keyvals_add(&cfg->migration_globals, prop, val);
		return 0;
	}
	if (opt_parse_bool(val, &on) < 0)
		return err_set(err, EINVAL,
			       "can't apply global migration.exit-on-error=" OPT_QUOTE
			       ": Parameter 'exit-on-error' expects 'on' or 'off'",
			       val);
	cfg->exit_on_error = on ? CFG_ON : CFG_OFF;
	return 0;
}

static int set_global(struct opt_parse *p, const char *driver, const char *prop, const char *val,
		      struct err *err)
{
	if (!strcmp(driver, "virtio-mmio"))
		return global_virtio_mmio(prop, val, err);
	if (!strcmp(driver, "migration"))
		return global_migration(p->cfg, prop, val, err);
	if (is_model(driver)) {
		CLEANUP(cleanup_free) char *key = xasprintf("%s.%s", driver, prop);

		keyvals_add(&p->globals, key, val);
	} else {
		log_warn("global " OPT_QUOTE "." OPT_QUOTE " has invalid class name", driver, prop);
	}
	return 0;
}

static const struct opt_prop global_props[] = {
    PROP_SEEN("driver", NULL, NULL),
    PROP_SEEN("property", NULL, NULL),
    PROP_SEEN("value", NULL, NULL),
    PROP_END,
};
static const struct opt_list global_list = {
    .title = "-global", .style = OPT_STYLE_OPTS, .props = global_props};

/* "driver.prop=value" with the value as it stands, or driver=,property=,value= */
int opt_global(struct opt_parse *p, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals kv = {0};
	size_t n = strcspn(p->val, ".="), m = n + strcspn(p->val + n, "=");
	const char *driver, *prop, *val;
	int ret;

	if (n > 0 && p->val[n] == '.' && p->val[m] == '=' && m > n + 1) {
		CLEANUP(cleanup_free) char *d = xstrndup(p->val, n);
		CLEANUP(cleanup_free) char *k = xstrndup(p->val + n + 1, m - n - 1);

		return set_global(p, d, k, p->val + m + 1, err);
	}
	ret = opt_split(&kv, p->val, NULL, false, err);
	if (ret == 0)
		ret = opt_apply(p, &global_list, NULL, &kv, err);
	if (ret < 0)
		return ret;
	driver = keyvals_get(&kv, "driver");
	prop = keyvals_get(&kv, "property");
	val = keyvals_get(&kv, "value");
	if (!driver || !prop || !val)
		return err_set(err, EINVAL,
			       "options 'driver', 'property', and 'value' are required");
	return set_global(p, driver, prop, val, err);
}

/* A property of -global goes in front, so that the device's own come later and win. */
static void add_globals(const struct keyvals *globals, struct cfg_device *d)
{
	struct keyvals all = {0};
	size_t n = strlen(d->driver);

	for (size_t i = 0; i < globals->n; i++) {
		const struct keyval *g = &globals->v[i];

		if (!strncmp(g->key, d->driver, n) && g->key[n] == '.' &&
		    !keyvals_get(&d->props, g->key + n + 1))
			keyvals_add(&all, g->key + n + 1, g->val);
	}
	for (size_t i = 0; i < d->props.n; i++)
		keyvals_add(&all, d->props.v[i].key, d->props.v[i].val);
	keyvals_fini(&d->props);
	d->props = all;
}

void opt_finish_devices(struct opt_parse *p)
{
	struct config *cfg = p->cfg;

	for (size_t i = 0; i < p->drives.n; i++) {
		struct cfg_device *d = OPT_ADD(cfg->devices, cfg->n_devices);

		d->driver = xstrdup("virtio-blk-device");
		keyvals_add(&d->props, "drive", p->drives.v[i].key);
	}
	for (size_t i = 0; p->globals.n && i < cfg->n_devices; i++)
		add_globals(&p->globals, &cfg->devices[i]);
}
