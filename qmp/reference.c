/*
 * reference.c - one walk over the tables, two ways to write
 *
 * Commands, events and types in the order of their names, so that a new row changes one place of
 * the page.  Argument types are shown with their command, all others by themselves.
 */
#include "qmp/reference.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "qmp/absent.h"
#include "qmp/command.h"
#include "qmp/events.h"
#include "qmp/loose-types.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"
#include "vmm/base/version.h"

#define MAX_TYPES 512

struct page {
	FILE *out;
	bool man;
	const struct qmp_type *types[MAX_TYPES]; /* mentioned so far */
	size_t n_types;
};

/* ---- writing ---- */

/* Text of a paragraph or a cell. */
static void put(const struct page *p, const char *text)
{
	for (const char *c = text; *c; c++) {
		if (p->man && *c == '-')
			(void)fputs("\\-", p->out);
		else if (p->man && *c == '\\')
			(void)fputs("\\e", p->out);
		else if (!p->man && (*c == '|' || *c == '<'))
			(void)fprintf(p->out, *c == '|' ? "\\|" : "&lt;");
		else
			(void)fputc(*c, p->out);
	}
}

static void put_name(const struct page *p, const char *name)
{
	(void)fputs(p->man ? "\\fB" : "`", p->out);
	if (p->man)
		put(p, name);
	else
		(void)fputs(name, p->out);
	(void)fputs(p->man ? "\\fR" : "`", p->out);
}

static void chapter(const struct page *p, const char *title)
{
	(void)fputs(p->man ? ".SH " : "\n## ", p->out);
	for (const char *c = title; *c; c++)
		(void)fputc(p->man && *c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c, p->out);
	(void)fputs("\n", p->out);
}

static void section(const struct page *p, const char *name, const char *what)
{
	(void)fputs(p->man ? ".SS \"" : "\n### ", p->out);
	put(p, name);
	if (what)
		(void)fprintf(p->out, " (%s)", what);
	(void)fputs(p->man ? "\"\n" : "\n", p->out);
}

static void paragraph(const struct page *p)
{
	(void)fputs(p->man ? ".PP\n" : "\n", p->out);
}

static void end_line(const struct page *p)
{
	(void)fputs("\n", p->out);
}

static void sentence(const struct page *p, const char *text)
{
	paragraph(p);
	put(p, text);
	end_line(p);
}

/* A row: a name, and words that follow with put(); row_end(). */
static void rows(const struct page *p, const char *head)
{
	if (!p->man)
		(void)fprintf(p->out, "\n| %s | | |\n| --- | --- | --- |\n", head);
}

static void row(const struct page *p, const char *name)
{
	(void)fputs(p->man ? ".TP\n" : "| ", p->out);
	put_name(p, name);
	(void)fputs(p->man ? "\n" : " | ", p->out);
}

static void column(const struct page *p)
{
	(void)fputs(p->man ? ". " : " | ", p->out);
}

static void row_end(const struct page *p)
{
	(void)fputs(p->man ? "\n" : " |\n", p->out);
}

static void put_features(const struct page *p, unsigned flags)
{
	if (flags & QMP_DEPRECATED)
		put(p, " Deprecated.");
	if (flags & QMP_UNSTABLE)
		put(p, " Unstable.");
}

/* ---- types ---- */

/* Shown by itself? */
static bool has_section(const struct qmp_type *t)
{
	return t->kind == QMP_KIND_OBJECT || t->kind == QMP_KIND_ENUM;
}

static void mention(struct page *p, const struct qmp_type *t)
{
	for (size_t i = 0; i < p->n_types; i++)
		if (!strcmp(p->types[i]->name, t->name))
			return;
	assert(p->n_types < MAX_TYPES);
	p->types[p->n_types++] = t;
}

static const char *scalar_name(const struct qmp_type *t)
{
	switch (t->kind) {
	case QMP_KIND_STR:
	case QMP_KIND_CHARS:
		return "string";
	case QMP_KIND_BOOL:
		return "boolean";
	case QMP_KIND_I64:
		return "integer";
	case QMP_KIND_U64:
		return "integer, from 0";
	case QMP_KIND_U32:
		return "integer, 0 to 4294967295";
	case QMP_KIND_U8:
		return "integer, 0 to 255";
	case QMP_KIND_NUMBER:
		return "number";
	case QMP_KIND_STR_OR_NULL:
		return "string or null";
	default:
		return "any value";
	}
}

