#include "qmp/qom.h"

#include <errno.h>
#include <string.h>

#include "arch/x86/cpu-query.h"
#include "devices/device-table.h"
#include "devices/microvm.h"
#include "devices/virtio/virtio-devices.h"
#include "qmp/command.h"
#include "qmp/json.h"
#include "qmp/qom-balloon.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"
#include "vmm/options/numbers.h"
#include "vmm/options/options.h"

#define LIST_ROOM 16

/* Each may be NULL. */
struct qom_class {
	const char *(*type)(struct qmp_call *call, const struct qom_node *node);
	/* all properties but "type" */
	void (*list)(struct qmp_call *call, const struct qom_node *node, struct qom_list *out);
	bool (*child)(struct qmp_call *call, const struct qom_node *node, const char *name,
		      struct qom_node *out);
	int (*set)(struct qmp_call *call, const char *name, const struct qmp_any *value,
		   struct err *err); /* -ENOENT: it is not one that can be set */
};

/* ---- lists and values ---- */

struct qom_list qom_list(struct qmp_pool *pool)
{
	return (struct qom_list){.pool = pool};
}

struct qom_property *qom_add(struct qom_list *l, const char *name, const char *type)
{
	if (l->n == l->room) {
		size_t room = MAX(2 * l->room, (size_t)LIST_ROOM);
		struct qom_property *v = qmp_alloc(l->pool, room, sizeof(*v));

		if (l->n)
			memcpy(v, l->v, l->n * sizeof(*v));
		l->v = v;
		l->room = room;
	}
	l->v[l->n] = (struct qom_property){.name = name, .type = type};
	return &l->v[l->n++];
}

struct qmp_any qom_bool(bool on)
{
	static const bool values[] = {false, true};

	return (struct qmp_any){.type = &qmp_bool, .p = &values[on]};
}

struct qmp_any qom_number(struct qmp_pool *pool, int64_t v)
{
	int64_t *p = qmp_alloc(pool, 1, sizeof(*p));

	*p = v;
	return (struct qmp_any){.type = &qmp_i64, .p = p};
}

struct qmp_any qom_unsigned(struct qmp_pool *pool, uint64_t v)
{
	uint64_t *p = qmp_alloc(pool, 1, sizeof(*p));

	*p = v;
	return (struct qmp_any){.type = &qmp_u64, .p = p};
}

struct qmp_any qom_text(struct qmp_pool *pool, const char *s)
{
	const char **p = qmp_alloc(pool, 1, sizeof(*p));

	*p = s;
	return (struct qmp_any){.type = &qmp_str, .p = p};
}

const char *qom_type_of_key(const struct option_key *key)
{
	static const char *const types[] = {[OPTION_KEY_STRING] = "str",
					    [OPTION_KEY_BOOLEAN] = "bool",
					    [OPTION_KEY_NUMBER] = "uint64",
					    [OPTION_KEY_SIZE] = "size"};

	return types[key->type];
}

struct qmp_any qom_value_of_key(struct qmp_pool *pool, const struct option_key *key,
				const char *typed)
{
	uint64_t n = 0;

	switch (key->type) {
	case OPTION_KEY_BOOLEAN:
		return typed ? qom_bool(!strcmp(typed, "on") || !strcmp(typed, "yes") ||
					!strcmp(typed, "true") || !strcmp(typed, "y"))
			     : (struct qmp_any){0};
	case OPTION_KEY_NUMBER:
	case OPTION_KEY_SIZE:
		return typed && opt_parse_size(typed, &n) == 0 ? qom_unsigned(pool, n)
							       : (struct qmp_any){0};
	default:
		return typed ? qom_text(pool, typed) : (struct qmp_any){0};
	}
}

/* What an object of the config has. */
static void add_key(void *opaque, const struct option_key *key)
{
	struct qom_list *out = opaque;
	struct qom_property *p;

	if (!key->has)
		return;
	p = qom_add(out, key->key, qom_type_of_key(key));
	p->help = key->help;
	if (key->type == OPTION_KEY_BOOLEAN)
		p->value = qom_bool(key->number);
	else if (key->type == OPTION_KEY_STRING)
		p->value = qom_text(out->pool, qmp_printf(out->pool, "%.*s", (int)key->text_len,
							  key->text ? key->text : ""));
	else
		p->value = qom_unsigned(out->pool, key->number);
}

static void add_child(struct qom_list *out, const char *path, const char *name, const char *type)
{
	struct qom_property *p = qom_add(out, name, qmp_printf(out->pool, "child<%s>", type));

	p->value = qom_text(
	    out->pool, qmp_printf(out->pool, "%s/%s", strcmp(path, "/") != 0 ? path : "", name));
}

