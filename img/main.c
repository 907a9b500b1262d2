/* main.c - minivmm-img: finds the subcommand and runs it */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "img/commands.h"
#include "img/texts.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"

static const struct img_command *find(const char *name)
{
	for (size_t i = 0; img_commands[i]; i++)
		if (!strcmp(img_commands[i]->name, name))
			return img_commands[i];
	return NULL;
}

static int run(const struct img_command *c, int argc, char **argv)
{
	struct img_args a;
	struct err err = {0};
	int status = 0, ret = img_args_parse(&a, c, argc, argv, &err);

	if (ret < 0)
		status = img_fail(1, &err);
	else if (a.help)
		img_print_command_help(stdout, c);
	else
		status = c->run(&a);
	img_args_fini(&a);
	return status;
}

/* A text was asked for instead of a subcommand: false, it was not. */
static bool print_text(const char *word)
{
	if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help"))
		img_print_help(stdout);
	else if (!strcmp(word, "--version") || !strcmp(word, "-V"))
		img_print_version(stdout);
	else if (!strcmp(word, "--man"))
		img_print_man(stdout);
	else if (!strcmp(word, "--completion"))
		img_print_completion(stdout, COMPLETION_BASH);
	else if (!strcmp(word, "--completion-zsh"))
		img_print_completion(stdout, COMPLETION_ZSH);
	else
		return false;
	return true;
}

static int unknown(const char *word)
{
	static const char *const others[] = {"amend", "bitmap",  "commit",
					     "dd",    "measure", "rebase"};

	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (!strcmp(word, others[i]))
			return img_refuse(1, "%s is not supported: use 'qemu-img %s'", word, word);
	return img_refuse(1, "Command not found: %s (--help lists them)", word);
}

int main(int argc, char **argv)
{
	const struct img_command *c = argc > 1 ? find(argv[1]) : NULL;
	int status = 0;

	log_use_stderr();
	(void)signal(SIGXFSZ, SIG_IGN); /* a file that is too large is an error, EFBIG */
	if (argc < 2)
		status = img_refuse(1, "it needs a command (--help lists them)");
	else if (c)
		status = run(c, argc - 1, argv + 1);
	else if (!print_text(argv[1]))
		status = unknown(argv[1]);
	if (fflush(stdout) != 0 || ferror(stdout))
		status = status ? status : img_refuse(1, "what is printed cannot be written");
	log_close();
	return status;
}
