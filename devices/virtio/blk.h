/* blk.h - virtio-blk, between its data path (blk.c) and its options (blk-create.c) */
#ifndef MINIVMM_DEVICES_VIRTIO_BLK_H
#define MINIVMM_DEVICES_VIRTIO_BLK_H

#include "devices/block/node.h"
#include "devices/virtio/virtio.h"
#include "vmm/base/units.h"

#define BLK_SECTOR_BYTES 512
#define BLK_ID_BYTES     20

#define BLK_F_SEG_MAX      VIRTIO_BIT(2)
#define BLK_F_GEOMETRY     VIRTIO_BIT(4)
#define BLK_F_RO           VIRTIO_BIT(5)
#define BLK_F_BLK_SIZE     VIRTIO_BIT(6)
#define BLK_F_SCSI         VIRTIO_BIT(7) /* legacy; its requests are not supported */
#define BLK_F_FLUSH        VIRTIO_BIT(9)
#define BLK_F_TOPOLOGY     VIRTIO_BIT(10)
#define BLK_F_CONFIG_WCE   VIRTIO_BIT(11)
#define BLK_F_DISCARD      VIRTIO_BIT(13)
#define BLK_F_WRITE_ZEROES VIRTIO_BIT(14)

struct virtio_blk {
	struct virtio_device v; /* first */
	/* set at creation and then constant */
	struct block_node *node; /* borrowed */
	char serial[BLK_ID_BYTES + 1];
	uint32_t blk_bytes, physical_bytes, min_io_bytes, opt_io_bytes;
	uint16_t queue_size;
	struct board_device *described; /* borrowed; NULL: the board has no room for it */
	/* atomic: set on vCPU threads, read on the I/O loop */
	bool writeback; /* the guest flushes by itself */
	/* valid during load */
	uint8_t wire_requests;
};

extern const struct virtio_ops virtio_blk_ops;
const char *virtio_blk_feature_name(unsigned bit);

static inline struct virtio_blk *to_blk(struct virtio_device *v)
{
	return container_of(v, struct virtio_blk, v);
}

static inline uint64_t virtio_blk_capacity(const struct virtio_blk *b)
{
	return block_node_bytes(b->node) / BLK_SECTOR_BYTES;
}

/* For loop_call(): 'opaque' is the node. */
void virtio_blk_detach(void *opaque);

#endif
