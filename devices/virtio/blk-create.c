/*
 * blk-create.c - virtio-blk's options
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "devices/microvm.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/props.h"
#include "devices/virtio/virtio-devices.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/board.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

static const struct prop_feature features[] = {
    {"config-wce",   BLK_F_CONFIG_WCE,   true},
    {"discard",      BLK_F_DISCARD,      true},
    {"write-zeroes", BLK_F_WRITE_ZEROES, true},
};

static const char *const names[] = {"drive",
				    "serial",
				    "bootindex",
				    "write-cache",
				    "logical_block_size",
				    "physical_block_size",
				    "min_io_size",
				    "opt_io_size",
				    "num-queues",
				    "queue-size",
				    "werror",
				    "rerror",
				    "share-rw",
				    NULL};

static int find_node(struct virtio_blk *b, const struct cfg_device *cfg, struct backends *be,
		     struct err *err)
{
	const char *drive = keyvals_get(&cfg->props, "drive");

	if (!drive)
		return err_set(err, EINVAL, "drive property not set");
	b->node = block_nodes_find(&be->blocks, drive);
	if (!b->node)
		return err_set(err, ENOENT, "Property '%s.drive' can't find value '%s'",
			       cfg->driver, drive);
	if (b->node->user)
		return err_set(err, EBUSY, "Property '%s.drive' can't take value '%s', it's in use",
			       cfg->driver, drive);
	return 0;
}

static bool power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

static int read_sizes(struct virtio_blk *b, const struct cfg_device *cfg, struct err *err)
{
	uint64_t logical = BLK_SECTOR_BYTES, physical, min_io = 0, opt_io = 0, queue = 256,
		 queues = 1;
	uint64_t bootindex = 0;

	if (props_u64(cfg, "logical_block_size", BLK_SECTOR_BYTES, 32768, &logical, err) < 0)
		return -EINVAL;
	physical = logical;
	if (props_u64(cfg, "physical_block_size", BLK_SECTOR_BYTES, 2097152, &physical, err) < 0 ||
	    props_u64(cfg, "min_io_size", 0, 65535ULL * 512, &min_io, err) < 0 ||
	    props_u64(cfg, "opt_io_size", 0, UINT32_MAX, &opt_io, err) < 0 ||
	    props_u64(cfg, "queue-size", 4, VIRTQ_MAX_NUM, &queue, err) < 0 ||
	    props_u64(cfg, "num-queues", 1, 65535, &queues, err) < 0 ||
	    props_u64(cfg, "bootindex", 0, INT_MAX, &bootindex, err) < 0)
		return -EINVAL;
	if (!power_of_two(logical) || !power_of_two(physical) || !power_of_two(queue))
		return err_set(err, EINVAL, "%s: block sizes and queue-size must be powers of two",
			       cfg->driver);
	if (logical > physical)
		return err_set(err, EINVAL, "logical_block_size > physical_block_size");
	if (queues != 1)
		return err_set(err, ENOTSUP, "%s: num-queues=%" PRIu64 " is not supported, only 1",
			       cfg->driver, queues);
	b->blk_bytes = (uint32_t)logical;
	b->physical_bytes = (uint32_t)physical;
	b->min_io_bytes = (uint32_t)min_io;
	b->opt_io_bytes = (uint32_t)opt_io;
	b->queue_size = (uint16_t)queue;
	return 0;
}

/* The error policies: only telling the guest can be had. */
static int check_policy(const struct cfg_device *cfg, const char *name, struct err *err)
{
	const char *val = keyvals_get(&cfg->props, name);

	if (!val || !strcmp(val, "report") || !strcmp(val, "auto"))
		return 0;
	return err_set(err, ENOTSUP, "%s: %s=%s is not supported, only report", cfg->driver, name,
		       val);
}

static int read_serial(struct virtio_blk *b, const struct cfg_device *cfg, struct err *err)
{
	const char *serial = keyvals_get(&cfg->props, "serial");

	if (!serial)
		return 0;
	if (strlen(serial) > BLK_ID_BYTES)
		return err_set(err, EINVAL, "%s: serial '%s' is longer than %d characters",
			       cfg->driver, serial, BLK_ID_BYTES);
	memcpy(b->serial, serial, strlen(serial));
	return 0;
}

