/* image-io.h - what image.c gives the qcow2 library to work on, and the maps */
#ifndef MINIVMM_DEVICES_BLOCK_IMAGE_IO_H
#define MINIVMM_DEVICES_BLOCK_IMAGE_IO_H

#include "devices/block/qcow2/qcow2.h"

/* The file of an image as storage: 'opaque' is the struct image. */
extern const struct qcow2_storage_ops image_storage;
/* qcow2_open.read_backing; 'opaque' is the struct image above. */
int image_read_backing(void *opaque, const struct iovec *iov, int n_iov, uint64_t off);
/* What image_map() remembers of a raw file is to be asked again: it changes (image-map.c). */
struct image;
void image_map_forget(struct image *img);

#endif
