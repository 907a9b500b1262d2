/*
 * node-info.h - what a qcow2 image says of itself, for those who ask without waiting
 *
 * Snapshots and bitmaps of an open image change on threads that wait for disks, so the node
 * keeps a copy that QMP can read at any time.
 */
#ifndef MINIVMM_DEVICES_BLOCK_NODE_INFO_H
#define MINIVMM_DEVICES_BLOCK_NODE_INFO_H

#include <stddef.h>

#include "devices/block/qcow2/qcow2.h"

struct block_node;

struct block_node_info {
	struct qcow2_snapshot *snapshots; /* owned, with their strings */
	size_t n_snapshots;
	struct qcow2_bitmap *bitmaps;
	size_t n_bitmaps;
};

/* Of any image that is open, and does not change meanwhile; owned. */
struct block_node_info *block_node_info_of(const struct qcow2 *q);
void block_node_info_free(struct block_node_info *info); /* NULL is fine */
/*
 * The copy is made anew: snapshots or bitmaps have changed.  Any thread, within BLOCK_CALL or
 * where nothing is in flight; raw nodes: nothing.
 */
void block_node_refresh(struct block_node *n);

#endif
