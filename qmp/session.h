/*
 * session.h - one monitor: its client, what it still has to read and to write
 *
 * Lock: m->control_lock, which is held by the callers unless said otherwise.
 */
#ifndef MINIVMM_QMP_SESSION_H
#define MINIVMM_QMP_SESSION_H

#include <stdbool.h>
#include <stddef.h>

struct backends;
struct buf;
struct chardev;
struct err;
struct list;
struct machine;
struct migration;
struct qmp_session;

/* Above this much unwritten output no further request is read... */
#define QMP_OUTPUT_PAUSE (64u << 10)
/* ...and above this much a peer that does not read is given up. */
#define QMP_OUTPUT_MAX (16u << 20)
/* Names that getfd may hold at a time. */
#define QMP_MAX_FDS 256

/* What every session of a server shares; borrowed. */
struct qmp_context {
	struct machine *m;
	struct backends *be;
	struct migration *mg;
};

/* Become the front end of 'chardev' (borrowed).  Returns owned, or NULL.  Lock not held. */
struct qmp_session *qmp_session_new(const struct qmp_context *ctx, struct chardev *chardev,
				    bool pretty, struct err *err);
/* Write what the peer takes without waiting, and stop reading from it.  Twice is fine. */
void qmp_session_stop(struct qmp_session *s);
/* NULL is fine.  Lock not held, control thread and work loop have ended. */
void qmp_session_free(struct qmp_session *s);

/*
 * Queue a message for the peer; one that has not negotiated hears nothing.
 * The text is JSON without the line end.
 */
void qmp_session_event(struct qmp_session *s, const struct buf *text);
/* The same with a reply, of the client that is there: its next requests may be read. */
void qmp_session_answered(struct qmp_session *s, const struct buf *reply);
/* How its messages are to be laid out.  No lock needed. */
bool qmp_session_pretty(const struct qmp_session *s);
/* Those of its clients, past ones with requests under way included; connection.c's. */
struct list *qmp_session_connections(struct qmp_session *s);

/* ---- for commands: machine lock ---- */

/* getfd: this descriptor (taken; -1: none came) gets a name; an older one of it is closed. */
int qmp_session_name_fd(struct qmp_session *s, int fd, const char *name, struct err *err);
/* The descriptor of this name (borrowed), or -1. */
int qmp_session_fd(const struct qmp_session *s, const char *name);
/* Close it and forget the name; false: there is none. */
bool qmp_session_close_fd(struct qmp_session *s, const char *name);

#endif
