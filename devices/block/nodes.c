/*
 * nodes.c - the list of nodes: from the command line, and changed by blockdev-add and blockdev-del
 *
 * What a node is made from is one struct cfg_blockdev with the nodes that have become part of it.
 * blockdev-add puts copies of these side by side, as the command line does, and lets the options'
 * parser add one: a node that is no longer in that list afterwards has become part of the new one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/image.h"
#include "devices/block/node.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"
#include "vmm/options/options.h"

/* ---- the list ---- */

static void nodes_append(struct block_nodes *bs, struct block_node *n)
{
	bs->v = xrealloc(bs->v, (bs->n + 1) * sizeof(struct block_node *));
	bs->v[bs->n++] = n;
}

static void nodes_remove(struct block_nodes *bs, const struct block_node *n)
{
	for (size_t i = 0; i < bs->n; i++)
		if (bs->v[i] == n) {
			memmove(&bs->v[i], &bs->v[i + 1], (bs->n - i - 1) * sizeof(bs->v[0]));
			bs->n--;
			return;
		}
}

static int open_node(struct block_nodes *bs, const struct cfg_blockdev *bd, bool here,
		     struct err *err)
{
	struct block_node *n = block_node_new(bd, err);

	if (!n)
		return -EINVAL;
	nodes_append(bs, n);
	/* A guest that is to come still runs elsewhere, and so is its disk. */
	return n->img && here ? block_node_take(n, err) : 0;
}

int block_nodes_open(struct block_nodes *bs, const struct config *cfg, struct err *err)
{
	*bs = (struct block_nodes){.v = xcalloc(cfg->n_blockdevs + 1, sizeof(struct block_node *))};
	for (size_t i = 0; i < cfg->n_blockdevs; i++) {
		int ret = open_node(bs, &cfg->blockdevs[i], !cfg->incoming, err);

		if (ret < 0) {
			block_nodes_close(bs);
			return config_where(cfg->blockdevs[i].where, ret, err);
		}
	}
	return 0;
}

int block_nodes_keep(struct block_nodes *bs, struct machine *m, struct err *err)
{
	for (size_t i = 0; i < bs->n; i++) {
		struct block_node *n = bs->v[i];
		int ret = n->img && !n->user ? block_node_add_user(n, m, err) : 0;

		if (ret < 0)
			return ret;
	}
	return 0;
}

struct block_node *block_nodes_find(const struct block_nodes *bs, const char *name)
{
	for (size_t i = 0; *name && i < bs->n; i++)
		if (!strcmp(bs->v[i]->name, name) || !strcmp(bs->v[i]->drive_id, name))
			return bs->v[i];
	return NULL;
}

void block_nodes_close(struct block_nodes *bs)
{
	for (size_t i = 0; i < bs->n; i++) {
		block_node_release(bs->v[i]); /* one that never got a device */
		block_node_free(bs->v[i]);
	}
	free(bs->v);
	*bs = (struct block_nodes){0};
}

/* ---- blockdev-add ---- */

static bool is_used(const struct block_node *n)
{
	return n->user || n->jobs;
}

/* The nodes as options. */
static void list_nodes(const struct block_nodes *bs, struct config *cfg)
{
	cfg->blockdevs = xcalloc(bs->n + 1, sizeof(cfg->blockdevs[0]));
	cfg->n_blockdevs = bs->n;
	for (size_t i = 0; i < bs->n; i++)
		cfg->blockdevs[i] = config_blockdev_copy(&bs->v[i]->cfg);
}

/* Nodes that have become part of the last one of 'cfg'. */
static size_t find_adopted(const struct block_nodes *bs, const struct config *cfg,
			   struct block_node **adopted)
{
	size_t n = 0;

	for (size_t i = 0; i < bs->n; i++)
		if (!config_blockdev(cfg, bs->v[i]->name))
			adopted[n++] = bs->v[i];
	return n;
}

static int check_adopted(struct block_node *const *v, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++)
		if (is_used(v[i]))
			return err_set(err, EBUSY, "Node %s is in use", v[i]->name);
	return 0;
}

/* Nothing else begins to use them while the lock is given up. */
static void set_busy(struct block_node *const *v, size_t n, bool on)
{
	for (size_t i = 0; i < n; i++)
		v[i]->jobs += on ? 1U : -1U;
}

static void drop_node(struct block_nodes *bs, struct block_node *n)
{
	nodes_remove(bs, n);
	block_node_del_user(n);
	block_node_release(n);
	block_node_free(n);
}

static int activate_fn(struct block_node *n, uint64_t arg, struct err *err)
{
	(void)arg;
	return block_node_activate(n, err);
}

static int deactivate_fn(struct block_node *n, uint64_t arg, struct err *err)
{
	(void)arg;
	return block_node_deactivate(n, err);
}

/* The image, unless it is another machine's. */
static int lock_and_activate(struct block_node *n, struct machine *m, struct err *err)
{
	int ret;

	if (m->state == RS_INMIGRATE || m->handed_to)
		return 0;
	ret = block_node_lock(n, err);
	return ret < 0 ? ret : block_node_call(n, m, activate_fn, 0, err);
}

static int start_node(struct block_node *n, struct machine *m, struct err *err)
{
	int ret = n->img ? block_node_add_user(n, m, err) : 0;

	return ret < 0 || !n->img ? ret : lock_and_activate(n, m, err);
}

