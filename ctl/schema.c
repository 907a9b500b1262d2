/* schema.c - walking the types of query-qmp-schema, which is foreign: every member is checked */
#include "ctl/schema.h"

#include <stdint.h>
#include <string.h>

#include "ctl/client.h"
#include "qmp/json.h"

#define MAX_DEPTH 16 /* of lists and alternates in each other */

static const char *text_of(const struct json_object *o, const char *key)
{
	struct json_object *m;

	return json_kind(o) == JSON_OBJECT && json_get(o, key, &m) && json_kind(m) == JSON_STRING
		   ? json_str(m)
		   : NULL;
}

static const struct json_object *list_of(const struct json_object *o, const char *key)
{
	struct json_object *m;

	return json_kind(o) == JSON_OBJECT && json_get(o, key, &m) && json_kind(m) == JSON_ARRAY
		   ? m
		   : NULL;
}

struct json_object *schema_find(struct client *c, const char *name)
{
	struct json_object *all = client_schema(c, NULL);

	for (size_t i = 0; all && json_kind(all) == JSON_ARRAY && i < json_len(all); i++) {
		const char *n = text_of(json_at(all, i), "name");

		if (n && !strcmp(n, name))
			return json_at(all, i);
	}
	return NULL;
}

static bool has_value(const struct json_object *type, const char *value)
{
	const struct json_object *values = list_of(type, "values");
	const struct json_object *members = list_of(type, "members");

	for (size_t i = 0; values && i < json_len(values); i++)
		if (json_kind(json_at(values, i)) == JSON_STRING &&
		    !strcmp(json_str(json_at(values, i)), value))
			return true;
	for (size_t i = 0; members && i < json_len(members); i++) {
		const char *n = text_of(json_at(members, i), "name");

		if (n && !strcmp(n, value))
			return true;
	}
	return false;
}

static bool type_has(struct client *c, const char *name, const char *path, const char *value,
		     unsigned depth);

/* In the members of an object, or the types of an alternate or of a union's branches. */
static bool any_has(struct client *c, const struct json_object *list, const char *path,
		    const char *value, unsigned depth)
{
	for (size_t i = 0; list && i < json_len(list); i++) {
		const char *type = text_of(json_at(list, i), "type");

		if (type && type_has(c, type, path, value, depth))
			return true;
	}
	return false;
}

static bool member_has(struct client *c, const struct json_object *members, const char *path,
		       const char *value, unsigned depth)
{
	size_t n = strcspn(path, ".");

	for (size_t i = 0; members && i < json_len(members); i++) {
		const char *name = text_of(json_at(members, i), "name");
		const char *type = text_of(json_at(members, i), "type");

		if (!name || !type || strlen(name) != n || strncmp(name, path, n) != 0)
			continue;
		if (!path[n] && !value)
			return true;
		return type_has(c, type, path[n] ? path + n + 1 : "", value, depth);
	}
	return false;
}

static bool type_has(struct client *c, const char *name, const char *path, const char *value,
		     unsigned depth)
{
	const struct json_object *e = schema_find(c, name);
	const char *meta = e ? text_of(e, "meta-type") : NULL, *element;

	if (!meta || depth > MAX_DEPTH)
		return false;
	if (!strcmp(meta, "array")) {
		element = text_of(e, "element-type");
		return element && type_has(c, element, path, value, depth + 1);
	}
	if (!strcmp(meta, "enum"))
		return !*path && (!value || has_value(e, value));
	if (!strcmp(meta, "alternate"))
		return any_has(c, list_of(e, "members"), path, value, depth + 1);
	if (!*path)
		return !value;
	return member_has(c, list_of(e, "members"), path, value, depth + 1) ||
	       any_has(c, list_of(e, "variants"), path, value, depth + 1);
}

bool client_has(struct client *c, const char *command, const char *path, const char *value)
{
	const struct json_object *e = schema_find(c, command);
	bool returns = path && !strncmp(path, "->", 2);
	const char *meta = e ? text_of(e, "meta-type") : NULL, *type;

	if (!meta || (strcmp(meta, "command") != 0 && strcmp(meta, "event") != 0))
		return false;
	if (!path)
		return true;
	type = text_of(e, returns ? "ret-type" : "arg-type");
	return type && type_has(c, type, returns ? path + 2 : path, value, 0);
}
