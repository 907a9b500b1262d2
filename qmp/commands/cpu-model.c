/* cpu-model.c - query-cpu-definitions, query-cpu-model-expansion (qmp-surface 5.1) */
#include <errno.h>
#include <string.h>

#include "arch/x86/cpu-query.h"
#include "qmp/command.h"
#include "qmp/json.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"

/* ---- query-cpu-definitions ---- */

struct definition {
	const char *name, *typename, *alias_of;
	bool migration_safe, is_static, deprecated;
	struct qmp_array unavailable;
};

static const struct qmp_member definition_members[] = {
    QMP_REQ(struct definition, name, "name"),
    QMP_MEMBER_(struct definition, migration_safe, "migration-safe", &qmp_bool, QMP_ALWAYS),
    QMP_REQ(struct definition, is_static, "static"),
    QMP_MEMBER_(struct definition, unavailable, "unavailable-features", &qmp_str_array, QMP_ALWAYS),
    QMP_REQ(struct definition, typename, "typename"),
    QMP_SET(struct definition, alias_of, "alias-of"),
    QMP_REQ(struct definition, deprecated, "deprecated"),
    {0},
};
static const struct qmp_type definition_type =
    QMP_OBJECT_TYPE(struct definition, "CpuDefinitionInfo", definition_members);
static const struct qmp_type definition_list = QMP_ARRAY_TYPE(&definition_type);

static void count_lost(void *opaque, const char *name)
{
	(void)name;
	++*(size_t *)opaque;
}

static void take_lost(void *opaque, const char *name)
{
	struct qmp_array *a = opaque;

	((const char **)a->v)[a->n++] = name;
}

static struct qmp_array unavailable(struct qmp_pool *pool, const struct cpu_model *m)
{
	struct qmp_array a = {0};
	size_t n = 0;

	cpu_lost_each(m, count_lost, &n);
	a.v = qmp_alloc(pool, n, sizeof(const char *));
	cpu_lost_each(m, take_lost, &a);
	return a;
}

static int query_definitions(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	static const struct keyvals none;
	struct cpu_model_name name;
	struct definition *d;
	struct cpu_query q;
	size_t n = 0;
	int r = cpu_query_init(&q, call->m, err);

	(void)arg;
	while (cpu_model_name_at(n, &name))
		n++;
	d = qmp_alloc(call->pool, n, sizeof(*d));
	for (size_t i = 0; r == 0 && cpu_model_name_at(i, &name); i++) {
		struct cpu_model m;

		r = cpu_model_make_pairs(&m, name.name, &none, &q.host, err);
		if (r == 0)
			d[i] = (struct definition){
			    .name = name.name,
			    .typename = qmp_printf(call->pool, "%s-x86_64-cpu", name.name),
			    .alias_of = name.alias_of,
			    .migration_safe = name.migration_safe,
			    .is_static = name.is_static,
			    .unavailable = unavailable(call->pool, &m)};
	}
	cpu_query_fini(&q);
	*(struct qmp_array *)ret = (struct qmp_array){d, n};
	return r;
}

/* ---- query-cpu-model-expansion ---- */

struct model {
	const char *name;
	bool has_props;
	struct qmp_any props;
};

struct expansion_args {
	int type;
	struct model model;
};

enum expansion { EXPANSION_STATIC, EXPANSION_FULL };
static const char *const expansions[] = {"static", "full", NULL};
static const struct qmp_type expansion_enum = QMP_ENUM_TYPE("CpuModelExpansionType", expansions);
static const struct qmp_member model_members[] = {
    QMP_REQ(struct model, name, "name"),
    QMP_OPT(struct model, props, "props"),
    {0},
};
static const struct qmp_type model_type =
    QMP_OBJECT_TYPE(struct model, "CpuModelInfo", model_members);
static const struct qmp_member args_members[] = {
    QMP_REQ_T(struct expansion_args, type, "type", &expansion_enum),
    QMP_REQ_T(struct expansion_args, model, "model", &model_type),
    {0},
};
static const struct qmp_type args_type =
    QMP_OBJECT_TYPE(struct expansion_args, "q_obj_query-cpu-model-expansion-arg", args_members);
struct result {
	struct model model;
};
static const struct qmp_member result_members[] = {
    QMP_REQ_T(struct result, model, "model", &model_type),
    {0},
};
static const struct qmp_type result_type =
    QMP_OBJECT_TYPE(struct result, "CpuModelExpansionInfo", result_members);