/* Nodes that are about to become part of another: their tables are read by that one. */
static int put_down(struct block_node *const *v, size_t n, struct machine *m, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		int ret = v[i]->keeper ? block_node_call(v[i], m, deactivate_fn, 0, err) : 0;

		if (ret < 0)
			return ret;
		block_node_unlock(v[i]);
	}
	return 0;
}

static void take_up(struct block_node *const *v, size_t n, struct machine *m)
{
	for (size_t i = 0; i < n; i++) {
		struct err err = {0};

		if (v[i]->keeper && lock_and_activate(v[i], m, &err) < 0)
			log_warn("node '%s': %s", v[i]->name, err.msg);
	}
}

static int new_node(struct block_nodes *bs, struct machine *m, const struct cfg_blockdev *bd,
		    struct err *err)
{
	struct block_node *n = block_node_new(bd, err);
	int ret;

	if (!n)
		return -EINVAL;
	nodes_append(bs, n);
	n->jobs++; /* the lock is given up */
	ret = start_node(n, m, err);
	n->jobs--;
	if (ret < 0)
		drop_node(bs, n);
	return ret;
}

static int add_last(struct block_nodes *bs, struct machine *m, const struct config *cfg,
		    struct err *err)
{
	struct block_node **adopted = xcalloc(bs->n + 1, sizeof(struct block_node *));
	size_t n_adopted = find_adopted(bs, cfg, adopted);
	int ret = check_adopted(adopted, n_adopted, err);

	if (ret < 0) {
		free(adopted);
		return ret;
	}
	set_busy(adopted, n_adopted, true);
	ret = put_down(adopted, n_adopted, m, err);
	if (ret == 0)
		ret = new_node(bs, m, &cfg->blockdevs[cfg->n_blockdevs - 1], err);
	if (ret < 0)
		take_up(adopted, n_adopted, m);
	set_busy(adopted, n_adopted, false);
	for (size_t i = 0; ret == 0 && i < n_adopted; i++)
		drop_node(bs, adopted[i]);
	free(adopted);
	return ret;
}

int block_nodes_add(struct block_nodes *bs, struct machine *m, const char *json, struct err *err)
{
	struct config cfg = {0};
	int ret;

	list_nodes(bs, &cfg);
	ret = options_blockdev(&cfg, json, err);
	if (ret == 0)
		ret = add_last(bs, m, &cfg, err);
	config_fini(&cfg);
	return ret;
}

/* ---- blockdev-del ---- */

/* Is it the name of a part, and did that come by itself? */
static bool find_part(const struct cfg_blockdev *bd, const char *name, bool *adopted)
{
	for (const struct cfg_blockdev *b = bd; b; b = b->backing) {
		if (b != bd && b->node_name && !strcmp(b->node_name, name)) {
			*adopted = b->adopted;
			return true;
		}
		if (b->file_node && !strcmp(b->file_node, name)) {
			*adopted = b->file_adopted;
			return true;
		}
	}
	return false;
}

static int not_found(const struct block_nodes *bs, const char *name, struct err *err)
{
	bool adopted;

	for (size_t i = 0; i < bs->n; i++)
		if (find_part(&bs->v[i]->cfg, name, &adopted))
			return adopted ? err_set(err, EBUSY, "Block device %s is in use", name)
				       : err_set(err, EINVAL, "Node %s is not owned by the monitor",
						 name);
	return err_set(err, ENOENT, "Failed to find node with node-name='%s'", name);
}

/* A node that is again one of its own. */
static void give_back(struct block_nodes *bs, struct machine *m, const struct cfg_blockdev *bd)
{
	struct err err = {0};

	if (new_node(bs, m, bd, &err) < 0)
		log_warn("node '%s' is gone: %s", bd->node_name, err.msg);
}

/* What was part of the node: the file below it, and its backing file. */
static void give_back_parts(struct block_nodes *bs, struct machine *m,
			    const struct cfg_blockdev *bd)
{
	struct cfg_blockdev file = *bd;

	if (bd->file_adopted) {
		file.node_name = bd->file_node;
		file.driver = (char *)(uintptr_t) "file";
		file.drive_id = (char *)(uintptr_t) "";
		file.file_node = NULL;
		file.backing = NULL;
		file.file_adopted = file.adopted = false;
		give_back(bs, m, &file);
	}
	if (bd->backing && bd->backing->adopted) {
		struct cfg_blockdev below = *bd->backing;

		below.adopted = false;
		give_back(bs, m, &below);
	}
}

int block_nodes_del(struct block_nodes *bs, struct machine *m, const char *name, struct err *err)
{
	struct block_node *n = block_nodes_find(bs, name);
	struct cfg_blockdev bd;
	int ret;

	if (!n || strcmp(n->name, name) != 0)
		return not_found(bs, name, err);
	if (is_used(n))
		return err_set(err, EBUSY, "Node %s is in use", name);
	if (*n->drive_id)
		return err_set(err, EINVAL, "Node %s is not owned by the monitor", name);
	set_busy(&n, 1, true);
	ret = n->keeper ? block_node_call(n, m, deactivate_fn, 0, err) : 0;
	set_busy(&n, 1, false);
	if (ret < 0)
		return ret;
	bd = config_blockdev_copy(&n->cfg);
	drop_node(bs, n);
	give_back_parts(bs, m, &bd);
	config_blockdev_fini(&bd);
	return 0;
}
