/*
 * json.c - the {...} form of an option's argument, flattened
 *
 * {"driver": "raw", "file": {"filename": "x"}} is driver=raw,file.filename=x.
 * true and false become on and off, null (of a backing file) an empty text, numbers keep their
 * spelling, members of arrays are numbered from 0.  Depth, pairs and the length of a flattened key
 * are bounded, and nothing recurses.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

struct level {
	bool array, more; /* more: something stands before the next member */
	unsigned index;   /* of the next array member */
	size_t path;      /* length of the path that leads here */
};

struct json {
	const char *at;
	struct keyvals *kv;
	struct level stack[OPT_JSON_DEPTH];
	size_t depth;
	char path[OPT_JSON_KEY_BYTES + 1];
	struct err *err;
};

static int bad(struct json *j, const char *what)
{
	return err_set(j->err, EINVAL, "JSON parse error, %s", *j->at ? what : "premature EOI");
}

static void skip_space(struct json *j)
{
	j->at += strspn(j->at, " \t\r\n");
}

static int json_push(struct json *j, bool array)
{
	if (j->depth == OPT_JSON_DEPTH)
		return err_set(j->err, E2BIG, "JSON nesting depth limit exceeded");
	j->stack[j->depth++] = (struct level){.array = array, .path = strlen(j->path)};
	j->at++;
	return 0;
}

static int hex4(const char *s, uint32_t *out)
{
	char text[5] = {0};

	if (strspn(s, "0123456789abcdefABCDEF") < 4)
		return -EINVAL;
	memcpy(text, s, 4);
	*out = (uint32_t)strtoul(text, NULL, 16);
	return 0;
}

