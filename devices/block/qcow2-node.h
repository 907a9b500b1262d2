/* qcow2-node.h - the driver of qcow2 images; node.h is its contract */
#ifndef MINIVMM_DEVICES_BLOCK_QCOW2_NODE_H
#define MINIVMM_DEVICES_BLOCK_QCOW2_NODE_H

#include "devices/block/node.h"

/*
 * The node has 'img' and 'file' (over the same descriptor).  Discards, write zeroes and calls run
 * alone; everything else at the same time.  detach waits for the worker; nothing else is in flight.
 */
extern const struct block_driver block_qcow2;

#endif
