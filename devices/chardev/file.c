/*
 * file.c - output into a file; a pipe or a terminal by its path works too
 *
 * Always at the end of the file: one that was shortened meanwhile (rotated in
 * place) has no hole then.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/chardev/backend.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/log.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

struct file {
	int fd;
	char *path;            /* owned */
	struct loop_fd *watch; /* for a pipe that is full; NULL: writing never has to wait */
};

static void file_ready(void *opaque, int ready)
{
	struct chardev *c = opaque;
	const struct file *f = c->state;

	(void)ready;
	loop_fd_events(f->watch, 0);
	chardev_tell_writable(c);
}

static int file_open(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	struct file *f;
	int fd;

	if (!cfg->path)
		return err_set(err, EINVAL, "chardev: file: no filename given");
	fd = chardev_open_file(cfg->path, cfg->append, err);
	if (fd < 0)
		return fd;
	f = NEW(struct file);
	f->fd = fd;
	f->path = xstrdup(cfg->path);
	if (chardev_fd_watchable(fd))
		f->watch = loop_fd_add(c->loop, fd, 0, file_ready, c);
	c->state = f;
	c->connected = true;
	return 0;
}

/* A pipe or a terminal is not renamed, nor is what a client passed in. */
static void file_reopen(struct chardev *c)
{
	struct file *f = c->state;
	struct err err = {0};
	int fd;

	if (f->watch || path_is_fdset(f->path))
		return;
	fd = chardev_open_file(f->path, true, &err);
	if (fd < 0) {
		log_warn("once more: %s", err.msg);
		return;
	}
	(void)close(f->fd);
	f->fd = fd;
}

static ssize_t file_write(struct chardev *c, const uint8_t *p, size_t n)
{
	const struct file *f = c->state;
	ssize_t ret = chardev_write_fd(f->fd, p, n);

	if (ret >= 0 && (size_t)ret < n && f->watch)
		loop_fd_events(f->watch, LOOP_WRITABLE);
	return ret;
}

static void file_close(struct chardev *c)
{
	struct file *f = c->state;

	loop_fd_del(f->watch);
	path_close(f->fd);
	free(f->path);
	free(f);
}

const struct chardev_ops chardev_file_ops = {
    .type = "file",
    .open = file_open,
    .write = file_write,
    .reopen = file_reopen,
    .close = file_close,
};
