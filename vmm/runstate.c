#include "vmm/runstate.h"

#include <string.h>

#define TO(s) (1U << RS_##s)

/* The one table: name, and where one may go from here. */
static const struct {
	const char *name;
	unsigned to;
} states[RS_COUNT] = {
    [RS_DEBUG] = {"debug",          TO(RUNNING) | TO(SUSPENDED) | TO(FINISH_MIGRATE) | TO(PRELAUNCH)                             },
    [RS_INMIGRATE] = {"inmigrate",      TO(RUNNING) | TO(PAUSED) | TO(PRELAUNCH) | TO(POSTMIGRATE) |
				       TO(FINISH_MIGRATE) | TO(SHUTDOWN) | TO(SUSPENDED) |
				       TO(WATCHDOG) | TO(GUEST_PANICKED) | TO(IO_ERROR) |
				       TO(INTERNAL_ERROR) | TO(COLO)                               },
    [RS_INTERNAL_ERROR] = {"internal-error", TO(PAUSED) | TO(FINISH_MIGRATE) | TO(PRELAUNCH)                                              },
    [RS_IO_ERROR] = {"io-error",       TO(RUNNING) | TO(FINISH_MIGRATE) | TO(PRELAUNCH)                                             },
    [RS_PAUSED] = {"paused",
                  TO(RUNNING) | TO(FINISH_MIGRATE) | TO(POSTMIGRATE) | TO(PRELAUNCH) | TO(COLO)                                  },
    [RS_POSTMIGRATE] = {"postmigrate",    TO(RUNNING) | TO(FINISH_MIGRATE) | TO(PRELAUNCH)                                             },
    [RS_PRELAUNCH] = {"prelaunch",      TO(RUNNING) | TO(FINISH_MIGRATE) | TO(INMIGRATE)                                             },
 /* the second line: back to where a switchover that failed had come from */
    [RS_FINISH_MIGRATE] = {"finish-migrate", TO(RUNNING) | TO(PAUSED) | TO(POSTMIGRATE) |
						 TO(PRELAUNCH) | TO(COLO) | TO(SHUTDOWN) |
						 TO(SUSPENDED) | TO(WATCHDOG) | TO(GUEST_PANICKED) |
						 TO(IO_ERROR) | TO(DEBUG) | TO(INTERNAL_ERROR)},
    [RS_POSTMIGRATE] = {"postmigrate",    TO(RUNNING) | TO(FINISH_MIGRATE) | TO(PRELAUNCH)                                             },
    [RS_PRELAUNCH] = {"prelaunch",      TO(RUNNING) | TO(FINISH_MIGRATE) | TO(INMIGRATE)                                             },
    [RS_FINISH_MIGRATE] = {"finish-migrate",
                  TO(RUNNING) | TO(PAUSED) | TO(POSTMIGRATE) | TO(PRELAUNCH) | TO(COLO)                                          },
    [RS_RESTORE_VM] = {"restore-vm",     TO(RUNNING) | TO(PRELAUNCH)								  },
    [RS_RUNNING] = {"running",        TO(PAUSED) | TO(FINISH_MIGRATE) | TO(RESTORE_VM) | TO(SAVE_VM) |
				   TO(SHUTDOWN) | TO(SUSPENDED) | TO(DEBUG) | TO(WATCHDOG) |
				   TO(GUEST_PANICKED) | TO(IO_ERROR) | TO(INTERNAL_ERROR) |
				   TO(COLO)							  },
    [RS_SAVE_VM] = {"save-vm",        TO(RUNNING)										  },
    [RS_SHUTDOWN] = {"shutdown",       TO(PAUSED) | TO(FINISH_MIGRATE) | TO(PRELAUNCH) | TO(COLO)                                   },
    [RS_SUSPENDED] = {"suspended",      TO(RUNNING) | TO(FINISH_MIGRATE) | TO(PRELAUNCH) | TO(COLO)                                  },
    [RS_WATCHDOG] = {"watchdog",       TO(RUNNING) | TO(FINISH_MIGRATE) | TO(PRELAUNCH) | TO(COLO)                                  },
    [RS_GUEST_PANICKED] = {"guest-panicked", TO(RUNNING) | TO(FINISH_MIGRATE) | TO(PRELAUNCH)                                             },
    [RS_COLO] = {"colo",           TO(RUNNING) | TO(PRELAUNCH) | TO(SHUTDOWN)                                                   },
};

const char *runstate_name(enum runstate s)
{
	return states[s].name;
}

int runstate_parse(const char *name)
{
	for (int s = 0; s < RS_COUNT; s++)
		if (!strcmp(states[s].name, name))
			return s;
	return -1;
}

bool runstate_legal(enum runstate from, enum runstate to)
{
	return from == to || (states[from].to & (1U << to)) != 0;
}
