/*
 * runstate.c - the names of the run states, and which state may follow which
 *
 * The table of legal moves follows QEMU's, so that a client sees the same
 * sequences of states; a comment marks a line that is this program's own.
 */
#include "vmm/runstate.h"

#include <string.h>

#define TO(s) (1U << RS_##s)

static const char *const names[RS_COUNT] = {
    [RS_DEBUG] = "debug",
    [RS_INMIGRATE] = "inmigrate",
    [RS_INTERNAL_ERROR] = "internal-error",
    [RS_IO_ERROR] = "io-error",
    [RS_PAUSED] = "paused",
    [RS_POSTMIGRATE] = "postmigrate",
    [RS_PRELAUNCH] = "prelaunch",
    [RS_FINISH_MIGRATE] = "finish-migrate",
    [RS_RESTORE_VM] = "restore-vm",
    [RS_RUNNING] = "running",
    [RS_SAVE_VM] = "save-vm",
    [RS_SHUTDOWN] = "shutdown",
    [RS_SUSPENDED] = "suspended",
    [RS_WATCHDOG] = "watchdog",
    [RS_GUEST_PANICKED] = "guest-panicked",
    [RS_COLO] = "colo",
};

/* The last: it was to be reset, and that failed. */
#define RESTARTABLE (TO(RUNNING) | TO(FINISH_MIGRATE) | TO(PRELAUNCH) | TO(INTERNAL_ERROR))

/* Where one may go from each state. */
static const unsigned moves[RS_COUNT] = {
    [RS_DEBUG] = RESTARTABLE | TO(SUSPENDED),
    [RS_INMIGRATE] = TO(RUNNING) | TO(PAUSED) | TO(PRELAUNCH) | TO(POSTMIGRATE) |
		     TO(FINISH_MIGRATE) | TO(SHUTDOWN) | TO(SUSPENDED) | TO(WATCHDOG) |
		     TO(GUEST_PANICKED) | TO(IO_ERROR) | TO(INTERNAL_ERROR) | TO(COLO),
    [RS_INTERNAL_ERROR] = TO(PAUSED) | TO(FINISH_MIGRATE) | TO(PRELAUNCH),
    [RS_IO_ERROR] = RESTARTABLE,
    /* the second line: it ended by itself in the moment in which it was paused */
    [RS_PAUSED] = RESTARTABLE | TO(POSTMIGRATE) | TO(COLO) | TO(SHUTDOWN) | TO(INTERNAL_ERROR) |
		  TO(GUEST_PANICKED),
    [RS_POSTMIGRATE] = RESTARTABLE,
    [RS_PRELAUNCH] = RESTARTABLE | TO(INMIGRATE),
    /* the second line: back to where a switchover that failed had come from */
    [RS_FINISH_MIGRATE] = TO(RUNNING) | TO(PAUSED) | TO(POSTMIGRATE) | TO(PRELAUNCH) | TO(COLO) |
			  TO(DEBUG) | TO(INTERNAL_ERROR) | TO(IO_ERROR) | TO(SHUTDOWN) |
			  TO(SUSPENDED) | TO(WATCHDOG) | TO(GUEST_PANICKED),
    /* here and in save-vm the second line: where a 'stop' meanwhile leads */
    [RS_RESTORE_VM] = TO(RUNNING) | TO(PRELAUNCH) | TO(PAUSED),
    [RS_RUNNING] = TO(PAUSED) | TO(FINISH_MIGRATE) | TO(RESTORE_VM) | TO(SAVE_VM) | TO(SHUTDOWN) |
		   TO(SUSPENDED) | TO(DEBUG) | TO(WATCHDOG) | TO(GUEST_PANICKED) | TO(IO_ERROR) |
		   TO(INTERNAL_ERROR) | TO(COLO),
    [RS_SAVE_VM] = TO(RUNNING) | TO(PAUSED),
    [RS_SHUTDOWN] = TO(PAUSED) | TO(FINISH_MIGRATE) | TO(PRELAUNCH) | TO(INTERNAL_ERROR) | TO(COLO),
    [RS_SUSPENDED] = RESTARTABLE | TO(COLO),
    [RS_WATCHDOG] = RESTARTABLE | TO(COLO),
    [RS_GUEST_PANICKED] = RESTARTABLE,
    [RS_COLO] = TO(RUNNING) | TO(PRELAUNCH) | TO(SHUTDOWN),
};

const char *runstate_name(enum runstate s)
{
	return names[s];
}

int runstate_parse(const char *name)
{
	for (int s = 0; s < RS_COUNT; s++)
		if (!strcmp(names[s], name))
			return s;
	return -1;
}

bool runstate_legal(enum runstate from, enum runstate to)
{
	return from == to || (moves[from] & (1U << to)) != 0;
}
