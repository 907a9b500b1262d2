/*
 * introspect.c - the schema that clients walk
 *
 * It is a flat list: all commands and events, and behind them every type that
 * can be reached from one.  A type goes by a number instead of its name, so
 * that names stay ours to change; the builtins keep theirs, and "0" is the
 * object without members.  Numbers are given in the order of first mention:
 * writing an entry mentions types, and the list grows until all mentioned
 * ones are written.
 */
#include "qmp/introspect.h"

#include <assert.h>
#include <string.h>

#include "qmp/command.h"
#include "qmp/events.h"
#include "qmp/loose-types.h"
#include "vmm/base/units.h"

#define MAX_TYPES 512

/* ---- SchemaInfo ---- */

enum meta {
	META_BUILTIN,
	META_ENUM,
	META_ARRAY,
	META_OBJECT,
	META_ALTERNATE,
	META_COMMAND,
	META_EVENT
};

struct info_member {
	const char *name, *type;
	bool has_default;
	struct qmp_array features;
};

struct info_variant {
	const char *value, *type;
};

struct info {
	const char *name;
	int meta;
	struct qmp_array features;
	int json_type;                   /* builtin */
	struct qmp_array members;        /* enum, object, alternate: struct info_member */
	struct qmp_array values;         /* enum: strings */
	const char *element_type;        /* array */
	const char *tag;                 /* object */
	struct qmp_array variants;       /* object: struct info_variant */
	const char *arg_type, *ret_type; /* command, event */
	bool has_oob, oob;               /* command */
};

static const char *const meta_names[] = {"builtin",   "enum",    "array", "object",
					 "alternate", "command", "event", NULL};
static const struct qmp_type meta_type = QMP_ENUM_TYPE("SchemaMetaType", meta_names);
static const char *const json_names[] = {"string", "number", "int",   "boolean", "null",
					 "object", "array",  "value", NULL};
static const struct qmp_type json_type = QMP_ENUM_TYPE("JSONType", json_names);

static const struct qmp_member enum_member_members[] = {
    QMP_REQ(struct info_member, name, "name"),
    QMP_SET_T(struct info_member, features, "features", &qmp_str_array),
    {0},
};
static const struct qmp_type enum_member_type =
    QMP_OBJECT_TYPE(struct info_member, "SchemaInfoEnumMember", enum_member_members);
static const struct qmp_type enum_members_type = QMP_ARRAY_TYPE(&enum_member_type);

/* what a default could be; it is always null */
static const struct qmp_type any_type = {.kind = QMP_KIND_NULL, .name = "any"};
static const struct qmp_member object_member_members[] = {
    QMP_REQ(struct info_member, name, "name"),
    {.name = "default",                   .type = &any_type, .has = offsetof(struct info_member, has_default)},
    QMP_REQ(struct info_member, type, "type"),
    QMP_SET_T(struct info_member, features, "features", &qmp_str_array),
    {0},
};
static const struct qmp_type object_member_type =
    QMP_OBJECT_TYPE(struct info_member, "SchemaInfoObjectMember", object_member_members);
static const struct qmp_type object_members_type = QMP_ARRAY_TYPE(&object_member_type);

static const struct qmp_member alternate_member_members[] = {
    QMP_REQ(struct info_member, type, "type"),
    {0},
};
static const struct qmp_type alternate_member_type =
    QMP_OBJECT_TYPE(struct info_member, "SchemaInfoAlternateMember", alternate_member_members);
static const struct qmp_type alternate_members_type = QMP_ARRAY_TYPE(&alternate_member_type);

static const struct qmp_member variant_members[] = {
    QMP_REQ(struct info_variant, value, "case"),
    QMP_REQ(struct info_variant, type, "type"),
    {0},
};
static const struct qmp_type variant_type =
    QMP_OBJECT_TYPE(struct info_variant, "SchemaInfoObjectVariant", variant_members);
static const struct qmp_type variants_type = QMP_ARRAY_TYPE(&variant_type);

