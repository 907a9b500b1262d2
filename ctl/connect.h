/* connect.h - a socket to a monitor, and why one does not answer */
#ifndef MINIVMM_CTL_CONNECT_H
#define MINIVMM_CTL_CONNECT_H

struct err;

#define CONNECT_HINT_MS 300 /* so long without a greeting, and it is looked into */

/*
 * A non-blocking stream socket to the unix socket 'path', or to tcp:HOST:PORT; owned.  -errno with
 * a sentence.  A full backlog is waited for, up to wait_ms (0: without end).
 */
int connect_to(const char *path, int wait_ms, struct err *err);
/* Says on standard error who holds the monitor, when the connection waits in its backlog. */
void connect_say_held(int fd, const char *path);
/* Why no greeting came: another client holds it, or it is silent; returns -EBUSY or -ETIMEDOUT. */
int connect_silent(int fd, const char *path, struct err *err);

#endif
