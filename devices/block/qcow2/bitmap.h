/* bitmap.h - what check.c asks of the bitmaps */
#ifndef MINIVMM_DEVICES_BLOCK_QCOW2_BITMAP_H
#define MINIVMM_DEVICES_BLOCK_QCOW2_BITMAP_H

#include "devices/block/qcow2/internal.h"

typedef int qcow2_place_fn(void *opaque, const char *what, uint64_t host, uint64_t bytes);

/*
 * fn() for each place that the directory and the tables of bitmaps refer to, whole clusters.
 * -EIO with *err: they cannot be read.  Lock held.
 */
int qcow2_bitmaps_walk(struct qcow2 *q, qcow2_place_fn *fn, void *opaque, struct err *err);

#endif
