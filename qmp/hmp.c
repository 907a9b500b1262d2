/*
 * hmp.c - from a line of the human monitor to its row, and the words for what does not fit
 *
 *     line --split--> words --find--> row --bind--> one word a parameter --run--> text
 *
 * A word ends at a blank; one in double quotes may hold blanks, and \" \\ \n
 * stand for what they do in C.  "info" and a second word are one name.
 */
#include "qmp/hmp.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "qmp/command.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define MAX_WORDS (HMP_MAX_ARGS + 3) /* info, its topic, and one too many */

static const struct hmp_command *command_at(const struct hmp_command *const *tables, size_t i)
{
	for (size_t t = 0; tables[t]; t++)
		for (const struct hmp_command *c = tables[t]; c->name; c++)
			if (i-- == 0)
				return c;
	return NULL;
}

/* ---- words ---- */

struct words {
	char *store; /* owned; what v points into */
	const char *v[MAX_WORDS];
	size_t n; /* more than MAX_WORDS: that many and no more are there */
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static char unescaped(char c)
{
	if (c == 'n')
		return '\n';
	if (c == 'r')
		return '\r';
	return c;
}

/* Copy a word from *from to 'to', with a NUL; false: a quote is not closed. */
static bool take_word(const char **from, char **to)
{
	const char *s = *from;
	bool quoted = *s == '"';

	for (s += quoted; *s && (quoted ? *s != '"' : !is_blank(*s)); s++) {
		char c = *s;

		if (quoted && c == '\\' && s[1])
			c = unescaped(*++s);
		*(*to)++ = c;
	}
	*(*to)++ = '\0';
	*from = s + (quoted && *s == '"');
	return !quoted || *s == '"';
}

static bool split(const char *line, struct words *w)
{
	char *to;

	*w = (struct words){.store = xcalloc(1, 2 * strlen(line) + 2)};
	to = w->store;
	for (;;) {
		const char *word = to;

		while (is_blank(*line))
			line++;
		if (!*line)
			return true;
		if (!take_word(&line, &to))
			return false;
		if (w->n < MAX_WORDS)
			w->v[w->n] = word;
		w->n++;
	}
}

/* ---- names ---- */

/* Is 'word' one of the names "stop|s"? */
static bool is_named(const char *names, const char *word)
{
	size_t n = strlen(word);

	for (const char *at = names;; at++) {
		size_t len = strcspn(at, "|");

		if (len == n && !memcmp(at, word, n))
			return n > 0;
		at += len;
		if (!*at)
			return false;
	}
}

static const struct hmp_command *find(const struct hmp_command *const *tables, const char *name)
{
	const struct hmp_command *c;

	for (size_t i = 0; (c = command_at(tables, i)); i++)
		if (is_named(c->name, name))
			return c;
	return NULL;
}

static bool is_topic(const struct hmp_command *c)
{
	return !strncmp(c->name, "info ", 5);
}

static void show_row(const struct hmp_command *c, struct buf *out)
{
	buf_printf(out, "%s %s -- %s\n", c->name, c->params ? c->params : "", c->help);
}

static void show_rows(const struct hmp_command *const *tables, bool topics, struct buf *out)
{
	const struct hmp_command *c;

	for (size_t i = 0; (c = command_at(tables, i)); i++)
		if (is_topic(c) == topics)
			show_row(c, out);
}

/* The names alone, in one line. */
static void show_names(const struct hmp_command *const *tables, bool topics, struct buf *out)
{
	const struct hmp_command *c;
	const char *comma = "";

	buf_printf(out, "%s", topics ? "info knows: " : "there are: help, info, ");
	for (size_t i = 0; (c = command_at(tables, i)); i++) {
		if (is_topic(c) != topics)
			continue;
		buf_printf(out, "%s%s", comma, topics ? c->name + 5 : c->name);
		comma = ", ";
	}
	buf_printf(out, "\n");
}

static void show_unknown(const struct hmp_command *const *tables, const char *info,
			 const char *name, struct buf *out)
{
	buf_printf(out, "unknown command: '%s%.200s'\n", info, name);
	show_names(tables, *info != '\0', out);
}

/* ---- parameters ---- */

static void show_misuse(const struct hmp_command *c, const char *what, struct buf *out)
{
	size_t n = strcspn(c->name, "|");

	buf_printf(out, "%s: %s\nTry \"help %.*s\" for more information\n", c->name, what, (int)n,
		   c->name);
}

struct param {
	const char *at; /* within the brackets */
	size_t len;
	bool optional, flag;
};

/* The next one of a row's parameters; false: no more. */
static bool next_param(const char **at, struct param *p)
{
	const char *s = *at;
	size_t n;

	while (s && *s == ' ')
		s++;
	if (!s || !*s)
		return false;
	n = strcspn(s, " ");
	*at = s + n;
	p->optional = *s == '[';
	p->at = s + p->optional;
	p->len = n - 2 * (size_t)p->optional;
	p->flag = *p->at == '-';
	return true;
}

/* Which of the row's flags is this word?  -1: none. */
static int find_flag(const struct hmp_command *c, const char *word)
{
	const char *at = c->params;
	struct param p;

	for (int i = 0; next_param(&at, &p) && i < HMP_MAX_ARGS; i++)
		if (p.flag && strlen(word) == p.len && !memcmp(word, p.at, p.len))
			return i;
	return -1;
}

/* Give each parameter its word; false: they do not fit, which has been told. */
static bool bind(const struct hmp_command *c, const char *const *words, size_t n,
		 struct hmp_args *args, struct buf *out)
{
	const char *at = c->params;
	struct param p;
	size_t used = 0;
	int flag;

