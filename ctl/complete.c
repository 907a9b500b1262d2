/*
 * complete.c - the words before the cursor choose a list, the word at it filters the list
 *
 * Which members a union has depends on the branch that its tag chooses, and the tag may stand
 * anywhere in the line: all words are looked at, not only those before the cursor.
 */
#include "ctl/complete.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/dictionary.h"
#include "ctl/shell-line.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

/* The shell's own words. */
static const char *const own_commands[] = {"exit", "help"};

struct collector {
	struct completion *out;
	const char *part; /* what stands there, of n bytes */
	size_t n;
	const char *prefix;       /* of a nested name: "a.b." */
	struct shell_words words; /* of the whole line: their names are left out; owned */
	const struct dictionary *d;
};

static void add(struct collector *c, const char *text, const char *after)
{
	if (strncmp(text, c->part, c->n) != 0)
		return;
	c->out->text = xrealloc(c->out->text, (c->out->n + 1) * sizeof(*c->out->text));
	c->out->text[c->out->n++] = xasprintf("%s%s", text, after);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_unique(struct completion *c)
{
	size_t kept = 0;

	if (c->n)
		qsort(c->text, c->n, sizeof(*c->text), by_text);
	for (size_t i = 0; i < c->n; i++) {
		if (kept && strcmp(c->text[kept - 1], c->text[i]) == 0)
			free(c->text[i]);
		else
			c->text[kept++] = c->text[i];
	}
	c->n = kept;
}

void completion_free(struct completion *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->text[i]);
	free(c->text);
	*c = (struct completion){0};
}

static void add_commands(struct collector *c, const char *after, bool own)
{
	const char *name;

	for (size_t i = 0; (name = dictionary_command_at(c->d, i)) != NULL; i++)
		add(c, name, after);
	for (size_t i = 0; own && i < ARRAY_LEN(own_commands); i++)
		add(c, own_commands[i], after);
}

/* Is the name itself given, or one inside it? */
static bool is_given(const struct shell_words *words, const char *name, bool *inside)
{
	size_t n = strlen(name);

	*inside = false;
	for (size_t i = 1; i < words->n; i++) {
		const char *other = words->v[i].name;

		if (strncmp(other, name, n) != 0)
			continue;
		if (other[n] == '.')
			*inside = true;
		else if (!other[n] && words->v[i].value)
			return true;
	}
	return false;
}

static bool is_nested(const struct collector *c, const struct json_object *type)
{
	const struct json_object *inner;

	if (type_kind(type) == TYPE_OBJECT)
		return true;
	for (size_t i = 0;
	     type_kind(type) == TYPE_ALTERNATE && (inner = alternate_at(c->d, type, i)) != NULL;
	     i++)
		if (type_kind(inner) == TYPE_OBJECT)
			return true;
	return false;
}

static bool add_member(const struct member *m, void *opaque)
{
	struct collector *c = opaque;
	CLEANUP(cleanup_free) char *name = xasprintf("%s%s", c->prefix, m->name);
	bool inside, nested = is_nested(c, m->type) || is_nested(c, array_of(c->d, m->type));

	if (is_given(&c->words, name, &inside))
		return true;
	if (nested)
		add(c, name, ".");
	if (!inside && type_kind(m->type) != TYPE_OBJECT)
		add(c, name, "=");
	return true;
}

/* The elements of a list that are given one by one, and the next one. */
static void add_elements(struct collector *c, const struct json_object *of)
{
	for (size_t i = 0; i <= c->words.n; i++) {
		CLEANUP(cleanup_free) char *name = xasprintf("%s%zu", c->prefix, i);
		bool inside, whole = is_given(&c->words, name, &inside);

		if (!whole)
			add(c, name, is_nested(c, of) ? "." : "=");
		if (!whole && !inside)
			return;
	}
}

/* Names in the object that the part's last '.' leads to. */
static void add_names(struct collector *c, const struct json_object *arguments)
{
	struct given given = shell_given(&c->words);
	CLEANUP(cleanup_free) char *part = xstrndup(c->part, c->n);
	char *dot = strrchr(part, '.');
	CLEANUP(cleanup_free) char *prefix = xstrndup(part, dot ? (size_t)(dot + 1 - part) : 0);
	const struct json_object *type = arguments;

	if (dot) {
		*dot = '\0';
		type = type_at(c->d, arguments, part, &given);
	}
	c->prefix = prefix;
	if (type_kind(type) == TYPE_ARRAY)
		add_elements(c, array_of(c->d, type));
	else if (type)
		type_members(c->d, type, prefix, &given, add_member, c);
}

static void add_values(struct collector *c, const struct json_object *type, unsigned depth)
{
	const struct json_object *inner;
	const char *v;

	switch (type_kind(type)) {
	case TYPE_ENUM:
		for (size_t i = 0; (v = enum_value(type, i)) != NULL; i++)
			add(c, v, " ");
		break;
	case TYPE_BOOL:
		add(c, "false", " ");
		add(c, "true", " ");
		break;
	case TYPE_NULL:
		add(c, "null", " ");
		break;
	case TYPE_ALTERNATE:
		for (size_t i = 0;
		     depth < DICTIONARY_DEPTH && (inner = alternate_at(c->d, type, i)) != NULL; i++)
			add_values(c, inner, depth + 1);
		break;
	default:
		break;
	}
}

/* JSON: a name behind "execute": */
static void complete_json(struct collector *c, const char *line, size_t cursor)
{
	CLEANUP(cleanup_free) char *before = xstrndup(line, cursor);
	char *quote = strrchr(before, '"'), *at = quote;

	if (!quote)
		return;
	while (at > before && (isspace((unsigned char)at[-1]) || at[-1] == ':'))
		at--;
	if (at - before < 9 || strncmp(at - 9, "\"execute\"", 9) != 0)
		return;
	c->out->start = (size_t)(quote + 1 - before);
	c->part = line + c->out->start;
	c->n = cursor - c->out->start;
	add_commands(c, "\"", false);
}

static void complete_words(struct collector *c, const char *line, size_t cursor)
{
	CLEANUP(shell_words_free) struct shell_words before = shell_split(line, cursor);
	bool fresh = !cursor || isspace((unsigned char)line[cursor - 1]);
	const struct shell_word *last = before.n && !fresh ? &before.v[before.n - 1] : NULL;
	const struct json_object *arguments;
	struct given given = shell_given(&c->words);

	if (before.open)
		return;
	if (!before.n || (before.n == 1 && last) ||
	    (strcmp(before.v[0].name, "help") == 0 && before.n == 1 + (size_t)(last != NULL))) {
		c->out->start = last ? last->at : cursor;
		c->part = line + c->out->start;
		c->n = cursor - c->out->start;
		add_commands(c, " ", true);
		return;
	}
	arguments = command_arguments(c->d, before.v[0].name);
	if (!arguments)
		return;
	c->out->start = !last ? cursor : last->value ? last->at + strlen(last->name) + 1 : last->at;
	c->part = line + c->out->start;
	c->n = cursor - c->out->start;
	if (last && last->value)
		add_values(c, type_at(c->d, arguments, last->name, &given), 0);
	else
		add_names(c, arguments);
}

struct completion complete_line(const struct dictionary *d, const char *line, size_t cursor)
{
	struct completion out = {.start = cursor};
	struct collector c = {.out = &out, .d = d, .part = "", .prefix = ""};

	c.words = shell_split(line, strlen(line));
	if (line[strspn(line, " \t")] == '{')
		complete_json(&c, line, cursor);
	else
		complete_words(&c, line, cursor);
	shell_words_free(&c.words);
	sort_unique(&out);
	return out;
}
