/*
 * schema.h - QMP's types as tables over C structs
 *
 * A type says how a C object looks on the wire.  The same table parses
 * arguments into a struct, writes a reply from one, and answers
 * query-qmp-schema, so the three cannot drift apart.
 *
 * C forms: strings are borrowed 'const char *', arrays 'struct qmp_array',
 * enums an integer that indexes the names (int, or uint8_t), objects a struct.
 */
#ifndef MINIVMM_QMP_SCHEMA_H
#define MINIVMM_QMP_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/list.h"

struct err;
struct json_object;
struct json_writer;

/* ---- memory of one command: all goes when the reply is written ---- */

struct qmp_pool {
	struct list chunks;
};
void qmp_pool_init(struct qmp_pool *p);
void qmp_pool_fini(struct qmp_pool *p);
void *qmp_alloc(struct qmp_pool *p, size_t n, size_t size); /* zeroed */
char *qmp_printf(struct qmp_pool *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- types ---- */

enum qmp_kind {
	QMP_KIND_STR,   /* const char * */
	QMP_KIND_CHARS, /* char[256]: "str" on the wire */
	QMP_KIND_BOOL,
	QMP_KIND_I64, /* all integers are "int" in the schema */
	QMP_KIND_U64, /* -1 is taken for 2^64-1, as clients send it */
	QMP_KIND_U32,
	QMP_KIND_U8,
	QMP_KIND_NUMBER,      /* double */
	QMP_KIND_NULL,        /* output only; no C form, always null */
	QMP_KIND_STR_OR_NULL, /* char[256], null is "" ; the alternate StrOrNull */
	QMP_KIND_ENUM,
	QMP_KIND_ARRAY,
	QMP_KIND_OBJECT,
	QMP_KIND_ANY,       /* struct qmp_any */
	QMP_KIND_ALTERNATE, /* struct qmp_any of one of the 'variants', a list that ends with NULL;
			       output only */
	QMP_KIND_BELOW, /* const void *: an 'element' elsewhere, so that a type may contain itself;
			   output only */
};

struct qmp_array {
	void *v; /* n elements of the element type's size */
	size_t n;
};

/*
 * A value of any type.  What a command returns has a type of the command's choice and a C
 * object of that; what it is given stays JSON.
 */
struct qmp_any {
	const struct qmp_type *type; /* output; NULL: there is none */
	const void *p;               /* output: a C object of that type */
	const struct json_object *v; /* input, borrowed; NULL: null */
};

/* What the schema says of a command, member or value. */
#define QMP_UNSTABLE   1u   /* it may change */
#define QMP_DEPRECATED 2u   /* a newer QEMU has dropped it, or is going to */
#define QMP_NODES      128u /* of human-monitor-command: savevm finds disks without a -drive */

/* How a member's presence shows in the struct: a bool's offset, or one of these. */
#define QMP_REQUIRED ((size_t)-1) /* must be given; is always written */
#define QMP_ALWAYS   ((size_t)-2) /* optional in the schema, always written; output only */
#define QMP_IF_SET   ((size_t)-3) /* a pointer that is not NULL, an array that is not empty */
#define QMP_NEVER    ((size_t)-4) /* optional, and minivmm has none: never there, no C form */
#define QMP_SHAPE    ((size_t)-5) /* of an object that is never there: must be given, no C form */

struct qmp_member {
	const char *name;
	const struct qmp_type *type;
	size_t offset;
	size_t has;
	size_t size;       /* of the C member, for the test that it is the type's */
	unsigned features; /* QMP_UNSTABLE, QMP_DEPRECATED */
};

struct qmp_type {
	enum qmp_kind kind;
	const char *name; /* what errors call it; the schema masks it */
	size_t size;      /* of the C form */
	/* objects and enums: a list, or a function that gives the i-th (false: no more) */
	const struct qmp_member *members; /* ends with a NULL name */
	const char *const *values;        /* ends with NULL */
	bool (*member_at)(const struct qmp_type *t, size_t i, struct qmp_member *out);
	const char *(*value_at)(const struct qmp_type *t, size_t i,
				unsigned *features); /* NULL: no more */
	const char *(*refused)(const char *value);   /* why it is none, what to use; or NULL */
	const struct qmp_type *element;              /* arrays, what is below */
	bool open; /* objects: members that are not in the table are the command's to judge */
	/*
	 * Unions: the required enum member that decides, and the object type of each of its
	 * values, offsets from the same struct (NULL: no further members).
	 */
	const char *tag;
	const struct qmp_type *const *variants;
};

extern const struct qmp_type qmp_str, qmp_chars, qmp_bool, qmp_i64, qmp_u64, qmp_u32, qmp_u8,
    qmp_number, qmp_null, qmp_str_or_null, qmp_str_array, qmp_any;

/* The table type of a C member; a member that has none does not compile. */
#define QMP_TYPE_OF(s, m)                                                                          \
	_Generic(((s *)0)->m, const char *: &qmp_str, bool: &qmp_bool, int64_t: &qmp_i64,          \
		 uint64_t: &qmp_u64, uint32_t: &qmp_u32, uint8_t: &qmp_u8, double: &qmp_number,       \
		 struct qmp_any: &qmp_any)
#define QMP_MEMBER_(s, m, wire, t, h)                                                              \
	{                                                                                          \
		.name = (wire), .type = (t), .offset = offsetof(s, m), .has = (h),                 \
		.size = sizeof(((s *)0)->m)                                                        \
	}
/* A member that must be there; one with a has_ beside it; a string that may be NULL. */
#define QMP_REQ(s, m, wire) QMP_MEMBER_(s, m, wire, QMP_TYPE_OF(s, m), QMP_REQUIRED)
#define QMP_OPT(s, m, wire) QMP_MEMBER_(s, m, wire, QMP_TYPE_OF(s, m), offsetof(s, has_##m))
#define QMP_SET(s, m, wire) QMP_MEMBER_(s, m, wire, QMP_TYPE_OF(s, m), QMP_IF_SET)
/* One that is in the interface and never comes up here; it has no C form. */
#define QMP_NONE(wire, t)                                                                          \
	{                                                                                          \
		.name = (wire), .type = (t), .has = QMP_NEVER                                      \
	}
/* A member of an object that never comes up, and such an object. */
#define QMP_ONLY(wire, t)                                                                          \
	{                                                                                          \
		.name = (wire), .type = (t), .has = QMP_SHAPE                                      \
	}
#define QMP_SHAPE_TYPE(wire, list)                                                                 \
	{                                                                                          \
		.kind = QMP_KIND_OBJECT, .name = (wire), .size = 1, .members = (list)              \
	}
/* The same with a named type. */
#define QMP_REQ_T(s, m, wire, t) QMP_MEMBER_(s, m, wire, t, QMP_REQUIRED)
#define QMP_OPT_T(s, m, wire, t) QMP_MEMBER_(s, m, wire, t, offsetof(s, has_##m))
#define QMP_SET_T(s, m, wire, t) QMP_MEMBER_(s, m, wire, t, QMP_IF_SET)

/* One that the schema calls deprecated; 'h' is QMP_REQUIRED or the like. */
#define QMP_OLD_T(s, m, wire, t, h)                                                                \
	{                                                                                          \
		.name = (wire), .type = (t), .offset = offsetof(s, m), .has = (h),                 \
		.size = sizeof(((s *)0)->m), .features = QMP_DEPRECATED                            \
	}
#define QMP_OLD(s, m, wire, h) QMP_OLD_T(s, m, wire, QMP_TYPE_OF(s, m), h)

#define QMP_OBJECT_TYPE(s, wire, list)                                                             \
	{                                                                                          \
		.kind = QMP_KIND_OBJECT, .name = (wire), .size = sizeof(s), .members = (list)      \
	}
#define QMP_ARRAY_TYPE(t)                                                                          \
	{                                                                                          \
		.kind = QMP_KIND_ARRAY, .name = "array", .size = sizeof(struct qmp_array),         \
		.element = (t)                                                                     \
	}
#define QMP_ALTERNATE_TYPE(wire, list)                                                             \
	{                                                                                          \
		.kind = QMP_KIND_ALTERNATE, .name = (wire), .size = sizeof(struct qmp_any),        \
		.variants = (list)                                                                 \
	}
#define QMP_BELOW_TYPE(t)                                                                          \
	{                                                                                          \
		.kind = QMP_KIND_BELOW, .name = "object", .size = sizeof(void *), .element = (t)   \
	}
#define QMP_ENUM_TYPE(wire, list)                                                                  \
	{                                                                                          \
		.kind = QMP_KIND_ENUM, .name = (wire), .size = sizeof(int), .values = (list)       \
	}

/* The i-th member or value; false, NULL behind the last. */
bool qmp_member_at(const struct qmp_type *t, size_t i, struct qmp_member *out);
const char *qmp_value_at(const struct qmp_type *t, size_t i, unsigned *features);
/* The index of an enum's value, or -1. */
int qmp_value_find(const struct qmp_type *t, const char *name);

/*
 * Fill the struct at 'out' (zeroed by the caller, of t's size) from an
 * argument object; v may be NULL when there was none.  Strings point into v,
 * arrays into the pool.  Errors in the words of qmp-surface 1.3.
 */
int qmp_parse_arguments(const struct qmp_type *t, const struct json_object *v, void *out,
			struct qmp_pool *pool, struct err *err);
void qmp_write(struct json_writer *w, const struct qmp_type *t, const void *p);

#endif
