/* manual.c - minivmm-ctl(1) and the completion, from the tables of commands and options */
#include <stdbool.h>
#include <string.h>

#include "ctl/commands.h"
#include "ctl/texts.h"
#include "vmm/base/roff.h"
#include "vmm/base/version.h"

#define PROGRAM "minivmm-ctl"

/* ---- minivmm-ctl(1) ---- */

static const char opening[] =
    ".SH NAME\n"
    "minivmm\\-ctl \\- drive running virtual machines\n"
    ".SH SYNOPSIS\n"
    ".B minivmm\\-ctl\n"
    ".RB [ \\-s\n"
    ".IR SOCKET \" | \"\n"
    ".B \\-n\n"
    ".IR NAME ]\n"
    ".I COMMAND\n"
    ".RI [ option ]...\n"
    ".RI [ word ]...\n"
    ".SH DESCRIPTION\n"
    ".B minivmm\\-ctl\n"
    "is a client of QMP monitors: of minivmm, and of QEMU 7.2 to 11.1 as far as those have what\n"
    "a command needs.  Without \\-s and \\-n it talks to the only minivmm that runs here.\n"
    ".SH OPTIONS\n"
    "They stand before the command or behind it.\n";

static const char closing[] =
    ".SH \"EXIT STATUS\"\n"
    ".TP\n.B 0\nIt is done; of a move: the guest is at the other end.\n"
    ".TP\n.B 1\nIt failed; the guest is here, as it was.\n"
    ".TP\n.B 2\nThe command line is not understood.\n"
    ".TP\n.B 3\nIt is not known which end has the guest; the message says how to find out.\n"
    ".SH FILES\n"
    ".TP\n.I $XDG_RUNTIME_DIR/minivmm\n"
    "where that is set, else\n"
    ".IR /run/minivmm :\n"
    "an entry for each minivmm with a monitor, by which \\-n finds it.\n"
    ".TP\n.I /run/minivmm/NAME/qmp\n"
    "the monitor of a guest that is the service minivmm@NAME.\n"
    ".SH EXAMPLES\n"
    ".nf\n"
    "minivmm\\-ctl list\n"
    "minivmm\\-ctl \\-n db1 status\n"
    "minivmm\\-ctl \\-n db1 move tcp:host2:4444\n"
    "minivmm\\-ctl \\-s /run/db1.qmp qmp query\\-block\n"
    ".fi\n"
    ".SH \"SEE ALSO\"\n"
    ".BR minivmm (1),\n"
    ".BR minivmm\\-img (1),\n"
    ".BR minivmm\\-qmp (7)\n";

static void man_opts(FILE *out, const struct ctl_opt *o)
{
	for (; o && o->name; o++) {
		(void)fputs(".TP\n.BR \"\\-\\-", out);
		roff_text(out, o->name);
		(void)fputc('"', out);
		if (o->arg) {
			(void)fputs(" \" ", out);
			roff_text(out, o->arg);
			(void)fputc('"', out);
		}
		(void)fputc('\n', out);
		roff_line(out, o->help);
	}
}

void ctl_print_man(FILE *out)
{
	(void)fputs(".TH MINIVMM\\-CTL 1 \"\" \"minivmm " MINIVMM_VERSION "\"\n", out);
	(void)fputs(opening, out);
	man_opts(out, ctl_global_opts);
	(void)fputs(".SH COMMANDS\n", out);
	for (const struct ctl_command *const *c = ctl_commands; *c; c++) {
		(void)fputs(".SS \"", out);
		roff_text(out, (*c)->name);
		(void)fputs(*(*c)->arguments ? " " : "", out);
		roff_text(out, (*c)->arguments);
		(void)fputs("\"\n", out);
		roff_line(out, (*c)->help);
		man_opts(out, (*c)->opts);
	}
	(void)fputs(closing, out);
}

/* ---- completion ---- */

/* The options of the program that have a letter say so at the end of their help: "; also -s". */
static char letter_of(const struct ctl_opt *o)
{
	const char *also = strstr(o->help, "also -");

	return (char)(also ? also[6] : '\0');
}

static void complete_options(FILE *out, const char *command, const struct ctl_opt *o, bool letters)
{
	(void)fprintf(out, "    [%s]='", command);
	for (; o && o->name; o++) {
		(void)fprintf(out, "--%s%s ", o->name, o->arg ? "=" : "");
		if (letters && letter_of(o))
			(void)fprintf(out, "-%c ", letter_of(o));
	}
	(void)fputs("'\n", out);
}

static void put_value(FILE *out, const char *command, const char *dashes, const char *name,
		      size_t n, const char *arg)
{
	(void)fprintf(out, "    [\"%s %s%.*s\"]='- ", command, dashes, (int)n, name);
	completion_words(out, !strcmp(arg, "PATH") ? "FILE" : arg);
	(void)fputs("'\n", out);
}

static void complete_values(FILE *out, const char *command, const struct ctl_opt *o, bool letters)
{
	for (; o && o->name; o++) {
		char letter = (char)(letters ? letter_of(o) : '\0');

		if (!o->arg)
			continue;
		put_value(out, command, "--", o->name, strlen(o->name), o->arg);
		if (letter)
			put_value(out, command, "-", &letter, 1, o->arg);
	}
}

void ctl_print_completion(FILE *out, enum completion_shell shell)
{
	completion_open(out, shell, PROGRAM);
	completion_array(out, PROGRAM, "options");
	complete_options(out, "-", ctl_global_opts, true);
	for (const struct ctl_command *const *c = ctl_commands; *c; c++)
		complete_options(out, (*c)->name, (*c)->opts, false);
	completion_array_end(out);
	completion_array(out, PROGRAM, "values");
	complete_values(out, "-", ctl_global_opts, true);
	for (const struct ctl_command *const *c = ctl_commands; *c; c++)
		complete_values(out, (*c)->name, (*c)->opts, false);
	completion_array_end(out);
	completion_array(out, PROGRAM, "words");
	(void)fputs("    [-]='", out);
	for (const struct ctl_command *const *c = ctl_commands; *c; c++)
		(void)fprintf(out, "%s ", (*c)->name);
	(void)fputs("'\n", out);
	for (const struct ctl_command *const *c = ctl_commands; *c; c++) {
		(void)fprintf(out, "    [%s]='", (*c)->name);
		completion_words(out, (*c)->arguments);
		(void)fputs("'\n", out);
	}
	completion_array_end(out);
	completion_close_commands(out, shell, PROGRAM);
}