static void put_utf8(struct buf *b, uint32_t c)
{
	if (c < 0x80) {
		buf_u8(b, (uint8_t)c);
		return;
	}
	if (c < 0x800) {
		buf_u8(b, (uint8_t)(0xc0 | c >> 6));
	} else {
		if (c < 0x10000) {
			buf_u8(b, (uint8_t)(0xe0 | c >> 12));
		} else {
			buf_u8(b, (uint8_t)(0xf0 | c >> 18));
			buf_u8(b, (uint8_t)(0x80 | (c >> 12 & 0x3f)));
		}
		buf_u8(b, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
	}
	buf_u8(b, (uint8_t)(0x80 | (c & 0x3f)));
}

/* At the four digits of a \u escape. */
static int take_unicode(struct json *j, struct buf *b)
{
	uint32_t c, low;

	if (hex4(j->at, &c) < 0)
		return bad(j, "invalid escape sequence in string");
	j->at += 4;
	if (c >= 0xd800 && c < 0xdc00 && j->at[0] == '\\' && j->at[1] == 'u' &&
	    hex4(j->at + 2, &low) == 0 && low >= 0xdc00 && low < 0xe000) {
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
		j->at += 6;
	}
	if (c == 0 || (c >= 0xd800 && c < 0xe000))
		return err_set(j->err, EINVAL,
			       "JSON parse error, \\u%04x is not a valid Unicode character", c);
	put_utf8(b, c);
	return 0;
}

/* Behind a backslash. */
static int take_escape(struct json *j, struct buf *b)
{
	static const char names[] = "\"'\\/bfnrt", values[] = "\"'\\/\b\f\n\r\t";
	char c = *j->at;
	const char *known = c ? strchr(names, c) : NULL;

	if (c == 'u') {
		j->at++;
		return take_unicode(j, b);
	}
	if (!known)
		return bad(j, "invalid escape sequence in string");
	buf_u8(b, (uint8_t)values[known - names]);
	j->at++;
	return 0;
}

/* A string in either quote; the bytes and a NUL are appended to b. */
static int take_string(struct json *j, struct buf *b)
{
	char quote = *j->at;

	if (quote != '"' && quote != '\'')
		return bad(j, "expecting value");
	j->at++;
	while (*j->at != quote) {
		int ret = 0;

		if ((uint8_t)*j->at < 0x20)
			return bad(j, "stray control character in string");
		if (*j->at == '\\') {
			j->at++;
			ret = take_escape(j, b);
		} else {
			buf_u8(b, (uint8_t)*j->at++);
		}
		if (ret < 0)
			return ret;
	}
	j->at++;
	buf_u8(b, 0);
	return 0;
}

static int json_add(struct json *j, const char *val)
{
	if (j->kv->n >= OPT_MAX_PAIRS)
		return err_set(j->err, E2BIG, "more than %u parameters", OPT_MAX_PAIRS);
	if (keyvals_get(j->kv, j->path))
		return err_set(j->err, EINVAL, "JSON parse error, duplicate key");
	keyvals_add(j->kv, j->path, val);
	return 0;
}

/* A node that is to have no backing file: an empty name says so. */
static bool takes_null(const char *path)
{
	const char *dot = strrchr(path, '.');

	return !strcmp(dot ? dot + 1 : path, "backing");
}

/* A number or a keyword. */
static int take_word(struct json *j)
{
	size_t n = strspn(j->at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				 "0123456789+-._");
	CLEANUP(cleanup_free) char *word = xstrndup(j->at, n);
	char *end;

	if (!n)
		return bad(j, "expecting value");
	j->at += n;
	if (!strcmp(word, "true"))
		return json_add(j, "on");
	if (!strcmp(word, "false"))
		return json_add(j, "off");
	if (!strcmp(word, "null") && takes_null(j->path))
		return json_add(j, "");
	if (!strcmp(word, "null"))
		return err_set(j->err, EINVAL, "Parameter '" OPT_QUOTE "' does not accept null",
			       j->path);
	if (*word == '-' || (*word >= '0' && *word <= '9')) {
		(void)strtod(word, &end);
		if (!*end && !strpbrk(word, "xXpP"))
			return json_add(j, word);
	}
	return err_set(j->err, EINVAL, "JSON parse error, invalid keyword '" OPT_QUOTE "'", word);
}

static int take_value(struct json *j)
{
	CLEANUP(buf_free) struct buf text = {0};
	int ret;

	skip_space(j);
	if (*j->at == '{' || *j->at == '[')
		return json_push(j, *j->at == '[');
	if (*j->at != '"' && *j->at != '\'')
		return take_word(j);
	ret = take_string(j, &text);
	return ret < 0 ? ret : json_add(j, (const char *)text.data);
}

/* Extend the path of the level by one name. */
static int set_path(struct json *j, const struct level *l, const char *name)
{
	size_t room = sizeof(j->path) - l->path;
	int n;

	n = snprintf(j->path + l->path, room, "%s%s", l->path ? "." : "", name);
	if (n < 0 || (size_t)n >= room)
		return err_set(j->err, E2BIG, "JSON member name is longer than %u bytes",
			       OPT_JSON_KEY_BYTES);
	return 0;
}

/* The "name": of an object's member. */
static int take_name(struct json *j, const struct level *l)
{
	CLEANUP(buf_free) struct buf name = {0};
	int ret = take_string(j, &name);

	if (ret == 0)
		ret = set_path(j, l, (const char *)name.data);
	if (ret < 0)
		return ret;
	skip_space(j);
	if (*j->at != ':')
		return bad(j, "missing : in object pair");
	j->at++;
	return 0;
}

/* One step within the innermost brackets: its end, or a member. */
static int take_member(struct json *j)
{
	struct level *l = &j->stack[j->depth - 1];
	char index[16];
	int ret;

	skip_space(j);
	if (*j->at == (l->array ? ']' : '}')) {
		j->at++;
		j->path[l->path] = 0;
		j->depth--;
		return 0;
	}
	if (l->more) {
		if (*j->at != ',')
			return bad(j, "expecting value");
		j->at++;
		skip_space(j);
	}
	l->more = true;
	if (l->array) {
		(void)snprintf(index, sizeof(index), "%u", l->index++);
		ret = set_path(j, l, index);
	} else {
		ret = take_name(j, l);
	}
	return ret < 0 ? ret : take_value(j);
}

int opt_split_json(struct keyvals *kv, const char *text, struct err *err)
{
	struct json j = {.at = text, .kv = kv, .err = err};
	int ret;

	skip_space(&j);
	if (*j.at != '{')
		return bad(&j, "expecting value");
	ret = json_push(&j, false);
	while (ret == 0 && j.depth > 0)
		ret = take_member(&j);
	if (ret < 0)
		return ret;
	skip_space(&j);
	if (*j.at)
		return err_set(err, EINVAL, "Expecting at most one JSON value");
	return 0;
}
