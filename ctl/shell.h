/* shell.h - what the two ways to run a shell share (shell.c: lines from a file; shell-terminal.c)
 */
#ifndef MINIVMM_CTL_SHELL_H
#define MINIVMM_CTL_SHELL_H

#include <stdbool.h>

struct client;
struct ctl;
struct dictionary;
struct json_object;

struct shell {
	struct ctl *ctl;               /* borrowed */
	struct client *client;         /* borrowed */
	struct dictionary *dictionary; /* owned */
	bool terminal;
	bool left;     /* 'exit', or the end of the input */
	bool quitting; /* the peer was told to end */
	int status;    /* the exit status, as far as it is known */
};

/* Text for standard output, without a new line; control characters in it become '?'. */
void shell_put(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Carry out one line and print what comes of it. False: it failed, and that was said. */
bool shell_run_line(struct shell *s, const char *line);
/* Events that are queued, a line each. */
void shell_print_events(struct shell *s);
/* What a command takes and returns, in lines; false: there is no such command, which was said. */
bool shell_help(const struct dictionary *d, const char *command);

/* With a line editor on the terminal, until it is left; returns the exit status. */
int shell_terminal(struct shell *s);

#endif
