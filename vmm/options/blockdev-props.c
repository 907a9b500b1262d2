/*
 * blockdev-props.c - the properties of -blockdev, by driver
 */
#include <errno.h>

#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

#define AT(member) offsetof(struct cfg_blockdev, member)
#define ON_OFF     "on|off"

int opt_set_aio(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	struct cfg_blockdev *bd = base;
	int i = opt_word_index("io_uring|threads|native", val, strlen(val));

	if (i < 0)
		return err_set(err, EINVAL, "Parameter 'aio' does not accept value '" OPT_QUOTE "'",
			       val);
	if (i == 2) {
		CLEANUP(cleanup_free) char *where = opt_where(p);

		log_warn("%s: aio=native is served by io_uring", where);
	}
	bd->aio_threads = i == 1;
	return 0;
}

int opt_set_discard(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	struct cfg_blockdev *bd = base;
	int i = opt_word_index("ignore|off|unmap|on", val, strlen(val));

	(void)p;
	if (i < 0)
		return err_set(err, EINVAL, "Invalid discard option");
	bd->discard = i >= 2;
	return 0;
}

int opt_set_pass_discard(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	struct cfg_blockdev *bd = base;
	bool on;

	(void)p;
	if (opt_parse_bool(val, &on) < 0)
		return err_set(err, EINVAL,
			       "Parameter 'pass-discard-request' expects 'on' or 'off'");
	bd->pass_discard = on ? CFG_ON : CFG_OFF;
	return 0;
}

int opt_set_lazy_refcounts(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	struct cfg_blockdev *bd = base;
	bool on;

	(void)p;
	if (opt_parse_bool(val, &on) < 0)
		return err_set(err, EINVAL, "Parameter 'lazy-refcounts' expects 'on' or 'off'");
	bd->lazy_refcounts = on ? CFG_ON : CFG_OFF;
	return 0;
}

/* What a file node and the inline file of a raw node have in common. */
#define FILE_PROPS(pre)                                                                            \
	PROP_CALL(pre "aio", "io_uring|threads|native", opt_set_aio,                               \
		  "how requests reach the host (default io_uring, which also serves native)"),     \
	    PROP(pre "cache.direct", OPT_BOOL, AT(direct), ON_OFF,                                 \
		 "bypass the host's page cache (default off)"),                                    \
	    PROP(pre "cache.no-flush", OPT_BOOL, AT(no_flush), ON_OFF,                             \
		 "ignore flushes: fast and unsafe (default off)"),                                 \
	    PROP_CALL(pre "discard", "ignore|unmap", opt_set_discard,                              \
		      "what a discard of the guest does to the file (default ignore)"),            \
	    PROP(pre "read-only", OPT_BOOL, AT(readonly), ON_OFF, "no writing (default off)"),     \
	    PROP(pre "auto-read-only", OPT_BOOL, OPT_NOWHERE, ON_OFF,                              \
		 "no effect: read-only decides"),                                                  \
	    PROP(pre "force-share", OPT_BOOL, AT(force_share), ON_OFF,                             \
		 "read an image that other programs write to; with read-only=on (default off)"),   \
	    PROP_ONLY(pre "detect-zeroes", OPT_ENUM, OPT_NOWHERE, "off|on|unmap", "off",           \
		      "blocks are written as they come; use detect-zeroes=off",                    \
		      "look for zeroes in writes")

#define LOCKING_PROP(pre)                                                                          \
	PROP(pre "locking", OPT_ENUM, AT(locking), "auto|on|off",                                  \
	     "lock the image, so that no second program writes to it (default auto: where the "    \
	     "file system can)")

static const struct opt_prop file_props[] = {
    PROP_SEEN("driver", "file", "a file of the host"),
    PROP_SEEN("node-name", "NAME", "the node's name, 31 characters at most"),
    PROP_NEEDED("filename", OPT_STRING, AT(filename), "PATH", "the file"),
    FILE_PROPS(""),
    LOCKING_PROP(""),
    PROP_REFUSED("pr-manager", "persistent reservations are not offered"),
    PROP_END,
};

static const struct opt_prop raw_props[] = {
    PROP_SEEN("driver", "raw", "an image without a format"),
    PROP_SEEN("node-name", "NAME", "the node's name, 31 characters at most"),
    PROP_SEEN("file", "NODE", "a file node of an earlier -blockdev"),
    PROP_SEEN("file.driver", "file", "the file, given here instead"),
    PROP("file.filename", OPT_STRING, AT(filename), "PATH", "its path"),
    PROP_SEEN("file.node-name", "NAME", "its node name"),
    FILE_PROPS("file."),
    LOCKING_PROP("file."),
    FILE_PROPS(""),
    PROP_REFUSED("offset", "the whole file is the disk"),
    PROP_REFUSED("size", "the whole file is the disk"),
    PROP_END,
};

static const struct opt_prop qcow2_props[] = {
    PROP_SEEN("driver", "qcow2", "an image that grows as it is written, with snapshots"),
    PROP_SEEN("node-name", "NAME", "the node's name, 31 characters at most"),
    PROP_SEEN("file", "NODE", "a file node of an earlier -blockdev"),
    PROP_SEEN("file.driver", "file", "the file, given here instead"),
    PROP("file.filename", OPT_STRING, AT(filename), "PATH", "its path"),
    PROP_SEEN("file.node-name", "NAME", "its node name"),
    FILE_PROPS("file."),
    LOCKING_PROP("file."),
    FILE_PROPS(""),
    PROP_SEEN("backing", "NODE",
	      "an earlier node as the backing file, or nothing (JSON null): none at all (default "
	      "what the image names); backing.driver= and so on: the node, given here instead"),
    OPT_QCOW2_PROPS(0),
    PROP_END,
};

const struct opt_list opt_blockdev_file_list = {
    .title = "-blockdev driver=file",
    .implied = "driver",
    .style = OPT_STYLE_KEYVAL,
    .props = file_props,
};
const struct opt_list opt_blockdev_raw_list = {
    .title = "-blockdev driver=raw",
    .implied = "driver",
    .style = OPT_STYLE_KEYVAL,
    .props = raw_props,
};
const struct opt_list opt_blockdev_qcow2_list = {
    .title = "-blockdev driver=qcow2",
    .implied = "driver",
    .style = OPT_STYLE_KEYVAL,
    .props = qcow2_props,
};