/* A property as -cpu would have it. */
static int add_pair(struct keyvals *pairs, const char *key, const struct json_object *v,
		    const char *model, struct err *err)
{
	char number[24];

	switch (json_kind(v)) {
	case JSON_BOOL:
		keyvals_add(pairs, key, json_is_true(v) ? "on" : "off");
		return 0;
	case JSON_INT:
		(void)snprintf(number, sizeof(number), "%lld", (long long)json_int(v));
		keyvals_add(pairs, key, number);
		return 0;
	case JSON_STRING:
		keyvals_add(pairs, key, json_str(v));
		return 0;
	default:
		return err_set(err, EINVAL,
			       "Property '%.64s-x86_64-cpu.%.64s' doesn't take such a value", model,
			       key);
	}
}

static int read_props(struct keyvals *pairs, const struct model *m, struct err *err)
{
	struct json_iter it = {0};
	int ret = 0;

	if (!m->has_props)
		return 0;
	if (json_kind(m->props.v) != JSON_OBJECT)
		return err_set(err, EINVAL,
			       "Invalid parameter type for 'model.props', expected: object");
	while (ret == 0 && json_next(m->props.v, &it))
		ret = add_pair(pairs, it.key, it.val, m->name, err);
	return ret;
}

/* An object whose members are the properties of a model: its type is made as it is. */
struct collect {
	struct qmp_pool *pool;
	bool only_static;
	struct qmp_member *members;
	struct cpu_prop *props;
	size_t n;
};

static bool count_prop(void *opaque, const struct cpu_prop *p)
{
	(void)p;
	++*(size_t *)opaque;
	return true;
}

static bool take_prop(void *opaque, const struct cpu_prop *p)
{
	struct collect *c = opaque;
	struct qmp_member *m = &c->members[c->n];
	size_t at = c->n * sizeof(*p);

	if (c->only_static && !p->is_static)
		return true;
	c->props[c->n++] = *p;
	*m = (struct qmp_member){.name = p->name, .has = QMP_REQUIRED};
	m->type = p->kind == CPU_PROP_BOOL     ? &qmp_bool
		  : p->kind == CPU_PROP_NUMBER ? &qmp_i64
					       : &qmp_str;
	m->offset = at + (p->kind == CPU_PROP_BOOL     ? offsetof(struct cpu_prop, on)
			  : p->kind == CPU_PROP_NUMBER ? offsetof(struct cpu_prop, number)
						       : offsetof(struct cpu_prop, text));
	return true;
}

static struct qmp_any props_of(struct qmp_pool *pool, const struct cpu_model *m, bool only_static)
{
	struct collect c = {.pool = pool, .only_static = only_static};
	struct qmp_type *t = qmp_alloc(pool, 1, sizeof(*t));
	size_t n = 0;

	(void)cpu_props_each(m, count_prop, &n);
	c.members = qmp_alloc(pool, n + 1, sizeof(*c.members));
	c.props = qmp_alloc(pool, n + 1, sizeof(*c.props));
	(void)cpu_props_each(m, take_prop, &c);
	*t = (struct qmp_type){.kind = QMP_KIND_OBJECT,
			       .name = "props",
			       .size = n * sizeof(*c.props),
			       .members = c.members};
	return (struct qmp_any){.type = t, .p = c.props};
}

static int expand(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct expansion_args *a = arg;
	CLEANUP(keyvals_fini) struct keyvals pairs = {0};
	struct cpu_model *m = qmp_alloc(call->pool, 1, sizeof(*m)); /* its texts are written */
	struct result *out = ret;
	struct cpu_query q;
	int r = read_props(&pairs, &a->model, err);

	if (r == 0)
		r = cpu_query_init(&q, call->m, err);
	if (r < 0)
		return r;
	r = cpu_model_make_pairs(m, a->model.name, &pairs, &q.host, err);
	cpu_query_fini(&q);
	if (r < 0)
		return r;
	out->model = (struct model){
	    .name = a->type == EXPANSION_STATIC ? "base" : a->model.name,
	    .has_props = true,
	    .props = props_of(call->pool, m, a->type == EXPANSION_STATIC),
	};
	return 0;
}

const struct qmp_command qmp_cpu_model_commands[] = {
    {"query-cpu-definitions", NULL, &definition_list, query_definitions, 0},
    {"query-cpu-model-expansion",       &args_type, &result_type, expand, 0},
    {0		     },
};
