/*
 * client.c - one connection to a QMP monitor
 *
 * A request goes out with a number as its id; the reply with that number ends the call, one with
 * another number answers a call that was given up and is dropped.  The socket does not block:
 * all waiting is in client_poll(), which looks at the interrupt descriptor, too, and goes by an
 * absolute time, so that a peer that sends events without end holds up no call.
 */
#include "ctl/client.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ctl/client-internal.h"
#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t client_deadline(int wait_ms)
{
	return wait_ms > 0 ? now_ms() + wait_ms : INT64_MAX;
}

int client_poll(struct client *c, short events, int64_t until)
{
	for (;;) {
		struct pollfd p[2] = {
		    {.fd = c->fd,           .events = events},
                    {.fd = c->interrupt_fd, .events = POLLIN}
                };
		int64_t left = until == INT64_MAX ? -1 : until - now_ms();
		int n;

		if (left < 0 &&
		    until != INT64_MAX) /* also when there is always something to read */
			return 0;
		n = poll(p, 2, left > INT_MAX ? INT_MAX : (int)left);
		if (n < 0 && errno == EINTR)
			continue;
		if (n > 0 && p[1].revents)
			return -EINTR;
		if (n != 0 || until == INT64_MAX || now_ms() >= until)
			return n > 0;
	}
}

/* ---- what comes ---- */

int client_lose(struct client *c, struct err *err, int errnum, const char *why)
{
	c->gone = true;
	return err_set(err, errnum, "%s: %s", c->where, why);
}

static void queue_event(struct client *c, struct json_object *e)
{
	if (c->n_events == MAX_EVENTS) {
		json_free(c->event[c->first_event]);
		c->first_event = (c->first_event + 1) % MAX_EVENTS;
		c->n_events--;
	}
	c->event[(c->first_event + c->n_events++) % MAX_EVENTS] = e;
}

static bool answers_last(const struct client *c, const struct json_object *v)
{
	struct json_object *id;

	if (!json_get(v, "id", &id))
		return json_get(v, "error", &id); /* a request that could not be read has no id */
	return json_kind(id) == JSON_INT && (uint64_t)json_int(id) == c->last_id;
}

/* One message of the peer, which is taken. */
static int take_message(struct client *c, struct json_object *v, struct err *err)
{
	struct json_object *m;

	if (json_kind(v) != JSON_OBJECT) {
		json_free(v);
		return client_lose(c, err, EPROTO,
				   "this is not a QMP monitor: it sends JSON, but no objects");
	}
	if (json_get(v, "event", &m)) {
		if (json_kind(m) != JSON_STRING) {
			json_free(v);
			return client_lose(c, err, EPROTO,
					   "it sends an event without a name: this is not QMP");
		}
		queue_event(c, v);
	} else if (json_get(v, "return", &m) || json_get(v, "error", &m)) {
		if (answers_last(c, v) && !c->reply)
			c->reply = v;
		else
			json_free(v);
	} else if (json_get(v, "QMP", &m) && !c->special) {
		c->special = v;
	} else {
		json_free(v);
		return client_lose(
		    c, err, EPROTO,
		    "it sends neither a reply nor an event: this is not a QMP monitor");
	}
	return 0;
}

static int feed(struct client *c, const uint8_t *p, size_t n, struct err *err)
{
	int ret = 0;

	while (n && ret == 0) {
		struct json_object *v = NULL;
		struct err bad = {0};
		size_t used = 0;
		enum json_event e = json_reader_feed(c->reader, p, n, &used, &v, &bad);

		p += used;
		n -= used;
		if (e == JSON_VALUE)
			ret = take_message(c, v, err);
		else if (e == JSON_ERROR) {
			c->gone = true;
			ret = err_set(err, EPROTO,
				      "%s: this is not a QMP monitor, or it is broken: " ERR_WITHIN,
				      c->where, bad.msg);
		}
	}
	return ret;
}

int client_read(struct client *c, struct err *err)
{
	ssize_t n;

	if (c->gone)
		return err_set(err, EPIPE, "%s: the connection has ended", c->where);
	n = recv(c->fd, c->bytes, sizeof(c->bytes), MSG_DONTWAIT);
	if (n > 0)
		return feed(c, c->bytes, (size_t)n, err);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	c->gone = true;
	return err_set(err, EPIPE, "%s: the peer has ended the connection%s%s", c->where,
		       n < 0 ? ": " : "", n < 0 ? err_text(errno) : "");
}

int client_wait(struct client *c, int timeout_ms, struct err *err)
{
	int64_t until = timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
	int ret = 0;

	while (ret == 0 && !c->n_events) {
		ret = client_poll(c, POLLIN, until);
		if (ret <= 0)
			return ret;
		ret = client_read(c, err);
	}
	return ret < 0 ? ret : 1;
}

struct json_object *client_event(struct client *c)
{
	struct json_object *e;

	if (!c->n_events)
		return NULL;
	e = c->event[c->first_event];
	c->first_event = (c->first_event + 1) % MAX_EVENTS;
	c->n_events--;
	return e;
}

/* ---- calls ---- */

static ssize_t send_some(struct client *c, const uint8_t *p, size_t n, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)p, .iov_len = n};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *cm;

		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		cm = CMSG_FIRSTHDR(&msg);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cm), &fd, sizeof(int));
	}
	return sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* A peer that does not read is waited for until 'until'; half a request leaves nothing to go on
 * with. */
