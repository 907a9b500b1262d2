/*
 * rng-source.h - where virtio-rng's bytes come from: the kernel's generator (rng-builtin) or a file
 * (rng-random)
 */
#ifndef MINIVMM_DEVICES_VIRTIO_RNG_SOURCE_H
#define MINIVMM_DEVICES_VIRTIO_RNG_SOURCE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cfg_device;
struct err;
struct loop;
struct machine;
struct object_kind;
struct rng_source;

extern const struct object_kind rng_random_kind; /* checks that the file can be read */

/*
 * The source of the object that rng= names, or the kernel's generator without
 * one.  'ready' is called on the I/O loop when a source that had nothing has
 * something again.  Returns owned, or NULL with *err set.
 */
struct rng_source *rng_source_new(struct machine *m, const struct cfg_device *cfg,
				  void (*ready)(void *opaque), void *opaque, struct err *err);
/*
 * I/O loop: up to n bytes.  How many; 0: the file has ended; -EAGAIN: nothing
 * now, and ready() follows unless rng_source_quiet() comes first; another -errno.
 */
ssize_t rng_source_read(struct rng_source *s, uint8_t *buf, size_t n);
/* I/O loop: ready() is not wanted any more. */
void rng_source_quiet(struct rng_source *s);
/* Any thread but the I/O loop's; NULL is fine. */
void rng_source_free(struct rng_source *s);

#endif
