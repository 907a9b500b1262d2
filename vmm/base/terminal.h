/*
 * terminal.h - the terminal in raw mode, and back on every way out
 *
 * There is one terminal, the one of standard input.  It is put back when the
 * program ends, when it dies of a signal (abort, a fault, Ctrl-\), and while
 * it is stopped with Ctrl-z; SIGCONT in the foreground makes it raw again.
 */
#ifndef MINIVMM_BASE_TERMINAL_H
#define MINIVMM_BASE_TERMINAL_H

#include <stdbool.h>

/*
 * Make the terminal behind 'fd' (borrowed) raw; 'signals': Ctrl-c, Ctrl-z and
 * Ctrl-\ keep their meaning.  -ENOTTY when it is none.  Main thread, once.
 */
int terminal_raw(int fd, bool signals);
/* As it was before; nothing when it is so already.  Any thread, also in a signal handler. */
void terminal_restore(void);

#endif
