/*
 * session.c - the control thread: reading and writing of monitors
 *
 * The control thread runs a loop of its own over the monitors' chardevs, under
 * the control lock, which is taken with or without the machine lock, and under
 * which no other lock is taken but that of a loop.  So it never waits for the
 * machine: a client is greeted, heard and answered out of band whatever the
 * main loop does.
 *
 * Bytes that the chardev delivers wait in 'in' and are fed to the JSON reader;
 * each complete value goes to the client's connection (connection.c), which
 * has it run.  While it has as many requests as it may, or much output waits
 * to be written, nothing more is read: a peer that sends and never
 * reads stops itself.
 *
 * Replies and events are queued by the thread that makes them, in the order in
 * which they are to be read, and written here one by one, never two in a write: some
 * clients expect the greeting alone in the first chunk they read.
 *
 * Events come at any time and from any thread.  They cannot be held back as
 * requests can: when a peer has left QMP_OUTPUT_MAX bytes unread it is given
 * up, and its connection closed.
 */
#include "qmp/session.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/chardev/chardev.h"
#include "qmp/connection.h"
#include "qmp/dispatch.h"
#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/list.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/loop.h"
#include "vmm/machine.h"

#define INPUT_MAX 4096

/* A text that waits to be written. */
struct message {
	struct message *next;
	size_t len, at; /* at: written so far */
	uint8_t text[];
};

struct named_fd {
	struct list link;
	int fd;
	char name[];
};

struct qmp_session {
	/* set at creation and then constant */
	const struct qmp_context *ctx;
	struct chardev *chardev;
	bool pretty;
	/* control lock */
	struct qmp_connection *client;  /* owned; NULL: there is none */
	struct list connections;        /* struct qmp_connection */
	bool given_up;                  /* the peer does not read: silent until it has left */
	bool posted;                    /* turn() will run */
	bool dead;                      /* freed as soon as it has */
	struct message *out, **out_end; /* the first, where the next one goes */
	size_t out_bytes;
	/* control thread */
	struct json_reader *reader;
	uint8_t in[INPUT_MAX];
	size_t in_at, in_len;
	bool pumping;
	int came_fd; /* with the newest bytes, for a request that takes one; -1: none */
	/* machine lock */
	struct list fds; /* struct named_fd; they stay when the peer leaves */
	size_t n_fds;
};

/* ---- output ---- */

static void turn(void *opaque);

/* Have the control thread look. */
static void post_turn(struct qmp_session *s)
{
	if (s->posted)
		return;
	s->posted = true;
	loop_post(s->ctx->m->control, turn, s);
}

static void drop_first(struct qmp_session *s)
{
	struct message *msg = s->out;

	s->out = msg->next;
	if (!s->out)
		s->out_end = &s->out;
	free(msg);
}

static void drop_output(struct qmp_session *s)
{
	while (s->out)
		drop_first(s);
	s->out_bytes = 0;
}

static void queue(struct qmp_session *s, const struct buf *text)
{
	struct message *msg = xcalloc(1, sizeof(*msg) + text->len + 2);

	msg->len = text->len + 2;
	memcpy(msg->text, text->data, text->len);
	memcpy(msg->text + text->len, "\r\n", 2);
	*s->out_end = msg;
	s->out_end = &msg->next;
	s->out_bytes += msg->len;
}

static void write_out(struct qmp_session *s)
{
	while (s->client && s->out) {
		struct message *msg = s->out;
		ssize_t n = chardev_write(s->chardev, msg->text + msg->at, msg->len - msg->at);

		if (s->out != msg) /* the peer left over it */
			return;
		if (n < 0)
			drop_output(s);
		if (n <= 0)
			return;
		msg->at += (size_t)n;
		s->out_bytes -= (size_t)n;
		if (msg->at == msg->len)
			drop_first(s);
	}
}

