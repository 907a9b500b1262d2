/*
 * qom-types.c - qom-list-types, qom-list-properties, device-list-properties
 *
 * The types are those of the tables: devices, -object, chardevs, processor models, and above them
 * the abstract ones that a client of QEMU looks for.  One that is not in the list does not exist.
 */
#include <errno.h>
#include <string.h>

#include "arch/x86/cpu-query.h"
#include "devices/device-table.h"
#include "devices/virtio/virtio-devices.h"
#include "qmp/command.h"
#include "qmp/qom.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/device-row.h"
#include "vmm/options/options.h"

struct type {
	const char *name, *parent;
	bool has_abstract, abstract;
};

static const struct type fixed[] = {
    {"object",             NULL,      true,  true },
    {"device",             "object",  true,  true },
    {"virtio-device",      "device",  true,  true },
    {"sys-bus-device",     "device",  true,  true },
    {"isa-device",         "device",  true,  true },
    {"cpu",		"device",  true,  true },
    {"x86_64-cpu",         "cpu",     true,  true },
    {"memory-backend",     "object",  true,  true },
    {"rng-backend",        "object",  true,  true },
    {"chardev",            "object",  true,  true },
    {"accel",	      "object",  true,  true },
    {"machine",            "object",  true,  true },
 /* of which there is none: libvirt 11.3 and 12.9 end with a fault when it does not exist */
    {"generic-pc-machine", "machine", true,  true },
    {"container",          "object",  false, false},
    {"kvm-accel",          "accel",   false, false},
    {"none-machine",       "machine", false, false},
    {"microvm-machine",    "machine", false, false},
};

struct types {
	struct qmp_pool *pool;
	struct type *v;
	size_t n, room;
};

static void add_type(struct types *t, const char *name, const char *parent)
{
	if (t->n == t->room) {
		size_t room = MAX(2 * t->room, (size_t)64);
		struct type *v = qmp_alloc(t->pool, room, sizeof(*v));

		if (t->n)
			memcpy(v, t->v, t->n * sizeof(*v));
		t->v = v;
		t->room = room;
	}
	t->v[t->n++] = (struct type){.name = name, .parent = parent};
}

static const char *device_parent(const struct device_row *row)
{
	static const char *const parents[] = {[DEVICE_VIRTIO] = "virtio-device",
					      [DEVICE_PORT] = "device",
					      [DEVICE_UART] = "isa-device",
					      [DEVICE_PART] = "sys-bus-device"};

	return parents[row->kind];
}

static const char *object_parent(const char *name)
{
	if (!strncmp(name, "memory-backend-", 15))
		return "memory-backend";
	return strncmp(name, "rng-", 4) != 0 ? "object" : "rng-backend";
}

static void collect(struct types *t)
{
	struct cpu_model_name model;
	const char *name;

	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		add_type(t, fixed[i].name, fixed[i].parent);
		t->v[t->n - 1] = fixed[i];
	}
	for (const struct device_row *const *r = device_table.rows; *r; r++)
		add_type(t, (*r)->name, device_parent(*r));
	for (size_t i = 0; (name = options_object_type(i)); i++)
		add_type(t, name, object_parent(name));
	for (size_t i = 0; (name = options_chardev_type(i)); i++)
		add_type(t, qmp_printf(t->pool, "chardev-%s", name), "chardev");
	for (size_t i = 0; cpu_model_name_at(i, &model); i++)
		add_type(t, qmp_printf(t->pool, "%s-x86_64-cpu", model.name), "x86_64-cpu");
}

static const struct type *find_type(const struct types *t, const char *name)
{
	for (size_t i = 0; name && i < t->n; i++)
		if (!strcmp(t->v[i].name, name))
			return &t->v[i];
	return NULL;
}

static bool implements(const struct types *t, const struct type *type, const char *what)
{
	for (; type; type = find_type(t, type->parent))
		if (!strcmp(type->name, what))
			return true;
	return false;
}

/* ---- qom-list-types ---- */

struct types_args {
	const char *implements;
	bool has_abstract, abstract;
};

static const struct qmp_member types_args_members[] = {
    QMP_SET(struct types_args, implements, "implements"),
    QMP_OPT(struct types_args, abstract, "abstract"),
    {0},
};
static const struct qmp_type types_args =
    QMP_OBJECT_TYPE(struct types_args, "q_obj_qom-list-types-arg", types_args_members);
