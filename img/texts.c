/*
 * texts.c - help, manual page and completion
 *
 * All three are made of the tables of commands and options, so a new one is in each of them
 * without a line here.
 */
#include "img/texts.h"

#include <stdbool.h>
#include <string.h>

#include "img/img.h"
#include "vmm/base/roff.h"
#include "vmm/base/version.h"

#define PROGRAM     "minivmm-img"
#define HELP_COLUMN 28

void img_print_version(FILE *out)
{
	(void)fputs("minivmm-img " MINIVMM_VERSION " (options and output of qemu-img 7.2)\n", out);
}

void img_print_help(FILE *out)
{
	img_print_version(out);
	(void)fputs("usage: minivmm-img COMMAND [options] FILE...\n\nCommands:\n", out);
	for (size_t i = 0; img_commands[i]; i++)
		(void)fprintf(out, "  %-10s %-28s %s\n", img_commands[i]->name,
			      img_commands[i]->files, img_commands[i]->help);
	(void)fputs("\nminivmm-img COMMAND --help lists the options of one.\n", out);
}

/* "-f, --format FORMAT"; how many letters. */
static int put_option(FILE *out, const struct img_opt *o)
{
	int n = 0;

	if (o->key < IMG_OUTPUT)
		n += fprintf(out, "-%c", o->key);
	if (o->name)
		n += fprintf(out, "%s--%s", n ? ", " : "", o->name);
	if (o->arg)
		n += fprintf(out, "%s%s", o->name ? "=" : " ", o->arg);
	return n;
}

void img_print_command_help(FILE *out, const struct img_command *c)
{
	(void)fprintf(out, "usage: minivmm-img %s [options] %s\n\n%s\n\nOptions:\n", c->name,
		      c->files, c->help);
	for (const struct img_opt *o = c->opts; o->key; o++) {
		int n;

		if (!o->help)
			continue;
		(void)fputs("  ", out);
		n = 2 + put_option(out, o);
		if (n + 2 > HELP_COLUMN) {
			(void)fputc('\n', out);
			n = 0;
		}
		(void)fprintf(out, "%*s%s\n", HELP_COLUMN - n, "", o->help);
	}
}

/* ---- minivmm-img(1) ---- */

static void roff_option(FILE *out, const struct img_opt *o)
{
	(void)fputs(".TP\n.BR \"", out);
	if (o->key < IMG_OUTPUT)
		(void)fprintf(out, "\\-%c", o->key);
	if (o->name) {
		(void)fputs(o->key < IMG_OUTPUT ? ", \\-\\-" : "\\-\\-", out);
		roff_text(out, o->name);
	}
	(void)fputs("\"", out);
	if (o->arg) {
		(void)fputs(o->name ? " \"=" : " \" ", out);
		roff_text(out, o->arg);
		(void)fputs("\"", out);
	}
	(void)fputc('\n', out);
	roff_line(out, o->help);
}

static const char man_rest[] =
    ".SH FORMATS\n"
    "raw, and qcow2 of version 2 and 3 (docs/minivmm\\-img.md says which of its features).\n"
    "Without an option for it the format of a file is what its first bytes say, and then no other\n"
    "file that its header names is opened: a guest whose disk is raw can write such a header.\n"
    ".SH \"EXIT STATUS\"\n"
    ".TP\n.B 0\nThe work is done; check: the image is clean; compare: the disks are the same.\n"
    ".TP\n.B 1\nIt failed; compare: the disks differ.\n"
    ".TP\n.B 2\ncheck: there are errors; compare: an image cannot be opened.\n"
    ".TP\n.B 3\ncheck: there are leaked clusters only; compare: a map cannot be read.\n"
    ".TP\n.B 4\ncompare: data cannot be read.\n"
    ".TP\n.B 63\ncheck: the format has nothing to check.\n"
    ".SH EXAMPLES\n"
    ".nf\n"
    "minivmm\\-img create \\-f qcow2 disk.qcow2 10G\n"
    "minivmm\\-img convert \\-p \\-f raw \\-O qcow2 \\-c \\-o compression_type=zstd disk.raw "
    "disk.qcow2\n"
    "minivmm\\-img info \\-\\-output=json disk.qcow2\n"
    ".fi\n"
    ".SH \"SEE ALSO\"\n"
    ".BR minivmm (1)\n";

