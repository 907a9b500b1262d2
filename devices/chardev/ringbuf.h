/* ringbuf.h - a chardev that keeps what was written last, for QMP to read and to write */
#ifndef MINIVMM_DEVICES_CHARDEV_RINGBUF_H
#define MINIVMM_DEVICES_CHARDEV_RINGBUF_H

#include <stddef.h>
#include <stdint.h>

struct chardev;
struct err;

/*
 * Behind what is there; the oldest bytes go.  -EINVAL: the chardev is none of this kind.  Machine
 * lock, like the other.
 */
int chardev_ringbuf_write(struct chardev *c, const uint8_t *p, size_t n, struct err *err);
/* Take out the oldest, up to *n of them; *n: how many. */
int chardev_ringbuf_read(struct chardev *c, uint8_t *p, size_t *n, struct err *err);

#endif
