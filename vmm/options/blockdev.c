/*
 * blockdev.c - -blockdev: nodes by name
 *
 * A "file" node is a host file; a "raw" node is what a disk sees of one.  The
 * raw node describes its file inline (file.filename=) or names a node that
 * came earlier (file=NODE).  A named file node becomes part of the raw node
 * and is no longer a node of its own: its name stays taken (file_node).
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

#define AT(member)    offsetof(struct cfg_blockdev, member)
#define ON_OFF        "on|off"
#define NODE_NAME_MAX 31

#define OTHER_DRIVERS                                                                              \
	"qcow2|qcow|qed|vmdk|vdi|vpc|vhdx|parallels|dmg|bochs|cloop|luks|vvfat|host_device|"       \
	"host_cdrom|nbd|nfs|iscsi|rbd|ssh|http|https|ftp|ftps|gluster|null-co|null-aio|nvme|"      \
	"blkdebug|blklogwrites|blkverify|compress|copy-before-write|copy-on-read|preallocate|"     \
	"quorum|replication|snapshot-access|throttle|io_uring|virtio-blk-vhost-user"

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

void opt_blockdev_fini(struct cfg_blockdev *bd)
{
	free(bd->where);
	free(bd->node_name);
	free(bd->driver);
	free(bd->filename);
	free(bd->drive_id);
	free(bd->file_node);
	*bd = (struct cfg_blockdev){0};
}

void opt_add_blockdev(struct config *cfg, const struct cfg_blockdev *bd)
{
	*OPT_ADD(cfg->blockdevs, cfg->n_blockdevs) = *bd;
}

int opt_check_force_share(const struct cfg_blockdev *bd, struct err *err)
{
	if (bd->force_share && !bd->readonly)
		return err_set(err, EINVAL,
			       "force-share=on can only be used with read-only images: say "
			       "read-only=on, or share-rw=on at the disk where several machines "
			       "are to write");
	return 0;
}

int opt_check_node_name(const struct config *cfg, const char *name, struct err *err)
{
	for (size_t i = 0; i < cfg->n_blockdevs; i++) {
		const struct cfg_blockdev *b = &cfg->blockdevs[i];

		if (!strcmp(b->node_name, name) || (b->file_node && !strcmp(b->file_node, name)))
			return err_set(err, EEXIST,
				       "Duplicate nodes with node-name='" OPT_QUOTE "'", name);
		if (!strcmp(b->drive_id, name))
			return err_set(err, EEXIST,
				       "node-name=" OPT_QUOTE " is conflicting with a device id",
				       name);
	}
	return 0;
}

static int check_name(const struct config *cfg, const char *name, struct err *err)
{
	if (!opt_is_id(name))
		return err_set(err, EINVAL, "Invalid node-name: '" OPT_QUOTE "'", name);
	if (strlen(name) > NODE_NAME_MAX)
		return err_set(err, EINVAL, "Node name too long");
	return opt_check_node_name(cfg, name, err);
}

/* file=NODE: take over what the file node says, and the file node itself. */
static int adopt_file(struct config *cfg, struct cfg_blockdev *bd, const char *node,
		      struct err *err)
{
	for (size_t i = 0; i < cfg->n_blockdevs; i++) {
		struct cfg_blockdev *f = &cfg->blockdevs[i];
		bool part = f->file_node && !strcmp(f->file_node, node);

		if (!part && strcmp(f->node_name, node) != 0)
			continue;
		if (part || strcmp(f->driver, "file") != 0)
			return err_set(err, EBUSY,
				       "node '" OPT_QUOTE "' cannot be the file below this node: "
				       "it %s",
				       node, part ? "is in use" : "is not a file node");
		bd->filename = f->filename;
		bd->file_node = f->node_name;
		bd->readonly |= f->readonly;
		bd->force_share = f->force_share;
		bd->direct |= f->direct;
		bd->no_flush |= f->no_flush;
		bd->discard |= f->discard;
		bd->locking = f->locking;
		bd->aio_threads |= f->aio_threads;
		free(f->where);
		free(f->driver);
		free(f->drive_id);
		cfg->n_blockdevs--;
		memmove(f, f + 1, (cfg->n_blockdevs - i) * sizeof(*f));
		return 0;
	}
	return err_set(err, ENOENT,
		       "Cannot find device='" OPT_QUOTE "' nor node-name='" OPT_QUOTE "'", node,
		       node);
}

