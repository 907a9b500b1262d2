/* objects.c - the list of objects: made, found, counted, deleted */
#include "vmm/objects.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/machine.h"

static const struct object_kind *find_kind(const struct machine *m, const char *type)
{
	for (size_t i = 0; m->object_kinds && m->object_kinds[i]; i++)
		if (!strcmp(m->object_kinds[i]->type, type))
			return m->object_kinds[i];
	return NULL;
}

struct object *objects_find(const struct machine *m, const char *id)
{
	list_for_each (o, &m->objects, struct object, link)
		if (!strcmp(o->cfg.id, id))
			return o;
	return NULL;
}

static void object_free(struct object *o)
{
	if (o->kind && o->kind->free)
		o->kind->free(o);
	config_object_fini(&o->cfg);
	free(o);
}

/* 'cfg' is taken. */
static int make(struct machine *m, const struct object_kind *kind, struct cfg_object *cfg,
		bool later, struct err *err)
{
	struct object *o = NEW(struct object);
	int ret;

	o->cfg = *cfg;
	*cfg = (struct cfg_object){0};
	ret = kind->make ? kind->make(m, o, later, err) : 0;
	if (ret < 0) {
		object_free(o);
		return ret;
	}
	o->kind = kind;
	list_add_tail(&m->objects, &o->link);
	return 0;
}

int objects_start(struct machine *m, const struct object_kind *const *kinds, struct err *err)
{
	m->object_kinds = kinds;
	for (size_t i = 0; i < m->cfg->n_objects; i++) {
		struct cfg_object copy = config_object_copy(&m->cfg->objects[i]);
		const struct object_kind *kind = find_kind(m, copy.type);
		int ret = kind ? make(m, kind, &copy, false, err)
			       : err_set(err, EINVAL, "there is no object type '%s'", copy.type);

		config_object_fini(&copy);
		if (ret < 0)
			return config_where(m->cfg->objects[i].where, ret, err);
	}
	if (m->cfg->memory_backend)
		objects_use(m, m->cfg->memory_backend);
	return 0;
}

int objects_add(struct machine *m, struct cfg_object *cfg, struct err *err)
{
	const struct object_kind *kind = find_kind(m, cfg->type);
	int ret;

	if (!kind)
		ret = err_set(err, EINVAL, "Parameter 'qom-type' does not accept value '%s'",
			      cfg->type);
	else if (kind->not_later)
		ret = err_set(err, ENOTSUP, "object type '%s' cannot be added: %s", kind->type,
			      kind->not_later);
	else if (objects_find(m, cfg->id))
		ret = err_set(err, EEXIST,
			      "attempt to add duplicate property '%s' to object (type 'container')",
			      cfg->id);
	else
		ret = make(m, kind, cfg, true, err);
	config_object_fini(cfg);
	return ret;
}

int objects_del(struct machine *m, const char *id, struct err *err)
{
	struct object *o = objects_find(m, id);

	if (!o)
		return err_set(err, ENOENT, "object '%.96s' not found", id);
	if (o->users)
		return err_set(err, EBUSY, "object '%s' is in use, can not be deleted", id);
	list_del(&o->link);
	object_free(o);
	return 0;
}

void objects_use(struct machine *m, const char *id)
{
	struct object *o = objects_find(m, id);

	if (o)
		o->users++;
}

void objects_unuse(struct machine *m, const char *id)
{
	struct object *o = objects_find(m, id);

	if (o && o->users)
		o->users--;
}

void objects_end(struct machine *m)
{
	list_for_each_safe (o, &m->objects, struct object, link) {
		list_del(&o->link);
		object_free(o);
	}
}
