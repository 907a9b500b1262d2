/*
 * connection.h - the requests of one client of a monitor, from its greeting to its leaving
 *
 * Lock: m->control_lock, which is held by the callers unless said otherwise.
 */
#ifndef MINIVMM_QMP_CONNECTION_H
#define MINIVMM_QMP_CONNECTION_H

#include <stdbool.h>

struct err;
struct json_object;
struct qmp_connection;
struct qmp_context;
struct qmp_session;

/* Requests that are unanswered at a time: without the capability 'oob', and with it. */
#define QMP_IN_FLIGHT     1
#define QMP_IN_FLIGHT_OOB 8

/* 'ctx' is borrowed until the session has gone.  Returns owned. */
struct qmp_connection *qmp_connection_new(struct qmp_session *s, const struct qmp_context *ctx);
/*
 * The client has left: no reply is written.  Its requests are
 * carried out, but for those that wait in a queue that only 'oob' allows.
 * Frees, now or when the last request is done.  NULL is fine.
 */
void qmp_connection_close(struct qmp_connection *c);
/* The session is freed, and all that its requests work on: no request is carried out from then on.
 * The main thread; the work loop has ended. */
void qmp_connections_end(struct qmp_session *s);

/* No more requests may be read. */
bool qmp_connection_full(const struct qmp_connection *c);
/*
 * A request (any JSON value, taken) has been read: run it at once when it is
 * out of band, else behind those that came before.  *fd: the descriptor that
 * came with it, or -1; -1 when it was taken.  Control thread.
 */
void qmp_connection_submit(struct qmp_connection *c, struct json_object *value, int *fd);
/* The same for bytes that are no request. */
void qmp_connection_malformed(struct qmp_connection *c, const struct err *why);

/* ---- atomic, any thread, no lock ---- */

/* Negotiation is over: events and all other commands from now on. */
bool qmp_connection_negotiated(const struct qmp_connection *c);
void qmp_connection_negotiate(struct qmp_connection *c, bool oob);
bool qmp_connection_oob(const struct qmp_connection *c);

#endif
