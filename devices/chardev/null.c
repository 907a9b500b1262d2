/* null.c - nothing comes in, what goes out is gone */
#include "devices/chardev/backend.h"

static int null_open(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	(void)cfg;
	(void)err;
	c->connected = true;
	return 0;
}

static ssize_t null_write(struct chardev *c, const uint8_t *p, size_t n)
{
	(void)c;
	(void)p;
	return (ssize_t)n;
}

static void null_close(struct chardev *c)
{
	c->connected = false;
}

const struct chardev_ops chardev_null_ops = {
    .type = "null",
    .open = null_open,
    .write = null_write,
    .close = null_close,
};
