/*
 * drive.c - -drive, and a bare word as a disk image
 *
 * A drive is a node with an automatic name and an id.  if=virtio, which is
 * the default here, also makes the disk the guest sees (device.c).
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/base/error.h"
#include "vmm/base/identifier.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

enum drive_if { IF_NONE, IF_VIRTIO };

struct drive {
	struct cfg_blockdev bd; /* first; owned strings */
	enum drive_if interface;
	uint32_t index;
	bool has_index;
};

#define AT(member) offsetof(struct drive, bd.member)

/* Image formats and protocols of QEMU that are not offered. */
#define OTHER_FORMATS                                                                              \
	"qcow|qed|vmdk|vdi|vpc|vhdx|parallels|dmg|bochs|cloop|luks|vvfat|file|host_device"

static int set_interface(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	struct drive *d = base;
	size_t n = strlen(val);

	(void)p;
	if (!strcmp(val, "none"))
		d->interface = IF_NONE;
	else if (!strcmp(val, "virtio") || !strcmp(val, "default"))
		d->interface = IF_VIRTIO;
	else if (opt_word_index("ide|scsi|floppy|pflash|mtd|sd|xen", val, n) >= 0)
		return err_set(err, ENOTSUP,
			       "if=%s is not supported: microvm has no such bus; use if=virtio",
			       val);
	else
		return err_set(err, EINVAL, "unsupported bus type '" OPT_QUOTE "'", val);
	return 0;
}

static int set_format(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	struct drive *d = base;

	(void)p;
	if (!strcmp(val, "raw") || !strcmp(val, "qcow2")) {
		opt_set_str(&d->bd.driver, val);
		return 0;
	}
	if (opt_word_index(OTHER_FORMATS, val, strlen(val)) >= 0)
		return err_set(err, ENOTSUP,
			       "format '%s' is not supported: use format=raw or format=qcow2 "
			       "('qemu-img convert' converts an image)",
			       val);
	return err_set(err, EINVAL, "Unknown driver '" OPT_QUOTE "'", val);
}

/* "file:x" is x; another protocol in front of a name is refused. */
static int set_file(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	struct drive *d = base;
	size_t n = strcspn(val, ":/");

	(void)p;
	if (val[n] == ':') {
		if (n != 4 || memcmp(val, "file", 4) != 0)
			return err_set(err, ENOTSUP, "Unknown protocol '%.*s'",
				       n < 64 ? (int)n : 64, val);
		val += n + 1;
	}
	opt_set_str(&d->bd.filename, val);
	return 0;
}

static int set_cache(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	struct cfg_blockdev *bd = &((struct drive *)base)->bd;
	int i =
	    opt_word_index("none|off|writeback|writethrough|directsync|unsafe", val, strlen(val));

	(void)p;
	if (i < 0)
		return err_set(err, EINVAL, "invalid cache option");
	bd->direct = i < 2 || i == 4;
	bd->writeback = i != 3 && i != 4;
	bd->no_flush = i == 5;
	return 0;
}

static int set_drive_aio(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	if (opt_word_index("threads|io_uring|native", val, strlen(val)) < 0)
		return err_set(err, EINVAL, "invalid aio option");
	return opt_set_aio(p, &((struct drive *)base)->bd, val, err);
}

static int set_drive_discard(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	return opt_set_discard(p, &((struct drive *)base)->bd, val, err);
}

static int set_index(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	struct drive *d = base;
	uint64_t v;

	(void)p;
	if (opt_parse_u64(val, &v) < 0)
		return err_set(err, EINVAL, "Parameter 'index' expects a number");
	if (v > 63)
		return err_set(err, ERANGE, "index %llu is too big: use 0 to 63",
			       (unsigned long long)v);
	d->index = (uint32_t)v;
	d->has_index = true;
	return 0;
}

#define WHY_STOP     "the guest is told of the error; use "
#define WHY_THROTTLE "limit the disk's I/O with the host's cgroups"
#define ON_OFF       "on|off"

