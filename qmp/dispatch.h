/* dispatch.h - one request in, one reply out (qmp-surface 1.2, 1.3) */
#ifndef MINIVMM_QMP_DISPATCH_H
#define MINIVMM_QMP_DISPATCH_H

#include <stdbool.h>

struct buf;
struct err;
struct json_object;
struct qmp_connection;
struct qmp_context;
struct qmp_session;

/*
 * Carry out a request (any JSON value, borrowed) and append the reply's text
 * to 'reply'.  *fd: the descriptor that came with it, or -1; -1 when the
 * command has taken it.  Thread and lock: as the command wants (command.h).
 */
void qmp_dispatch(const struct qmp_context *ctx, struct qmp_session *session,
		  struct qmp_connection *connection, const struct json_object *request, int *fd,
		  struct buf *reply);
/* The reply to bytes that are no request. */
void qmp_reply_malformed(const struct err *why, bool pretty, struct buf *reply);
/* What a new peer is told first. */
void qmp_greeting(bool pretty, struct buf *out);

#endif
