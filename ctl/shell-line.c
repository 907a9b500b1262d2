/*
 * shell-line.c - words, and the tree that they make
 *
 * Each NAME=VALUE walks from the arguments down the parts of NAME, makes the objects and lists that
 * are not there yet, and puts the value at the end. Whether a part is an element of a list or a
 * member is what the schema says, and where that knows nothing, whether it is a number.
 */
#include "ctl/shell-line.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define LIST_MAX 1024 /* elements of a list that is given one by one */

/* ---- words ---- */

/* A quoted text at p, up to the closing quote; returns how many bytes it took. */
static size_t take_quoted(const char *p, size_t n, struct buf *out, bool *open)
{
	size_t i = 1;

	for (; i < n && p[i] != *p; i++) {
		if (*p == '"' && p[i] == '\\' && i + 1 < n)
			i++;
		buf_u8(out, (uint8_t)p[i]);
	}
	*open = i >= n;
	return MIN(i + 1, n);
}

/* JSON at p, up to the bracket that closes it. */
static size_t take_brackets(const char *p, size_t n, struct buf *out, bool *open)
{
	size_t depth = 0, i = 0;
	char quote = 0;

	for (; i < n; i++) {
		buf_u8(out, (uint8_t)p[i]);
		if (quote && p[i] == '\\' && i + 1 < n) {
			buf_u8(out, (uint8_t)p[++i]);
		} else if (quote) {
			quote = p[i] == quote ? 0 : quote;
		} else if (p[i] == '"' || p[i] == '\'') {
			quote = p[i];
		} else if (p[i] == '{' || p[i] == '[') {
			depth++;
		} else if ((p[i] == '}' || p[i] == ']') && --depth == 0) {
			i++;
			break;
		}
	}
	*open = depth > 0;
	return i;
}

/* A value up to the next space; quotes may stand anywhere in it. */
static size_t take_value(const char *p, size_t n, struct shell_word *w, bool *open)
{
	struct buf text = {0};
	size_t i = 0;

	if (n && (*p == '{' || *p == '['))
		i = take_brackets(p, n, &text, open);
	while (i < n && !isspace((unsigned char)p[i])) {
		if (p[i] == '"' || p[i] == '\'') {
			w->quoted = true;
			i += take_quoted(p + i, n - i, &text, open);
		} else {
			buf_u8(&text, (uint8_t)p[i++]);
		}
	}
	buf_u8(&text, 0);
	w->value = (char *)text.data;
	return i;
}

static size_t take_word(const char *p, size_t n, struct shell_word *w, bool *open)
{
	size_t i = 0;

	while (i < n && p[i] != '=' && !isspace((unsigned char)p[i]))
		i++;
	w->name = xstrndup(p, i);
	if (i < n && p[i] == '=')
		i += 1 + take_value(p + i + 1, n - i - 1, w, open);
	return i;
}

struct shell_words shell_split(const char *line, size_t n)
{
	struct shell_words words = {0};

	for (size_t at = 0; at < n;) {
		if (isspace((unsigned char)line[at])) {
			at++;
			continue;
		}
		words.v = xrealloc(words.v, (words.n + 1) * sizeof(*words.v));
		words.v[words.n] = (struct shell_word){.at = at};
		at += take_word(line + at, n - at, &words.v[words.n++], &words.open);
	}
	return words;
}

void shell_words_free(struct shell_words *w)
{
	for (size_t i = 0; i < w->n; i++) {
		free(w->v[i].name);
		free(w->v[i].value);
	}
	free(w->v);
	*w = (struct shell_words){0};
}

static const char *given_value(const void *opaque, const char *path)
{
	const struct shell_words *w = opaque;

	for (size_t i = 1; i < w->n; i++)
		if (strcmp(w->v[i].name, path) == 0)
			return w->v[i].value;
	return NULL;
}

struct given shell_given(const struct shell_words *w)
{
	return (struct given){given_value, w};
}

/* ---- values ---- */

static struct json_object *text_value(const char *text)
{
	return json_new_str(text, strlen(text));
}

static int bool_value(const char *path, const char *text, struct json_object **v, struct err *err)
{
	bool on = strcmp(text, "true") == 0 || strcmp(text, "on") == 0 || strcmp(text, "yes") == 0;

	if (!on && strcmp(text, "false") != 0 && strcmp(text, "off") != 0 &&
	    strcmp(text, "no") != 0)
		return err_set(err, EINVAL, "%.100s: true or false, not '%.100s'", path, text);
	*v = json_new_bool(on);
	return 0;
}

