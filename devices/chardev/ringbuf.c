/* ringbuf.c - what is written last is kept, as much as there is room for */
#include "devices/chardev/ringbuf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "devices/chardev/backend.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"

#define MAX_BYTES (64 * MiB)

struct ring {
	size_t bytes;        /* a power of two */
	uint64_t begin, end; /* of what is kept, counted from the first byte ever */
	uint8_t data[];
};

static int ring_open(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	uint64_t bytes = cfg->size ? cfg->size : 64 * KiB;
	struct ring *r;

	if (bytes & (bytes - 1))
		return err_set(err, EINVAL, "size of ringbuf chardev must be power of two");
	if (bytes > MAX_BYTES)
		return err_set(err, EINVAL,
			       "size of ringbuf chardev is %" PRIu64 "; it may be up to 64 MiB",
			       bytes);
	r = xcalloc(1, sizeof(*r) + bytes);
	r->bytes = bytes;
	c->state = r;
	c->connected = true;
	return 0;
}

static ssize_t ring_write(struct chardev *c, const uint8_t *p, size_t n)
{
	struct ring *r = c->state;

	for (size_t i = 0; i < n; i++)
		r->data[r->end++ & (r->bytes - 1)] = p[i];
	if (r->end - r->begin > r->bytes)
		r->begin = r->end - r->bytes;
	return (ssize_t)n;
}

static void ring_close(struct chardev *c)
{
	c->connected = false;
	free(c->state);
}

const struct chardev_ops chardev_ringbuf_ops = {
    .type = "ringbuf",
    .open = ring_open,
    .write = ring_write,
    .close = ring_close,
};

static int check_kind(const struct chardev *c, struct err *err)
{
	if (c->ops == &chardev_ringbuf_ops)
		return 0;
	return err_set(err, EINVAL, "%s is not a ringbuf device", c->id);
}

int chardev_ringbuf_write(struct chardev *c, const uint8_t *p, size_t n, struct err *err)
{
	int ret = check_kind(c, err);

	if (ret == 0)
		(void)ring_write(c, p, n);
	return ret;
}

int chardev_ringbuf_read(struct chardev *c, uint8_t *p, size_t *n, struct err *err)
{
	int ret = check_kind(c, err);
	struct ring *r = c->state;

	if (ret < 0)
		return ret;
	*n = MIN(*n, (size_t)(r->end - r->begin));
	for (size_t i = 0; i < *n; i++)
		p[i] = r->data[r->begin++ & (r->bytes - 1)];
	return 0;
}
