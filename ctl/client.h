/*
 * client.h - the other end of a QMP monitor: connect, call, events
 *
 * A client is one connection.  Its calls wait for their reply, at most as long as its patience
 * (client_set_patience) and until its interrupt descriptor becomes readable; events that come
 * meanwhile are queued.  All bytes of the peer are foreign: what is not QMP ends the connection.
 *
 * Errors of all functions that talk with the peer:
 *   -EREMOTEIO  the peer refused the command: the message is its own, client_error_class() the
 * class -EPIPE      the peer closed the connection or died; the message says what it was asked
 *   -EPROTO     what came is not QMP
 *   -ETIMEDOUT  nothing came within the patience; the connection stays, a late reply is dropped
 *   -EINTR      the interrupt descriptor became readable; the same
 *   other       of the socket
 * After -EPIPE and -EPROTO the client is gone (client_gone): each further call fails with -EPIPE.
 *
 * One thread at a time.
 */
#ifndef MINIVMM_CTL_CLIENT_H
#define MINIVMM_CTL_CLIENT_H

#include <stdbool.h>

struct err;
struct json_object;
struct client;

#define CLIENT_TRY_MS  400
#define CLIENT_WAIT_MS 10000 /* for a greeting, and for a reply, unless it is said otherwise */

/*
 * Connect to the monitor at 'path' (a unix socket, or tcp:HOST:PORT), read its greeting and
 * negotiate, all within wait_ms (0: without end).  While another client holds it that is said on
 * standard error.  Returns owned; NULL with a sentence: no such socket, no permission, nobody
 * listens, another client holds it, silent, not QMP.
 */
struct client *client_open(const char *path, int wait_ms, struct err *err);
/* The same without a word on standard error while another client holds it. */
struct client *client_open_quiet(const char *path, int wait_ms, struct err *err);
/* The same over a stream socket, which is taken.  'where' (copied) is its name in messages. */
struct client *client_open_fd(int fd, const char *where, int wait_ms, struct err *err);
void client_close(struct client *c); /* NULL is fine */

const char *client_where(const struct client *c);   /* borrowed: the path */
const char *client_package(const struct client *c); /* borrowed: of the greeting, "" without */
bool client_is_minivmm(const struct client *c);
/* Of the interface: 70200 is QEMU 7.2.0, which minivmm says too. */
unsigned client_version(const struct client *c);
bool client_gone(const struct client *c);

void client_set_patience(struct client *c, int ms);  /* of each call; 0: without end */
void client_set_interrupt(struct client *c, int fd); /* borrowed; -1: none */

/*
 * Carry out a command.  'args' (an object, or NULL) is taken.  *ret is owned by the caller (not
 * written on failure), NULL: the value is not wanted.
 */
int client_call(struct client *c, const char *command, struct json_object *args,
		struct json_object **ret, struct err *err);
/* The same; a descriptor (borrowed) goes along, for getfd and add-fd. */
int client_call_fd(struct client *c, const char *command, struct json_object *args, int fd,
		   struct json_object **ret, struct err *err);
/* The same with a request as it is, {"execute": ...}; an "id" in it is replaced.  'request' is
 * taken. */
int client_call_request(struct client *c, struct json_object *request, struct json_object **ret,
			struct err *err);
/* Of the last -EREMOTEIO: "GenericError", ...; borrowed, "" without. */
const char *client_error_class(const struct client *c);

/* To be polled for reading; then client_read(). */
int client_fd(const struct client *c);
/* Take what the socket has, without waiting: 0 or -errno. */
int client_read(struct client *c, struct err *err);
/* Wait for an event up to timeout_ms (-1: without end): 1 one is queued, 0 the time is over,
 * -errno. */
int client_wait(struct client *c, int timeout_ms, struct err *err);
/* The oldest queued event, owned by the caller; NULL: there is none. */
struct json_object *client_event(struct client *c);

/* The reply of query-qmp-schema, asked for once; borrowed.  NULL on failure. */
struct json_object *client_schema(struct client *c, struct err *err);
/* Does the schema have that command?  False also when the schema cannot be had. */
bool client_has_command(struct client *c, const char *name);

#endif
