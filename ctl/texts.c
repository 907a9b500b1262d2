/* texts.c - help of the program and of each command */
#include "ctl/texts.h"

#include "ctl/commands.h"
#include "vmm/base/version.h"

#define HELP_COLUMN 28

void ctl_print_version(FILE *out)
{
	(void)fputs("minivmm-ctl " MINIVMM_VERSION "\n", out);
}

static void print_opts(FILE *out, const struct ctl_opt *o)
{
	for (; o->name; o++) {
		int n =
		    fprintf(out, "  --%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");

		if (n + 2 > HELP_COLUMN) {
			(void)fputc('\n', out);
			n = 0;
		}
		(void)fprintf(out, "%*s%s\n", HELP_COLUMN - n, "", o->help);
	}
}

void ctl_print_help(FILE *out)
{
	ctl_print_version(out);
	(void)fputs("usage: minivmm-ctl [-s SOCKET | -n NAME] COMMAND [options]\n\nCommands:\n",
		    out);
	for (const struct ctl_command *const *c = ctl_commands; *c; c++) {
		int n = fprintf(out, "  %s%s%s", (*c)->name, *(*c)->arguments ? " " : "",
				(*c)->arguments);

		if (n + 2 > HELP_COLUMN) {
			(void)fputc('\n', out);
			n = 0;
		}
		(void)fprintf(out, "%*s%s\n", HELP_COLUMN - n, "", (*c)->help);
	}
	(void)fputs("\nOptions:\n", out);
	print_opts(out, ctl_global_opts);
	(void)fputs(
	    "\nWithout -s and -n it is the only one that runs.  'minivmm-ctl COMMAND --help' "
	    "lists the options of one.\n"
	    "Exit status: 0 done, of a move: the guest is there; 1 it failed, the guest is here; 2 "
	    "usage;\n3 not known.\n",
	    out);
}

void ctl_print_command_help(FILE *out, const struct ctl_command *c)
{
	(void)fprintf(out, "usage: minivmm-ctl [-s SOCKET | -n NAME] %s%s%s%s\n\n%s\n", c->name,
		      c->opts ? " [options]" : "", *c->arguments ? " " : "", c->arguments, c->help);
	if (!c->opts)
		return;
	(void)fputs("\nOptions:\n", out);
	print_opts(out, c->opts);
}