static int raw_file(struct config *cfg, struct cfg_blockdev *bd, const struct keyvals *kv,
		    struct err *err)
{
	const char *node = keyvals_get(kv, "file"), *driver = keyvals_get(kv, "file.driver");
	const char *name = keyvals_get(kv, "file.node-name");
	int ret;

	if (node && (driver || bd->filename))
		return err_set(err, EINVAL, "'file' and 'file.filename' cannot be used together");
	if (node)
		return adopt_file(cfg, bd, node, err);
	if (!driver)
		return opt_missing(bd->filename ? "file.driver" : "file", err);
	if (strcmp(driver, "file") != 0)
		return err_set(err, EINVAL,
			       "Parameter 'file.driver' does not accept value '" OPT_QUOTE "'",
			       driver);
	if (!bd->filename)
		return opt_missing("file.filename", err);
	if (name) {
		ret = check_name(cfg, name, err);
		if (ret < 0)
			return ret;
		if (!strcmp(name, bd->node_name))
			return err_set(err, EEXIST,
				       "Duplicate nodes with node-name='" OPT_QUOTE "'", name);
		bd->file_node = xstrdup(name);
	}
	return 0;
}

static int driver_list(const char *driver, const struct opt_list **list, struct err *err)
{
	if (!strcmp(driver, "file"))
		*list = &opt_blockdev_file_list;
	else if (!strcmp(driver, "raw"))
		*list = &opt_blockdev_raw_list;
	else if (opt_word_index(OTHER_DRIVERS, driver, strlen(driver)) >= 0)
		return err_set(err, ENOTSUP,
			       "driver '%s' is not supported: use driver=raw over driver=file",
			       driver);
	else
		return err_set(err, EINVAL,
			       "Parameter 'driver' does not accept value '" OPT_QUOTE "'", driver);
	return 0;
}

static int fill_blockdev(struct opt_parse *p, struct cfg_blockdev *bd, const struct keyvals *kv,
			 struct err *err)
{
	const char *driver = keyvals_get(kv, "driver"), *name = keyvals_get(kv, "node-name");
	const struct opt_list *list = NULL;
	int ret;

	if (!driver)
		return opt_missing("driver", err);
	ret = driver_list(driver, &list, err);
	if (ret == 0)
		ret = opt_apply(p, list, bd, kv, err);
	if (ret < 0)
		return ret;
	ret = opt_check_force_share(bd, err);
	if (ret < 0)
		return ret;
	if (!name)
		return err_set(err, EINVAL, "'node-name' must be specified for the root node");
	ret = check_name(p->cfg, name, err);
	if (ret < 0)
		return ret;
	bd->node_name = xstrdup(name);
	bd->driver = xstrdup(driver);
	bd->drive_id = xstrdup("");
	return list == &opt_blockdev_raw_list ? raw_file(p->cfg, bd, kv, err) : 0;
}

int opt_blockdev(struct opt_parse *p, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals kv = {0};
	struct cfg_blockdev bd = {.writeback = true};
	int ret = opt_split_any(&kv, p->val, "driver", true, err);

	if (ret == 0)
		ret = fill_blockdev(p, &bd, &kv, err);
	if (ret < 0) {
		opt_blockdev_fini(&bd);
		return ret;
	}
	bd.where = opt_where(p);
	opt_add_blockdev(p->cfg, &bd);
	return ret;
}