/* The N of "device[N]"; SIZE_MAX if it is none. */
static size_t device_index(const char *name)
{
	static const char head[] = "device[";
	uint64_t n;
	char digits[8];
	size_t len;

	if (strncmp(name, head, sizeof(head) - 1) != 0)
		return SIZE_MAX;
	name += sizeof(head) - 1;
	len = strspn(name, "0123456789");
	if (!len || len >= sizeof(digits) || strcmp(name + len, "]") != 0)
		return SIZE_MAX;
	memcpy(digits, name, len);
	digits[len] = '\0';
	return opt_parse_u64(digits, &n) == 0 ? n : SIZE_MAX;
}

/* ---- vCPUs ---- */

static const char *cpu_type(struct qmp_call *call, const struct qom_node *node)
{
	const struct cpu_model *model = cpu_query_own(call->m);

	(void)node;
	return qmp_printf(call->pool, "%s-x86_64-cpu", model ? model->name : "host");
}

static bool add_cpu_prop(void *opaque, const struct cpu_prop *c)
{
	static const char *const types[] = {"bool", "int", "string"};
	struct qom_list *out = opaque;
	struct qom_property *p = qom_add(out, c->name, types[c->kind]);

	if (c->kind == CPU_PROP_BOOL)
		p->value = qom_bool(c->on);
	else if (c->kind == CPU_PROP_NUMBER)
		p->value = qom_number(out->pool, c->number);
	else
		p->value = qom_text(out->pool, c->text);
	return true;
}

static void add_name(void *opaque, const char *name)
{
	struct qmp_array *names = opaque;

	((const char **)names->v)[names->n++] = name;
}

static void cpu_list(struct qmp_call *call, const struct qom_node *node, struct qom_list *out)
{
	const struct cpu_model *model = cpu_query_own(call->m);
	struct qmp_array *lost = qmp_alloc(call->pool, 1, sizeof(*lost));
	struct qom_property *p;

	(void)node;
	if (!model)
		return;
	(void)cpu_props_each(model, add_cpu_prop, out);
	lost->v = qmp_alloc(call->pool, (size_t)32 * FEAT_COUNT, sizeof(const char *));
	cpu_lost_each(model, add_name, lost);
	p = qom_add(out, "unavailable-features", "strList");
	p->value = (struct qmp_any){.type = &qmp_str_array, .p = lost};
}

static const struct qom_class cpu_class = {.type = cpu_type, .list = cpu_list};

/* ---- devices ---- */

struct device_list {
	struct qom_list *out;
	const struct cfg_device *device;
};

static void add_device_key(void *opaque, const struct option_key *key)
{
	struct device_list *d = opaque;
	const char *typed = keyvals_get(&d->device->props, key->key);
	struct qom_property *p = qom_add(d->out, key->key, qom_type_of_key(key));

	p->help = key->help;
	p->value = qom_value_of_key(d->out->pool, key, typed ? typed : key->otherwise);
	if (!p->value.type)
		p->value = qom_text(d->out->pool, "");
}

static bool is_balloon(const struct cfg_device *d)
{
	return d->row == &virtio_balloon_row;
}

static const char *device_type(struct qmp_call *call, const struct qom_node *node)
{
	(void)call;
	return ((const struct cfg_device *)node->of)->row->name;
}

static void device_list(struct qmp_call *call, const struct qom_node *node, struct qom_list *out)
{
	struct device_list d = {out, node->of};

	qom_add(out, "realized", "bool")->value = qom_bool(true);
	qom_add(out, "hotplugged", "bool")->value = qom_bool(false);
	qom_add(out, "hotpluggable", "bool")->value = qom_bool(false);
	options_each_device_key(d.device->row, add_device_key, &d);
	if (is_balloon(d.device))
		qom_balloon_list(call->m, out);
}

static int device_set(struct qmp_call *call, const char *name, const struct qmp_any *value,
		      struct err *err)
{
	return qom_balloon_set(call->m, name, value, err);
}

/* A virtio device has its block or network device within it; here they are one. */
static bool backend_child(struct qmp_call *call, const struct qom_node *node, const char *name,
			  struct qom_node *out)
{
	(void)call;
	*out = *node;
	return ((const struct cfg_device *)node->of)->row->kind == DEVICE_VIRTIO &&
	       !strcmp(name, "virtio-backend");
}

static const struct qom_class device_class = {
    .type = device_type, .list = device_list, .child = backend_child};
static const struct qom_class balloon_class = {
    .type = device_type, .list = device_list, .child = backend_child, .set = device_set};

static struct qom_node device_node(const struct cfg_device *d)
{
	return (struct qom_node){.class = is_balloon(d) ? &balloon_class : &device_class, .of = d};
}

/* ---- containers ---- */

