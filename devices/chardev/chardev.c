/*
 * chardev.c - between a front end (UART, monitor) and a back end (file, socket ...)
 *
 * Input flows at the front end's pace: the back end asks chardev_room() before
 * it reads, and the front end calls chardev_accept_input() when it has room
 * again.  Output flows at the back end's: a write that is not taken in full is
 * repeated by the front end when chardev_tell_writable() calls it.  What was
 * taken also goes into the log file.
 */
#include "devices/chardev/chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "devices/chardev/backend.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/units.h"

/* ---- what back ends use ---- */

size_t chardev_room(const struct chardev *c)
{
	size_t n;

	if (!c->client)
		return 0;
	n = c->client->can_read ? c->client->can_read(c->client_opaque) : CHARDEV_CHUNK;
	return MIN(n, CHARDEV_CHUNK);
}

void chardev_deliver(struct chardev *c, const uint8_t *p, size_t n)
{
	if (n && c->client && c->client->read)
		c->client->read(c->client_opaque, p, n);
}

void chardev_deliver_fd(struct chardev *c, int fd)
{
	if (c->client && c->client->receive_fd)
		c->client->receive_fd(c->client_opaque, fd);
	else
		(void)close(fd);
}

void chardev_tell_writable(struct chardev *c)
{
	if (c->client && c->client->writable)
		c->client->writable(c->client_opaque);
}

void chardev_set_connected(struct chardev *c, bool connected)
{
	if (c->connected == connected)
		return;
	c->connected = connected;
	if (!c->client)
		return;
	if (connected && c->client->opened)
		c->client->opened(c->client_opaque);
	if (!connected && c->client->closed)
		c->client->closed(c->client_opaque);
}

void chardev_set_filename(struct chardev *c, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	free(c->filename);
	c->filename = xstrdup(text);
}

ssize_t chardev_write_fd(int fd, const uint8_t *p, size_t n)
{
	ssize_t ret;

	do
		ret = write(fd, p, n);
	while (ret < 0 && errno == EINTR);
	if (ret >= 0)
		return ret;
	return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
}

int chardev_open_file(const char *path, bool append, struct err *err)
{
	int flags = O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | (append ? 0 : O_TRUNC);
	int fd = path_open(path, O_WRONLY | flags, 0666, err);

	return fd != -ENXIO ? fd : path_open(path, O_RDWR | flags, 0666, err);
}

bool chardev_fd_watchable(int fd)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int ep = epoll_create1(EPOLL_CLOEXEC);
	bool ok = ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0;

	if (ep >= 0)
		(void)close(ep);
	return ok;
}

/* ---- life ---- */

void chardev_free(struct chardev *c)
{
	if (!c)
		return;
	chardev_detach(c);
	if (c->ops)
		c->ops->close(c);
	path_close(c->log_fd);
	free(c->log_path);
	free(c->filename);
	free(c->id);
	free(c);
}

void chardev_start(struct chardev *c)
{
	if (c->ops->start)
		c->ops->start(c);
}

/* ---- the front end ---- */

int chardev_attach(struct chardev *c, const struct chardev_client *client, void *opaque,
		   struct err *err)
{
	if (c->client)
		return err_set(err, EBUSY, "Device '%s' is in use", c->id);
	c->client = client;
	c->client_opaque = opaque;
	c->client_closed = false;
	if (c->connected && client->opened)
		client->opened(opaque);
	chardev_accept_input(c);
	return 0;
}

void chardev_detach(struct chardev *c)
{
	if (!c->client)
		return;
	c->client = NULL;
	c->client_opaque = NULL;
	chardev_accept_input(c); /* the back end stops reading */
}

void chardev_set_client_open(struct chardev *c, bool open)
{
	c->client_closed = !open;
}

ssize_t chardev_write(struct chardev *c, const uint8_t *p, size_t n)
{
	ssize_t ret = (ssize_t)n;

	if (c->connected)
		ret = c->ops->write(c, p, n);
	if (ret > 0 && c->log_fd >= 0)
		(void)chardev_write_fd(c->log_fd, p, (size_t)ret);
	return ret;
}

void chardev_accept_input(struct chardev *c)
{
	if (c->ops && c->ops->accept_input)
		c->ops->accept_input(c);
}
