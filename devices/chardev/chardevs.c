/*
 * chardevs.c - the chardevs of a machine: which kinds there are, and all of them together
 *
 * The kinds are rows in files of their own, which use chardev.c; this file stands above both.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/chardev/backend.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

/* ---- one ---- */

static const struct chardev_ops *find_ops(const char *type)
{
	static const struct chardev_ops *const all[] = {&chardev_null_ops, &chardev_file_ops,
							&chardev_stdio_ops, &chardev_socket_ops,
							&chardev_pty_ops};

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
	c->log_fd = chardev_open_file(cfg->logfile, cfg->logappend, NULL);
	if (c->log_fd < 0)
		return err_set(err, -c->log_fd, "Unable to open logfile %s: %s", cfg->logfile,
			       err_text(-c->log_fd));
	return 0;
}

/* A monitor's chardev is served by the control thread, also while the main loop waits. */
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

static void reopen_log(struct chardev *c)
{
	int fd;

	if (path_is_fdset(c->log_path)) /* it has no name to be renamed */
		return;
	fd = chardev_open_file(c->log_path, true, NULL);
	if (fd < 0) {
		log_warn("cannot open logfile %s again: %s", c->log_path, err_text(-fd));
		return;
	}
	(void)close(c->log_fd);
	c->log_fd = fd;
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

/* The main thread touches a monitor's chardev, which belongs to the control thread. */
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
