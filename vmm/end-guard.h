/*
 * end-guard.h - the program ends in bounded time, whatever does not answer
 *
 * The end waits for threads and writes back what disks have cached, and a file system or a server
 * that has gone away may keep any of that waiting.  The guard ends the process then, as SIGKILL
 * would: an image has leaked clusters at most.
 */
#ifndef MINIVMM_END_GUARD_H
#define MINIVMM_END_GUARD_H

#include "vmm/base/thread.h"

#define END_GUARD_MS 10000 /* from end_guard_start() on */

struct end_guard {
	struct thread thread;
	int stop_fd;
	int status; /* of the process */
};

/*
 * Main thread.  Until end_guard_stop() the process ends in END_GUARD_MS, with this status: its
 * sockets and PID file are removed and the terminal is put back.  Without a thread for it there is
 * no guard, and the log says so.
 */
void end_guard_start(struct end_guard *g, int status);
void end_guard_stop(struct end_guard *g);

#endif