static const struct qmp_member builtin_members[] = {
    QMP_REQ_T(struct info, json_type, "json-type", &json_type),
    {0},
};
static const struct qmp_member enum_members[] = {
    QMP_REQ_T(struct info, members, "members", &enum_members_type),
    QMP_OLD_T(struct info, values, "values", &qmp_str_array, QMP_REQUIRED),
    {0},
};
static const struct qmp_member array_members[] = {
    QMP_REQ(struct info, element_type, "element-type"),
    {0},
};
static const struct qmp_member object_members[] = {
    QMP_REQ_T(struct info, members, "members", &object_members_type),
    QMP_SET(struct info, tag, "tag"),
    QMP_SET_T(struct info, variants, "variants", &variants_type),
    {0},
};
static const struct qmp_member alternate_members[] = {
    QMP_REQ_T(struct info, members, "members", &alternate_members_type),
    {0},
};
static const struct qmp_member command_members[] = {
    QMP_REQ(struct info, arg_type, "arg-type"),
    QMP_OPT(struct info, oob, "allow-oob"),
    QMP_REQ(struct info, ret_type, "ret-type"),
    {0},
};
static const struct qmp_member event_members[] = {
    QMP_REQ(struct info, arg_type, "arg-type"),
    {0},
};

#define VARIANT(wire, list) QMP_OBJECT_TYPE(struct info, wire, list)
static const struct qmp_type builtin_info = VARIANT("SchemaInfoBuiltin", builtin_members);
static const struct qmp_type enum_info = VARIANT("SchemaInfoEnum", enum_members);
static const struct qmp_type array_info = VARIANT("SchemaInfoArray", array_members);
static const struct qmp_type object_info = VARIANT("SchemaInfoObject", object_members);
static const struct qmp_type alternate_info = VARIANT("SchemaInfoAlternate", alternate_members);
static const struct qmp_type command_info = VARIANT("SchemaInfoCommand", command_members);
static const struct qmp_type event_info = VARIANT("SchemaInfoEvent", event_members);

static const struct qmp_type *const info_variants[] = {
    [META_BUILTIN] = &builtin_info,     [META_ENUM] = &enum_info,
    [META_ARRAY] = &array_info,         [META_OBJECT] = &object_info,
    [META_ALTERNATE] = &alternate_info, [META_COMMAND] = &command_info,
    [META_EVENT] = &event_info,
};
static const struct qmp_member info_members[] = {
    QMP_REQ(struct info, name, "name"),
    QMP_REQ_T(struct info, meta, "meta-type", &meta_type),
    QMP_SET_T(struct info, features, "features", &qmp_str_array),
    {0},
};
static const struct qmp_type info_type = {
    .kind = QMP_KIND_OBJECT,
    .name = "SchemaInfo",
    .size = sizeof(struct info),
    .members = info_members,
    .tag = "meta-type",
    .variants = info_variants,
};
const struct qmp_type qmp_schema_type = QMP_ARRAY_TYPE(&info_type);

/* ---- the walk ---- */

struct walk {
	struct qmp_pool *pool;
	const struct qmp_type *types[MAX_TYPES]; /* mentioned so far; the i-th is called i+1 */
	size_t n_types;
	struct info *infos;
	size_t n_infos;
};

/* What a type is called in the schema when it is one of the builtins, or NULL. */
static const char *builtin_name(const struct qmp_type *t)
{
	switch (t->kind) {
	case QMP_KIND_STR:
	case QMP_KIND_CHARS:
		return "str";
	case QMP_KIND_BOOL:
		return "bool";
	case QMP_KIND_I64:
	case QMP_KIND_U64:
	case QMP_KIND_U32:
	case QMP_KIND_U8:
		return "int";
	case QMP_KIND_NUMBER:
		return "number";
	case QMP_KIND_ANY:
	case QMP_KIND_NULL:
		return t->name;
	default:
		return NULL;
	}
}

