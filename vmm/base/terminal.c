/*
 * terminal.c - raw mode, and the signal handlers that restore the terminal
 *
 * A deadly signal restores the terminal and is raised again with its default
 * effect (SA_RESETHAND).  SIGTSTP restores, stops the process with SIGSTOP, and
 * SIGCONT makes the terminal raw again if the process is in the foreground: a
 * process in the background would be stopped by tcsetattr().
 */
#include "vmm/base/terminal.h"

#include <errno.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/base/units.h"

/* State at file scope, for signal handlers have no other: written before they are installed. */
static int terminal_fd;
static struct termios saved, raw;
static volatile sig_atomic_t is_raw;

/* A process in the background would be stopped by an attempt to set its terminal. */
static bool in_foreground(void)
{
	pid_t group = tcgetpgrp(terminal_fd);

	return group < 0 /* not our session's terminal */ || group == getpgrp();
}

void terminal_restore(void)
{
	if (!is_raw)
		return;
	is_raw = 0;
	if (in_foreground())
		(void)tcsetattr(terminal_fd, TCSANOW, &saved);
}

/* The handler is gone once it runs: what comes again has its usual effect. */
static void on_deadly_signal(int signum)
{
	terminal_restore();
	(void)raise(signum);
}

static void on_stop_signal(int signum)
{
	int e = errno;
	bool was_raw = is_raw;

	(void)signum;
	terminal_restore();
	(void)kill(getpid(), SIGSTOP);
	is_raw = was_raw; /* on_continue_signal() has run meanwhile, or will */
	errno = e;
}

static void on_continue_signal(int signum)
{
	int e = errno;

	(void)signum;
	if (in_foreground() && tcsetattr(terminal_fd, TCSANOW, &raw) == 0)
		is_raw = 1;
	errno = e;
}

/* What a sanitizer or another part of the program has installed stays. */
static void install_handler(int signum, void (*fn)(int signum), int flags)
{
	struct sigaction sa = {.sa_handler = fn, .sa_flags = flags}, old;

	(void)sigemptyset(&sa.sa_mask);
	if (sigaction(signum, NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) &&
	    old.sa_handler == SIG_DFL)
		(void)sigaction(signum, &sa, NULL);
}

int terminal_raw(int fd, bool signals)
{
	static const int deadly[] = {SIGQUIT, SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};

	if (!isatty(fd) || tcgetattr(fd, &saved) < 0)
		return -ENOTTY;
	raw = saved;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST; /* lines of our own messages begin at the left */
	if (signals)
		raw.c_lflag |= ISIG;
	terminal_fd = fd;
	for (size_t i = 0; i < ARRAY_LEN(deadly); i++)
		install_handler(deadly[i], on_deadly_signal, (int)(SA_RESETHAND | SA_NODEFER));
	install_handler(SIGTSTP, on_stop_signal, SA_RESTART);
	install_handler(SIGCONT, on_continue_signal, SA_RESTART);
	is_raw = 1;
	return tcsetattr(fd, TCSANOW, &raw) < 0 ? -errno : 0;
}
