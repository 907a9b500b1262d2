/*
 * host.h - what the program was started with: descriptors, folder, terminal, signals
 *
 * host_init() is the first thing that main() does.  It notes which descriptors
 * are open, before the program opens any, so that a number on the command line
 * (fd=7, fd:7) can only name one that was passed on: any other would be a
 * descriptor of the program's own.  It puts /dev/null on those of 0 to 2 that
 * are closed, so that no file or pipe of the program's own gets there.
 *
 * SIGINT, SIGTERM and SIGHUP are read from a descriptor, by the main loop when
 * it runs and by host_wait() before: none is lost, and none ends the program
 * without its clean-up.
 *
 * All functions: main thread, or the machine lock held.  A NULL host (unit
 * tests) has no restrictions.
 */
#ifndef MINIVMM_HOST_H
#define MINIVMM_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct config;
struct err;
struct sockaddr_list;

#define HOST_WAIT_FDS 16

struct inherited_fd {
	int fd;
	char *user; /* owned; the option or command that took it, NULL: none */
};

struct host {
	/* set at creation and then constant */
	struct inherited_fd *fds; /* owned */
	size_t n_fds;
	bool had_terminal; /* the session has a controlling terminal */
	char *folder;      /* owned; see host_keep_folder(); NULL: the working directory stays */
	int signal_fd;     /* SIGINT, SIGTERM, SIGHUP; -1: not taken yet */
	bool abandoned;    /* host_run() has left a thread behind: end with _exit(), free nothing */
};

void host_init(struct host *h);
void host_fini(struct host *h);

/*
 * May 'what' ("chardev 'mon'") use this descriptor?  Only one that was
 * inherited, and only once: -EBADF, -EBUSY.  It is then closed on exec.
 */
int host_claim_fd(struct host *h, int fd, const char *what, struct err *err);
/* A number as in "fd:7", claimed: the descriptor, or -errno. */
int host_claim_number(struct host *h, const char *number, const char *what, struct err *err);

/* pass-fds.c: those of -add-fd, claimed, become descriptor sets (fdset.h). */
int host_pass_fds(struct host *h, const struct config *cfg, struct err *err);
/* Are so many descriptors free?  -EMFILE says what to do. */
int host_check_room(int fds, struct err *err);

/* The working directory is about to become "/": note it for host_path(). */
int host_keep_folder(struct host *h, struct err *err);
/* 'path' as it was meant where the program was started; returns owned. */
char *host_path(const struct host *h, const char *path);

/* From now on SIGINT, SIGTERM and SIGHUP come by signal_fd.  Before the first thread. */
int host_take_signals(struct host *h, struct err *err);
/* While there is nothing to clean up the signals may end the program at once. */
void host_let_signals_kill(const struct host *h, bool may);
/* The next signal, or 0; *by_terminal: the terminal has hung up. */
int host_next_signal(const struct host *h, bool *by_terminal);
/*
 * Wait at start until one of n descriptors (at most HOST_WAIT_FDS) is ready for
 * what poll's 'events' ask: 0, or
 * -EINTR with "ended by signal N while FOR" when the program is told to end.
 */
int host_wait(const struct host *h, const int *fds, int n, short events, const char *what_for,
	      struct err *err);
/*
 * The same until a program that was started has ended, with its wait status; being told
 * to end ends it too (SIGTERM).  It has been reaped in any case.  A kernel without
 * pidfds waits without listening.
 */
int host_wait_program(const struct host *h, pid_t pid, const char *what_for, int *status,
		      struct err *err);
/*
 * fn(arg) at start, where it may block for minutes (a name is looked up), on a
 * thread of its own: 0 once it has returned, or -EINTR as host_wait().  After
 * that the thread goes on, and what arg refers to must stay as it is.
 */
int host_run(struct host *h, void (*fn)(void *arg), void *arg, const char *what_for,
	     struct err *err);
/* inet_lookup() in this manner. */
int host_lookup(struct host *h, struct sockaddr_list *list, const char *host, const char *port,
		int family, int flags, const char *what_for, struct err *err);

#endif
