/* json.c - values; this is the only file that includes json-c */
#include "qmp/json.h"

#include <assert.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

enum json_kind json_kind(const struct json_object *v)
{
	switch (json_object_get_type(v)) {
	case json_type_boolean:
		return JSON_BOOL;
	case json_type_int:
		return json_object_get_uint64(v) > INT64_MAX ? JSON_UINT : JSON_INT;
	case json_type_double:
		return JSON_DOUBLE;
	case json_type_string:
		return JSON_STRING;
	case json_type_array:
		return JSON_ARRAY;
	case json_type_object:
		return JSON_OBJECT;
	case json_type_null:
	default:
		return JSON_NULL;
	}
}

bool json_is_true(const struct json_object *v)
{
	return json_object_get_boolean(v);
}

int64_t json_int(const struct json_object *v)
{
	return json_object_get_int64(v);
}

uint64_t json_uint(const struct json_object *v)
{
	if (json_kind(v) == JSON_INT)
		return (uint64_t)json_object_get_int64(v);
	return json_object_get_uint64(v);
}

double json_double(const struct json_object *v)
{
	return json_object_get_double(v);
}

/* json-c's getter wants a mutable object because it may print other types into it; a string it
 * leaves alone. */
const char *json_str(const struct json_object *v)
{
	assert(json_kind(v) == JSON_STRING);
	return json_object_get_string((struct json_object *)v);
}

size_t json_len(const struct json_object *array)
{
	return json_object_array_length(array);
}

struct json_object *json_at(const struct json_object *array, size_t i)
{
	return json_object_array_get_idx(array, i);
}

bool json_get(const struct json_object *object, const char *key, struct json_object **val)
{
	return json_object_object_get_ex(object, key, val);
}

const char *json_get_str(const struct json_object *o, const char *key)
{
	struct json_object *m;

	return json_kind(o) == JSON_OBJECT && json_get(o, key, &m) && json_kind(m) == JSON_STRING
		   ? json_str(m)
		   : NULL;
}

const char *json_get_text(const struct json_object *o, const char *key)
{
	const char *text = json_get_str(o, key);

	return text ? text : "";
}

int64_t json_get_int(const struct json_object *o, const char *key, int64_t otherwise)
{
	struct json_object *m;

	return json_kind(o) == JSON_OBJECT && json_get(o, key, &m) && json_kind(m) == JSON_INT
		   ? json_int(m)
		   : otherwise;
}

bool json_next(const struct json_object *object, struct json_iter *it)
{
	it->at = it->started ? it->at->next : json_object_get_object(object)->head;
	it->started = true;
	if (!it->at)
		return false;
	it->key = it->at->k;
	it->val = (struct json_object *)it->at->v;
	return true;
}

/* A host without memory for a small object cannot go on: as vmm/base/alloc.h. */
static struct json_object *made(struct json_object *v)
{
	if (!v)
		abort();
	return v;
}

struct json_object *json_new_object(void)
{
	return made(json_object_new_object());
}

struct json_object *json_new_array(void)
{
	return made(json_object_new_array());
}

struct json_object *json_new_str(const char *s, size_t n)
{
	assert(n <= JSON_MAX_BYTES);
	return made(json_object_new_string_len(s, (int)n));
}

struct json_object *json_new_bool(bool b)
{
	return made(json_object_new_boolean(b));
}

struct json_object *json_new_int(int64_t v)
{
	return made(json_object_new_int64(v));
}

struct json_object *json_new_number(const char *text, bool integer)
{
	if (integer) {
		char *end;

		errno = 0;
		if (*text == '-') {
			int64_t v = strtoll(text, &end, 10);

			if (!errno)
				return made(json_object_new_int64(v));
		} else {
			uint64_t v = strtoull(text, &end, 10);

			if (!errno)
				return made(v > INT64_MAX ? json_object_new_uint64(v)
							  : json_object_new_int64((int64_t)v));
		}
	}
	return made(json_object_new_double_s(strtod(text, NULL), text));
}

void json_set(struct json_object *object, const char *key, struct json_object *v)
{
	if (json_object_object_add(object, key, v) < 0)
		abort();
}

void json_append(struct json_object *array, struct json_object *v)
{
	if (json_object_array_add(array, v) < 0)
		abort();
}

void json_free(struct json_object *v)
{
	(void)json_object_put(v);
}

void cleanup_json(struct json_object *const *v)
{
	json_free(*v);
}

struct json_object *json_share(struct json_object *v)
{
	return json_object_get(v);
}

static void write_double(struct json_writer *w, const struct json_object *v)
{
	/* made by json_object_new_double_s: prints the text it came from, and changes nothing else
	 */
	jw_raw(w, json_object_to_json_string_ext((struct json_object *)v, JSON_C_TO_STRING_PLAIN));
}

/* Recursion is as deep as the value: the reader stops at JSON_MAX_DEPTH. */
void jw_value(struct json_writer *w, const struct json_object *v) // NOLINT(misc-no-recursion)
{
	struct json_iter it = {0};

	switch (json_kind(v)) {
	case JSON_NULL:
		jw_null(w);
		break;
	case JSON_BOOL:
		jw_bool(w, json_is_true(v));
		break;
	case JSON_INT:
		jw_int(w, json_int(v));
		break;
	case JSON_UINT:
		jw_uint(w, json_uint(v));
		break;
	case JSON_DOUBLE:
		write_double(w, v);
		break;
	case JSON_STRING:
		jw_str(w, json_str(v));
		break;
	case JSON_ARRAY:
		jw_open(w, '[');
		for (size_t i = 0; i < json_len(v); i++)
			jw_value(w, json_at(v, i));
		jw_close(w, ']');
		break;
	case JSON_OBJECT:
		jw_open(w, '{');
		while (json_next(v, &it)) {
			jw_key(w, it.key);
			jw_value(w, it.val);
		}
		jw_close(w, '}');
		break;
	}
}