/* Where a heading is found, in small letters. */
static void put_anchor(const struct page *p, const char *name)
{
	(void)fputs("](#", p->out);
	for (; *name; name++)
		(void)fputc(*name >= 'A' && *name <= 'Z' ? *name - 'A' + 'a' : *name, p->out);
	(void)fputs(")", p->out);
}

static void put_type(struct page *p, const struct qmp_type *t)
{
	if (t->kind == QMP_KIND_BELOW)
		t = t->element;
	for (; t->kind == QMP_KIND_ARRAY; t = t->element)
		put(p, "list of ");
	if (!has_section(t)) {
		put(p, scalar_name(t));
		return;
	}
	mention(p, t);
	if (!p->man)
		(void)fputs("[", p->out);
	put_name(p, t->name);
	if (!p->man)
		put_anchor(p, t->name);
}

static bool never_there(const struct qmp_member *m)
{
	return m->has == QMP_NEVER;
}

static void put_member(struct page *p, const struct qmp_member *m)
{
	row(p, m->name);
	put_type(p, m->type);
	column(p);
	if (m->has != QMP_REQUIRED && m->has != QMP_SHAPE)
		put(p, never_there(m) ? "Optional; minivmm has none." : "Optional.");
	put_features(p, m->features);
	row_end(p);
}

static void put_members(struct page *p, const struct qmp_type *t, const char *head)
{
	struct qmp_member m;

	for (size_t i = 0; qmp_member_at(t, i, &m); i++) {
		if (i == 0)
			rows(p, head);
		put_member(p, &m);
	}
}

static const struct qmp_type *tag_type(const struct qmp_type *t)
{
	struct qmp_member m;

	for (size_t i = 0; t->tag && qmp_member_at(t, i, &m); i++)
		if (!strcmp(m.name, t->tag))
			return m.type;
	return NULL;
}

/* Those that are the same are told once. */
static void put_variants(struct page *p, const struct qmp_type *t)
{
	const struct qmp_type *tag = tag_type(t);
	const char *value;
	unsigned flags;

	for (size_t i = 0; tag && (value = qmp_value_at(tag, i, &flags)); i++) {
		if (!t->variants[i])
			continue;
		paragraph(p);
		put(p, "With ");
		put_name(p, t->tag);
		put(p, " = ");
		put_name(p, value);
		put(p, " also what is in ");
		put_type(p, t->variants[i]);
		put(p, ".");
		end_line(p);
	}
}

static void put_values(struct page *p, const struct qmp_type *t)
{
	const char *value;
	unsigned flags;

	paragraph(p);
	for (size_t i = 0; (value = qmp_value_at(t, i, &flags)); i++) {
		put(p, i ? ", " : "");
		put_name(p, value);
		if (flags & QMP_DEPRECATED)
			put(p, " (deprecated)");
		if (flags & QMP_UNSTABLE)
			put(p, " (unstable)");
	}
	end_line(p);
}

static void put_type_section(struct page *p, const struct qmp_type *t)
{
	section(p, t->name, NULL);
	if (t->kind == QMP_KIND_ENUM) {
		put_values(p, t);
		return;
	}
	put_members(p, t, "Member");
	put_variants(p, t);
	if (t->open)
		sentence(p, "Further members are those of the command line's option.");
}

