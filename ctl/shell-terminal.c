/*
 * shell-terminal.c - the shell's line editor (readline)
 *
 * Readline's callback interface: the loop waits for a key and for the peer. What the peer says
 * while a line is being typed is printed above it, and the line is drawn again below. Readline has
 * one state for the whole program, and its callbacks no argument, which is why there is a pointer
 * at file scope.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <readline/history.h>
#include <readline/readline.h>

#include "ctl/client.h"
#include "ctl/complete.h"
#include "ctl/ctl.h"
#include "ctl/say.h"
#include "ctl/shell.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define HISTORY_LINES 2000

static struct shell *shell; /* main thread */
static int new_lines;       /* of the history, since the beginning */
static int interrupts[2];   /* a pipe: a byte for each Ctrl-C, from the handler */

/* ---- history ---- */

/* The file, owned; its directory is made. NULL: there is no home. */
static char *history_path(void)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	CLEANUP(cleanup_free) char *base = NULL;
	CLEANUP(cleanup_free) char *directory = NULL;

	if (state && *state == '/')
		base = xstrdup(state);
	else if (home && *home == '/')
		base = xasprintf("%s/.local/state", home);
	else
		return NULL;
	directory = xasprintf("%s/minivmm", base);
	for (char *slash = strchr(directory + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(directory, 0700);
		*slash = '/';
	}
	(void)mkdir(directory, 0700);
	return xasprintf("%s/ctl-history", directory);
}

/* Readline makes it as the mask says; what is typed may be nobody else's business. */
static void history_begin(const char *path)
{
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;

	if (fd >= 0)
		(void)close(fd);
	using_history();
	stifle_history(HISTORY_LINES);
	if (path)
		(void)read_history(path);
}

/* A line that begins with a space, or names a secret, is not kept. */
static void history_take(const char *line)
{
	const HIST_ENTRY *last =
	    history_length ? history_get(history_base + history_length - 1) : NULL;

	if (*line == ' ' || strstr(line, "secret") || strstr(line, "password"))
		return;
	if (last && strcmp(last->line, line) == 0)
		return;
	add_history(line);
	new_lines++;
}

/* ---- completion ---- */

static struct completion found;

/* Readline frees what it gets. */
static char *next_text(const char *text, int state)
{
	static size_t at;

	(void)text;
	if (state == 0)
		at = 0;
	return at < found.n ? xstrdup(found.text[at++]) : NULL;
}

static char **texts_at(const char *text, int start, int end)
{
	char **texts;

	rl_attempted_completion_over = 1; /* no file names */
	rl_completion_append_character = '\0';
	found = complete_line(shell->dictionary, rl_line_buffer, (size_t)end);
	texts = found.start == (size_t)start ? rl_completion_matches(text, next_text) : NULL;
	completion_free(&found);
	return texts;
}

/* ---- the loop ---- */

static void show_prompt(void);

static void forget_interrupts(void)
{
	char bytes[64];

	while (read(interrupts[0], bytes, sizeof(bytes)) > 0)
		;
}

static void take_line(char *line)
{
	rl_callback_handler_remove(); /* the terminal is as a command's output wants it */
	if (!line) {
		(void)printf("\n");
		shell->left = true;
		return;
	}
	if (line[strspn(line, " \t")]) {
		history_take(line);
		(void)shell_run_line(shell, line);
		forget_interrupts(); /* of an answer that was not waited for */
		shell_print_events(shell);
	}
	free(line);
	if (!shell->left && !client_gone(shell->client))
		show_prompt();
}

static void show_prompt(void)
{
	CLEANUP(cleanup_free)
	char *prompt = xasprintf("%s> ", client_is_minivmm(shell->client) ? "minivmm" : "qemu");

	rl_callback_handler_install(prompt, take_line);
}

/* What the peer says while a line is being typed. */
static void take_news(void)
{
	struct err err = {0};

	if (client_wait(shell->client, 0, &err) <= 0)
		return;
	rl_clear_visible_line();
	shell_print_events(shell);
	rl_on_new_line();
	rl_redisplay();
}

static void on_interrupt(int signal)
{
	int saved = errno;

	(void)signal;
	(void)!write(interrupts[1], "", 1);
	errno = saved;
}

/* Ctrl-C throws away the line. */
static void drop_line(void)
{
	forget_interrupts();
	rl_free_line_state();
	rl_callback_sigcleanup();
	(void)printf("^C\n");
	rl_replace_line("", 0);
	rl_on_new_line();
	rl_redisplay();
}

static void loop(void)
{
	struct pollfd p[3] = {
	    {.fd = STDIN_FILENO,             .events = POLLIN},
	    {.fd = client_fd(shell->client), .events = POLLIN},
	    {.fd = interrupts[0],            .events = POLLIN},
	};

	while (!shell->left && !client_gone(shell->client)) {
		int n = poll(p, ARRAY_LEN(p), -1);

		if (n <= 0)
			continue;
		if (p[2].revents)
			drop_line();
		if (p[1].revents)
			take_news();
		if (p[0].revents && !client_gone(shell->client))
			rl_callback_read_char();
	}
}

int shell_terminal(struct shell *s)
{
	CLEANUP(cleanup_free) char *path = history_path();
	struct sigaction act = {.sa_handler = on_interrupt}, before;

	if (pipe2(interrupts, O_CLOEXEC | O_NONBLOCK) < 0)
		return say_error(s->ctl, CTL_FAILED, "no pipe: %s", err_text(errno));
	shell = s;
	rl_readline_name = "minivmm-ctl";
	rl_attempted_completion_function = texts_at;
	rl_completer_word_break_characters = " \t=\"";
	rl_basic_quote_characters = "";
	rl_catch_signals = 0;
	(void)rl_variable_bind("show-all-if-ambiguous",
			       "on"); /* unless ~/.inputrc says otherwise */
	history_begin(path);
	(void)sigaction(SIGINT, &act, &before);
	(void)printf("Commands of %s; Tab completes, 'help' lists them, 'exit' leaves.\n",
		     client_where(s->client));
	client_set_interrupt(s->client, interrupts[0]);
	show_prompt();
	loop();
	rl_callback_handler_remove();
	(void)sigaction(SIGINT, &before, NULL);
	client_set_interrupt(s->client, -1);
	(void)close(interrupts[0]);
	(void)close(interrupts[1]);
	if (path && append_history(MIN(new_lines, history_length), path) == 0)
		(void)history_truncate_file(path, HISTORY_LINES);
	if (!s->left && !s->quitting)
		return say_error(s->ctl, CTL_UNKNOWN, "the peer has ended the connection");
	return CTL_DONE;
}
