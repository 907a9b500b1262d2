#include "vmm/options/config.h"

#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/options/internal.h"

static bool same_id(const char *a, const char *b)
{
	return a && b && !strcmp(a, b);
}

const struct cfg_object *config_object(const struct config *c, const char *id)
{
	for (size_t i = 0; i < c->n_objects; i++) {
		if (same_id(c->objects[i].id, id))
			return &c->objects[i];
	}
	return NULL;
}

const struct cfg_blockdev *config_blockdev(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->n_blockdevs; i++) {
		if (same_id(c->blockdevs[i].node_name, name))
			return &c->blockdevs[i];
	}
	return NULL;
}

const struct cfg_netdev *config_netdev(const struct config *c, const char *id)
{
	for (size_t i = 0; i < c->n_netdevs; i++) {
		if (same_id(c->netdevs[i].id, id))
			return &c->netdevs[i];
	}
	return NULL;
}

const struct cfg_chardev *config_chardev(const struct config *c, const char *id)
{
	for (size_t i = 0; i < c->n_chardevs; i++) {
		if (same_id(c->chardevs[i].id, id))
			return &c->chardevs[i];
	}
	return NULL;
}

static char *copy_of(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

struct cfg_object config_object_copy(const struct cfg_object *o)
{
	struct cfg_object c = *o;

	c.type = copy_of(o->type);
	c.id = copy_of(o->id);
	c.mem_path = copy_of(o->mem_path);
	c.filename = copy_of(o->filename);
	c.where = copy_of(o->where);
	c.props = (struct keyvals){0};
	for (size_t i = 0; i < o->props.n; i++)
		keyvals_add(&c.props, o->props.v[i].key, o->props.v[i].val);
	return c;
}

void config_object_fini(struct cfg_object *o)
{
	free(o->type);
	free(o->id);
	free(o->mem_path);
	free(o->filename);
	free(o->where);
	keyvals_fini(&o->props);
	*o = (struct cfg_object){0};
}

void config_authz_fini(struct cfg_authz *a)
{
	for (size_t i = 0; i < a->n_rules; i++)
		free(a->rules[i].match);
	free(a->rules);
	*a = (struct cfg_authz){0};
}

struct cfg_blockdev config_blockdev_copy(const struct cfg_blockdev *bd)
{
	struct cfg_blockdev c = *bd;

	c.node_name = copy_of(bd->node_name);
	c.driver = copy_of(bd->driver);
	c.filename = copy_of(bd->filename);
	c.file_node = copy_of(bd->file_node);
	c.drive_id = copy_of(bd->drive_id);
	c.where = copy_of(bd->where);
	if (bd->backing) {
		c.backing = NEW(struct cfg_blockdev);
		*c.backing = config_blockdev_copy(bd->backing);
	}
	return c;
}

void config_blockdev_fini(struct cfg_blockdev *bd)
{
	free(bd->where);
	free(bd->node_name);
	free(bd->driver);
	free(bd->filename);
	free(bd->drive_id);
	free(bd->file_node);
	if (bd->backing)
		config_blockdev_fini(bd->backing);
	free(bd->backing);
	*bd = (struct cfg_blockdev){0};
}

const char *keyvals_get(const struct keyvals *kv, const char *key)
{
	for (size_t i = kv->n; i > 0; i--) {
		if (!strcmp(kv->v[i - 1].key, key))
			return kv->v[i - 1].val;
	}
	return NULL;
}

bool keyvals_bool(const struct keyvals *kv, const char *key, bool otherwise)
{
	const char *val = keyvals_get(kv, key);
	bool on = otherwise;

	if (val)
		(void)opt_parse_bool(val, &on);
	return on;
}

const char **keyvals_all(const struct keyvals *kv, const char *key)
{
	const char **v = xcalloc(kv->n + 1, sizeof(*v));
	size_t n = 0;

	for (size_t i = 0; i < kv->n; i++)
		if (strcmp(kv->v[i].key, key) == 0)
			v[n++] = kv->v[i].val;
	return v;
}

void keyvals_add(struct keyvals *kv, const char *key, const char *val)
{
	kv->v = xrealloc(kv->v, (kv->n + 1) * sizeof(kv->v[0]));
	kv->v[kv->n++] = (struct keyval){.key = xstrdup(key), .val = xstrdup(val)};
}

int config_where(const char *where, int ret, struct err *err)
{
	return where ? err_prefix(err, ret, "%s", where) : ret;
}

void keyvals_fini(struct keyvals *kv)
{
	for (size_t i = 0; i < kv->n; i++) {
		free(kv->v[i].key);
		free(kv->v[i].val);
	}
	free(kv->v);
	*kv = (struct keyvals){0};
}

static void make_absolute(char **path, const char *folder)
{
	char *whole;

	if (!*path || !**path || **path == '/')
		return;
	whole = xasprintf("%s/%s", strcmp(folder, "/") ? folder : "", *path);
	free(*path);
	*path = whole;
}

void config_make_absolute(struct config *c, const char *folder)
{
	make_absolute(&c->pidfile, folder);
	make_absolute(&c->logfile, folder);
	for (size_t i = 0; i < c->n_chardevs; i++) {
		make_absolute(&c->chardevs[i].path, folder);
		make_absolute(&c->chardevs[i].logfile, folder);
	}
	for (size_t i = 0; i < c->n_blockdevs; i++)
		for (struct cfg_blockdev *b = &c->blockdevs[i]; b; b = b->backing)
			make_absolute(&b->filename, folder);
	for (size_t i = 0; i < c->n_netdevs; i++) {
		make_absolute(&c->netdevs[i].path, folder);
		for (size_t k = 0; k < c->netdevs[i].props.n; k++)
			if (!strcmp(c->netdevs[i].props.v[k].key, "tftp"))
				make_absolute(&c->netdevs[i].props.v[k].val, folder);
		if (c->netdevs[i].downscript && strcmp(c->netdevs[i].downscript, "no") != 0)
			make_absolute(&c->netdevs[i].downscript, folder);
	}
}

static void free_backends(struct config *c)
{
	for (size_t i = 0; i < c->n_add_fds; i++) {
		free(c->add_fds[i].where);
		free(c->add_fds[i].opaque);
	}
	for (size_t i = 0; i < c->n_objects; i++)
		config_object_fini(&c->objects[i]);
	for (size_t i = 0; i < c->n_blockdevs; i++)
		config_blockdev_fini(&c->blockdevs[i]);
	for (size_t i = 0; i < c->n_netdevs; i++) {
		struct cfg_netdev *n = &c->netdevs[i];

		free(n->where);
		free(n->type);
		free(n->id);
		free(n->ifname);
		free(n->script);
		free(n->downscript);
		free(n->addr_type);
		free(n->host);
		free(n->port);
		free(n->path);
		keyvals_fini(&n->props);
	}
	for (size_t i = 0; i < c->n_chardevs; i++) {
		struct cfg_chardev *d = &c->chardevs[i];

		free(d->where);
		free(d->type);
		free(d->id);
		free(d->path);
		free(d->host);
		free(d->port);
		free(d->logfile);
	}
}

void config_fini(struct config *c)
{
	char *const strings[] = {
	    c->name,     c->process, c->memory_backend, c->cpu_model, c->cpu_features, c->kernel,
	    c->initrd,   c->append,  c->bios,           c->dumpdtb,   c->dump_vmstate, c->serial,
	    c->incoming, c->pidfile, c->logfile,        c->loadvm,
	};

	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		free(strings[i]);
	free_backends(c);
	for (size_t i = 0; i < c->n_monitors; i++)
		free(c->monitors[i].chardev);
	for (size_t i = 0; i < c->n_devices; i++) {
		free(c->devices[i].where);
		free(c->devices[i].driver);
		free(c->devices[i].id);
		keyvals_fini(&c->devices[i].props);
	}
	free(c->add_fds);
	free(c->objects);
	free(c->blockdevs);
	free(c->netdevs);
	free(c->chardevs);
	free(c->monitors);
	free(c->devices);
	keyvals_fini(&c->migration_globals);
	keyvals_fini(&c->globals);
	*c = (struct config){0};
}
