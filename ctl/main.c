/* main.c - minivmm-ctl: finds the command and runs it */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "ctl/client.h"
#include "ctl/commands.h"
#include "ctl/say.h"
#include "ctl/texts.h"
#include "vmm/base/error.h"

static const struct ctl_command *find(const char *name)
{
	for (const struct ctl_command *const *c = ctl_commands; *c; c++)
		if (!strcmp((*c)->name, name))
			return *c;
	return NULL;
}

static int print_text(const struct ctl *ctl, const struct ctl_command *c)
{
	if (ctl->version)
		ctl_print_version(stdout);
	else if (c)
		ctl_print_command_help(stdout, c);
	else
		ctl_print_help(stdout);
	return CTL_DONE;
}

/* A text that is installed beside the program: false, the word asks for none. */
static bool print_page(const char *word)
{
	if (!strcmp(word, "--man"))
		ctl_print_man(stdout);
	else if (!strcmp(word, "--completion"))
		ctl_print_completion(stdout, COMPLETION_BASH);
	else if (!strcmp(word, "--completion-zsh"))
		ctl_print_completion(stdout, COMPLETION_ZSH);
	else
		return false;
	return true;
}

static int run(struct ctl *ctl, const struct ctl_command *c, int argc, char **argv)
{
	struct ctl_args a;
	struct err err = {0};

	if (ctl_args_parse(&a, c, ctl, argc, argv, &err) < 0)
		return say_error(ctl, CTL_USAGE, "%s", err.msg);
	if (ctl->help || ctl->version)
		return print_text(ctl, c);
	return c->run(ctl, &a);
}

/* The options of the program, then a command with the rest. */
static int run_words(struct ctl *ctl, int argc, char **argv)
{
	const struct ctl_command *c;
	struct err err = {0};
	int at = 1;

	while (at < argc) {
		int taken = ctl_take_global(ctl, argc, argv, at, &err);

		if (taken < 0)
			return say_error(ctl, CTL_USAGE, "%s", err.msg);
		if (!taken)
			break;
		at += taken;
	}
	if (at == argc)
		return ctl->help || ctl->version
			   ? print_text(ctl, NULL)
			   : say_error(ctl, CTL_USAGE, "it needs a command (--help lists them)");
	if (at == 1 && argc == 2 && print_page(argv[at]))
		return CTL_DONE;
	if (!strcmp(argv[at], "help")) {
		ctl->help = true;
		at++;
	}
	c = at < argc ? find(argv[at]) : NULL;
	if (c)
		return run(ctl, c, argc - at - 1, argv + at + 1);
	if (ctl->help && at == argc)
		return print_text(ctl, NULL);
	return say_error(ctl, CTL_USAGE, "there is no %s '%s' (--help lists them)",
			 argv[at][0] == '-' ? "option" : "command", argv[at]);
}

int main(int argc, char **argv)
{
	struct ctl ctl = {.timeout_ms = CLIENT_WAIT_MS};
	int status;

	(void)signal(SIGPIPE, SIG_IGN);
	status = run_words(&ctl, argc, argv);
	client_close(ctl.client);
	if (fflush(stdout) != 0 || ferror(stdout))
		status = status ? status
				: say_error(&ctl, CTL_FAILED, "what is printed cannot be written");
	return status;
}
