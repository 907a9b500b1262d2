/*
 * node.c - opening a disk image, choosing its driver, counting and locking
 *
 * A node's requests go to io_uring, or to libuv's threads where io_uring is not
 * available or aio=threads was given; the driver is chosen when the node is
 * attached.  O_DIRECT is tried with one sector: a medium with larger sectors
 * than the guest is told of falls back to the page cache.
 */
#include "devices/block/node.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/block/file-open.h"
#include "devices/block/file.h"
#include "devices/block/lock.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"

/* ---- opening ---- */

struct block_node *block_node_new(const struct cfg_blockdev *cfg, struct err *err)
{
	struct block_node *n;
	uint64_t bytes = 0;
	int fd = file_open(cfg->filename, !cfg->readonly, cfg->direct, err);

	if (fd < 0)
		return NULL;
	if (file_bytes(fd, cfg->filename, &bytes, err) < 0) {
		(void)close(fd);
		return NULL;
	}
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	n = NEW(struct block_node);
	n->driver = cfg->aio_threads ? &block_file_threads : &block_file_uring;
	n->name = xstrdup(cfg->node_name ? cfg->node_name : "");
	n->drive_id = xstrdup(cfg->drive_id ? cfg->drive_id : "");
	n->filename = xstrdup(cfg->filename);
	n->format = xstrdup("raw");
	n->fd = fd;
	n->bytes = ALIGN_UP(bytes, BLOCK_SECTOR_BYTES);
	n->readonly = cfg->readonly;
	n->force_share = cfg->force_share;
	n->direct = cfg->direct && file_check_direct(fd, cfg->filename);
	n->writeback = cfg->writeback;
	n->no_flush = cfg->no_flush;
	n->discard = cfg->discard;
	n->locking = cfg->locking;
	return n;
}

void block_node_free(struct block_node *n)
{
	if (!n)
		return;
	assert(!n->io);
	(void)close(n->fd);
	free(n->name);
	free(n->drive_id);
	free(n->filename);
	free(n->format);
	free(n);
}

/* ---- requests ---- */

int block_node_attach(struct block_node *n, struct loop *io, struct err *err)
{
	struct err why = {0};
	int ret;

	n->io = io;
	ret = n->driver->attach(n, io, &why);
	if (ret < 0 && n->driver != &block_file_threads) {
		log_info("'%s' is served by threads: %s", n->filename, why.msg);
		n->driver = &block_file_threads;
		ret = n->driver->attach(n, io, &why);
	}
	if (ret < 0) {
		n->io = NULL;
		return err_set(err, -ret, "%s", why.msg);
	}
	return 0;
}

void block_node_detach(struct block_node *n)
{
	if (!n->io)
		return;
	n->driver->detach(n);
	n->io = NULL;
}

void block_submit(struct block_node *n, struct block_req *req)
{
	assert(n->io && req->bytes <= n->bytes && req->off <= n->bytes - req->bytes);
	req->node = n;
	req->next = NULL;
	n->driver->submit(n, req);
}

/* ---- locking ---- */

static int lock_node(struct block_node *n, bool probe, struct err *err)
{
	struct block_perms perms = block_disk_perms(n->readonly, n->share_rw);
	struct err why = {0};
	int ret;

	if (n->force_share)
		perms.unshared = 0;
	ret = block_lock(n->fd, n->filename, perms, probe, err ? &why : NULL);

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
	if (n->locked && n->locking != BLOCK_LOCKING_OFF)
		block_unlock(n->fd);
	n->locked = false;
}

/* ---- all of them ---- */

int block_nodes_open(struct block_nodes *bs, const struct config *cfg, struct err *err)
{
	*bs = (struct block_nodes){.v = xcalloc(cfg->n_blockdevs + 1, sizeof(struct block_node *))};
	for (size_t i = 0; i < cfg->n_blockdevs; i++) {
		struct block_node *n = block_node_new(&cfg->blockdevs[i], err);

		if (!n) {
			block_nodes_close(bs);
			return config_where(cfg->blockdevs[i].where, -EINVAL, err);
		}
		bs->v[bs->n++] = n;
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
	for (size_t i = 0; i < bs->n; i++)
		block_node_free(bs->v[i]);
	free(bs->v);
	*bs = (struct block_nodes){0};
}