static const struct opt_prop drive_props[] = {
    PROP_CALL("file", "PATH", set_file, "the image"),
    PROP("file.filename", OPT_STRING, AT(filename), "PATH", "the same as file="),
    PROP("file.locking", OPT_ENUM, AT(locking), "auto|on|off",
	 "lock the image, so that no second program writes to it (default auto: where the file "
	 "system can)"),
    PROP("file.driver", OPT_ENUM, OPT_NOWHERE, "file", "how the image is reached"),
    PROP_CALL("format", "raw|qcow2", set_format,
	      "the image's format (default raw; it is never guessed)"),
    PROP_CALL("driver", "raw|qcow2", set_format, "the same as format="),
    PROP_CALL("if", "virtio|none", set_interface,
	      "virtio makes the disk too (default); none leaves that to -device"),
    PROP("id", OPT_ID, AT(drive_id), NULL,
	 "the name for -device drive= (default virtio0, none0...)"),
    PROP("node-name", OPT_STRING, AT(node_name), NULL, "the name of the block node"),
    PROP_CALL("index", "N", set_index, "number for the default id"),
    PROP_ONLY("media", OPT_ENUM, OPT_NOWHERE, "disk|cdrom", "disk",
	      "the board has no CD-ROM; use media=disk,readonly=on", "kind of medium"),
    PROP("readonly", OPT_BOOL, AT(readonly), ON_OFF, "no writing (default off)"),
    PROP("read-only", OPT_BOOL, AT(readonly), ON_OFF, "the same as readonly="),
    PROP("force-share", OPT_BOOL, AT(force_share), ON_OFF,
	 "read an image that other programs write to; with readonly=on (default off)"),
    PROP("auto-read-only", OPT_BOOL, OPT_NOWHERE, ON_OFF, "no effect: read-only decides"),
    PROP_CALL("cache", "writeback|none|writethrough|directsync|unsafe", set_cache,
	      "host page cache and write cache (default writeback)"),
    PROP("cache.direct", OPT_BOOL, AT(direct), ON_OFF, "bypass the page cache"),
    PROP("cache.no-flush", OPT_BOOL, AT(no_flush), ON_OFF, "ignore flushes"),
    PROP("cache.writeback", OPT_BOOL, AT(writeback), ON_OFF, "the guest sees a write cache"),
    PROP_CALL("aio", "io_uring|threads|native", set_drive_aio,
	      "how requests reach the host (default io_uring, which also serves native)"),
    PROP_CALL("discard", "ignore|unmap", set_drive_discard,
	      "what a discard of the guest does to the file (default ignore)"),
    PROP_ONLY("detect-zeroes", OPT_ENUM, OPT_NOWHERE, "off|on|unmap", "off",
	      "blocks are written as they come; use detect-zeroes=off",
	      "look for zeroes in writes"),
    PROP_ONLY("werror", OPT_ENUM, OPT_NOWHERE, "report|enospc|ignore|stop", "report",
	      WHY_STOP "werror=report", "when writing fails"),
    PROP_ONLY("rerror", OPT_ENUM, OPT_NOWHERE, "report|enospc|ignore|stop", "report",
	      WHY_STOP "rerror=report", "when reading fails"),
    PROP_ONLY("snapshot", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off",
	      "writes go to the image; use a copy of it", "throw writes away at the end"),
    PROP_ONLY("copy-on-read", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off",
	      "what is read stays where it is; use a copy of the image",
	      "copy from the backing file"),
    OPT_QCOW2_PROPS(offsetof(struct drive, bd)),
    PROP_REFUSED("bus", "use -device with bus="),
    PROP_REFUSED("unit", "use index="),
    PROP_REFUSED("serial", "use if=none, and serial= of the disk's -device"),
    PROP_REFUSED("throttling.iops-total", WHY_THROTTLE),
    PROP_REFUSED("throttling.bps-total", WHY_THROTTLE),
    PROP_REFUSED("iops", WHY_THROTTLE),
    PROP_REFUSED("bps", WHY_THROTTLE),
    PROP_END,
};