void qmp_session_event(struct qmp_session *s, const struct buf *text)
{
	if (!s->client || !qmp_connection_negotiated(s->client) || s->given_up)
		return;
	if (s->out_bytes + text->len + 2 > QMP_OUTPUT_MAX)
		s->given_up = true;
	else
		queue(s, text);
	post_turn(s);
}

void qmp_session_answered(struct qmp_session *s, const struct buf *reply)
{
	queue(s, reply);
	post_turn(s);
}

bool qmp_session_pretty(const struct qmp_session *s)
{
	return s->pretty;
}

struct list *qmp_session_connections(struct qmp_session *s)
{
	return &s->connections;
}

/* ---- input ---- */

static bool may_read(const struct qmp_session *s)
{
	return s->client && !s->given_up && s->out_bytes < QMP_OUTPUT_PAUSE &&
	       !qmp_connection_full(s->client);
}

/* Up to the end of a request; returns how many bytes that took. */
static size_t take_bytes(struct qmp_session *s, const uint8_t *p, size_t n)
{
	struct json_object *value = NULL;
	struct err err = {0};
	size_t used = 0;
	enum json_event ev = json_reader_feed(s->reader, p, n, &used, &value, &err);

	if (ev == JSON_VALUE)
		qmp_connection_submit(s->client, value, &s->came_fd);
	else if (ev == JSON_ERROR)
		qmp_connection_malformed(s->client, &err);
	return used;
}

static void take_input(struct qmp_session *s)
{
	s->in_at += take_bytes(s, s->in + s->in_at, s->in_len - s->in_at);
}

/* Requests as long as there are some and the peer takes the replies. */
static void pump(struct qmp_session *s)
{
	if (s->pumping)
		return;
	s->pumping = true;
	write_out(s);
	while (s->in_at < s->in_len && may_read(s)) {
		take_input(s);
		write_out(s);
	}
	s->pumping = false;
}

/* ---- what the chardev says ---- */

/* What it has asked is carried out, as far as it was read. */
static void forget_peer(struct qmp_session *s)
{
	if (s->client && !qmp_connection_oob(s->client))
		while (s->in_at < s->in_len)
			take_input(s);
	qmp_connection_close(s->client);
	if (s->client)
		fdset_client_left();
	s->client = NULL;
	s->given_up = false;
	s->in_at = s->in_len = 0;
	json_reader_reset(s->reader);
	drop_output(s);
	if (s->came_fd >= 0)
		(void)close(s->came_fd);
	s->came_fd = -1;
}

static void on_opened(void *opaque)
{
	struct qmp_session *s = opaque;
	struct buf text = {0};

	forget_peer(s);
	s->client = qmp_connection_new(s, s->ctx);
	fdset_client_came();
	qmp_greeting(s->pretty, &text);
	queue(s, &text);
	buf_free(&text);
	pump(s);
}

static void on_closed(void *opaque)
{
	forget_peer(opaque);
}

static size_t on_can_read(void *opaque)
{
	struct qmp_session *s = opaque;

	return s->in_at == s->in_len && may_read(s) ? INPUT_MAX : 0;
}

static void on_read(void *opaque, const uint8_t *p, size_t n)
{
	struct qmp_session *s = opaque;

	if (s->in_at == s->in_len)
		s->in_at = s->in_len = 0;
	n = MIN(n, INPUT_MAX - s->in_len); /* no more than can_read said */
	memcpy(s->in + s->in_len, p, n);
	s->in_len += n;
	pump(s);
}

/* The peer has left; what it asked is carried out. */
static void on_rest(void *opaque, const uint8_t *p, size_t n)
{
	struct qmp_session *s = opaque;

	if (!s->client || qmp_connection_oob(s->client))
		return;
	while (s->in_at < s->in_len)
		take_input(s);
	for (size_t done = 0; done < n;)
		done += take_bytes(s, p + done, n - done);
}

static void on_fd(void *opaque, int fd)
{
	struct qmp_session *s = opaque;

	if (s->came_fd >= 0)
		(void)close(s->came_fd);
	s->came_fd = fd;
}

