/*
 * node-lock.c - an image is one process's at a time
 *
 * The byte locks keep other processes away; in a qcow2 image there is a second step, since its
 * tables are held in memory: they are read when it is locked, and written back before it is
 * unlocked.
 */
#include "devices/block/node.h"

#include <errno.h>

#include "devices/block/image.h"
#include "devices/block/lock.h"
#include "devices/block/node-info.h"
#include "devices/block/qcow2/qcow2.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/options/config.h"

/* The file of a qcow2 image grows, and a second writer, however wanted, would not see its tables.
 */
static struct block_perms node_perms(const struct block_node *n)
{
	struct block_perms perms = block_disk_perms(n->readonly, n->share_rw && !n->img);

	if (n->img && !n->readonly)
		perms.used |= BLOCK_PERM_RESIZE;
	if (n->force_share)
		perms.unshared = 0;
	return perms;
}

static int lock_node(struct block_node *n, bool probe, struct err *err)
{
	struct block_perms perms = node_perms(n);
	struct err why = {0}, *to = err ? &why : NULL;
	int ret = n->img ? image_lock(n->img, perms, probe, to)
			 : block_lock(n->fd, n->filename, perms, probe, to);

	if (ret == -ENOTSUP && n->locking == BLOCK_LOCKING_AUTO) {
		log_warn("'%s' is on a file system without locks: nothing keeps other programs "
			 "from writing to it",
			 n->filename);
		n->locking = BLOCK_LOCKING_OFF;
		return 0;
	}
	return ret < 0 ? err_set(err, -ret, "%s", why.msg) : 0;
}

int block_node_lock(struct block_node *n, struct err *err)
{
	int ret = n->locked || n->locking == BLOCK_LOCKING_OFF ? 0 : lock_node(n, false, err);

	n->locked = ret == 0;
	return ret;
}

int block_node_lock_probe(struct block_node *n, struct err *err)
{
	return n->locked || n->locking == BLOCK_LOCKING_OFF ? 0 : lock_node(n, true, err);
}

void block_node_unlock(struct block_node *n)
{
	if (n->locked && n->locking != BLOCK_LOCKING_OFF) {
		if (n->img)
			image_unlock(n->img);
		else
			block_unlock(n->fd);
	}
	n->locked = false;
}

int block_node_activate(struct block_node *n, struct err *err)
{
	int ret;

	if (!n->img || block_node_active(n))
		return 0;
	ret = qcow2_activate(n->img->q, err);
	if (ret < 0)
		return err_prefix(err, ret, "'%s'", n->filename);
	__atomic_store_n(&n->active, true, __ATOMIC_SEQ_CST);
	block_node_refresh(n);
	return 0;
}

int block_node_deactivate(struct block_node *n, struct err *err)
{
	int ret;

	if (!n->img || !block_node_active(n))
		return 0;
	ret = qcow2_deactivate(n->img->q, err);
	if (ret < 0)
		return err_prefix(err, ret, "'%s'", n->filename);
	__atomic_store_n(&n->active, false, __ATOMIC_SEQ_CST);
	return 0;
}

int block_node_take(struct block_node *n, struct err *err)
{
	int ret = block_node_lock(n, err);

	if (ret < 0)
		return ret;
	ret = block_node_activate(n, err);
	if (ret < 0)
		block_node_unlock(n);
	return ret;
}

void block_node_release(struct block_node *n)
{
	struct err err = {0};

	if (block_node_deactivate(n, &err) < 0)
		log_error("not all of %s", err.msg);
	block_node_unlock(n);
}
