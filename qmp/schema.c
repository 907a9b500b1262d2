/*
 * schema.c - one table per type: parse arguments, write replies
 *
 * Both walks follow the table and a pointer to the C object side by side.
 * 'path' names the value at hand in messages, as in capabilities[0].state.
 * What is parsed lives in the caller's pool; strings are borrowed from the
 * request unless their type has a fixed size.
 */
#include "qmp/schema.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"

/* ---- memory ---- */

struct chunk {
	struct list link;
	_Alignas(max_align_t) uint8_t data[];
};

void qmp_pool_init(struct qmp_pool *p)
{
	list_init(&p->chunks);
}

void qmp_pool_fini(struct qmp_pool *p)
{
	list_for_each_safe (c, &p->chunks, struct chunk, link) {
		list_del(&c->link);
		free(c);
	}
}

void *qmp_alloc(struct qmp_pool *p, size_t n, size_t size)
{
	/* n counts what stands in a request of bounded size, or things of this machine */
	struct chunk *c = xcalloc(1, sizeof(*c) + n * size);

	list_add_tail(&p->chunks, &c->link);
	return c->data;
}

char *qmp_printf(struct qmp_pool *p, const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		n = 0;
	s = qmp_alloc(p, (size_t)n + 1, 1);
	va_start(ap, fmt);
	(void)vsnprintf(s, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return s;
}

/* ---- types ---- */

const struct qmp_type qmp_str = {.kind = QMP_KIND_STR, .name = "string", .size = sizeof(char *)};
const struct qmp_type qmp_chars = {.kind = QMP_KIND_CHARS, .name = "string", .size = 256};
const struct qmp_type qmp_bool = {.kind = QMP_KIND_BOOL, .name = "boolean", .size = sizeof(bool)};
const struct qmp_type qmp_i64 = {.kind = QMP_KIND_I64, .name = "integer", .size = 8};
const struct qmp_type qmp_u64 = {.kind = QMP_KIND_U64, .name = "uint64", .size = 8};
const struct qmp_type qmp_u32 = {.kind = QMP_KIND_U32, .name = "uint32_t", .size = 4};
const struct qmp_type qmp_u8 = {.kind = QMP_KIND_U8, .name = "uint8_t", .size = 1};
const struct qmp_type qmp_number = {.kind = QMP_KIND_NUMBER, .name = "number", .size = 8};
const struct qmp_type qmp_null = {.kind = QMP_KIND_NULL, .name = "null"};
const struct qmp_type qmp_str_or_null = {
    .kind = QMP_KIND_STR_OR_NULL,
    .name = "StrOrNull",
    .size = 256,
};
const struct qmp_type qmp_str_array = QMP_ARRAY_TYPE(&qmp_str);
const struct qmp_type qmp_any = {
    .kind = QMP_KIND_ANY,
    .name = "any",
    .size = sizeof(struct qmp_any),
};

bool qmp_member_at(const struct qmp_type *t, size_t i, struct qmp_member *out)
{
	if (t->member_at)
		return t->member_at(t, i, out);
	if (!t->members || !t->members[i].name)
		return false;
	*out = t->members[i];
	return true;
}

const char *qmp_value_at(const struct qmp_type *t, size_t i, unsigned *features)
{
	if (t->value_at)
		return t->value_at(t, i, features);
	*features = 0;
	return t->values[i];
}

int qmp_value_find(const struct qmp_type *t, const char *name)
{
	const char *v;
	unsigned features;

	for (int i = 0; (v = qmp_value_at(t, (size_t)i, &features)); i++)
		if (!strcmp(v, name))
			return i;
	return -1;
}

/* ---- parsing ---- */

struct parse {
	struct qmp_pool *pool;
	struct err *err;
	char path[256]; /* of the value at hand: "capabilities[0].state" */
};

static int wrong_type(struct parse *p, const char *expected)
{
	return err_set(p->err, EINVAL, "Invalid parameter type for '%s', expected: %s", p->path,
		       expected);
}

static int expects(struct parse *p, const char *what)
{
	return err_set(p->err, EINVAL, "Parameter '%s' expects %s", p->path, what);
}

/* Lengthen the path by a member or an index; returns where to cut it again. */
__attribute__((format(printf, 2, 3))) static size_t descend(struct parse *p, const char *fmt, ...)
{
	size_t at = strlen(p->path);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(p->path + at, sizeof(p->path) - at, fmt, ap);
	va_end(ap);
	return at;
}

static int parse_unsigned(struct parse *p, const struct qmp_type *t, const struct json_object *v,
			  uint64_t max, uint64_t *out)
{
	enum json_kind k = json_kind(v);

	if (k != JSON_INT && k != JSON_UINT)
		return expects(p, "uint64");
	*out = json_uint(v);
	return *out > max ? expects(p, t->name) : 0;
}

static int parse_integer(struct parse *p, const struct qmp_type *t, const struct json_object *v,
			 void *out)
{
	uint64_t u = 0;
	int ret;

	switch (t->kind) {
	case QMP_KIND_I64:
		if (json_kind(v) != JSON_INT)
			return wrong_type(p, t->name);
		*(int64_t *)out = json_int(v);
		return 0;
	case QMP_KIND_U8:
		ret = parse_unsigned(p, t, v, UINT8_MAX, &u);
		if (ret == 0)
			*(uint8_t *)out = (uint8_t)u;
		return ret;
	case QMP_KIND_U32:
		ret = parse_unsigned(p, t, v, UINT32_MAX, &u);
		if (ret == 0)
			*(uint32_t *)out = (uint32_t)u;
		return ret;
	default:
		return parse_unsigned(p, t, v, UINT64_MAX, out);
	}
}

static int parse_chars(struct parse *p, const struct qmp_type *t, const struct json_object *v,
		       char *out)
{
	size_t n;

	if (t->kind == QMP_KIND_STR_OR_NULL && json_kind(v) == JSON_NULL) {
		out[0] = '\0';
		return 0;
	}
	if (json_kind(v) != JSON_STRING)
		return wrong_type(p, t->name);
	n = strlen(json_str(v));
	if (n >= t->size)
		return err_set(p->err, EINVAL, "Parameter '%s' expects at most %zu bytes", p->path,
			       t->size - 1);
	memcpy(out, json_str(v), n + 1);
	return 0;
}

static int parse_enum(struct parse *p, const struct qmp_type *t, const struct json_object *v,
		      void *out)
{
	const char *last = strrchr(p->path, '.');
	int i;

	if (json_kind(v) != JSON_STRING)
		return wrong_type(p, "string");
	i = qmp_value_find(t, json_str(v));
	if (i < 0) {
		const char *why = t->refused ? t->refused(json_str(v)) : NULL;

		return err_set(p->err, EINVAL, "Parameter '%s' does not accept value '%.200s'%s%s",
			       last ? last + 1 : p->path, json_str(v), why ? ": " : "",
			       why ? why : "");
	}
	if (t->size == 1)
		*(uint8_t *)out = (uint8_t)i;
	else
		*(int *)out = i;
	return 0;
}

static int parse_value(struct parse *p, const struct qmp_type *t, const struct json_object *v,
		       void *out);

/* parse_value, parse_array, parse_object: recursion is as deep as the type, which is ours. */
static int parse_array(struct parse *p, const struct qmp_type *t, // NOLINT(misc-no-recursion)
		       const struct json_object *v, struct qmp_array *out)
{
	if (json_kind(v) != JSON_ARRAY)
		return wrong_type(p, "array");
	out->n = json_len(v);
	out->v = qmp_alloc(p->pool, out->n, t->element->size);
	for (size_t i = 0; i < out->n; i++) {
		size_t cut = descend(p, "[%zu]", i);
		int ret = parse_value(p, t->element, json_at(v, i),
				      (char *)out->v + i * t->element->size);

		if (ret < 0)
			return ret;
		p->path[cut] = '\0';
	}
	return 0;
}

static size_t enum_index(const struct qmp_type *t, const void *p)
{
	return t->size == 1 ? *(const uint8_t *)p : (size_t) * (const int *)p;
}

/* What the tag of a union at 'p' adds to its members; NULL: nothing, or it is no union. */
static const struct qmp_type *variant_of(const struct qmp_type *t, const void *p)
{
	struct qmp_member m;

	for (size_t i = 0; t->tag && qmp_member_at(t, i, &m); i++)
		if (!strcmp(t->tag, m.name))
			return t->variants[enum_index(m.type, (const char *)p + m.offset)];
	return NULL;
}

/* All of a union's variants are in one object: 'out' says which. */
static bool has_member(const struct qmp_type *t, const char *name, const void *out)
{
	struct qmp_member m;

	for (; t; t = variant_of(t, out))
		for (size_t i = 0; qmp_member_at(t, i, &m); i++)
			if (!strcmp(m.name, name))
				return true;
	return false;
}

static int refuse_unknown(struct parse *p, const struct qmp_type *t, const struct json_object *v,
			  const void *out)
{
	struct json_iter it = {0};

	while (json_next(v, &it)) {
		if (has_member(t, it.key, out))
			continue;
		(void)descend(p, "%s%.200s", *p->path ? "." : "", it.key);
		return err_set(p->err, EINVAL, "Parameter '%s' is unexpected", p->path);
	}
	return 0;
}

static int parse_members(struct parse *p, const struct qmp_type *t, // NOLINT(misc-no-recursion)
			 const struct json_object *v, void *out)
{
	struct qmp_member m;

	for (size_t i = 0; qmp_member_at(t, i, &m); i++) {
		size_t cut = descend(p, "%s%s", *p->path ? "." : "", m.name);
		struct json_object *val;
		int ret = 0;

		if (m.has == QMP_NEVER || m.has == QMP_SHAPE) {
			if (json_get(v, m.name, &val))
				ret =
				    err_set(p->err, ENOTSUP,
					    "Parameter '%s' is not supported by minivmm", p->path);
		} else if (json_get(v, m.name, &val)) {
			ret = parse_value(p, m.type, val, (char *)out + m.offset);
			if (m.has < QMP_SHAPE)
				*(bool *)((char *)out + m.has) = true;
		} else if (m.has == QMP_REQUIRED) {
			ret = err_set(p->err, EINVAL, "Parameter '%s' is missing", p->path);
		}
		if (ret < 0)
			return ret;
		p->path[cut] = '\0';
	}
	return 0;
}

static int parse_object(struct parse *p, const struct qmp_type *t, // NOLINT(misc-no-recursion)
			const struct json_object *v, void *out)
{
	if (json_kind(v) != JSON_OBJECT)
		return wrong_type(p, "object");
	for (const struct qmp_type *part = t; part; part = variant_of(part, out)) {
		int ret = parse_members(p, part, v, out);

		if (ret < 0)
			return ret;
	}
	return t->open ? 0 : refuse_unknown(p, t, v, out);
}

static int parse_value(struct parse *p, const struct qmp_type *t, // NOLINT(misc-no-recursion)
		       const struct json_object *v, void *out)
{
	switch (t->kind) {
	case QMP_KIND_STR:
		if (json_kind(v) != JSON_STRING)
			return wrong_type(p, t->name);
		*(const char **)out = json_str(v);
		return 0;
	case QMP_KIND_CHARS:
	case QMP_KIND_STR_OR_NULL:
		return parse_chars(p, t, v, out);
	case QMP_KIND_BOOL:
		if (json_kind(v) != JSON_BOOL)
			return wrong_type(p, t->name);
		*(bool *)out = json_is_true(v);
		return 0;
	case QMP_KIND_NUMBER:
		if (json_kind(v) < JSON_INT || json_kind(v) > JSON_DOUBLE)
			return wrong_type(p, t->name);
		*(double *)out = json_double(v);
		return 0;
	case QMP_KIND_ENUM:
		return parse_enum(p, t, v, out);
	case QMP_KIND_ARRAY:
		return parse_array(p, t, v, out);
	case QMP_KIND_OBJECT:
		return parse_object(p, t, v, out);
	case QMP_KIND_ANY:
		((struct qmp_any *)out)->v = v;
		return 0;
	case QMP_KIND_NULL:
	case QMP_KIND_ALTERNATE:
	case QMP_KIND_BELOW:
		return json_kind(v) == JSON_NULL ? 0 : wrong_type(p, t->name);
	default:
		return parse_integer(p, t, v, out);
	}
}

int qmp_parse_arguments(const struct qmp_type *t, const struct json_object *v, void *out,
			struct qmp_pool *pool, struct err *err)
{
	static const struct qmp_type none = {.kind = QMP_KIND_OBJECT, .name = "object"};
	struct parse p = {.pool = pool, .err = err};
	struct json_object *empty;
	int ret;

	if (v)
		return parse_object(&p, t ? t : &none, v, out);
	if (!t)
		return 0;
	empty = json_new_object();
	ret = parse_object(&p, t, empty, out);
	json_free(empty);
	return ret;
}

/* ---- writing ---- */

static bool is_present(const struct qmp_member *m, const void *object)
{
	const void *p = (const char *)object + m->offset;

	if (m->has == QMP_NEVER || m->has == QMP_SHAPE)
		return false;
	if (m->has == QMP_REQUIRED || m->has == QMP_ALWAYS)
		return true;
	if (m->has != QMP_IF_SET)
		return *(const bool *)((const char *)object + m->has);
	if (m->type->kind == QMP_KIND_ARRAY)
		return ((const struct qmp_array *)p)->n > 0;
	return *(const void *const *)p != NULL;
}

static void write_members(struct json_writer *w, // NOLINT(misc-no-recursion)
			  const struct qmp_type *t, const void *p)
{
	struct qmp_member m;

	for (; t; t = variant_of(t, p))
		for (size_t i = 0; qmp_member_at(t, i, &m); i++) {
			if (!is_present(&m, p))
				continue;
			jw_key(w, m.name);
			qmp_write(w, m.type, (const char *)p + m.offset);
		}
}

static void write_integer(struct json_writer *w, const struct qmp_type *t, const void *p)
{
	switch (t->kind) {
	case QMP_KIND_I64:
		jw_int(w, *(const int64_t *)p);
		break;
	case QMP_KIND_U8:
		jw_uint(w, *(const uint8_t *)p);
		break;
	case QMP_KIND_U32:
		jw_uint(w, *(const uint32_t *)p);
		break;
	default:
		jw_uint(w, *(const uint64_t *)p);
		break;
	}
}

/* Recursion is as deep as the type, or the chain of objects in it, which is ours. */
void qmp_write(struct json_writer *w, const struct qmp_type *t, // NOLINT(misc-no-recursion)
	       const void *p)
{
	const struct qmp_array *a = p;
	unsigned features;

	switch (t->kind) {
	case QMP_KIND_STR:
		jw_str(w, *(const char *const *)p);
		break;
	case QMP_KIND_CHARS:
	case QMP_KIND_STR_OR_NULL:
		jw_str(w, p);
		break;
	case QMP_KIND_BOOL:
		jw_bool(w, *(const bool *)p);
		break;
	case QMP_KIND_NUMBER:
		jw_double(w, *(const double *)p);
		break;
	case QMP_KIND_NULL:
		jw_null(w);
		break;
	case QMP_KIND_ENUM:
		jw_str(w, qmp_value_at(t, enum_index(t, p), &features));
		break;
	case QMP_KIND_ARRAY:
		jw_open(w, '[');
		for (size_t i = 0; i < a->n; i++)
			qmp_write(w, t->element, (const char *)a->v + i * t->element->size);
		jw_close(w, ']');
		break;
	case QMP_KIND_ANY:
	case QMP_KIND_ALTERNATE:
		qmp_write(w, ((const struct qmp_any *)p)->type, ((const struct qmp_any *)p)->p);
		break;
	case QMP_KIND_BELOW:
		qmp_write(w, t->element, *(const void *const *)p);
		break;
	case QMP_KIND_OBJECT:
		jw_open(w, '{');
		write_members(w, t, p);
		jw_close(w, '}');
		break;
	default:
		write_integer(w, t, p);
		break;
	}
}