static void session_disconnect(struct qmp_session *s)
{
	log_warn("monitor '%s': its client has left %zu bytes unread; closing the connection",
		 s->chardev->id, s->out_bytes);
	drop_output(s);
	if (s->chardev->ops->disconnect)
		s->chardev->ops->disconnect(s->chardev);
}

/* Write what can be written, go on with requests that waited. */
static void on_writable(void *opaque)
{
	struct qmp_session *s = opaque;

	if (s->given_up && s->out_bytes)
		session_disconnect(s);
	pump(s);
	if (on_can_read(s))
		chardev_accept_input(s->chardev);
}

static void turn(void *opaque)
{
	struct qmp_session *s = opaque;

	s->posted = false;
	if (s->dead)
		free(s);
	else
		on_writable(s);
}

static const struct chardev_client client = {
    .opened = on_opened,
    .closed = on_closed,
    .can_read = on_can_read,
    .read = on_read,
    .writable = on_writable,
    .rest = on_rest,
    .receive_fd = on_fd,
};

/* ---- life ---- */

struct qmp_session *qmp_session_new(const struct qmp_context *ctx, struct chardev *chardev,
				    bool pretty, struct err *err)
{
	struct qmp_session *s = NEW(struct qmp_session);

	s->ctx = ctx;
	s->chardev = chardev;
	s->pretty = pretty;
	s->came_fd = -1;
	s->out_end = &s->out;
	list_init(&s->fds);
	list_init(&s->connections);
	s->reader = json_reader_new();
	if (chardev_attach(chardev, &client, s, err) < 0) {
		json_reader_free(s->reader);
		free(s);
		return NULL;
	}
	return s;
}

void qmp_session_stop(struct qmp_session *s)
{
	write_out(s);
	chardev_detach(s->chardev);
}

void qmp_session_free(struct qmp_session *s)
{
	if (!s)
		return;
	qmp_session_stop(s);
	s->in_at = s->in_len = 0;
	forget_peer(s);
	qmp_connections_end(s);
	list_for_each_safe (f, &s->fds, struct named_fd, link) {
		(void)close(f->fd);
		free(f);
	}
	json_reader_free(s->reader);
	s->dead = true;
	if (!s->posted)
		free(s);
}

/* ---- for commands ---- */

static struct named_fd *find_fd(const struct qmp_session *s, const char *name)
{
	list_for_each (f, &s->fds, struct named_fd, link)
		if (!strcmp(f->name, name))
			return f;
	return NULL;
}

int qmp_session_name_fd(struct qmp_session *s, int fd, const char *name, struct err *err)
{
	struct named_fd *f;

	if (fd < 0)
		return err_set(err, EINVAL, "No file descriptor supplied via SCM_RIGHTS");
	if (isdigit((unsigned char)*name)) {
		(void)close(fd);
		return err_set(err, EINVAL,
			       "Parameter 'fdname' expects a name not starting with a digit");
	}
	(void)qmp_session_close_fd(s, name);
	if (s->n_fds >= QMP_MAX_FDS) {
		(void)close(fd);
		return err_set(err, EMFILE,
			       "there are %zu named file descriptors already; close some first",
			       s->n_fds);
	}
	f = xcalloc(1, sizeof(*f) + strlen(name) + 1);
	memcpy(f->name, name, strlen(name) + 1);
	f->fd = fd;
	list_add_tail(&s->fds, &f->link);
	s->n_fds++;
	return 0;
}

int qmp_session_fd(const struct qmp_session *s, const char *name)
{
	const struct named_fd *f = find_fd(s, name);

	return f ? f->fd : -1;
}

bool qmp_session_close_fd(struct qmp_session *s, const char *name)
{
	struct named_fd *f = find_fd(s, name);

	if (!f)
		return false;
	(void)close(f->fd);
	list_del(&f->link);
	free(f);
	s->n_fds--;
	return true;
}
