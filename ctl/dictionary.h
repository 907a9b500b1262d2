/*
 * dictionary.h - the commands and types of a peer, by its query-qmp-schema
 *
 * Serves the shell: completion, help, and values of the right kind. Every QEMU from 7.2 on, and
 * minivmm, send the same form; what is not understood is as if it were not there.
 * One thread. The entries are the tree's and live as long as it.
 */
#ifndef MINIVMM_CTL_DICTIONARY_H
#define MINIVMM_CTL_DICTIONARY_H

#include <stdbool.h>
#include <stddef.h>

struct buf;
struct json_object;
struct dictionary;

#define DICTIONARY_DEPTH 16 /* of types in each other; further in nothing is looked at */

/* Of the "return" of query-qmp-schema (shared with the caller); NULL or another value: empty. */
struct dictionary *dictionary_new(struct json_object *schema);
void dictionary_free(struct dictionary *d); /* NULL is fine */

/* The entity of a command or a type; NULL: there is none. */
const struct json_object *dictionary_find(const struct dictionary *d, const char *name);
/* The same for a command only. */
const struct json_object *dictionary_command(const struct dictionary *d, const char *name);
/* The commands in their order of names; NULL behind the last one. */
const char *dictionary_command_at(const struct dictionary *d, size_t i);

enum type_kind {
	TYPE_NONE, /* unknown */
	TYPE_STRING,
	TYPE_NUMBER, /* whole or not */
	TYPE_INTEGER,
	TYPE_BOOL,
	TYPE_NULL,
	TYPE_ANY,
	TYPE_ENUM,
	TYPE_ARRAY,
	TYPE_OBJECT,
	TYPE_ALTERNATE,
};

enum type_kind type_kind(const struct json_object *type);
/* The entity of a command's arguments; NULL: it takes none. */
const struct json_object *command_arguments(const struct dictionary *d, const char *command);

/*
 * The arguments that were given so far, as far as they choose a branch of a union: the text of the
 * value at 'path' ("driver", "file.driver"), or NULL.
 */
struct given {
	const char *(*value)(const void *opaque, const char *path);
	const void *opaque;
};

/* A member as the schema has it, with what it belongs to. */
struct member {
	const char *name;               /* borrowed */
	const struct json_object *type; /* entity */
	bool optional;
	bool deprecated, unstable;
};

/*
 * Walk the members of an object: its own, and those of the branches that 'given' chooses. 'prefix'
 * is the object's own path ("" or "file."). Of an alternate those of its objects.
 * 'each' returns false to stop.
 */
void type_members(const struct dictionary *d, const struct json_object *type, const char *prefix,
		  const struct given *given, bool (*each)(const struct member *m, void *opaque),
		  void *opaque);
/* The type at a path ("a.b", "a.0.b") from the type of arguments; NULL: there is no such member. */
const struct json_object *type_at(const struct dictionary *d, const struct json_object *type,
				  const char *path, const struct given *given);
/* The i-th value of an enumeration; NULL behind the last one. */
const char *enum_value(const struct json_object *type, size_t i);
/* The i-th type of an alternate; NULL behind the last one. */
const struct json_object *alternate_at(const struct dictionary *d, const struct json_object *type,
				       size_t i);
/* What an array is of; NULL for anything else. */
const struct json_object *array_of(const struct dictionary *d, const struct json_object *type);
/* A type in a word or two: "string", "a | b | c", "list of objects". */
void type_text(const struct dictionary *d, const struct json_object *type, struct buf *out);

#endif
