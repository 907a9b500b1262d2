/*
 * spawn.c - posix_spawn() with default signals and an empty signal mask
 *
 * Threads of this program block most signals; a child that inherited the mask
 * could not be ended by them.
 */
#include "vmm/base/spawn.h"

#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <unistd.h>

int spawn_program(pid_t *pid, const struct spawn *s)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t all, none;
	char *const *argv;
	int ret;

	memcpy(&argv, &s->argv, sizeof(argv)); /* posix_spawn() does not change them */
	(void)sigfillset(&all);
	(void)sigemptyset(&none);
	(void)posix_spawn_file_actions_init(&actions);
	if (s->in >= 0)
		(void)posix_spawn_file_actions_adddup2(&actions, s->in, STDIN_FILENO);
	if (s->out >= 0)
		(void)posix_spawn_file_actions_adddup2(&actions, s->out, STDOUT_FILENO);
	if (s->folder)
		(void)posix_spawn_file_actions_addchdir_np(&actions, s->folder);
	(void)posix_spawnattr_init(&attr);
	(void)posix_spawnattr_setsigdefault(&attr, &all);
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setflags(&attr,
				       (short)(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
					       (s->group ? POSIX_SPAWN_SETPGROUP : 0)));
	ret = (s->search ? posix_spawnp : posix_spawn)(pid, s->argv[0], &actions, &attr, argv,
						       environ);
	(void)posix_spawnattr_destroy(&attr);
	(void)posix_spawn_file_actions_destroy(&actions);
	return ret;
}