const struct opt_list opt_drive_list = {
    .title = "-drive",
    .style = OPT_STYLE_OPTS,
    .props = drive_props,
};

/* Give the drive its number; an index that was asked for must be free. */
static int take_index(struct opt_parse *p, struct drive *d, struct err *err)
{
	uint64_t *used = &p->drive_index[d->interface];

	if (!d->has_index) {
		if (*used == UINT64_MAX)
			return err_set(err, E2BIG, "more than 64 drives");
		d->index = (uint32_t)__builtin_ctzll(~*used);
	} else if (*used >> d->index & 1) {
		return err_set(err, EEXIST, "drive with bus=0, unit=%u (index=%u) exists", d->index,
			       d->index);
	}
	*used |= 1ULL << d->index;
	return 0;
}

static int check_format(const struct cfg_blockdev *bd, struct err *err)
{
	bool qcow2 = bd->driver && !strcmp(bd->driver, "qcow2");
	const char *key = bd->cache_bytes      ? "cache-size"
			  : bd->pass_discard   ? "pass-discard-request"
			  : bd->lazy_refcounts ? "lazy-refcounts"
					       : NULL;

	if (qcow2 || !key)
		return 0;
	return err_set(err, EINVAL, "Block format 'raw' does not support the option '%s'", key);
}

static int check_drive(struct opt_parse *p, struct drive *d, struct err *err)
{
	struct cfg_blockdev *bd = &d->bd;
	int ret;

	if (!bd->filename || !*bd->filename)
		return err_set(err, EINVAL, "Must specify either driver or file");
	ret = check_format(bd, err);
	if (ret == 0)
		ret = opt_check_force_share(bd, err);
	if (ret == 0)
		ret = take_index(p, d, err);
	if (ret < 0)
		return ret;
	if (!bd->drive_id)
		bd->drive_id =
		    xasprintf("%s%u", d->interface == IF_NONE ? "none" : "virtio", d->index);
	if (!bd->node_name)
		bd->node_name = xasprintf("#block%03u", p->n_nodes++);
	else if (!identifier_well_formed(bd->node_name))
		return err_set(err, EINVAL, "Invalid node-name: '" OPT_QUOTE "'", bd->node_name);
	if (!strcmp(bd->node_name, bd->drive_id) || config_blockdev(p->cfg, bd->drive_id))
		return err_set(err, EEXIST,
			       "Device name '" OPT_QUOTE "' conflicts with an existing node name",
			       bd->drive_id);
	for (size_t i = 0; i < p->cfg->n_blockdevs; i++) {
		if (!strcmp(p->cfg->blockdevs[i].drive_id, bd->drive_id))
			return opt_duplicate(bd->drive_id, "drive", err);
	}
	return opt_check_node_name(p->cfg, bd->node_name, err);
}

static int add_drive(struct opt_parse *p, const struct keyvals *kv, struct err *err)
{
	struct drive d = {.interface = IF_VIRTIO, .bd.writeback = true};
	int ret = opt_apply(p, &opt_drive_list, &d, kv, err);

	if (ret == 0)
		ret = check_drive(p, &d, err);
	if (ret < 0) {
		config_blockdev_fini(&d.bd);
		return ret;
	}
	d.bd.unsaid = !d.bd.driver;
	if (!d.bd.driver)
		d.bd.driver = xstrdup("raw");
	if (d.interface == IF_VIRTIO)
		keyvals_add(&p->drives, d.bd.drive_id, "");
	d.bd.where = opt_where(p);
	opt_add_blockdev(p->cfg, &d.bd);
	return 0;
}

int opt_drive(struct opt_parse *p, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals kv = {0};
	int ret = opt_split(&kv, p->val, NULL, false, err);

	return ret < 0 ? ret : add_drive(p, &kv, err);
}

int opt_disk_image(struct opt_parse *p, const char *path, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals kv = {0};

	keyvals_add(&kv, "file", path);
	return add_drive(p, &kv, err);
}