static const char *container_type(struct qmp_call *call, const struct qom_node *node)
{
	(void)call;
	(void)node;
	return "container";
}

static void peripheral_list(struct qmp_call *call, const struct qom_node *node,
			    struct qom_list *out)
{
	const struct config *cfg = call->m->cfg;

	for (size_t i = 0; i < cfg->n_devices; i++)
		if (cfg->devices[i].id)
			add_child(out, node->path, cfg->devices[i].id, cfg->devices[i].row->name);
}

static bool peripheral_child(struct qmp_call *call, const struct qom_node *node, const char *name,
			     struct qom_node *out)
{
	const struct config *cfg = call->m->cfg;

	(void)node;
	for (size_t i = 0; i < cfg->n_devices; i++)
		if (cfg->devices[i].id && !strcmp(cfg->devices[i].id, name)) {
			*out = device_node(&cfg->devices[i]);
			return true;
		}
	return false;
}

static void anon_list(struct qmp_call *call, const struct qom_node *node, struct qom_list *out)
{
	const struct config *cfg = call->m->cfg;

	for (size_t i = 0, n = 0; i < cfg->n_devices; i++)
		if (!cfg->devices[i].id)
			add_child(out, node->path, qmp_printf(call->pool, "device[%zu]", n++),
				  cfg->devices[i].row->name);
}

static bool anon_child(struct qmp_call *call, const struct qom_node *node, const char *name,
		       struct qom_node *out)
{
	const struct config *cfg = call->m->cfg;
	size_t wanted = device_index(name);

	(void)node;
	for (size_t i = 0; i < cfg->n_devices; i++)
		if (!cfg->devices[i].id && !wanted--) {
			*out = device_node(&cfg->devices[i]);
			return true;
		}
	return false;
}

static void unattached_list(struct qmp_call *call, const struct qom_node *node,
			    struct qom_list *out)
{
	for (unsigned i = 0; i < call->m->n_vcpus; i++)
		add_child(out, node->path, qmp_printf(call->pool, "device[%u]", i),
			  cpu_type(call, node));
}

static bool unattached_child(struct qmp_call *call, const struct qom_node *node, const char *name,
			     struct qom_node *out)
{
	size_t i = device_index(name);

	(void)node;
	*out = (struct qom_node){.class = &cpu_class, .index = i};
	return i < call->m->n_vcpus;
}

static const char *object_type(struct qmp_call *call, const struct qom_node *node)
{
	(void)call;
	return ((const struct cfg_object *)node->of)->type;
}

/* Of a kind that keeps a secret nothing is told. */
static void object_list(struct qmp_call *call, const struct qom_node *node, struct qom_list *out)
{
	const struct cfg_object *o = node->of;

	(void)call;
	if (!strncmp(o->type, "memory-backend-", 15) || !strncmp(o->type, "rng-", 4))
		(void)options_each_object_key(o->type, o, add_key, out);
}

static const struct qom_class object_class = {.type = object_type, .list = object_list};

static void objects_list(struct qmp_call *call, const struct qom_node *node, struct qom_list *out)
{
	const struct config *cfg = call->m->cfg;

	for (size_t i = 0; i < cfg->n_objects; i++)
		add_child(out, node->path, cfg->objects[i].id, cfg->objects[i].type);
}

static bool objects_child(struct qmp_call *call, const struct qom_node *node, const char *name,
			  struct qom_node *out)
{
	(void)node;
	*out = (struct qom_node){.class = &object_class, .of = config_object(call->m->cfg, name)};
	return out->of != NULL;
}

static const char *chardev_type(struct qmp_call *call, const struct qom_node *node)
{
	const struct chardev *c = node->of;

	return qmp_printf(call->pool, "chardev-%s", c->ops->type);
}

static void chardev_list(struct qmp_call *call, const struct qom_node *node, struct qom_list *out)
{
	const struct chardev *c = node->of;

	(void)call;
	qom_add(out, "connected", "bool")->value = qom_bool(c->connected);
}

static const struct qom_class chardev_class = {.type = chardev_type, .list = chardev_list};

static void chardevs_list(struct qmp_call *call, const struct qom_node *node, struct qom_list *out)
{
	for (size_t i = 0; i < call->be->chardevs.n; i++) {
		struct qom_node c = {.of = call->be->chardevs.v[i]};

		add_child(out, node->path, call->be->chardevs.v[i]->id, chardev_type(call, &c));
	}
}

static bool chardevs_child(struct qmp_call *call, const struct qom_node *node, const char *name,
			   struct qom_node *out)
{
	(void)node;
	*out = (struct qom_node){.class = &chardev_class,
				 .of = chardevs_find(&call->be->chardevs, name)};
	return out->of != NULL;
}

/* ---- the top ---- */

