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
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "devices/chardev/backend.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

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

int chardev_open_file(const char *path, bool append)
{
	int flags = O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | (append ? 0 : O_TRUNC);
	int fd = open(path, O_WRONLY | flags, 0666);

	return fd >= 0 || errno != ENXIO ? fd : open(path, O_RDWR | flags, 0666);
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

static const struct chardev_ops *find_ops(const char *type)
{
	static const struct chardev_ops *const all[] = {&chardev_null_ops, &chardev_file_ops,
							&chardev_stdio_ops, &chardev_socket_ops};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (!strcmp(all[i]->type, type))
			return all[i];
	return NULL;
}

static int open_log(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	if (!cfg->logfile)
		return 0;
	c->log_path = xstrdup(cfg->logfile);
	c->log_fd = chardev_open_file(cfg->logfile, cfg->logappend);
	if (c->log_fd < 0)
		return err_set(err, errno, "Unable to open logfile %s: %s", cfg->logfile,
			       err_text(errno));
	return 0;
}

/* A monitor's is served whatever the main loop does. */
static struct loop *loop_of(const struct machine *m, const char *id)
{
	for (size_t i = 0; i < m->cfg->n_monitors; i++)
		if (!strcmp(m->cfg->monitors[i].chardev, id))
			return m->control;
	return m->loop;
}

struct chardev *chardev_new(struct machine *m, const struct cfg_chardev *cfg, struct err *err)
{
	const struct chardev_ops *ops = find_ops(cfg->type);
	struct chardev *c;

	if (!ops) {
		(void)err_set(err, EINVAL, "'%s' is not a valid char driver name", cfg->type);
		return NULL;
	}
	c = NEW(struct chardev);
	c->m = m;
	c->id = xstrdup(cfg->id ? cfg->id : "");
	c->loop = loop_of(m, c->id);
	c->filename = xstrdup(cfg->type);
	c->log_fd = -1;
	if (open_log(c, cfg, err) < 0 || ops->open(c, cfg, err) < 0) {
		chardev_free(c);
		return NULL;
	}
	c->ops = ops;
	return c;
}

void chardev_free(struct chardev *c)
{
	if (!c)
		return;
	chardev_detach(c);
	if (c->ops)
		c->ops->close(c);
	if (c->log_fd >= 0)
		(void)close(c->log_fd);
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

static void reopen_log(struct chardev *c)
{
	int fd = chardev_open_file(c->log_path, true);

	if (fd < 0) {
		log_warn("cannot open logfile %s again: %s", c->log_path, err_text(errno));
		return;
	}
	(void)close(c->log_fd);
	c->log_fd = fd;
}

/* ---- the front end ---- */

int chardev_attach(struct chardev *c, const struct chardev_client *client, void *opaque,
		   struct err *err)
{
	if (c->client)
		return err_set(err, EBUSY, "Device '%s' is in use", c->id);
	c->client = client;
	c->client_opaque = opaque;
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

/* ---- all of them ---- */

static int check_ids(const struct config *cfg, struct err *err)
{
	unsigned n_stdio = 0;

	for (size_t i = 0; i < cfg->n_chardevs; i++) {
		const struct cfg_chardev *c = &cfg->chardevs[i];

		if (config_chardev(cfg, c->id) != c)
			return err_set(err, EEXIST, "chardev: id '%s' is used twice", c->id);
		if (!strcmp(c->type, "stdio") && n_stdio++ > 0)
			return err_set(err, EBUSY,
				       "cannot use stdio by multiple character devices");
	}
	return 0;
}

int chardevs_open(struct chardevs *cs, struct machine *m, struct err *err)
{
	const struct config *cfg = m->cfg;
	int ret = check_ids(cfg, err);

	if (ret < 0)
		return ret;
	cs->v = xcalloc(cfg->n_chardevs + 1, sizeof(struct chardev *));
	for (size_t i = 0; i < cfg->n_chardevs; i++) {
		struct chardev *c = chardev_new(m, &cfg->chardevs[i], err);

		if (!c)
			return config_where(cfg->chardevs[i].where, -EINVAL,
					    err); /* chardevs_close() ends those that are open */
		cs->v[cs->n++] = c;
	}
	return 0;
}

struct chardev *chardevs_find(const struct chardevs *cs, const char *id)
{
	for (size_t i = 0; i < cs->n; i++)
		if (!strcmp(cs->v[i]->id, id))
			return cs->v[i];
	return NULL;
}

/* The main thread meets a monitor's chardev, which is the control thread's. */
static void lock(struct chardev *c)
{
	if (c->loop != c->m->loop)
		pthread_mutex_lock(&c->m->control_lock);
}

static void unlock(struct chardev *c)
{
	if (c->loop != c->m->loop)
		pthread_mutex_unlock(&c->m->control_lock);
}

void chardevs_start(struct chardevs *cs)
{
	for (size_t i = 0; i < cs->n; i++) {
		lock(cs->v[i]);
		chardev_start(cs->v[i]);
		unlock(cs->v[i]);
	}
}

bool chardevs_have_logs(const struct chardevs *cs)
{
	for (size_t i = 0; i < cs->n; i++)
		if (cs->v[i]->log_fd >= 0 || cs->v[i]->ops->reopen)
			return true;
	return false;
}

void chardevs_reopen_logs(struct chardevs *cs)
{
	for (size_t i = 0; i < cs->n; i++) {
		struct chardev *c = cs->v[i];

		lock(c);
		if (c->log_fd >= 0)
			reopen_log(c);
		if (c->ops->reopen)
			c->ops->reopen(c);
		unlock(c);
	}
}

void chardevs_close(struct chardevs *cs)
{
	for (size_t i = 0; i < cs->n; i++)
		chardev_free(cs->v[i]);
	free(cs->v);
	*cs = (struct chardevs){0};
}