static bool same_type(const struct qmp_type *a, const struct qmp_type *b)
{
	const char *x, *y;

	if (a == b)
		return true;
	if (a->kind == QMP_KIND_ARRAY && b->kind == QMP_KIND_ARRAY) {
		x = builtin_name(a->element);
		y = builtin_name(b->element);
		return a->element == b->element || (x && y && !strcmp(x, y));
	}
	return a->kind == QMP_KIND_STR_OR_NULL && b->kind == QMP_KIND_STR_OR_NULL;
}

static size_t type_number(struct walk *w, const struct qmp_type *t)
{
	size_t i;

	for (i = 0; i < w->n_types; i++)
		if (same_type(w->types[i], t))
			return i + 1;
	assert(w->n_types < MAX_TYPES);
	w->types[w->n_types++] = t;
	return i + 1;
}

/* The name of a type in the schema; from now on it is part of it.  NULL is the empty object. */
static const char *mention(struct walk *w, const struct qmp_type *t)
{
	const char *name;

	if (!t)
		return "0";
	if (t->kind == QMP_KIND_BELOW)
		t = t->element;
	name = builtin_name(t);
	if (name)
		return name;
	if (t->kind != QMP_KIND_ARRAY)
		return qmp_printf(w->pool, "%zu", type_number(w, t));
	(void)type_number(w, t);
	name = builtin_name(t->element);
	if (name)
		return qmp_printf(w->pool, "[%s]", name);
	return qmp_printf(w->pool, "[%zu]", type_number(w, t->element));
}

/* What the schema says of 'flags'. */
static struct qmp_array features(struct walk *w, unsigned flags)
{
	static const struct {
		unsigned flag;
		const char *name;
	} names[] = {
	    {QMP_DEPRECATED, "deprecated"          },
	    {QMP_UNSTABLE,   "unstable"            },
	    {QMP_NODES,      "savevm-monitor-nodes"},
	};
	struct qmp_array a = {0};
	const char **v = NULL;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!(flags & names[i].flag))
			continue;
		if (!v)
			a.v = v = qmp_alloc(w->pool, ARRAY_LEN(names), sizeof(*v));
		v[a.n++] = names[i].name;
	}
	return a;
}

static void describe_enum(struct walk *w, const struct qmp_type *t, struct info *info)
{
	struct info_member *members;
	const char **values, *v;
	unsigned flags;
	size_t n = 0;

	while (qmp_value_at(t, n, &flags))
		n++;
	members = qmp_alloc(w->pool, n, sizeof(*members));
	values = qmp_alloc(w->pool, n, sizeof(*values));
	for (size_t i = 0; (v = qmp_value_at(t, i, &flags)); i++) {
		members[i].name = values[i] = v;
		members[i].features = features(w, flags);
	}
	info->meta = META_ENUM;
	info->members = (struct qmp_array){members, n};
	info->values = (struct qmp_array){values, n};
}

static void describe_variants(struct walk *w, const struct qmp_type *t, const struct qmp_type *tag,
			      struct info *info)
{
	struct info_variant *variants;
	const char *v;
	unsigned flags;
	size_t n = 0;

	while (qmp_value_at(tag, n, &flags))
		n++;
	variants = qmp_alloc(w->pool, n, sizeof(*variants));
	for (size_t i = 0; (v = qmp_value_at(tag, i, &flags)); i++)
		variants[i] = (struct info_variant){v, mention(w, t->variants[i])};
	info->tag = t->tag;
	info->variants = (struct qmp_array){variants, n};
}

static void describe_object(struct walk *w, const struct qmp_type *t, struct info *info)
{
	struct info_member *members;
	struct qmp_member m;
	size_t n = 0;

	while (qmp_member_at(t, n, &m))
		n++;
	members = qmp_alloc(w->pool, n, sizeof(*members));
	for (size_t i = 0; qmp_member_at(t, i, &m); i++) {
		members[i].name = m.name;
		members[i].type = mention(w, m.type);
		members[i].has_default = m.has != QMP_REQUIRED && m.has != QMP_SHAPE;
		members[i].features = features(w, m.features);
		if (t->tag && !strcmp(t->tag, m.name))
			describe_variants(w, t, m.type, info);
	}
	info->meta = META_OBJECT;
	info->members = (struct qmp_array){members, n};
}