static int parsed_value(const char *path, const char *text, const char *what,
			struct json_object **v, struct err *err)
{
	struct err inner = {0};

	if (json_parse(text, strlen(text), v, &inner) < 0)
		return err_set(err, EINVAL, "%.100s: %s, not '%.100s'", path, what, text);
	return 0;
}

static int number_value(const char *path, const char *text, enum type_kind kind,
			struct json_object **v, struct err *err)
{
	const char *what = kind == TYPE_INTEGER ? "a whole number" : "a number";
	struct json_object *parsed = NULL;
	enum json_kind is;
	int ret = parsed_value(path, text, what, &parsed, err);

	if (ret < 0)
		return ret;
	is = json_kind(parsed);
	if (is == JSON_INT || is == JSON_UINT || (is == JSON_DOUBLE && kind == TYPE_NUMBER)) {
		*v = parsed;
		return 0;
	}
	json_free(parsed);
	return err_set(err, EINVAL, "%.100s: %s, not '%.100s'", path, what, text);
}

/* JSON when it reads as JSON, text otherwise. */
static struct json_object *any_value(const char *text)
{
	struct json_object *v = NULL;
	struct err unused = {0};

	return json_parse(text, strlen(text), &v, &unused) == 0 ? v : text_value(text);
}

/* Does a text fit one of an alternate's types as they are, so that it is not to be a string? */
static bool fits_alternate(const struct dictionary *d, const struct json_object *type,
			   const struct json_object *v)
{
	const struct json_object *inner;

	for (size_t i = 0; (inner = alternate_at(d, type, i)) != NULL; i++) {
		enum type_kind kind = type_kind(inner);
		enum json_kind is = json_kind(v);

		if ((is == JSON_OBJECT && kind == TYPE_OBJECT) ||
		    (is == JSON_ARRAY && kind == TYPE_ARRAY) ||
		    (is == JSON_BOOL && kind == TYPE_BOOL) ||
		    (is == JSON_NULL && kind == TYPE_NULL) ||
		    ((is == JSON_INT || is == JSON_UINT) &&
		     (kind == TYPE_INTEGER || kind == TYPE_NUMBER)) ||
		    (is == JSON_DOUBLE && kind == TYPE_NUMBER) || kind == TYPE_ANY)
			return true;
	}
	return false;
}

static int value_of(const struct dictionary *d, const struct json_object *type,
		    const struct shell_word *w, struct json_object **v, struct err *err)
{
	const char *text = w->value;

	switch (type_kind(type)) {
	case TYPE_STRING:
	case TYPE_ENUM:
		*v = text_value(text);
		return 0;
	case TYPE_BOOL:
		return bool_value(w->name, text, v, err);
	case TYPE_INTEGER:
	case TYPE_NUMBER:
		return number_value(w->name, text, type_kind(type), v, err);
	case TYPE_OBJECT:
		return parsed_value(w->name, text,
				    "an object in JSON, or its members (NAME.MEMBER=)", v, err);
	case TYPE_ARRAY:
		return parsed_value(w->name, text, "a list in JSON, or its elements (NAME.0=)", v,
				    err);
	case TYPE_ALTERNATE:
		*v = w->quoted ? text_value(text) : any_value(text);
		if (!w->quoted && !fits_alternate(d, type, *v)) {
			json_free(*v);
			*v = text_value(text);
		}
		return 0;
	default:
		*v = w->quoted ? text_value(text) : any_value(text);
		return 0;
	}
}

/* ---- the tree ---- */

/* The place of one part of a name: a member of an object, or an element of a list. */
struct slot {
	struct json_object *in;
	char *part; /* owned */
	size_t index;
	bool element;
};

static void slot_fini(struct slot *s)
{
	free(s->part);
}