static int by_type_name(const void *a, const void *b)
{
	const struct qmp_type *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

/* Writing a type mentions others, so all are found first, into nowhere. */
static void find_types(struct page *p)
{
	FILE *out = p->out;

	p->out = fopen("/dev/null", "w");
	if (!p->out) {
		p->out = out;
		return;
	}
	for (size_t i = 0; qmp_loose_types[i]; i++)
		mention(p, qmp_loose_types[i]);
	for (size_t i = 0; i < p->n_types; i++)
		put_type_section(p, p->types[i]);
	(void)fclose(p->out);
	p->out = out;
}

static void put_types(struct page *p)
{
	find_types(p);
	qsort(p->types, p->n_types, sizeof(p->types[0]), by_type_name);
	chapter(p, "Types");
	for (size_t i = 0; i < p->n_types; i++)
		put_type_section(p, p->types[i]);
}

/* ---- commands ---- */

const struct qmp_text *qmp_text_of(const char *command)
{
	for (const struct qmp_text *t = qmp_texts; t->name; t++)
		if (!strcmp(t->name, command))
			return t;
	return NULL;
}

static void put_arguments(struct page *p, const struct qmp_type *t)
{
	if (!t)
		return;
	put_members(p, t, "Argument");
	put_variants(p, t);
	if (t->open)
		sentence(p, "Further arguments are those of the command line's option.");
}

static void put_command(struct page *p, const struct qmp_command *c)
{
	const struct qmp_text *t = qmp_text_of(c->name);

	section(p, c->name, NULL);
	paragraph(p);
	put(p, t ? t->help : "");
	put_features(p, c->flags);
	if (c->flags & QMP_OOB)
		put(p, " It may be sent out of band.");
	if (t)
		put(p, strcmp(t->since, "minivmm") != 0 ? " Since QEMU " : " Of ");
	put(p, t ? t->since : "");
	put(p, t ? "." : "");
	end_line(p);
	put_arguments(p, c->arg);
	paragraph(p);
	put(p, "Returns ");
	if (c->ret)
		put_type(p, c->ret);
	else
		put(p, "nothing");
	put(p, ".");
	end_line(p);
	if (t && t->errors) {
		paragraph(p);
		put(p, "Errors: ");
		put(p, t->errors);
		end_line(p);
	}
}

static int by_command_name(const void *a, const void *b)
{
	const struct qmp_command *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static void put_commands(struct page *p)
{
	const struct qmp_command **v;
	size_t n = 0;

	while (qmp_command_at(n))
		n++;
	v = xcalloc(n + 1, sizeof(struct qmp_command *));
	for (size_t i = 0; i < n; i++)
		v[i] = qmp_command_at(i);
	qsort(v, n, sizeof(*v), by_command_name);
	chapter(p, "Commands");
	for (size_t i = 0; i < n; i++)
		put_command(p, v[i]);
	free(v);
}

/* ---- events ---- */

static int by_event_name(const void *a, const void *b)
{
	const struct qmp_event *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static void put_event(struct page *p, const struct qmp_event *ev)
{
	section(p, ev->name, NULL);
	if (ev->kind == NOTIFY_NEVER)
		sentence(p, "It has no cause here, and is not sent.");
	else if (ev->limited)
		sentence(p, "At most one a second, the latest.");
	if (ev->data)
		put_members(p, ev->data, "Member");
	else
		sentence(p, "Without data.");
}

static void put_events(struct page *p)
{
	const struct qmp_event **v;
	size_t n = 0;

	while (qmp_event_at(n))
		n++;
	v = xcalloc(n + 1, sizeof(struct qmp_event *));
	for (size_t i = 0; i < n; i++)
		v[i] = qmp_event_at(i);
	qsort(v, n, sizeof(*v), by_event_name);
	chapter(p, "Events");
	for (size_t i = 0; i < n; i++)
		put_event(p, v[i]);
	free(v);
}

/* ---- what is not there ---- */

static void put_absent(struct page *p)
{
	chapter(p, "Commands of QEMU that are not there");
	sentence(p, "They are answered with class CommandNotFound, and with what to use:");
	rows(p, "Command");
	for (const struct qmp_absent *a = qmp_absent; a->names; a++) {
		row(p, a->names);
		put(p, a->instead);
		column(p);
		row_end(p);
	}
}

/* ---- the page ---- */

static const char man_head[] =
    ".SH NAME\n"
    "minivmm-qmp \\- commands, events and types of minivmm's monitor\n"
    ".SH DESCRIPTION\n"
    "minivmm is driven over QMP, the JSON protocol of QEMU, on the sockets that\n"
    ".B \\-qmp\n"
    "and\n"
    ".B \\-mon\n"
    "name. This page is made from the tables that carry out the commands.\n";
static const char md_head[] =
    "# QMP: commands, events, types\n"
    "\n"
    "This page is what `minivmm -qmp-reference md` prints, from the tables that carry out the "
    "commands; how the\n"
    "protocol works and where minivmm differs from QEMU is in [qmp.md](qmp.md). A request that "
    "does not fit its\n"
    "types is refused with class `GenericError`, by the name of the argument.\n";

void qmp_reference_print(FILE *out, enum qmp_reference form)
{
	struct page p = {.out = out, .man = form == QMP_REFERENCE_MAN};

	if (p.man)
		(void)fprintf(out, ".TH MINIVMM\\-QMP 7 \"\" \"minivmm " MINIVMM_VERSION "\"\n");
	(void)fputs(p.man ? man_head : md_head, out);
	put_commands(&p);
	put_events(&p);
	put_types(&p);
	put_absent(&p);
	if (p.man)
		(void)fputs(".SH SEE ALSO\n.BR minivmm (1),\n.BR minivmm\\-ctl (1)\n", out);
}