struct qom_place {
	const char *name;
	struct qom_class class;
};

static const struct qom_place machine_places[] = {
    {"peripheral",      {container_type, peripheral_list, peripheral_child, NULL}},
    {"peripheral-anon", {container_type, anon_list, anon_child, NULL}            },
    {"unattached",      {container_type, unattached_list, unattached_child, NULL}},
};

static const char *machine_type(struct qmp_call *call, const struct qom_node *node)
{
	(void)node;
	return call->m->cfg->no_board ? "none-machine" : "microvm-machine";
}

static void machine_list(struct qmp_call *call, const struct qom_node *node, struct qom_list *out)
{
	const struct config *cfg = call->m->cfg;

	if (!cfg->no_board)
		options_each_machine_key(cfg, add_key, out);
	for (size_t i = 0; i < ARRAY_LEN(machine_places); i++)
		add_child(out, node->path, machine_places[i].name, "container");
}

static bool machine_child(struct qmp_call *call, const struct qom_node *node, const char *name,
			  struct qom_node *out)
{
	(void)node;
	(void)call;
	for (size_t i = 0; i < ARRAY_LEN(machine_places); i++)
		if (!strcmp(machine_places[i].name, name)) {
			*out = (struct qom_node){.class = &machine_places[i].class};
			return true;
		}
	return false;
}

static const struct qom_place places[] = {
    {"machine",  {machine_type, machine_list, machine_child, NULL}    },
    {"objects",  {container_type, objects_list, objects_child, NULL}  },
    {"chardevs", {container_type, chardevs_list, chardevs_child, NULL}},
};

static void root_list(struct qmp_call *call, const struct qom_node *node, struct qom_list *out)
{
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		add_child(out, node->path, places[i].name, places[i].class.type(call, node));
}

static bool root_child(struct qmp_call *call, const struct qom_node *node, const char *name,
		       struct qom_node *out)
{
	(void)node;
	(void)call;
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (!strcmp(places[i].name, name)) {
			*out = (struct qom_node){.class = &places[i].class};
			return true;
		}
	return false;
}

static const struct qom_class root_class = {container_type, root_list, root_child, NULL};

/* ---- paths ---- */

static int not_found(struct qmp_call *call, const char *path, struct err *err)
{
	call->error_class = "DeviceNotFound";
	return err_set(err, ENODEV, "Device '%.200s' not found", path);
}

/* A name alone stands for the device, object or chardev that is called so. */
static const char *whole_path(struct qmp_call *call, const char *path)
{
	static const struct {
		bool (*child)(struct qmp_call *call, const struct qom_node *node, const char *name,
			      struct qom_node *out);
		const char *at;
	} named[] = {
	    {peripheral_child, "/machine/peripheral"},
	    {objects_child,    "/objects"           },
	    {chardevs_child,   "/chardevs"          },
	};
	struct qom_node node;

	if (*path == '/')
		return path;
	for (size_t i = 0; i < ARRAY_LEN(named); i++)
		if (named[i].child(call, NULL, path, &node))
			return qmp_printf(call->pool, "%s/%s", named[i].at, path);
	return qmp_printf(call->pool, "/%s", path);
}

int qom_find(struct qmp_call *call, const char *path, struct qom_node *out, struct err *err)
{
	struct qom_node node = {.class = &root_class};
	char *rest = qmp_printf(call->pool, "%s", whole_path(call, path)), *name;

	node.path = whole_path(call, path);
	while ((name = strsep(&rest, "/")) != NULL) {
		struct qom_node child;

		if (!*name)
			continue;
		if (!node.class->child || !node.class->child(call, &node, name, &child))
			return not_found(call, path, err);
		child.path = node.path;
		node = child;
	}
	*out = node;
	return 0;
}

const char *qom_type(struct qmp_call *call, const struct qom_node *node)
{
	return node->class->type(call, node);
}

void qom_properties(struct qmp_call *call, const struct qom_node *node, struct qom_list *out)
{
	qom_add(out, "type", "string")->value = qom_text(call->pool, qom_type(call, node));
	node->class->list(call, node, out);
}

int qom_set(struct qmp_call *call, const struct qom_node *node, const char *name,
	    const struct qmp_any *value, struct err *err)
{
	struct qom_list list = qom_list(call->pool);
	int ret = node->class->set ? node->class->set(call, name, value, err) : -ENOENT;

	if (ret != -ENOENT)
		return ret;
	qom_properties(call, node, &list);
	for (size_t i = 0; i < list.n; i++)
		if (!strcmp(list.v[i].name, name))
			return err_set(err, EINVAL, "Property '%s.%s' is not writable",
				       qom_type(call, node), name);
	return err_set(err, EINVAL, "Property '%s.%.200s' not found", qom_type(call, node), name);
}
