/*
 * client-open.c - the begin and the end of a connection: greeting, negotiation
 *
 * A monitor greets first.  One that does not is busy with another client, hangs, or is none: after
 * a moment it is looked into, and people are told whom they wait for.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client-internal.h"
#include "ctl/connect.h"
#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static unsigned number_of(const struct json_object *o, const char *key)
{
	struct json_object *m;
	int64_t v = o && json_get(o, key, &m) && json_kind(m) == JSON_INT ? json_int(m) : 0;

	return v < 0 || v > 9999 ? 0 : (unsigned)v;
}

/* {"QMP": {"version": {"qemu": {major, minor, micro}, "package"}, "capabilities"}} */
static int read_greeting(struct client *c, struct err *err)
{
	struct json_object *qmp, *version = NULL, *qemu = NULL, *package = NULL;

	if (!json_get(c->special, "QMP", &qmp) || json_kind(qmp) != JSON_OBJECT)
		return client_lose(c, err, EPROTO, "the greeting is not that of a QMP monitor");
	if (!json_get(qmp, "version", &version) || json_kind(version) != JSON_OBJECT ||
	    !json_get(version, "qemu", &qemu) || json_kind(qemu) != JSON_OBJECT)
		return client_lose(
		    c, err, EPROTO,
		    "the greeting has no version: this is QMP, but not of a virtual machine");
	if (json_get(version, "package", &package) && json_kind(package) == JSON_STRING)
		c->package = xstrdup(json_str(package));
	c->version = number_of(qemu, "major") * 10000 + number_of(qemu, "minor") * 100 +
		     number_of(qemu, "micro");
	return 0;
}

/* Until the greeting is there.  After HINT_MS without one it is found out why, and said once. */
static int wait_greeting(struct client *c, int64_t until, bool quiet, struct err *err)
{
	int64_t hint = MIN(client_deadline(CONNECT_HINT_MS), until);
	bool hinted = quiet;
	int ret = 0;

	while (ret == 0 && !c->special) {
		int ready = client_poll(c, POLLIN, hinted ? until : hint);

		if (ready < 0)
			return ready;
		if (!ready && !hinted) {
			connect_say_held(c->fd, c->where);
			hinted = true;
		} else if (!ready) {
			return connect_silent(c->fd, c->where, err);
		} else {
			ret = client_read(c, err);
		}
		if (ret == 0 && !c->special && (c->n_events || c->reply))
			return client_lose(c, err, EPROTO,
					   "it does not greet: this is not a QMP monitor");
	}
	if (ret == -EPIPE)
		return err_set(err, EPIPE, "%s: the peer ended the connection without a greeting",
			       c->where);
	return ret;
}

static struct client *client_new(int fd, const char *where, int wait_ms, bool quiet,
				 struct err *err)
{
	struct client *c = NEW(struct client);
	int ret;

	c->fd = fd;
	c->interrupt_fd = -1;
	c->where = xstrdup(where);
	c->reader = json_reader_new();
	c->patience_ms = wait_ms;
	ret = wait_greeting(c, client_deadline(wait_ms), quiet, err);
	if (ret == 0)
		ret = read_greeting(c, err);
	if (ret == 0)
		ret = client_call(c, "qmp_capabilities", NULL, NULL, err);
	if (ret == 0)
		return c;
	client_close(c);
	return NULL;
}

struct client *client_open_fd(int fd, const char *where, int wait_ms, struct err *err)
{
	return client_new(fd, where, wait_ms, true, err);
}

struct client *client_open(const char *path, int wait_ms, struct err *err)
{
	int fd = connect_to(path, wait_ms, err);

	return fd < 0 ? NULL : client_new(fd, path, wait_ms, false, err);
}

struct client *client_open_quiet(const char *path, int wait_ms, struct err *err)
{
	int fd = connect_to(path, wait_ms, err);

	return fd < 0 ? NULL : client_new(fd, path, wait_ms, true, err);
}

void client_close(struct client *c)
{
	if (!c)
		return;
	(void)close(c->fd);
	for (struct json_object *e; (e = client_event(c));)
		json_free(e);
	json_reader_free(c->reader);
	json_free(c->reply);
	json_free(c->special);
	json_free(c->schema);
	free(c->where);
	free(c->package);
	free(c);
}
