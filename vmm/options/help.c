/*
 * options-help.c - the help and the manual page, both from the tables
 */
#include <inttypes.h>
#include <stdio.h>

#include "vmm/base/units.h"
#include "vmm/options/internal.h"

#ifndef MINIVMM_VERSION
#define MINIVMM_VERSION "0"
#endif

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
	(void)fprintf(out, "minivmm " MINIVMM_VERSION " (QEMU 7.2 compatible)\n");
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

static bool is_shown(const struct opt_prop *pr)
{
	return pr->help != NULL;
}

static const char *type_name(enum opt_kind kind)
{
	switch (kind) {
	case OPT_BOOL:
	case OPT_AUTO:
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

/* "number from 4 to 1024: descriptors of the queue (default 256)"; returns owned. */
static char *describe(const struct opt_prop *pr)
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

/* What a key takes: the values that are offered, or a placeholder. */
static const char *sketch(const struct opt_prop *pr)
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

		if (!is_shown(pr))
			continue;
		text = describe(pr);
		n = fprintf(out, "  %s=%s ", pr->key, sketch(pr));
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

/* ---- minivmm(1) ---- */

/* Text for roff: no hyphenation of dashes, no request from a leading dot or quote. */
static void roff(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '-')
			(void)fputs("\\-", out);
		else if (*text == '\\')
			(void)fputs("\\e", out);
		else
			(void)fputc(*text, out);
	}
}

static void roff_line(FILE *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		(void)fputs("\\&", out);
	roff(out, text);
	(void)fputc('\n', out);
}

static void man_list(FILE *out, const struct opt_list *list)
{
	(void)fputs(".RS\n.PP\n.B ", out);
	roff_line(out, list->title);
	for (const struct opt_prop *pr = list->props; pr->key; pr++) {
		CLEANUP(cleanup_free) char *text = NULL;

		if (!is_shown(pr))
			continue;
		text = describe(pr);
		(void)fputs(".TP\n.RI \"", out);
		roff(out, pr->key);
		(void)fputs("=\" \"", out);
		roff(out, sketch(pr));
		(void)fputs("\"\n", out);
		roff_line(out, text);
	}
	(void)fputs(".RE\n", out);
}

static void man_row(FILE *out, const struct opt_row *r)
{
	(void)fputs(".TP\n.BR \"\\-", out);
	roff(out, r->name);
	(void)fputc('"', out);
	if (r->arg) {
		(void)fputs(" \" ", out);
		roff(out, r->arg);
		(void)fputc('"', out);
	}
	(void)fputc('\n', out);
	roff_line(out, r->help);
	for (size_t i = 0; r->lists && r->lists[i]; i++)
		man_list(out, r->lists[i]);
}

static void man_refused(FILE *out)
{
	(void)fputs(".SH OPTIONS OF QEMU THAT ARE REFUSED\n"
		    "Each of these is refused with a message that says what to use.\n",
		    out);
	for (const struct opt_row *r = option_table; r->name; r++) {
		if (r->kind != OPT_ROW_REFUSED)
			continue;
		(void)fputs(".TP\n.B \\-", out);
		roff_line(out, r->name);
		roff_line(out, r->help);
	}
}

/* The models and their properties. */
static void man_devices(FILE *out, const struct device_table *devices)
{
	(void)fputs(".SH DEVICES\nThe models of \\-device and their properties.\n", out);
	for (const struct device_row *const *r = devices->rows; *r; r++) {
		const struct opt_list list = opt_device_list(*r);

		(void)fputs(".PP\n", out);
		roff_line(out, (*r)->help);
		man_list(out, &list);
	}
}

void opt_print_man(FILE *out, const struct device_table *devices)
{
	(void)fputs(
	    ".TH MINIVMM 1 \"\" \"minivmm " MINIVMM_VERSION "\" \"User Commands\"\n"
	    ".SH NAME\n"
	    "minivmm \\- run and move virtual machines on KVM\n"
	    ".SH SYNOPSIS\n"
	    ".B minivmm\n"
	    "\\-kernel\n"
	    ".I FILE\n"
	    "[\\-initrd\n"
	    ".IR FILE ]\n"
	    "[\\-append\n"
	    ".IR TEXT ]\n"
	    "[\\-m\n"
	    ".IR SIZE ]\n"
	    "[\\-smp\n"
	    ".IR N ]\n"
	    ".RI [ option ]...\n"
	    ".RI [ disk\\ image ]\n"
	    ".SH DESCRIPTION\n"
	    ".B minivmm\n"
	    "boots a Linux kernel on the microvm board and moves the running guest: to\n"
	    "another process or host, or into a file.  It takes the command line of QEMU\n"
	    "for that board.  An option, a key or a value that is not supported is\n"
	    "refused by name.\n"
	    ".PP\n"
	    "Options take one dash or two; the argument is the next word.  In a list\n"
	    ".IR key = value , key = value\n"
	    "a comma within a value is written twice, and where it says so the first key\n"
	    "may be left out.  \\-blockdev, \\-device, \\-netdev and \\-object also take a\n"
	    "JSON object.  Sizes take the suffixes k, M, G, T, P and E, powers of 1024.\n"
	    "A scalar that is given twice has the later value; lists grow.\n"
	    "A word that is not an option is a raw disk image for a virtio disk.\n"
	    ".SH OPTIONS\n",
	    out);
	for (const struct opt_row *r = option_table; r->name; r++) {
		if (r->kind == OPT_ROW_HEADING) {
			(void)fputs(".SS ", out);
			roff_line(out, r->name);
		} else if (r->kind != OPT_ROW_REFUSED) {
			man_row(out, r);
		}
	}
	man_devices(out, devices);
	man_refused(out);
	(void)fputs(".SH EXIT STATUS\n"
		    "0 after a clean end (quit, power-off of the guest, SIGINT, SIGTERM);\n"
		    "1 when the start failed or was interrupted, when an incoming migration\n"
		    "failed, or after a panic of the guest with \\-action panic=exit\\-failure.\n"
		    ".SH SIGNALS\n"
		    "SIGINT and SIGTERM end minivmm.  SIGHUP does so when the terminal has hung\n"
		    "up or there is no log; otherwise it opens the files of \\-D, of logfile= and\n"
		    "of file chardevs anew.  SIGXFSZ is ignored: a file that would be too large\n"
		    "is an error.\n"
		    ".SH SEE ALSO\n"
		    ".BR qemu\\-img (1)\n",
		    out);
}
