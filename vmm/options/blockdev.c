/*
 * blockdev.c - -blockdev: nodes by name
 *
 * A "file" node is a host file; a "raw" or "qcow2" node is what a disk sees of one.  It
 * describes its file inline (file.filename=) or names a node that came earlier (file=NODE), and
 * a qcow2 node its backing file likewise (backing.driver=, backing=NODE).  A named node below
 * becomes part of the node above and is no longer a node of its own: its name stays taken
 * (file_node, backing->node_name).
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/base/error.h"
#include "vmm/base/identifier.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"
#include "vmm/options/options.h"

#define NODE_NAME_MAX 31
#define BACKING       "backing."
#define DEPTH_MAX     16 /* of nodes that are given inline */

#define OTHER_DRIVERS                                                                              \
	"qcow|qed|vmdk|vdi|vpc|vhdx|parallels|dmg|bochs|cloop|luks|vvfat|host_device|"             \
	"host_cdrom|nbd|nfs|iscsi|rbd|ssh|http|https|ftp|ftps|gluster|null-co|null-aio|nvme|"      \
	"blkdebug|blklogwrites|blkverify|compress|copy-before-write|copy-on-read|preallocate|"     \
	"quorum|replication|snapshot-access|throttle|io_uring|virtio-blk-vhost-user"

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

/* Is it the node's, or that of a node below? */
static bool has_name(const struct cfg_blockdev *bd, const char *name)
{
	for (; bd; bd = bd->backing)
		if ((bd->node_name && !strcmp(bd->node_name, name)) ||
		    (bd->file_node && !strcmp(bd->file_node, name)))
			return true;
	return false;
}

static int duplicate_node(const char *name, struct err *err)
{
	return err_set(err, EEXIST, "Duplicate nodes with node-name='" OPT_QUOTE "'", name);
}

int opt_check_node_name(const struct config *cfg, const char *name, struct err *err)
{
	for (size_t i = 0; i < cfg->n_blockdevs; i++) {
		const struct cfg_blockdev *b = &cfg->blockdevs[i];

		if (has_name(b, name))
			return duplicate_node(name, err);
		if (b->drive_id && !strcmp(b->drive_id, name))
			return err_set(err, EEXIST,
				       "node-name=" OPT_QUOTE " is conflicting with a device id",
				       name);
	}
	return 0;
}

static int check_name(const char *name, struct err *err)
{
	if (!identifier_well_formed(name))
		return err_set(err, EINVAL, "Invalid node-name: '" OPT_QUOTE "'", name);
	if (strlen(name) > NODE_NAME_MAX)
		return err_set(err, EINVAL, "Node name too long");
	return 0;
}

/* The names of the node and of all below it: each once. */
static int check_names(const struct config *cfg, const struct cfg_blockdev *bd, struct err *err)
{
	for (; bd; bd = bd->backing) {
		const char *const names[] = {bd->node_name, bd->file_node};

		for (size_t i = 0; i < ARRAY_LEN(names); i++) {
			bool again =
			    names[i] && (has_name(bd->backing, names[i]) ||
					 (i && bd->node_name && !strcmp(bd->node_name, names[i])));
			int ret = again ? duplicate_node(names[i], err) : 0;

			if (ret == 0 && names[i])
				ret = opt_check_node_name(cfg, names[i], err);
			if (ret < 0)
				return ret;
		}
	}
	return 0;
}

/* ---- nodes that came earlier ---- */

static int no_such_node(const char *name, struct err *err)
{
	return err_set(err, ENOENT,
		       "Cannot find device='" OPT_QUOTE "' nor node-name='" OPT_QUOTE "'", name,
		       name);
}

/* Out of the list, into *out. */
static void take_node(struct config *cfg, size_t i, struct cfg_blockdev *out)
{
	*out = cfg->blockdevs[i];
	cfg->n_blockdevs--;
	memmove(&cfg->blockdevs[i], &cfg->blockdevs[i + 1],
		(cfg->n_blockdevs - i) * sizeof(cfg->blockdevs[0]));
}

