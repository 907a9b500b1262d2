/*
 * json-write.c - JSON text appended to a buffer, value by value, as pure ASCII
 *
 * The writer keeps no tree: separators follow from whether a value is the first
 * in its container and whether it stands behind a key.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qmp/json-text.h"
#include "qmp/json.h"
#include "vmm/base/buf.h"

struct json_writer json_writer(struct buf *out, bool pretty)
{
	return (struct json_writer){.out = out, .pretty = pretty, .first = true};
}

static void writer_put(struct json_writer *w, const char *s)
{
	buf_put(w->out, s, strlen(s));
}

static void new_line(struct json_writer *w)
{
	writer_put(w, "\n");
	for (unsigned i = 0; i < w->depth; i++)
		writer_put(w, "    ");
}

/* What stands between the value before and this one. */
static void separate(struct json_writer *w)
{
	if (w->after_key) {
		w->after_key = false;
		return;
	}
	if (!w->first)
		writer_put(w, w->pretty ? "," : ", ");
	if (w->pretty && w->depth)
		new_line(w);
	w->first = false;
}

void jw_open(struct json_writer *w, char bracket)
{
	separate(w);
	buf_u8(w->out, (uint8_t)bracket);
	w->depth++;
	w->first = true;
}

void jw_close(struct json_writer *w, char bracket)
{
	w->depth--;
	if (w->pretty && !w->first)
		new_line(w);
	buf_u8(w->out, (uint8_t)bracket);
	w->first = false;
}

static void put_escaped(struct json_writer *w, uint32_t cp)
{
	static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
	const char *hit = cp && cp < 0x80 ? strchr(from, (int)cp) : NULL;

	if (hit)
		buf_printf(w->out, "\\%c", to[hit - from]);
	else if (cp >= 0x20 && cp <= 0x7e)
		buf_u8(w->out, (uint8_t)cp);
	else if (cp < 0x10000)
		buf_printf(w->out, "\\u%04X", cp);
	else
		buf_printf(w->out, "\\u%04X\\u%04X", 0xd800 + ((cp - 0x10000) >> 10),
			   0xdc00 + ((cp - 0x10000) & 0x3ff));
}

static void put_string(struct json_writer *w, const char *s)
{
	const uint8_t *p = (const uint8_t *)s;
	size_t n = strlen(s);

	buf_u8(w->out, '"');
	while (n) {
		uint32_t cp = 0;
		size_t used = utf8_get(p, n, &cp);

		if (!used && n >= 2 && p[0] == 0xc0 && p[1] == 0x80) {
			used = 2; /* U+0000 as the reader keeps it */
		} else if (!used) {
			used = 1;
			cp = 0xfffd;
		}
		put_escaped(w, cp);
		p += used;
		n -= used;
	}
	buf_u8(w->out, '"');
}

void jw_key(struct json_writer *w, const char *key)
{
	separate(w);
	put_string(w, key);
	writer_put(w, ": ");
	w->after_key = true;
}

void jw_str(struct json_writer *w, const char *s)
{
	separate(w);
	put_string(w, s);
}

void jw_int(struct json_writer *w, int64_t v)
{
	separate(w);
	buf_printf(w->out, "%lld", (long long)v);
}

void jw_uint(struct json_writer *w, uint64_t v)
{
	separate(w);
	buf_printf(w->out, "%llu", (unsigned long long)v);
}

void jw_double(struct json_writer *w, double v)
{
	char text[40];

	if (!isfinite(v))
		v = 0;
	/* the shorter of the two that reads back as the same number */
	(void)snprintf(text, sizeof(text), "%.15g", v);
	if (strtod(text, NULL) != v)
		(void)snprintf(text, sizeof(text), "%.17g", v);
	separate(w);
	writer_put(w, text);
}

void jw_bool(struct json_writer *w, bool v)
{
	separate(w);
	writer_put(w, v ? "true" : "false");
}

void jw_null(struct json_writer *w)
{
	separate(w);
	writer_put(w, "null");
}

void jw_raw(struct json_writer *w, const char *text)
{
	separate(w);
	writer_put(w, text);
}
