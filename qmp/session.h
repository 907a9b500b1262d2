/*
 * session.h - one monitor: its peer, its negotiation, what it still has to write
 *
 * Main thread and machine lock, but for qmp_session_event() and
 * qmp_session_idle(), which any thread may call that holds the lock.
 */
#ifndef MINIVMM_QMP_SESSION_H
#define MINIVMM_QMP_SESSION_H

#include <stdbool.h>
#include <stddef.h>

struct backends;
struct buf;
struct chardev;
struct err;
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

/* Become the front end of 'chardev' (borrowed).  Returns owned, or NULL. */
struct qmp_session *qmp_session_new(const struct qmp_context *ctx, struct chardev *chardev,
				    bool pretty, struct err *err);
/* Writes what the peer takes without waiting; NULL is fine. */
void qmp_session_free(struct qmp_session *s);

/*
 * Queue a message for the peer; one that has not negotiated hears nothing.
 * The text is JSON without the line end.
 */
void qmp_session_event(struct qmp_session *s, const struct buf *text);
/* Do events wait to be written, or is there a peer to give up: does it want qmp_session_service()?
 */
bool qmp_session_idle(const struct qmp_session *s);
/* Write what can be written, go on with requests that waited. */
void qmp_session_service(struct qmp_session *s);
/* How its messages are to be laid out. */
bool qmp_session_pretty(const struct qmp_session *s);

/* ---- for commands ---- */

/* Negotiation is over: events and all other commands from now on. */
bool qmp_session_negotiated(const struct qmp_session *s);
void qmp_session_negotiate(struct qmp_session *s);
/* getfd: the descriptor that came with the request gets this name; an older one of it is closed. */
int qmp_session_name_fd(struct qmp_session *s, const char *name, struct err *err);
/* The descriptor of this name (borrowed), or -1. */
int qmp_session_fd(const struct qmp_session *s, const char *name);
/* Close it and forget the name; false: there is none. */
bool qmp_session_close_fd(struct qmp_session *s, const char *name);

#endif