void img_print_man(FILE *out)
{
	(void)fputs(".TH MINIVMM\\-IMG 1 \"\" \"minivmm " MINIVMM_VERSION "\"\n"
		    ".SH NAME\nminivmm\\-img \\- disk images of minivmm\n"
		    ".SH SYNOPSIS\n.B minivmm\\-img\n.I COMMAND\n[options]\n.I FILE...\n"
		    ".SH DESCRIPTION\nMakes, shows, checks, converts and measures disk images.\n"
		    "Commands, options, output and exit status are those of qemu\\-img.\n"
		    ".SH COMMANDS\n",
		    out);
	for (size_t i = 0; img_commands[i]; i++) {
		const struct img_command *c = img_commands[i];

		(void)fprintf(out, ".SS \"%s ", c->name);
		roff_text(out, c->files);
		(void)fputs("\"\n", out);
		roff_line(out, c->help);
		for (const struct img_opt *o = c->opts; o->key; o++)
			if (o->help)
				roff_option(out, o);
	}
	(void)fputs(man_rest, out);
}

/* ---- completion ---- */

static void complete_options(FILE *out, const struct img_command *c)
{
	(void)fprintf(out, "    [%s]='", c->name);
	for (const struct img_opt *o = c->opts; o->key; o++) {
		if (o->help && o->key < IMG_OUTPUT)
			(void)fprintf(out, "-%c ", o->key);
		if (o->help && o->name)
			(void)fprintf(out, "--%s%s ", o->name, o->arg ? "=" : "");
	}
	(void)fputs("'\n", out);
}

/* What an option's argument can be: the words of its sketch, or those that a well-known one stands
 * for. */
static void put_values(FILE *out, const char *arg)
{
	static const struct {
		const char *arg, *words;
	} known[] = {
	    {"FORMAT", "raw qcow2"				    },
	    {"CACHE",  "none writeback writethrough directsync unsafe"},
	};

	(void)fputs("- ", out);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(arg, known[i].arg))
			(void)fputs(known[i].words, out);
	completion_words(out, arg);
	(void)fputs("'\n", out);
}

static void complete_values(FILE *out, const struct img_command *c)
{
	for (const struct img_opt *o = c->opts; o->key; o++) {
		if (!o->help || !o->arg)
			continue;
		if (o->key < IMG_OUTPUT) {
			(void)fprintf(out, "    [\"%s -%c\"]='", c->name, o->key);
			put_values(out, o->arg);
		}
		if (o->name) {
			(void)fprintf(out, "    [\"%s --%s\"]='", c->name, o->name);
			put_values(out, o->arg);
		}
	}
}

void img_print_completion(FILE *out, enum completion_shell shell)
{
	completion_open(out, shell, PROGRAM);
	completion_array(out, PROGRAM, "options");
	(void)fputs("    [-]='--help --version'\n", out);
	for (size_t i = 0; img_commands[i]; i++)
		complete_options(out, img_commands[i]);
	completion_array_end(out);
	completion_array(out, PROGRAM, "values");
	for (size_t i = 0; img_commands[i]; i++)
		complete_values(out, img_commands[i]);
	completion_array_end(out);
	completion_array(out, PROGRAM, "words");
	(void)fputs("    [-]='", out);
	for (size_t i = 0; img_commands[i]; i++)
		(void)fprintf(out, "%s ", img_commands[i]->name);
	(void)fputs("'\n", out);
	for (size_t i = 0; img_commands[i]; i++)
		(void)fprintf(out, "    [%s]='FILE'\n", img_commands[i]->name);
	completion_array_end(out);
	completion_close_commands(out, shell, PROGRAM);
}