static const struct qmp_member type_members[] = {
    QMP_REQ(struct type, name, "name"),
    QMP_OPT(struct type, abstract, "abstract"),
    QMP_SET(struct type, parent, "parent"),
    {0},
};
static const struct qmp_type type_type =
    QMP_OBJECT_TYPE(struct type, "ObjectTypeInfo", type_members);
static const struct qmp_type type_list = QMP_ARRAY_TYPE(&type_type);

static int list_types(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct types_args *a = arg;
	struct types t = {.pool = call->pool};
	struct type *out;
	size_t n = 0;

	(void)err;
	collect(&t);
	out = qmp_alloc(call->pool, t.n, sizeof(*out));
	for (size_t i = 0; i < t.n; i++)
		if ((a->abstract || !t.v[i].abstract) &&
		    (!a->implements || implements(&t, &t.v[i], a->implements)))
			out[n++] = t.v[i];
	*(struct qmp_array *)ret = (struct qmp_array){out, n};
	return 0;
}

/* ---- properties of a type ---- */

struct typename
{
	const char *name;
};

static const struct qmp_member typename_members[] = {
    QMP_REQ(struct typename, name, "typename"),
    {0},
};
static const struct qmp_type typename_args =
    QMP_OBJECT_TYPE(struct typename, "q_obj_typename-arg", typename_members);

static void add_key(void *opaque, const struct option_key *key)
{
	struct qom_list *l = opaque;
	struct qom_property *p;

	for (size_t i = 0; i < l->n; i++)
		if (!strcmp(l->v[i].name, key->key))
			return;
	p = qom_add(l, key->key, qom_type_of_key(key));
	p->help = key->help;
	p->otherwise = qom_value_of_key(l->pool, key, key->otherwise);
}

static bool add_cpu_prop(void *opaque, const struct cpu_prop *c)
{
	static const char *const types[] = {"bool", "int", "string"};

	(void)qom_add(opaque, c->name, types[c->kind]);
	return true;
}

/* The properties are the same for all models. */
static void list_cpu(struct qom_list *l)
{
	static const struct cpu_model none;

	(void)cpu_props_each(&none, add_cpu_prop, l);
	(void)qom_add(l, "unavailable-features", "strList");
}

static void add_device(struct qom_list *l, const struct device_row *row)
{
	options_each_device_key(row, add_key, l);
	if (row == &virtio_balloon_row)
		(void)qom_add(l, "guest-stats", "guest statistics");
}

static int list_device(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const char *name = ((const struct typename *)arg)->name;
	const struct device_row *row = device_row_find(&device_table, name);
	struct qom_list l = qom_list(call->pool);

	if (!row) {
		call->error_class = "DeviceNotFound";
		return err_set(err, ENODEV, "Device '%.200s' not found", name);
	}
	add_device(&l, row);
	*(struct qmp_array *)ret = (struct qmp_array){l.v, l.n};
	return 0;
}

static int list_properties(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const char *name = ((const struct typename *)arg)->name;
	const struct device_row *row = device_row_find(&device_table, name);
	struct qom_list l = qom_list(call->pool);
	struct types t = {.pool = call->pool};
	const struct type *type;

	collect(&t);
	type = find_type(&t, name);
	if (!type) {
		call->error_class = "DeviceNotFound";
		return err_set(err, ENODEV, "Class '%.200s' not found", name);
	}
	(void)qom_add(&l, "type", "string");
	if (row)
		add_device(&l, row);
	else if (implements(&t, type, "x86_64-cpu"))
		list_cpu(&l);
	else if (!strcmp(name, "microvm-machine"))
		options_each_machine_key(NULL, add_key, &l);
	else
		(void)options_each_object_key(name, NULL, add_key, &l);
	*(struct qmp_array *)ret = (struct qmp_array){l.v, l.n};
	return 0;
}

const struct qmp_command qmp_qom_type_commands[] = {
    {"qom-list-types",      &types_args, &type_list, list_types, 0},
    {"qom-list-properties",           &typename_args, &qmp_qom_property_list, list_properties, 0},
    {"device-list-properties",                    &typename_args, &qmp_qom_property_list, list_device, 0},
    {0},
};
