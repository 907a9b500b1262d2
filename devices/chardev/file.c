/* file.c - output into a file; a pipe or a terminal by its path works too */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/chardev/backend.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

struct file {
	int fd;
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
	fd = open(cfg->path, O_WRONLY | O_CREAT | O_CLOEXEC | (cfg->append ? O_APPEND : O_TRUNC),
		  0666);
	if (fd < 0)
		return err_set(err, errno, "Could not open '%s': %s", cfg->path, err_text(errno));
	f = NEW(struct file);
	f->fd = fd;
	if (chardev_fd_watchable(fd)) {
		(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		f->watch = loop_fd_add(c->loop, fd, 0, file_ready, c);
	}
	c->state = f;
	c->connected = true;
	return 0;
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
	(void)close(f->fd);
	free(f);
}

const struct chardev_ops chardev_file_ops = {
    .type = "file",
    .open = file_open,
    .write = file_write,
    .close = file_close,
};