static int send_all(struct client *c, const struct buf *b, int fd, int64_t until, struct err *err)
{
	size_t at = 0;

	while (at < b->len) {
		ssize_t n = send_some(c, b->data + at, b->len - at, at ? -1 : fd);
		int ready;

		if (n > 0) {
			at += (size_t)n;
			continue;
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			c->gone = true;
			return err_set(
			    err, EPIPE,
			    "%s: the peer has ended the connection: nothing was asked of it",
			    c->where);
		}
		ready = client_poll(c, POLLOUT, until);
		if (ready <= 0) {
			c->gone = at > 0;
			return ready < 0 ? ready
					 : err_set(err, ETIMEDOUT, "%s: the peer does not read",
						   c->where);
		}
	}
	return 0;
}

static int wait_reply(struct client *c, const char *command, int64_t until, struct err *err)
{
	struct err inner = {0};
	int ret = 0;

	while (!c->reply) {
		int ready = client_poll(c, POLLIN, until);

		if (ready < 0)
			return err_set(err, EINTR, "%s: '%s' was not waited for", c->where,
				       command);
		if (!ready)
			return err_set(
			    err, ETIMEDOUT,
			    "%s: the peer does not answer '%s' (--timeout says how long to "
			    "wait)",
			    c->where, command);
		ret = client_read(c, &inner);
		if (ret == -EPIPE && !c->reply)
			return err_set(err, EPIPE,
				       "%s: the peer ended the connection before it answered '%s'",
				       c->where, command);
		if (ret < 0 && !c->reply)
			return err_set(err, -ret, "%s", inner.msg);
	}
	return 0;
}

/* The peer's error, as ours. */
static int refused(struct client *c, const struct json_object *e, struct err *err)
{
	struct json_object *m;

	c->error_class[0] = '\0';
	if (json_kind(e) != JSON_OBJECT)
		return client_lose(c, err, EPROTO, "an error of it is no object: this is not QMP");
	if (json_get(e, "class", &m) && json_kind(m) == JSON_STRING)
		(void)snprintf(c->error_class, sizeof(c->error_class), "%s", json_str(m));
	if (!json_get(e, "desc", &m) || json_kind(m) != JSON_STRING)
		return err_set(err, EREMOTEIO, "the peer refuses, and does not say why");
	return err_set(err, EREMOTEIO, "%.700s", json_str(m));
}

static int take_reply(struct client *c, struct json_object **ret, struct err *err)
{
	CLEANUP(cleanup_json) struct json_object *reply = c->reply;
	struct json_object *m;

	c->reply = NULL;
	if (json_get(reply, "error", &m))
		return refused(c, m, err);
	(void)json_get(reply, "return", &m);
	if (ret)
		*ret = json_share(m);
	return 0;
}

static int call(struct client *c, struct json_object *request, int fd, struct json_object **ret,
		struct err *err)
{
	CLEANUP(cleanup_json) struct json_object *owned = request;
	struct buf out = {0};
	struct json_writer w = json_writer(&out, false);
	int64_t until = client_deadline(c->patience_ms);
	struct json_object *m;
	char id[24];
	int r;

	if (c->gone)
		return err_set(err, EPIPE, "%s: the connection has ended", c->where);
	json_free(c->reply);
	c->reply = NULL;
	(void)snprintf(id, sizeof(id), "%llu", (unsigned long long)++c->last_id);
	json_set(owned, "id", json_new_number(id, true));
	jw_value(&w, owned);
	buf_put(&out, "\n", 1);
	r = send_all(c, &out, fd, until, err);
	buf_free(&out);
	if (r == 0) {
		const char *name = "the request";

		if (json_get(owned, "execute", &m) && json_kind(m) == JSON_STRING)
			name = json_str(m);
		r = wait_reply(c, name, until, err);
	}
	return r < 0 ? r : take_reply(c, ret, err);
}

int client_call_fd(struct client *c, const char *command, struct json_object *args, int fd,
		   struct json_object **ret, struct err *err)
{
	struct json_object *request = json_new_object();

	json_set(request, "execute", json_new_str(command, strlen(command)));
	if (args)
		json_set(request, "arguments", args);
	return call(c, request, fd, ret, err);
}

int client_call(struct client *c, const char *command, struct json_object *args,
		struct json_object **ret, struct err *err)
{
	return client_call_fd(c, command, args, -1, ret, err);
}

int client_call_request(struct client *c, struct json_object *request, struct json_object **ret,
			struct err *err)
{
	return call(c, request, -1, ret, err);
}

const char *client_error_class(const struct client *c)
{
	return c->error_class;
}

/* ---- what it is ---- */

const char *client_where(const struct client *c)
{
	return c->where;
}

const char *client_package(const struct client *c)
{
	return c->package ? c->package : "";
}

bool client_is_minivmm(const struct client *c)
{
	return !strncmp(client_package(c), "minivmm ", 8);
}

unsigned client_version(const struct client *c)
{
	return c->version;
}

bool client_gone(const struct client *c)
{
	return c->gone;
}

void client_set_patience(struct client *c, int ms)
{
	c->patience_ms = ms;
}

void client_set_interrupt(struct client *c, int fd)
{
	c->interrupt_fd = fd;
}

int client_fd(const struct client *c)
{
	return c->fd;
}

struct json_object *client_schema(struct client *c, struct err *err)
{
	if (!c->schema)
		(void)client_call(c, "query-qmp-schema", NULL, &c->schema, err);
	return c->schema;
}
