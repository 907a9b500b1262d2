/*
 * help.c - the help, and the words that describe a property, from the tables
 */
#include <inttypes.h>
#include <stdio.h>

#include "vmm/base/units.h"
#include "vmm/base/version.h"
#include "vmm/options/internal.h"

#define COLUMNS 79

bool opt_wants_help(const char *val)
{
	while (*val) {
		size_t n = strcspn(val, ",");

		if (opt_word_index("help|?", val, n) >= 0)
			return true;
		val += n + (val[n] == ',');
	}
	return false;
}

void opt_print_version(FILE *out)
{
	(void)fputs(VERSION_TEXT "\n", out);
}

/* Words of text, wrapped, each line behind 'indent' spaces; the first line has used 'column'. */
static void wrap(FILE *out, const char *text, size_t indent, size_t column)
{
	while (*text) {
		size_t n = strcspn(text, " ");

		if (column > indent && column + 1 + n > COLUMNS) {
			(void)fputc('\n', out);
			column = 0;
		}
		if (column < indent) {
			(void)fprintf(out, "%*s", (int)(indent - column), "");
			column = indent;
		} else if (column > indent) {
			(void)fputc(' ', out);
			column++;
		}
		(void)fwrite(text, 1, n, out);
		column += n;
		text += n;
		text += strspn(text, " ");
	}
	(void)fputc('\n', out);
}

bool opt_is_shown(const struct opt_prop *pr)
{
	return pr->help != NULL;
}

static const char *type_name(enum opt_kind kind)
{
	switch (kind) {
	case OPT_BOOL:
	case OPT_AUTO:
	case OPT_SWITCH:
	case OPT_CHOICE:
		return "switch";
	case OPT_SIZE:
		return "size";
	case OPT_U32:
	case OPT_U64:
		return "number";
	case OPT_FD:
		return "descriptor";
	case OPT_ENUM:
		return "word";
	case OPT_ID:
		return "name";
	default:
		return "text";
	}
}

char *opt_describe(const struct opt_prop *pr)
{
	CLEANUP(cleanup_free) char *range = NULL;
	CLEANUP(cleanup_free) char *otherwise = NULL;

	if (pr->kind == OPT_U64 && !pr->only)
		range = xasprintf(" from %" PRIu64 " to %" PRIu64, pr->min, pr->max);
	if (pr->otherwise)
		otherwise = xasprintf(" (default %s)", pr->otherwise);
	return xasprintf("%s%s%s: %s%s", type_name(pr->kind), range ? range : "",
			 pr->needed ? ", needed" : "", pr->help, otherwise ? otherwise : "");
}

const char *opt_sketch(const struct opt_prop *pr)
{
	if (pr->only)
		return pr->only;
	if (pr->values)
		return pr->values;
	switch (pr->kind) {
	case OPT_BOOL:
		return "on|off";
	case OPT_SIZE:
		return "SIZE";
	case OPT_U32:
	case OPT_U64:
	case OPT_FD:
		return "N";
	case OPT_ID:
		return "ID";
	default:
		return "...";
	}
}

void opt_print_list(FILE *out, const struct opt_list *list)
{
	(void)fprintf(out, "%s options:\n", list->title);
	for (const struct opt_prop *pr = list->props; pr->key; pr++) {
		CLEANUP(cleanup_free) char *text = NULL;
		int n;

		if (!opt_is_shown(pr))
			continue;
		text = opt_describe(pr);
		n = fprintf(out, "  %s=%s ", pr->key, opt_sketch(pr));
		if (n >= 34) {
			(void)fputc('\n', out);
			n = 0;
		}
		wrap(out, text, 34, n > 0 ? (size_t)n : 0);
	}
}

bool opt_type_help(struct opt_parse *p, const char *heading, const struct opt_type *types, size_t n)
{
	size_t word = strcspn(p->val, ",");
	bool all = opt_word_index("help|?", p->val, word) >= 0;

	if (!opt_wants_help(p->val))
		return false;
	if (all)
		(void)puts(heading);
	for (size_t i = 0; i < n; i++) {
		if (all)
			(void)printf("  %s\n", types[i].name);
		else if (opt_word_index(types[i].name, p->val, word) < 0)
			continue;
		else
			opt_print_list(stdout, types[i].list);
		p->done = true;
	}
	return p->done;
}

static void help_row(FILE *out, const struct opt_row *r)
{
	size_t n = (size_t)fprintf(out, "-%s", r->name);

	if (r->arg)
		n += (size_t)fprintf(out, " %s", r->arg);
	if (n >= 18) {
		(void)fputc('\n', out);
		n = 0;
	}
	wrap(out, r->help, 18, n);
}

void opt_print_help(FILE *out)
{
	opt_print_version(out);
	(void)fputs("usage: minivmm [options] [disk image]\n", out);
	for (const struct opt_row *r = option_table; r->name; r++) {
		if (r->kind == OPT_ROW_HEADING)
			(void)fprintf(out, "\n%s:\n", r->name);
		else if (r->kind != OPT_ROW_REFUSED)
			help_row(out, r);
	}
	(void)fputs("\nThe keys of each list are in minivmm(1).\n", out);
}
