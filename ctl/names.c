/*
 * names.c - which monitor is meant: a path, a name, a process's number, or the only one that runs
 *
 * One that runs may have several monitors; where the first is held by another client the next is
 * taken.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/runtime.h"
#include "ctl/say.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define NAMES_BYTES 300

static bool is_meant(const struct running *r, const char *name)
{
	char pid[24];

	(void)snprintf(pid, sizeof(pid), "%lld", (long long)r->pid);
	return !name || !strcmp(r->name, name) || !strcmp(pid, name);
}

/* "db1 (pid 12), pid 13" */
static void put_names(char out[NAMES_BYTES], const struct running_list *l, const char *name)
{
	size_t at = 0;

	out[0] = '\0';
	for (size_t i = 0; i < l->n && at < NAMES_BYTES - 1; i++) {
		const struct running *r = &l->v[i];
		int n;

		if (!is_meant(r, name))
			continue;
		n = snprintf(out + at, NAMES_BYTES - at,
			     *r->name ? "%s%.60s (pid %lld)" : "%s%.0spid %lld", at ? ", " : "",
			     r->name, (long long)r->pid);
		at += n > 0 ? (size_t)n : 0;
	}
}

/* The one of that name; NULL with a sentence when there is none, or several. */
static const struct running *choose(const struct running_list *l, const char *name, struct err *err)
{
	const struct running *found = NULL;
	char names[NAMES_BYTES];
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++)
		if (is_meant(&l->v[i], name)) {
			found = &l->v[i];
			n++;
		}
	if (n == 1)
		return found;
	put_names(names, l, n ? name : NULL);
	if (n)
		(void)err_set(
		    err, EINVAL,
		    "several run: %s: choose one with -n, by its pid where names are the same",
		    names);
	else if (name && l->n)
		(void)err_set(err, ENOENT,
			      "none that runs has the name or pid '%.200s': there are %s", name,
			      names);
	else if (name)
		(void)err_set(err, ENOENT,
			      "none that runs has the name or pid '%.200s': none is listed", name);
	else
		(void)err_set(err, ENOENT,
			      "no minivmm with a monitor is listed: say which one with -s SOCKET");
	return NULL;
}

struct client *ctl_connect(const char *socket, const char *name, int timeout_ms, struct err *err)
{
	struct running_list l;
	const struct running *r;
	struct client *c = NULL;
	const char *path;

	if (socket)
		return client_open(socket, timeout_ms, err);
	running_read(&l);
	r = choose(&l, name, err);
	for (size_t i = 0; r && !c && (path = running_monitor(r, i)); i++) {
		struct err e = {0};

		/* All but the last are tried for a moment. */
		c = client_open(path, running_monitor(r, i + 1) ? CLIENT_TRY_MS : timeout_ms, &e);
		if (!c)
			(void)err_set(err, e.errnum, "%s", e.msg);
	}
	if (c)
		client_set_patience(c, timeout_ms);
	running_free(&l);
	return c;
}

struct client *ctl_client(struct ctl *ctl, int *status)
{
	struct err err = {0};

	if (!ctl->client)
		ctl->client = ctl_connect(ctl->socket, ctl->name, ctl->timeout_ms, &err);
	if (!ctl->client)
		*status = say_error(ctl, CTL_FAILED, "%s", err.msg);
	return ctl->client;
}
