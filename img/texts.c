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
#include "vmm/base/version.h"

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

/* Text for roff: no hyphenation of dashes. */
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

static void roff_option(FILE *out, const struct img_opt *o)
{
	(void)fputs(".TP\n.BR \"", out);
	if (o->key < IMG_OUTPUT)
		(void)fprintf(out, "\\-%c", o->key);
	if (o->name) {
		(void)fputs(o->key < IMG_OUTPUT ? ", \\-\\-" : "\\-\\-", out);
		roff(out, o->name);
	}
	(void)fputs("\"", out);
	if (o->arg) {
		(void)fputs(o->name ? " \"=" : " \" ", out);
		roff(out, o->arg);
		(void)fputs("\"", out);
	}
	(void)fputc('\n', out);
	roff(out, o->help);
	(void)fputc('\n', out);
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
		roff(out, c->files);
		(void)fputs("\"\n", out);
		roff(out, c->help);
		(void)fputc('\n', out);
		for (const struct img_opt *o = c->opts; o->key; o++)
			if (o->help)
				roff_option(out, o);
	}
	(void)fputs(man_rest, out);
}

/* ---- completion ---- */

/* clang-format off */
static const char function[] =
    "_minivmm_img() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} cmd=${COMP_WORDS[1]-}\n"
    "    COMPREPLY=()\n"
    "    [ \"$cur\" != = ] || cur=\n"
    "    [ \"$before\" != = ] || before=${COMP_WORDS[COMP_CWORD-2]}\n"
    "    if ((COMP_CWORD == 1)); then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"${!_minivmm_img_options[*]} --help --version\" -- \"$cur\")\n"
    "    elif [[ $before == -* && -n ${_minivmm_img_values[\"$cmd $before\"]-} ]]; then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"${_minivmm_img_values[\"$cmd $before\"]}\" -- \"$cur\")\n"
    "    elif [[ $cur == -* ]]; then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"${_minivmm_img_options[$cmd]-}\" -- \"$cur\")\n"
    "        [[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace 2>/dev/null\n"
    "    else\n"
    "        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
    "    fi\n"
    "}\n"
    "\n"
    "complete -o filenames -F _minivmm_img minivmm-img\n";
/* clang-format on */

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

/* Words that an option's argument can be: "human|json", or those of a well-known one. */
static void put_words(FILE *out, const char *arg)
{
	static const struct {
		const char *arg, *words;
	} known[] = {
	    {"FORMAT", "raw qcow2"				    },
            {"CACHE",  "none writeback writethrough directsync unsafe"}
        };

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(arg, known[i].arg))
			(void)fputs(known[i].words, out);
	for (; *arg; arg++) {
		if (*arg >= 'A' && *arg <= 'Z')
			return;
		(void)fputc(*arg == '|' ? ' ' : *arg, out);
	}
}

static void complete_values(FILE *out, const struct img_command *c)
{
	for (const struct img_opt *o = c->opts; o->key; o++) {
		if (!o->help || !o->arg)
			continue;
		if (o->key < IMG_OUTPUT)
			(void)fprintf(out, "    [\"%s -%c\"]='", c->name, o->key);
		else
			(void)fprintf(out, "    [\"%s --%s\"]='", c->name, o->name);
		put_words(out, o->arg);
		(void)fputs("'\n", out);
	}
}

void img_print_completion(FILE *out)
{
	(void)fputs("# bash completion for minivmm-img\ndeclare -gA _minivmm_img_options=(\n", out);
	for (size_t i = 0; img_commands[i]; i++)
		complete_options(out, img_commands[i]);
	(void)fputs(")\ndeclare -gA _minivmm_img_values=(\n", out);
	for (size_t i = 0; img_commands[i]; i++)
		complete_values(out, img_commands[i]);
	(void)fputs(")\n", out);
	(void)fputs(function, out);
}