static void describe_str_or_null(struct walk *w, struct info *info)
{
	struct info_member *members = qmp_alloc(w->pool, 2, sizeof(*members));

	members[0].type = "str";
	members[1].type = "null";
	info->meta = META_ALTERNATE;
	info->members = (struct qmp_array){members, 2};
}

static void describe_alternate(struct walk *w, const struct qmp_type *t, struct info *info)
{
	struct info_member *members;
	size_t n = 0;

	while (t->variants[n])
		n++;
	members = qmp_alloc(w->pool, n, sizeof(*members));
	for (size_t i = 0; i < n; i++)
		members[i].type = mention(w, t->variants[i]);
	info->meta = META_ALTERNATE;
	info->members = (struct qmp_array){members, n};
}

static struct info *info_add(struct walk *w, const char *name)
{
	struct info *info = &w->infos[w->n_infos++];

	info->name = name;
	return info;
}

static void add_type(struct walk *w, const struct qmp_type *t)
{
	struct info *info = info_add(w, mention(w, t));

	switch (t->kind) {
	case QMP_KIND_ENUM:
		describe_enum(w, t, info);
		break;
	case QMP_KIND_ARRAY:
		info->meta = META_ARRAY;
		info->element_type = mention(w, t->element);
		break;
	case QMP_KIND_STR_OR_NULL:
		describe_str_or_null(w, info);
		break;
	case QMP_KIND_ALTERNATE:
		describe_alternate(w, t, info);
		break;
	default:
		describe_object(w, t, info);
		break;
	}
}

static void add_builtins(struct walk *w)
{
	static const struct {
		const char *name, *json;
	} builtins[] = {
	    {"str",    "string" },
            {"int",    "int"    },
            {"number", "number" },
	    {"bool",   "boolean"},
            {"null",   "null"   },
            {"any",    "value"  }
        };

	for (size_t i = 0; i < ARRAY_LEN(builtins); i++) {
		struct info *info = info_add(w, builtins[i].name);

		info->meta = META_BUILTIN;
		info->json_type = qmp_value_find(&json_type, builtins[i].json);
	}
}

static void add_roots(struct walk *w)
{
	const struct qmp_command *c;
	const struct qmp_event *ev;

	for (size_t i = 0; (c = qmp_command_at(i)); i++) {
		struct info *info = info_add(w, c->name);

		info->meta = META_COMMAND;
		info->features = features(w, c->flags);
		info->has_oob = info->oob = c->flags & QMP_OOB;
		info->arg_type = mention(w, c->arg);
		info->ret_type = mention(w, c->ret);
	}
	for (size_t i = 0; (ev = qmp_event_at(i)); i++) {
		struct info *info = info_add(w, ev->name);

		info->meta = META_EVENT;
		info->arg_type = mention(w, ev->data);
	}
}

static size_t count_roots(void)
{
	size_t commands = 0, events = 0;

	while (qmp_command_at(commands))
		commands++;
	while (qmp_event_at(events))
		events++;
	return commands + events;
}

void qmp_introspect(struct qmp_pool *pool, struct qmp_array *out)
{
	struct walk *w = qmp_alloc(pool, 1, sizeof(*w));
	struct info *empty;

	w->pool = pool;
	w->infos = qmp_alloc(pool, count_roots() + MAX_TYPES + 8, sizeof(struct info));
	add_roots(w);
	empty = info_add(w, "0");
	empty->meta = META_OBJECT;
	for (size_t i = 0; qmp_loose_types[i]; i++)
		(void)mention(w, qmp_loose_types[i]);
	for (size_t i = 0; i < w->n_types; i++)
		add_type(w, w->types[i]);
	add_builtins(w);
	*out = (struct qmp_array){w->infos, w->n_infos};
}