/* file=NODE: take over what the file node says, and the file node itself. */
static int adopt_file(struct config *cfg, struct cfg_blockdev *bd, const char *node,
		      struct err *err)
{
	for (size_t i = 0; i < cfg->n_blockdevs; i++) {
		struct cfg_blockdev *b = &cfg->blockdevs[i], f;
		bool part = strcmp(b->node_name, node) != 0;

		if (!has_name(b, node))
			continue;
		if (part || strcmp(b->driver, "file") != 0)
			return err_set(err, EBUSY,
				       "node '" OPT_QUOTE "' cannot be the file below this node: "
				       "it %s",
				       node, part ? "is in use" : "is not a file node");
		take_node(cfg, i, &f);
		bd->filename = f.filename;
		bd->file_node = f.node_name;
		bd->file_adopted = true;
		bd->readonly |= f.readonly;
		bd->force_share = f.force_share;
		bd->direct |= f.direct;
		bd->no_flush |= f.no_flush;
		bd->discard |= f.discard;
		bd->locking = f.locking;
		bd->aio_threads |= f.aio_threads;
		f.filename = f.node_name = NULL;
		config_blockdev_fini(&f);
		return 0;
	}
	return no_such_node(node, err);
}

/* backing=NODE */
static int adopt_backing(struct config *cfg, struct cfg_blockdev *bd, const char *node,
			 struct err *err)
{
	for (size_t i = 0; i < cfg->n_blockdevs; i++) {
		struct cfg_blockdev *b = &cfg->blockdevs[i];

		if (!has_name(b, node))
			continue;
		if (strcmp(b->node_name, node) != 0 || *b->drive_id)
			return err_set(err, EBUSY,
				       "node '" OPT_QUOTE "' cannot be the backing file of this "
				       "node: it is in use",
				       node);
		bd->backing = NEW(struct cfg_blockdev);
		take_node(cfg, i, bd->backing);
		bd->backing->adopted = true;
		return 0;
	}
	return no_such_node(node, err);
}

/* ---- one node ---- */

static int fill_node(struct opt_parse *p, struct cfg_blockdev *bd, const struct keyvals *all,
		     unsigned depth, struct err *err);

/* The file below a raw or qcow2 node. */
static int find_file(struct config *cfg, struct cfg_blockdev *bd, const struct keyvals *kv,
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
	ret = name ? check_name(name, err) : 0;
	if (ret == 0 && name)
		bd->file_node = xstrdup(name);
	return ret;
}

/* 'below': what was given as backing.KEY. */
static int find_backing(struct opt_parse *p, struct cfg_blockdev *bd, const struct keyvals *kv,
			const struct keyvals *below, unsigned depth, struct err *err)
{
	const char *node = keyvals_get(kv, "backing");
	int ret;

	if (node && below->n)
		return err_set(err, EINVAL,
			       "'backing' and 'backing." OPT_QUOTE "' cannot be used together",
			       below->v[0].key);
	if (node && !*node) {
		bd->no_backing = true;
		return 0;
	}
	if (node)
		return adopt_backing(p->cfg, bd, node, err);
	if (!below->n)
		return 0;
	bd->backing = NEW(struct cfg_blockdev);
	bd->backing->readonly = bd->backing->writeback = true;
	ret = fill_node(p, bd->backing, below, depth + 1, err);
	return err_prefix(err, ret, "backing");
}

static int driver_list(const char *driver, const struct opt_list **list, struct err *err)
{
	if (!strcmp(driver, "file"))
		*list = &opt_blockdev_file_list;
	else if (!strcmp(driver, "raw"))
		*list = &opt_blockdev_raw_list;
	else if (!strcmp(driver, "qcow2"))
		*list = &opt_blockdev_qcow2_list;
	else if (opt_word_index(OTHER_DRIVERS, driver, strlen(driver)) >= 0)
		return err_set(err, ENOTSUP,
			       "driver '%s' is not supported: use driver=raw or driver=qcow2 over "
			       "driver=file",
			       driver);
	else
		return err_set(err, EINVAL,
			       "Parameter 'driver' does not accept value '" OPT_QUOTE "'", driver);
	return 0;
}

