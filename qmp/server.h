/*
 * server.h - QMP: the only face of the program
 */
#ifndef MINIVMM_QMP_SERVER_H
#define MINIVMM_QMP_SERVER_H

struct backends;
struct err;
struct machine;
struct migration;
struct qmp_server;

/*
 * One monitor per cfg->monitors entry, on its chardev; subscribes to the
 * machine's notifications.  Main thread, machine lock held.  Returns owned.
 */
struct qmp_server *qmp_server_new(struct machine *m, struct backends *be, struct migration *mg,
				  struct err *err);
/* From now on the control thread reads and writes.  0 or -errno. */
int qmp_server_start(struct qmp_server *s, struct err *err);
/*
 * Ends the control thread and writes what can be written without waiting.
 * Main thread, machine lock held; NULL and twice are fine.
 */
void qmp_server_stop(struct qmp_server *s);
/*
 * Stops and frees.  Main thread, machine lock held; the work loop has ended.
 * Requests that are still posted to a loop find out when they run.
 */
void qmp_server_free(struct qmp_server *s);

#endif
