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
 * machine's notifications.  Main thread, lock held.  Returns owned.
 */
struct qmp_server *qmp_server_new(struct machine *m, struct backends *be, struct migration *mg,
				  struct err *err);
/*
 * Flushes what can be written without waiting, then frees.  Lock held.  A call
 * may still be posted to the main loop; it finds the server gone when the loop
 * runs it or is freed.
 */
void qmp_server_free(struct qmp_server *s);

#endif