/* The pairs of 'all' that describe the node below, without their prefix, and the others. */
static void split_backing(const struct keyvals *all, struct keyvals *own, struct keyvals *below)
{
	size_t n = strlen(BACKING);

	for (size_t i = 0; i < all->n; i++) {
		const struct keyval *v = &all->v[i];

		if (!strncmp(v->key, BACKING, n))
			keyvals_add(below, v->key + n, v->val);
		else
			keyvals_add(own, v->key, v->val);
	}
}

/* Its own name, which a node that is given inline need not have. */
static int set_name(struct cfg_blockdev *bd, const char *name, bool needed, struct err *err)
{
	int ret;

	if (!name && needed)
		return err_set(err, EINVAL, "'node-name' must be specified for the root node");
	ret = name ? check_name(name, err) : 0;
	if (ret == 0 && name)
		bd->node_name = xstrdup(name);
	return ret;
}

static int fill_own(struct opt_parse *p, struct cfg_blockdev *bd, const struct keyvals *kv,
		    unsigned depth, struct err *err)
{
	const char *driver = keyvals_get(kv, "driver");
	const struct opt_list *list = NULL;
	int ret;

	if (!driver)
		return opt_missing("driver", err);
	ret = driver_list(driver, &list, err);
	if (ret == 0)
		ret = opt_apply(p, list, bd, kv, err);
	if (ret == 0)
		ret = opt_check_force_share(bd, err);
	if (ret == 0)
		ret = set_name(bd, keyvals_get(kv, "node-name"), depth == 0, err);
	if (ret < 0)
		return ret;
	bd->driver = xstrdup(driver);
	bd->drive_id = xstrdup("");
	return list == &opt_blockdev_file_list ? 0 : find_file(p->cfg, bd, kv, err);
}

static int fill_node(struct opt_parse *p, struct cfg_blockdev *bd, const struct keyvals *all,
		     unsigned depth, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals own = {0}, below = {0};
	const char *driver = keyvals_get(all, "driver");
	bool qcow2 = driver && !strcmp(driver, "qcow2");
	int ret;

	if (depth == DEPTH_MAX)
		return err_set(err, E2BIG, "more than %d nodes within each other", DEPTH_MAX);
	if (qcow2)
		split_backing(all, &own, &below);
	ret = fill_own(p, bd, qcow2 ? &own : all, depth, err);
	if (ret == 0 && qcow2)
		ret = find_backing(p, bd, &own, &below, depth, err);
	return ret;
}

int opt_blockdev(struct opt_parse *p, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals kv = {0};
	struct cfg_blockdev bd = {.writeback = true};
	int ret = opt_split_any(&kv, p->val, "driver", true, err);

	if (ret == 0)
		ret = fill_node(p, &bd, &kv, 0, err);
	if (ret == 0)
		ret = check_names(p->cfg, &bd, err);
	if (ret < 0) {
		config_blockdev_fini(&bd);
		return ret;
	}
	bd.where = opt_where(p);
	opt_add_blockdev(p->cfg, &bd);
	return ret;
}

int options_blockdev(struct config *cfg, const char *json, struct err *err)
{
	struct opt_parse p = {.cfg = cfg, .opt = "blockdev-add", .val = json};
	int ret = opt_blockdev(&p, err);

	if (ret == 0) { /* its messages are the command's */
		free(cfg->blockdevs[cfg->n_blockdevs - 1].where);
		cfg->blockdevs[cfg->n_blockdevs - 1].where = NULL;
	}
	return ret;
}
