/* backlog.h - does a connection wait to be accepted, and who is served meanwhile */
#ifndef MINIVMM_CTL_BACKLOG_H
#define MINIVMM_CTL_BACKLOG_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Does our end of a unix connection stand in the backlog of its listener?  *holder: a process that
 * the listener serves; 0: unknown.  False also when the kernel does not tell.
 */
bool backlog_waits(int fd, pid_t *holder);

#endif
