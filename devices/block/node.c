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
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/file.h"
#include "devices/block/lock.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"

/* ---- opening ---- */

static int open_file(const struct cfg_blockdev *cfg, struct err *err)
{
	/* O_NONBLOCK: a FIFO must not hang us before we know what it is. */
	int flags = O_CLOEXEC | O_NONBLOCK | (cfg->readonly ? O_RDONLY : O_RDWR);
	int fd;

	if (!strncmp(cfg->filename, "/dev/fdset/", strlen("/dev/fdset/")))
		return err_set(err, ENOTSUP,
			       "Could not open '%s': descriptor sets are not supported",
			       cfg->filename);
	fd = open(cfg->filename, flags | (cfg->direct ? O_DIRECT : 0));
	if (fd < 0 && errno == EINVAL && cfg->direct)
		return err_set(err, EINVAL,
			       "Could not open '%s': its file system does not support O_DIRECT",
			       cfg->filename);
	if (fd < 0)
		return err_set(err, errno, "Could not open '%s': %s", cfg->filename,
			       err_text(errno));
	return fd;
}

static int file_size(int fd, const char *filename, uint64_t *bytes, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "Could not open '%s': %s", filename, err_text(errno));
	if (S_ISDIR(st.st_mode))
		return err_set(err, EISDIR, "Could not open '%s': %s", filename, err_text(EISDIR));
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, bytes) < 0)
			return err_set(err, errno, "Could not get the size of '%s': %s", filename,
				       err_text(errno));
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return err_set(err, EINVAL,
			       "Could not open '%s': neither a regular file nor a block device",
			       filename);
	*bytes = (uint64_t)st.st_size;
	return 0;
}

/* A medium with larger sectors than the guest is told of cannot be read directly. */
static void check_direct(struct block_node *n)
{
	void *sector;

	if (!n->direct || posix_memalign(&sector, PAGE_BYTES, PAGE_BYTES))
		return;
	if (pread(n->fd, sector, BLOCK_SECTOR_BYTES, 0) < 0 && errno == EINVAL &&
	    fcntl(n->fd, F_SETFL, fcntl(n->fd, F_GETFL) & ~O_DIRECT) == 0) {
		log_warn("'%s' has sectors of more than %d bytes: the host's page cache is used",
			 n->filename, BLOCK_SECTOR_BYTES);
		n->direct = false;
	}
	free(sector);
}

struct block_node *block_node_new(const struct cfg_blockdev *cfg, struct err *err)
{
	struct block_node *n;
	uint64_t bytes = 0;
	int fd = open_file(cfg, err);

	if (fd < 0)
		return NULL;
	if (file_size(fd, cfg->filename, &bytes, err) < 0) {
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
	n->direct = cfg->direct;
	n->writeback = cfg->writeback;
	n->no_flush = cfg->no_flush;
	n->discard = cfg->discard;
	n->locking = cfg->locking;
	check_direct(n);
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
	struct err why = {0};
	int ret = block_lock(n->fd, n->filename, block_disk_perms(n->readonly, n->share_rw), probe,
			     err ? &why : NULL);

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