static int slot_find(struct slot *s, const char *name, struct json_object **there, bool *is_there,
		     struct err *err)
{
	*is_there = false;
	if (!s->element) {
		if (json_kind(s->in) != JSON_OBJECT)
			return err_set(err, EINVAL,
				       "%.100s: what '%.60s' is to be in has a value "
				       "already, which is no object",
				       name, s->part);
		*is_there = json_get(s->in, s->part, there);
		return 0;
	}
	if (json_kind(s->in) != JSON_ARRAY)
		return err_set(err, EINVAL,
			       "%.100s: what it is to be in has a value already, which is no list",
			       name);
	if (s->index > json_len(s->in) || s->index >= LIST_MAX)
		return err_set(err, EINVAL, "%.100s: the next element of that list is number %zu",
			       name, json_len(s->in));
	*is_there = s->index < json_len(s->in);
	if (*is_there)
		*there = json_at(s->in, s->index);
	return 0;
}

/* Takes v. */
static void slot_put(const struct slot *s, struct json_object *v)
{
	if (s->element)
		json_append(s->in, v);
	else
		json_set(s->in, s->part, v);
}

static bool is_number(const char *part)
{
	return *part && part[strspn(part, "0123456789")] == '\0' && strlen(part) < 7;
}

/* Put v (taken) where the name says. */
static int put_at(struct json_object *root, const char *name, struct json_object *v,
		  struct err *err)
{
	struct json_object *in = root;
	const char *at = name;

	for (;;) {
		size_t n = strcspn(at, ".");
		CLEANUP(slot_fini) struct slot s = {.in = in, .part = xstrndup(at, n)};
		struct json_object *there = NULL;
		bool is_there = false, last = !at[n];
		int ret;

		s.element = is_number(s.part) && in != root && json_kind(in) == JSON_ARRAY;
		s.index = s.element ? strtoul(s.part, NULL, 10) : 0;
		ret = n ? slot_find(&s, name, &there, &is_there, err)
			: err_set(err, EINVAL, "'%.100s' has an empty part", name);
		if (ret == 0 && last && is_there)
			ret = err_set(err, EINVAL, "'%.100s' is given twice", name);
		if (ret < 0) {
			json_free(v);
			return ret;
		}
		if (last) {
			slot_put(&s, v);
			return 0;
		}
		at += n + 1;
		if (!is_there) {
			char *next = xstrndup(at, strcspn(at, "."));

			there = is_number(next) ? json_new_array() : json_new_object();
			free(next);
			slot_put(&s, there);
		}
		in = there;
	}
}

static int add_word(const struct dictionary *d, const struct json_object *arguments,
		    const struct shell_words *words, const struct shell_word *w,
		    struct json_object *root, struct err *err)
{
	struct given given = shell_given(words);
	const struct json_object *type = arguments ? type_at(d, arguments, w->name, &given) : NULL;
	struct json_object *v = NULL;
	int ret;

	if (!w->value && type_kind(type) == TYPE_BOOL) {
		v = json_new_bool(true);
	} else if (!w->value) {
		return err_set(err, EINVAL, "'%.100s' is no argument: arguments are NAME=VALUE",
			       w->name);
	} else {
		ret = value_of(d, type, w, &v, err);
		if (ret < 0)
			return ret;
	}
	return put_at(root, w->name, v, err);
}

static int json_request(const char *line, struct json_object **request, struct err *err)
{
	struct err inner = {0};

	if (json_parse(line, strlen(line), request, &inner) < 0)
		return err_set(err, EINVAL, ERR_WITHIN, inner.msg);
	return 0;
}

int shell_request(const struct dictionary *d, const char *line, struct json_object **request,
		  struct err *err)
{
	CLEANUP(shell_words_free) struct shell_words words = {0};
	const struct json_object *arguments;
	struct json_object *root;
	int ret = 0;

	line += strspn(line, " \t");
	if (*line == '{')
		return json_request(line, request, err);
	words = shell_split(line, strlen(line));
	if (words.open)
		return err_set(err, EINVAL, "'%.100s': a quote or a bracket is not closed",
			       words.v[words.n - 1].name);
	if (!words.n || words.v[0].value)
		return err_set(err, EINVAL, "a line begins with a command ('help' lists them)");
	arguments = command_arguments(d, words.v[0].name);
	root = json_new_object();
	for (size_t i = 1; i < words.n && ret == 0; i++)
		ret = add_word(d, arguments, &words, &words.v[i], root, err);
	if (ret < 0) {
		json_free(root);
		return ret;
	}
	*request = json_new_object();
	json_set(*request, "execute", text_value(words.v[0].name));
	if (words.n > 1)
		json_set(*request, "arguments", root);
	else
		json_free(root);
	return 0;
}
