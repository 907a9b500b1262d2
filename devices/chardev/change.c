/*
 * change.c - chardevs that come, go, and are put in the place of another while the guest runs
 *
 * A front end that can move to another chardev says so with 'moved'.  It hears that its peer has
 * left and that the new one is there, as when a client leaves and another comes; what the old one
 * has not taken yet goes to the new one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/chardev/chardev.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

static int check_later(const struct cfg_chardev *cfg, struct err *err)
{
	if (!strcmp(cfg->type, "stdio"))
		return err_set(err, ENOTSUP,
			       "chardev 'stdio' is not supported at run time: give it at start");
	if (cfg->server && cfg->wait)
		return err_set(
		    err, EINVAL,
		    "'wait' would hold the monitor up until a client comes: leave it out");
	return 0;
}

static size_t index_of(const struct chardevs *cs, const char *id)
{
	size_t i = 0;

	while (i < cs->n && strcmp(cs->v[i]->id, id) != 0)
		i++;
	return i;
}

int chardevs_add(struct chardevs *cs, struct machine *m, const struct cfg_chardev *cfg,
		 struct err *err)
{
	struct chardev *c;
	int ret = check_later(cfg, err);

	if (ret < 0)
		return ret;
	if (chardevs_find(cs, cfg->id))
		return err_set(err, EEXIST, "Chardev with id '%s' already exists", cfg->id);
	c = chardev_new(m, cfg, err);
	if (!c)
		return -EINVAL;
	cs->v = xrealloc(cs->v, (cs->n + 1) * sizeof(struct chardev *));
	cs->v[cs->n++] = c;
	chardev_start(c);
	return 0;
}

int chardevs_remove(struct chardevs *cs, const char *id, struct err *err)
{
	size_t i = index_of(cs, id);
	struct chardev *c;

	if (i == cs->n)
		return err_set(err, ENOENT, "Chardev '%.96s' not found", id);
	c = cs->v[i];
	if (c->client)
		return err_set(err, EBUSY, "Chardev '%s' is busy", id);
	memmove(&cs->v[i], &cs->v[i + 1], (cs->n - i - 1) * sizeof(struct chardev *));
	cs->n--;
	chardev_free(c);
	return 0;
}

static int move_client(struct chardev *from, struct chardev *to, struct err *err)
{
	const struct chardev_client *client = from->client;
	void *opaque = from->client_opaque;
	bool closed = from->client_closed;
	int ret;

	if (!client)
		return 0;
	if (from->connected && client->closed)
		client->closed(opaque);
	chardev_detach(from);
	client->moved(opaque, to);
	ret = chardev_attach(to, client, opaque, err);
	if (ret < 0)
		return ret;
	to->client_closed = closed;
	if (client->writable)
		client->writable(opaque);
	return 0;
}

int chardevs_change(struct chardevs *cs, struct machine *m, const struct cfg_chardev *cfg,
		    struct err *err)
{
	size_t i = index_of(cs, cfg->id);
	struct chardev *old, *c;
	int ret = check_later(cfg, err);

	if (ret < 0)
		return ret;
	if (i == cs->n)
		return err_set(err, ENOENT, "Chardev '%s' does not exist", cfg->id);
	old = cs->v[i];
	if (old->client && !old->client->moved)
		return err_set(err, ENOTSUP, "Chardev user does not support chardev hotswap");
	c = chardev_new(m, cfg, err);
	if (!c)
		return -EINVAL;
	ret = move_client(old, c, err);
	cs->v[i] = c;
	chardev_free(old);
	chardev_start(c);
	return ret;
}

int chardev_send_break(struct chardev *c, struct err *err)
{
	if (!c->client || !c->client->take_break)
		return err_set(err, ENOTSUP,
			       "Chardev '%s' has no serial line behind it that takes a break",
			       c->id);
	return c->client->take_break(c->client_opaque, err);
}