	for (; used < n && (flag = find_flag(c, words[used])) >= 0; used++)
		args->v[flag] = "";
	for (size_t i = 0; next_param(&at, &p) && i < HMP_MAX_ARGS; i++) {
		if (p.flag)
			continue;
		if (used < n)
			args->v[i] = words[used++];
		else if (!p.optional) {
			show_misuse(c, "string expected", out);
			return false;
		}
	}
	if (used < n)
		show_misuse(c, "extraneous characters at the end of line", out);
	return used == n;
}

/* ---- running ---- */

static void run_row(struct qmp_call *call, const struct hmp_command *c, const char *const *words,
		    size_t n, struct buf *out)
{
	struct hmp_args args = {0};
	struct err err = {0};

	if (bind(c, words, n, &args, out) && c->run(call, &args, out, &err) < 0)
		buf_printf(out, "Error: %s\n", err.msg);
}

static void run_help(const struct hmp_command *const *tables, const struct words *w,
		     struct buf *out)
{
	const char *name = w->n > 1 ? w->v[1] : NULL;
	const struct hmp_command *c = name ? find(tables, name) : NULL;

	if (!name)
		show_rows(tables, false, out);
	else if (!strcmp(name, "info"))
		show_rows(tables, true, out);
	else if (c)
		show_row(c, out);
	else
		show_unknown(tables, "", name, out);
}

static void run_info(struct qmp_call *call, const struct hmp_command *const *tables,
		     const struct words *w, struct buf *out)
{
	CLEANUP(cleanup_free) char *name = w->n > 1 ? xasprintf("info %s", w->v[1]) : NULL;
	const struct hmp_command *c = name ? find(tables, name) : NULL;

	if (!name)
		show_rows(tables, true, out);
	else if (c)
		run_row(call, c, w->v + 2, w->n - 2, out);
	else
		show_unknown(tables, "info ", w->v[1], out);
}

static void run_words(struct qmp_call *call, const struct hmp_command *const *tables,
		      const struct words *w, struct buf *out)
{
	const struct hmp_command *c;

	if (!w->n)
		return;
	if (is_named("help|?", w->v[0])) {
		run_help(tables, w, out);
		return;
	}
	if (!strcmp(w->v[0], "info")) {
		run_info(call, tables, w, out);
		return;
	}
	c = find(tables, w->v[0]);
	if (c && !is_topic(c))
		run_row(call, c, w->v + 1, w->n - 1, out);
	else
		show_unknown(tables, "", w->v[0], out);
}

void hmp_run_in(struct qmp_call *call, const struct hmp_command *const *tables, const char *line,
		struct buf *out)
{
	struct words w;
	struct buf text = {0};

	if (!split(line, &w))
		buf_printf(&text, "unterminated string in: %.200s\n", line);
	else if (w.n > MAX_WORDS)
		buf_printf(&text, "too many words: %zu\n", w.n);
	else
		run_words(call, tables, &w, &text);
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] == '\n')
			buf_u8(out, '\r');
		buf_u8(out, text.data[i]);
	}
	buf_free(&text);
	free(w.store);
}

static const struct hmp_command *const all_tables[] = {
    hmp_machine_commands,   hmp_info_commands,     hmp_migrate_info_commands,
    hmp_migration_commands, hmp_snapshot_commands, NULL};

bool hmp_waits(const char *line)
{
	const struct hmp_command *c = NULL;
	struct words w;

	if (split(line, &w) && w.n)
		c = find(all_tables, w.v[0]);
	free(w.store);
	return c && c->waits;
}

void hmp_run(struct qmp_call *call, const char *line, struct buf *out)
{
	hmp_run_in(call, all_tables, line, out);
}
