/*
 * leftovers.h - files that only make sense while the process lives: sockets, the PID file
 *
 * Their owners remove them at the end.  A process that dies of a fault removes what
 * is in this list, in its signal handler.
 */
#ifndef MINIVMM_BASE_LEFTOVERS_H
#define MINIVMM_BASE_LEFTOVERS_H

/* The file at 'path' (copied) is this process's; nothing when it is too long or the list full. */
void leftover_add(const char *path);
/* The owner removes it itself.  A path that is not in the list is fine.  Any thread, like the
 * other. */
void leftover_forget(const char *path);
/* Remove all of them that are still the files that were added.  Any thread, also in a signal
 * handler. */
void leftovers_remove(void);

#endif
