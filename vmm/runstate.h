/* runstate.h - the run states and the legal moves between them (qmp-surface 4.1, 4.2) */
#ifndef MINIVMM_RUNSTATE_H
#define MINIVMM_RUNSTATE_H

#include <stdbool.h>

enum runstate {
	RS_DEBUG,
	RS_INMIGRATE,
	RS_INTERNAL_ERROR,
	RS_IO_ERROR,
	RS_PAUSED,
	RS_POSTMIGRATE,
	RS_PRELAUNCH,
	RS_FINISH_MIGRATE,
	RS_RESTORE_VM,
	RS_RUNNING,
	RS_SAVE_VM,
	RS_SHUTDOWN,
	RS_SUSPENDED,
	RS_WATCHDOG,
	RS_GUEST_PANICKED,
	RS_COLO,
	RS_COUNT
};

/* QMP's name ("finish-migrate"), static lifetime. */
const char *runstate_name(enum runstate s);
/* The state of that name, or -1; 'name' need not be NUL-terminated within 'len' bytes. */
int runstate_parse(const char *name);
/* May the machine go from one to the other?  Same to same is always allowed. */
bool runstate_legal(enum runstate from, enum runstate to);

#endif