static int read_props(struct virtio_blk *b, const struct cfg_device *cfg, struct backends *be,
		      struct err *err)
{
	const char *cache = keyvals_get(&cfg->props, "write-cache");
	bool share = false;
	int ret = props_check(cfg, names, features, ARRAY_LEN(features), err);

	if (ret >= 0)
		ret = props_features(cfg, features, ARRAY_LEN(features), &b->v.host_features, err);
	if (ret >= 0)
		ret = find_node(b, cfg, be, err);
	if (ret >= 0)
		ret = read_sizes(b, cfg, err);
	if (ret >= 0)
		ret = read_serial(b, cfg, err);
	if (ret >= 0)
		ret = check_policy(cfg, "werror", err);
	if (ret >= 0)
		ret = check_policy(cfg, "rerror", err);
	if (ret >= 0)
		ret = props_bool(cfg, "share-rw", &share, err);
	if (ret >= 0)
		b->node->share_rw = share;
	if (ret >= 0 && cache && strcmp(cache, "auto") != 0)
		ret = props_bool(cfg, "write-cache", &b->node->writeback, err);
	return ret;
}

struct attach {
	struct block_node *node;
	struct loop *io;
	struct err *err;
	int ret;
};

static void attach(void *opaque)
{
	struct attach *a = opaque;

	a->ret = block_node_attach(a->node, a->io, a->err);
}

static const char *feature_name(unsigned bit)
{
	return props_feature_name(features, ARRAY_LEN(features), bit);
}

static void describe(struct virtio_blk *b)
{
	struct board_device *d = virtio_board_add(&b->v);

	if (!d)
		return;
	d->feature_name = feature_name;
	board_prop(d, "capacity", "%" PRIu64, virtio_blk_capacity(b));
	board_prop(d, "read-only", "%s", b->node->readonly ? "on" : "off");
	board_prop(d, "logical-block-size", "%" PRIu32, b->blk_bytes);
	board_prop(d, "physical-block-size", "%" PRIu32, b->physical_bytes);
	board_prop(d, "min-io-size", "%" PRIu32, b->min_io_bytes);
	board_prop(d, "opt-io-size", "%" PRIu32, b->opt_io_bytes);
	board_prop(d, "serial", "%s", b->serial);
}

static int set_up(struct virtio_blk *b, struct machine *m, const struct cfg_device *cfg,
		  unsigned slot, struct err *err)
{
	uint16_t sizes[VIRTIO_MAX_QUEUES] = {b->queue_size};
	struct attach a = {.node = b->node, .io = m->io, .err = err};
	uint64_t f = BLK_F_SEG_MAX | BLK_F_GEOMETRY | BLK_F_BLK_SIZE | BLK_F_TOPOLOGY;
	int ret;

	if (b->node->readonly)
		f |= BLK_F_RO;
	if (b->node->writeback || (b->v.host_features & BLK_F_CONFIG_WCE))
		f |= BLK_F_FLUSH;
	b->v.host_features |= f;
	b->v.config_bytes = 36;
	if (b->v.host_features & BLK_F_DISCARD)
		b->v.config_bytes = 48;
	if (b->v.host_features & BLK_F_WRITE_ZEROES)
		b->v.config_bytes = 57;
	b->writeback = b->node->writeback;
	/* A guest that is to come still runs elsewhere, and so is its disk. */
	if (!m->cfg->incoming && block_node_lock(b->node, err) < 0)
		return -EBUSY;
	loop_call(m->io, attach, &a);
	if (a.ret < 0) {
		block_node_unlock(b->node);
		return a.ret;
	}
	ret = virtio_init(&b->v, m, &virtio_blk_ops, cfg, slot, sizes, err);
	if (ret < 0) {
		loop_call(m->io, virtio_blk_detach, b->node);
		block_node_unlock(b->node);
		virtio_fini(&b->v);
		return ret;
	}
	b->node->user = b;
	describe(b);
	return 0;
}

int virtio_blk_create(struct machine *m, const struct cfg_device *cfg, unsigned slot,
		      struct backends *be, struct err *err)
{
	struct virtio_blk *b = NEW(struct virtio_blk);
	int ret = read_props(b, cfg, be, err);

	if (ret >= 0)
		ret = set_up(b, m, cfg, slot, err);
	if (ret < 0)
		free(b);
	return ret;
}
