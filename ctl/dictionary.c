/*
 * dictionary.c - entities by name, and walks through types
 *
 * The schema is an array of some thousand entities, each of which names others. They are sorted by
 * name once. It is foreign: each member is looked at for its kind, and a type that contains itself
 * ends a walk at DICTIONARY_DEPTH.
 */
#include "ctl/dictionary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/units.h"

#define PATH_BYTES   256
#define SHOWN_VALUES 12
#define TEXT_DEPTH   3

struct entry {
	const char *name; /* borrowed of the tree */
	const struct json_object *entity;
};

struct dictionary {
	struct json_object *tree; /* shared */
	struct entry *entries;    /* by name; owned */
	size_t n;
	struct entry *commands; /* the same, of commands only */
	size_t n_commands;
};

/* A member that is an array, or NULL. */
static const struct json_object *list_of(const struct json_object *o, const char *key)
{
	struct json_object *m;

	return json_kind(o) == JSON_OBJECT && json_get(o, key, &m) && json_kind(m) == JSON_ARRAY
		   ? m
		   : NULL;
}

static size_t list_len(const struct json_object *list)
{
	return list ? json_len(list) : 0;
}

static bool is(const char *text, const char *what)
{
	return text && strcmp(text, what) == 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

struct dictionary *dictionary_new(struct json_object *schema)
{
	struct dictionary *d = NEW(struct dictionary);
	size_t n = json_kind(schema) == JSON_ARRAY ? json_len(schema) : 0;

	d->tree = json_share(schema);
	d->entries = xcalloc(n + 1, sizeof(*d->entries));
	d->commands = xcalloc(n + 1, sizeof(*d->commands));
	for (size_t i = 0; i < n; i++) {
		struct entry e = {json_get_str(json_at(schema, i), "name"), json_at(schema, i)};

		if (!e.name)
			continue;
		d->entries[d->n++] = e;
		if (is(json_get_str(e.entity, "meta-type"), "command"))
			d->commands[d->n_commands++] = e;
	}
	qsort(d->entries, d->n, sizeof(*d->entries), by_name);
	qsort(d->commands, d->n_commands, sizeof(*d->commands), by_name);
	return d;
}

void dictionary_free(struct dictionary *d)
{
	if (!d)
		return;
	json_free(d->tree);
	free(d->entries);
	free(d->commands);
	free(d);
}

static const struct json_object *find_in(const struct entry *all, size_t n, const char *name)
{
	struct entry key = {.name = name};
	const struct entry *hit = name ? bsearch(&key, all, n, sizeof(*all), by_name) : NULL;

	return hit ? hit->entity : NULL;
}

const struct json_object *dictionary_find(const struct dictionary *d, const char *name)
{
	return find_in(d->entries, d->n, name);
}

const struct json_object *dictionary_command(const struct dictionary *d, const char *name)
{
	return find_in(d->commands, d->n_commands, name);
}

const char *dictionary_command_at(const struct dictionary *d, size_t i)
{
	return i < d->n_commands ? d->commands[i].name : NULL;
}

/* ---- types ---- */

enum type_kind type_kind(const struct json_object *type)
{
	static const struct {
		const char *key, *text;
		enum type_kind kind;
	} kinds[] = {
	    {"meta-type", "enum",      TYPE_ENUM     },
            {"meta-type", "array",     TYPE_ARRAY    },
	    {"meta-type", "object",    TYPE_OBJECT   },
            {"meta-type", "alternate", TYPE_ALTERNATE},
	    {"json-type", "string",    TYPE_STRING   },
            {"json-type", "int",       TYPE_INTEGER  },
	    {"json-type", "number",    TYPE_NUMBER   },
            {"json-type", "boolean",   TYPE_BOOL     },
	    {"json-type", "null",      TYPE_NULL     },
            {"json-type", "value",     TYPE_ANY      },
	};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (is(json_get_str(type, kinds[i].key), kinds[i].text))
			return kinds[i].kind;
	return TYPE_NONE;
}

const struct json_object *command_arguments(const struct dictionary *d, const char *command)
{
	return dictionary_find(d, json_get_str(dictionary_command(d, command), "arg-type"));
}

const char *enum_value(const struct json_object *type, size_t i)
{
	const struct json_object *values = list_of(type, "values"), *v;

	/* newer ones have members, with features, beside or instead of the values */
	if (!values) {
		const struct json_object *members = list_of(type, "members");

		return i < list_len(members) ? json_get_str(json_at(members, i), "name") : NULL;
	}
	if (i >= list_len(values))
		return NULL;
	v = json_at(values, i);
	return json_kind(v) == JSON_STRING ? json_str(v) : NULL;
}

const struct json_object *alternate_at(const struct dictionary *d, const struct json_object *type,
				       size_t i)
{
	const struct json_object *members = list_of(type, "members");

	return i < list_len(members) ? dictionary_find(d, json_get_str(json_at(members, i), "type"))
				     : NULL;
}

const struct json_object *array_of(const struct dictionary *d, const struct json_object *type)
{
	return type_kind(type) == TYPE_ARRAY
		   ? dictionary_find(d, json_get_str(type, "element-type"))
		   : NULL;
}

static bool has_feature(const struct json_object *o, const char *name)
{
	const struct json_object *list = list_of(o, "features");

	for (size_t i = 0; i < list_len(list); i++)
		if (json_kind(json_at(list, i)) == JSON_STRING &&
		    strcmp(json_str(json_at(list, i)), name) == 0)
			return true;
	return false;
}

/* One walk through members. */
struct walk {
	const struct dictionary *d;
	const char *prefix;
	const struct given *given;
	bool (*each)(const struct member *m, void *opaque);
	void *opaque;
};

static bool walk_type(const struct walk *w, const struct json_object *type, unsigned depth);

/* The branch that the value of the tag chooses. */
static bool walk_branches(const struct walk *w, const struct json_object *type, unsigned depth)
{
	const struct json_object *branches = list_of(type, "variants");
	const char *tag = json_get_str(type, "tag"), *value;
	char path[PATH_BYTES];

	if (!tag || !branches || !w->given)
		return true;
	(void)snprintf(path, sizeof(path), "%s%s", w->prefix, tag);
	value = w->given->value(w->given->opaque, path);
	for (size_t i = 0; value && i < json_len(branches); i++)
		if (is(json_get_str(json_at(branches, i), "case"), value))
			return walk_type(
			    w, dictionary_find(w->d, json_get_str(json_at(branches, i), "type")),
			    depth + 1);
	return true;
}

static bool walk_type(const struct walk *w, const struct json_object *type, unsigned depth)
{
	const struct json_object *members = list_of(type, "members"), *inner;

	if (depth > DICTIONARY_DEPTH)
		return true;
	if (type_kind(type) == TYPE_ALTERNATE) {
		for (size_t i = 0; (inner = alternate_at(w->d, type, i)) != NULL; i++)
			if (!walk_type(w, inner, depth + 1))
				return false;
		return true;
	}
	if (type_kind(type) != TYPE_OBJECT)
		return true;
	for (size_t i = 0; i < list_len(members); i++) {
		const struct json_object *m = json_at(members, i);
		struct json_object *unused;
		struct member found = {
		    .name = json_get_str(m, "name"),
		    .type = dictionary_find(w->d, json_get_str(m, "type")),
		    .optional = json_kind(m) == JSON_OBJECT && json_get(m, "default", &unused),
		    .deprecated = has_feature(m, "deprecated"),
		    .unstable = has_feature(m, "unstable"),
		};

		if (found.name && !w->each(&found, w->opaque))
			return false;
	}
	return walk_branches(w, type, depth);
}

void type_members(const struct dictionary *d, const struct json_object *type, const char *prefix,
		  const struct given *given, bool (*each)(const struct member *m, void *opaque),
		  void *opaque)
{
	struct walk w = {d, prefix, given, each, opaque};

	(void)walk_type(&w, type, 0);
}

struct wanted {
	const char *name;
	size_t n;
	const struct json_object *type;
};

static bool is_wanted(const struct member *m, void *opaque)
{
	struct wanted *w = opaque;

	if (strlen(m->name) != w->n || strncmp(m->name, w->name, w->n) != 0)
		return true;
	w->type = m->type;
	return false;
}

/* The array among the types of an alternate, or the type itself. */
static const struct json_object *listlike(const struct dictionary *d,
					  const struct json_object *type)
{
	const struct json_object *inner;

	if (type_kind(type) == TYPE_ALTERNATE)
		for (size_t i = 0; (inner = alternate_at(d, type, i)) != NULL; i++)
			if (type_kind(inner) == TYPE_ARRAY)
				return inner;
	return type;
}

const struct json_object *type_at(const struct dictionary *d, const struct json_object *type,
				  const char *path, const struct given *given)
{
	char prefix[PATH_BYTES] = "";
	const char *at = path;

	for (unsigned depth = 0; type && *at && depth < DICTIONARY_DEPTH; depth++) {
		struct wanted w = {at, strcspn(at, "."), NULL};
		size_t digits = strspn(at, "0123456789");

		if (w.n + (size_t)(at - path) + 2 > sizeof(prefix))
			return NULL;
		if (digits == w.n && digits && type_kind(listlike(d, type)) == TYPE_ARRAY)
			w.type = array_of(d, listlike(d, type));
		else
			type_members(d, type, prefix, given, is_wanted, &w);
		type = w.type;
		at += w.n;
		if (*at == '.')
			at++;
		(void)snprintf(prefix, sizeof(prefix), "%.*s", (int)(at - path), path);
	}
	return type;
}

static void put_text(struct buf *out, const char *text)
{
	buf_put(out, text, strlen(text));
}

static void enum_text(const struct json_object *type, struct buf *out)
{
	const char *v;

	for (size_t i = 0; (v = enum_value(type, i)) != NULL; i++) {
		if (i == SHOWN_VALUES) {
			put_text(out, " | ...");
			return;
		}
		buf_printf(out, "%s%s", i ? " | " : "", v);
	}
}

static void text_at(const struct dictionary *d, const struct json_object *type, struct buf *out,
		    unsigned depth);

static void alternate_text(const struct dictionary *d, const struct json_object *type,
			   struct buf *out, unsigned depth)
{
	const struct json_object *inner;

	for (size_t i = 0; (inner = alternate_at(d, type, i)) != NULL; i++) {
		if (i)
			put_text(out, ", or ");
		text_at(d, inner, out, depth + 1);
	}
}

static void text_at(const struct dictionary *d, const struct json_object *type, struct buf *out,
		    unsigned depth)
{
	static const char *const texts[] = {
	    [TYPE_NONE] = "a value",         [TYPE_STRING] = "text",       [TYPE_NUMBER] = "number",
	    [TYPE_INTEGER] = "whole number", [TYPE_BOOL] = "true | false", [TYPE_NULL] = "null",
	    [TYPE_ANY] = "a value",          [TYPE_OBJECT] = "object",
	};
	enum type_kind kind = type_kind(type);

	if (depth > TEXT_DEPTH) {
		put_text(out, "...");
	} else if (kind == TYPE_ENUM) {
		enum_text(type, out);
	} else if (kind == TYPE_ARRAY) {
		put_text(out, "list of: ");
		text_at(d, array_of(d, type), out, depth + 1);
	} else if (kind == TYPE_ALTERNATE) {
		alternate_text(d, type, out, depth);
	} else {
		put_text(out, texts[kind]);
	}
}

void type_text(const struct dictionary *d, const struct json_object *type, struct buf *out)
{
	text_at(d, type, out, 0);
}
