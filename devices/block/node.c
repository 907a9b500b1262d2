/*
 * node.c - opening a disk image, and choosing its driver
 *
 * A raw node's requests go to io_uring, or to libuv's threads where io_uring is not
 * available or aio=threads was given; the driver is chosen when the node is
 * attached.  O_DIRECT is tried with one sector: a medium with larger sectors
 * than the guest is told of falls back to the page cache.
 *
 * A qcow2 node stands on an image (image.h), which does what has to wait, and on a file node
 * over the image's descriptor, which does the rest.
 */
#include "devices/block/node.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/block/file-io.h"
#include "devices/block/file-open.h"
#include "devices/block/file.h"
#include "devices/block/image.h"
#include "devices/block/node-info.h"
#include "devices/block/qcow2-node.h"
#include "devices/block/qcow2/qcow2.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"
#include "vmm/vclock.h"

/* ---- opening ---- */

static void node_init(struct block_node *n, const struct cfg_blockdev *cfg, int fd)
{
	n->cfg = config_blockdev_copy(cfg);
	n->name = xstrdup(cfg->node_name ? cfg->node_name : "");
	n->drive_id = xstrdup(cfg->drive_id ? cfg->drive_id : "");
	n->filename = xstrdup(cfg->filename);
	n->fd = fd;
	n->readonly = cfg->readonly;
	n->force_share = cfg->force_share;
	n->direct = cfg->direct;
	n->writeback = cfg->writeback;
	n->no_flush = cfg->no_flush;
	n->discard = cfg->discard;
	n->locking = cfg->locking;
	pthread_mutex_init(&n->info_mutex, NULL);
}

static const struct block_driver *file_driver(const struct cfg_blockdev *cfg)
{
	return cfg->aio_threads ? &block_file_threads : &block_file_uring;
}

static bool is_qcow2(const struct cfg_blockdev *cfg)
{
	return cfg->driver && !strcmp(cfg->driver, "qcow2");
}

/* The format is never guessed: a guest may write a header into its raw disk. */
static void warn_qcow2(const struct block_node *n)
{
	static const char magic[] = "QFI\xfb";
	char start[BLOCK_SECTOR_BYTES] = "";
	struct iovec v = {.iov_base = start, .iov_len = sizeof(start)};

	if (file_readv(n->fd, n->direct, &v, 1, 0) == 0 && !memcmp(start, magic, strlen(magic)))
		log_warn(
		    "'%s' begins like a qcow2 image, and no format was given: it is a raw disk; "
		    "say format=qcow2 if it is not",
		    n->filename);
}

static struct block_node *raw_new(const struct cfg_blockdev *cfg, struct err *err)
{
	struct block_node *n;
	uint64_t bytes = 0;
	int fd = file_open(cfg->filename, !cfg->readonly, cfg->direct, err);

	if (fd < 0)
		return NULL;
	if (file_bytes(fd, cfg->filename, &bytes, err) < 0) {
		path_close(fd);
		return NULL;
	}
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	n = NEW(struct block_node);
	node_init(n, cfg, fd);
	n->driver = file_driver(cfg);
	n->format = xstrdup(cfg->driver && !strcmp(cfg->driver, "file") ? "file" : "raw");
	n->bytes = ALIGN_UP(bytes, BLOCK_SECTOR_BYTES);
	n->direct = cfg->direct && file_check_direct(fd, cfg->filename);
	if (cfg->unsaid)
		warn_qcow2(n);
	return n;
}

/* ---- qcow2 ---- */

static bool passes_discards(const struct cfg_blockdev *cfg)
{
	return cfg->pass_discard == CFG_AUTO ? cfg->discard : cfg->pass_discard == CFG_ON;
}

/* With what lies below it, as far as that is given. */
static struct image *open_image(const struct cfg_blockdev *cfg, bool top, struct err *err)
{
	struct image_open how = {.format = is_qcow2(cfg) ? IMAGE_QCOW2 : IMAGE_RAW,
				 .writable = top && !cfg->readonly,
				 .direct = cfg->direct,
				 .no_flush = cfg->no_flush,
				 .discards = passes_discards(cfg),
				 .inactive = top,
				 .no_backing = cfg->no_backing,
				 .cache_bytes = cfg->cache_bytes};
	struct image *img;

	if (cfg->backing) {
		how.backing = open_image(cfg->backing, false, err);
		if (!how.backing)
			return NULL;
	}
	img = image_open(cfg->filename, &how, err);
	if (!img)
		(void)image_close(how.backing, NULL);
	return img;
}

/* lazy-refcounts= is no knob here: the image says what it has. */
static int check_lazy(const struct cfg_blockdev *cfg, const struct image *img, struct err *err)
{
	bool lazy = qcow2_info(img->q)->lazy_refcounts;

	if (cfg->lazy_refcounts == CFG_AUTO || (cfg->lazy_refcounts == CFG_ON) == lazy)
		return 0;
	return err_set(
	    err, ENOTSUP,
	    "lazy-refcounts=%s is not supported for '%s', which was made with %s ('qemu-img "
	    "amend -o lazy_refcounts=%s' changes it)",
	    lazy ? "off" : "on", img->filename, lazy ? "on" : "off", lazy ? "off" : "on");
}

/* The file below: requests of clusters in place, and nothing else, go to it. */
static struct block_node *file_below(const struct cfg_blockdev *cfg, const struct image *img)
{
	struct block_node *f = NEW(struct block_node);

	node_init(f, cfg, img->fd);
	free(f->name);
	f->name = xstrdup(cfg->file_node ? cfg->file_node : "");
	f->driver = file_driver(cfg);
	f->format = xstrdup("file");
	f->direct = img->direct;
	f->bytes = INT64_MAX; /* it grows */
	return f;
}

static struct block_node *qcow2_new(const struct cfg_blockdev *cfg, struct err *err)
{
	struct image *img = open_image(cfg, true, err);
	struct block_node *n;

	if (!img)
		return NULL;
	if (check_lazy(cfg, img, err) < 0) {
		(void)image_close(img, NULL);
		return NULL;
	}
	n = NEW(struct block_node);
	node_init(n, cfg, img->fd);
	n->driver = &block_qcow2;
	n->format = xstrdup("qcow2");
	n->img = img;
	n->file = file_below(cfg, img);
	n->bytes = img->bytes;
	n->direct = img->direct;
	return n;
}

struct block_node *block_node_new(const struct cfg_blockdev *cfg, struct err *err)
{
	return is_qcow2(cfg) ? qcow2_new(cfg, err) : raw_new(cfg, err);
}

static void close_image(struct block_node *n)
{
	struct err err = {0};

	n->file->fd = -1; /* the image's */
	block_node_free(n->file);
	if (image_close(n->img, &err) < 0)
		log_error("not all of %s", err.msg);
}

void block_node_free(struct block_node *n)
{
	if (!n)
		return;
	assert(!n->io && !n->user && !n->keeper);
	if (n->img)
		close_image(n);
	else
		path_close(n->fd);
	block_node_info_free(n->info);
	pthread_mutex_destroy(&n->info_mutex);
	config_blockdev_fini(&n->cfg);
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
	if (ret < 0 && n->driver == &block_file_uring) {
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
	/* A flush may be what a write has become, and the disk smaller since. */
	assert(n->io && (req->op == BLOCK_FLUSH || (req->bytes <= block_node_bytes(n) &&
						    req->off <= block_node_bytes(n) - req->bytes)));
	req->node = n;
	req->next = NULL;
	req->begun_ns = host_now_ns();
	n->driver->submit(n, req);
}
