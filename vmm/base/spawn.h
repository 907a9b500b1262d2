/* spawn.h - start another program with the signals of a program that was just started */
#ifndef MINIVMM_BASE_SPAWN_H
#define MINIVMM_BASE_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

struct spawn {
	const char *const *argv; /* argv[0] is the path; ends with NULL */
	const char *folder;      /* its working directory; NULL: ours */
	int in, out;             /* descriptors (borrowed) that become its 0 and 1; -1: ours */
	bool group;              /* in a process group of its own */
	bool search;             /* argv[0] without a slash is looked up in PATH */
};

/*
 * No signal is blocked or ignored in the child, and descriptors that are not
 * close-on-exec are passed on.  0, or a positive errno value.  Any thread.
 */
int spawn_program(pid_t *pid, const struct spawn *s);

#endif
