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

static int check_serial(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	(void)p;
	(void)base;
	if (strlen(val) > BLK_ID_BYTES)
		return err_set(err, EINVAL, "serial '" OPT_QUOTE "' is longer than %d characters",
			       val, BLK_ID_BYTES);
	return 0;
}

#define POLICIES "report|auto|enospc|ignore|stop"
#define REPORT   "the guest is told of the error; use report"

static const struct opt_prop props[] = {
    DEVICE_TEXT("drive", "ID", "the -drive id or -blockdev node-name behind the disk; needed"),
    DEVICE_CALL("serial", "TEXT", check_serial,
		"what the guest reads as the disk's id, 20 characters at most"),
    DEVICE_NUMBER("bootindex", 0, INT_MAX, NULL, "no effect: there is no boot order"),
    {.key = "write-cache",
									  .kind = OPT_AUTO,
									  .off = OPT_NOWHERE,
									  .values = "on|off|auto",
									  .otherwise = "auto",
									  .help = "the guest sees a write cache; auto: as the drive says"},
    DEVICE_NUMBER("logical_block_size", BLK_SECTOR_BYTES, 32768, "512", "bytes; a power of two"),
    DEVICE_NUMBER("physical_block_size", BLK_SECTOR_BYTES, 2097152, NULL,
		  "bytes; a power of two (default: logical_block_size)"),
    DEVICE_NUMBER("min_io_size", 0, 65535ULL * 512, "0", "bytes that a request should have"),
    DEVICE_NUMBER("opt_io_size", 0, UINT32_MAX, "0", "bytes that are best"),
    { .key = "num-queues",
									  .kind = OPT_U64,
									  .off = OPT_NOWHERE,
									  .min = 1,
									  .max = 65535,
									  .only = "1",
									  .why = "a disk has one queue",
									  .otherwise = "1",
									  .help = "queues"},
    DEVICE_NUMBER("queue-size", 4, VIRTQ_MAX_NUM, "256",
		  "descriptors of the queue; a power of two"),
    DEVICE_WORD("werror", POLICIES, "report|auto", REPORT, "report", "when writing fails"),
    DEVICE_WORD("rerror", POLICIES, "report|auto", REPORT, "report", "when reading fails"),
    DEVICE_BOOL("share-rw", "off", "other users of the image may write to it"),
    DEVICE_FEATURE("config-wce", BLK_F_CONFIG_WCE, "the guest may switch the write cache"),
    DEVICE_FEATURE("discard", BLK_F_DISCARD, "the guest may discard blocks"),
    DEVICE_FEATURE("write-zeroes", BLK_F_WRITE_ZEROES, "the guest may zero blocks"),
    VIRTIO_PROPS,
};

static int find_node(struct virtio_blk *b, const struct cfg_device *cfg, struct backends *be,
		     struct err *err)
{
	const char *drive = device_text(cfg, "drive");

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
	uint64_t logical = device_number(cfg, "logical_block_size");
	uint64_t physical = device_number(cfg, "physical_block_size");
	uint64_t queue = device_number(cfg, "queue-size");

	if (!physical)
		physical = logical;
	if (!power_of_two(logical) || !power_of_two(physical) || !power_of_two(queue))
		return err_set(err, EINVAL, "%s: block sizes and queue-size must be powers of two",
			       cfg->driver);
	if (logical > physical)
		return err_set(err, EINVAL, "logical_block_size > physical_block_size");
	b->blk_bytes = (uint32_t)logical;
	b->physical_bytes = (uint32_t)physical;
	b->min_io_bytes = (uint32_t)device_number(cfg, "min_io_size");
	b->opt_io_bytes = (uint32_t)device_number(cfg, "opt_io_size");
	b->queue_size = (uint16_t)queue;
	return 0;
}

static int read_props(struct virtio_blk *b, const struct cfg_device *cfg, struct backends *be,
		      struct err *err)
{
	const char *serial = device_text(cfg, "serial");
	int ret = find_node(b, cfg, be, err);

	if (ret >= 0)
		ret = read_sizes(b, cfg, err);
	if (ret < 0)
		return ret;
	b->v.host_features = props_features(cfg);
	b->node->share_rw = device_bool(cfg, "share-rw");
	if (serial)
		memcpy(b->serial, serial, strlen(serial));
	if (strcmp(device_text(cfg, "write-cache"), "auto") != 0)
		b->node->writeback = device_bool(cfg, "write-cache");
	return 0;
}

struct attach {
	struct block_node *node;
	struct loop *io;
	struct err *err;
	int ret;
};

static void blk_attach(void *opaque)
{
	struct attach *a = opaque;

	a->ret = block_node_attach(a->node, a->io, a->err);
}

const char *virtio_blk_feature_name(unsigned bit)
{
	return props_feature_name(&virtio_blk_row, bit);
}

static void blk_describe(struct virtio_blk *b)
{
	struct board_device *d = virtio_board_add(&b->v);

	if (!d)
		return;
	b->described = d;
	board_prop(d, "capacity", "%" PRIu64, virtio_blk_capacity(b));
	board_prop(d, "read-only", "%s", b->node->readonly ? "on" : "off");
	board_prop(d, "logical-block-size", "%" PRIu32, b->blk_bytes);
	board_prop(d, "physical-block-size", "%" PRIu32, b->physical_bytes);
	board_prop(d, "min-io-size", "%" PRIu32, b->min_io_bytes);
	board_prop(d, "opt-io-size", "%" PRIu32, b->opt_io_bytes);
	board_prop(d, "serial", "%s", b->serial);
}

static void blk_describe_bytes(void *user, uint64_t bytes)
{
	const struct virtio_blk *b = user;

	if (b->described)
		board_prop(b->described, "capacity", "%" PRIu64, bytes / BLK_SECTOR_BYTES);
}

static void blk_resized(void *user)
{
	struct virtio_blk *b = user;

	blk_describe_bytes(b, block_node_bytes(b->node));
	virtio_config_changed(&b->v);
}

static int blk_set_up(struct virtio_blk *b, struct machine *m, const struct cfg_device *cfg,
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
	loop_call(m->io, blk_attach, &a);
	if (a.ret < 0) {
		block_node_release(b->node);
		return a.ret;
	}
	ret = virtio_init(&b->v, m, &virtio_blk_ops, cfg, slot, sizes, err);
	if (ret < 0) {
		loop_call(m->io, virtio_blk_detach, b->node);
		block_node_release(b->node);
		virtio_fini(&b->v);
		return ret;
	}
	b->node->user = b;
	b->node->resized = blk_resized;
	b->node->describe = blk_describe_bytes;
	blk_describe(b);
	return 0;
}

static int blk_create(struct machine *m, const struct cfg_device *cfg, unsigned slot,
		      struct backends *be, struct err *err)
{
	struct virtio_blk *b = NEW(struct virtio_blk);
	int ret = read_props(b, cfg, be, err);

	if (ret >= 0)
		ret = blk_set_up(b, m, cfg, slot, err);
	if (ret < 0)
		free(b);
	return ret;
}

const struct device_row virtio_blk_row = {
    .name = "virtio-blk-device",
    .kind = DEVICE_VIRTIO,
    .help = "a disk: drive=ID[,serial=S][,write-cache=on|off]...",
    .props = props,
    .create = blk_create,
};
