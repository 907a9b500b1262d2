/*
 * screen.h - the terminal of a command that watches something: a line that is drawn again, Ctrl-C
 *
 * On a terminal one line is drawn in place; elsewhere nothing is drawn, and lines are printed.
 * SIGINT and SIGTERM become readable on a descriptor while it is open.  One at a time.
 */
#ifndef MINIVMM_CTL_SCREEN_H
#define MINIVMM_CTL_SCREEN_H

#include <stdbool.h>

struct screen {
	bool terminal; /* standard output is one, and texts are wanted */
	bool keyboard; /* standard input is one: questions can be asked */
	bool drawn;    /* the line stands there */
	bool asking;
	int signal_fd; /* owned */
};

enum screen_key {
	KEY_NONE,   /* nothing that counts */
	KEY_ASK,    /* Ctrl-C, and somebody can be asked */
	KEY_CANCEL, /* the answers */
	KEY_LEAVE,  /* also a signal where nobody can be asked, and the second Ctrl-C */
	KEY_GO_ON,
};

/* 'texts': not with --json. */
void screen_open(struct screen *s, bool texts);
void screen_close(struct screen *s);
unsigned screen_columns(const struct screen *s);
/* Draw the line; nothing where there is no terminal. */
void screen_draw(struct screen *s, const char *line);
/* Takes the line away, so that something may be printed. */
void screen_clear(struct screen *s);
/* The descriptor that is readable when screen_key() has something to say: of signals, or the
 * keyboard. */
int screen_fd(const struct screen *s);
/* Begin to ask; 'question' stands in the line until there is an answer. */
void screen_ask(struct screen *s);
enum screen_key screen_key(struct screen *s);

#endif
