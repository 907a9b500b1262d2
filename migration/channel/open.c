/* open.c - the kinds of address, a row each, above the files that open them */
#include "migration/channel/open.h"

#include <errno.h>

#include "migration/channel/channel.h"
#include "migration/channel/uri.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

struct target {
	const struct migration_uri *uri;
	const struct sockaddr_list *to; /* tcp: what its host stands for */
	int fd;                         /* fd: */
	bool writing;
	int cancel_fd;
	struct patience *patience; /* with the peer; NULL: without end */
};

static struct channel *open_tcp(const struct target *t, struct err *err)
{
	return channel_connect_tcp(t->to, t->uri->text, t->uri->keep_alive, t->cancel_fd,
				   t->patience, err);
}

static struct channel *open_unix(const struct target *t, struct err *err)
{
	return channel_connect_unix(t->uri->path, t->cancel_fd, t->patience, err);
}

static struct channel *open_fd(const struct target *t, struct err *err)
{
	return channel_from_fd(t->fd, t->cancel_fd, err);
}

static struct channel *open_exec(const struct target *t, struct err *err)
{
	const struct migration_uri *u = t->uri;
	const char *const shell[] = {"/bin/sh", "-c", u->path, NULL};

	return channel_exec(u->argv ? (const char *const *)u->argv : shell, u->path, u->folder,
			    u->both      ? EXEC_BOTH
			    : t->writing ? EXEC_INPUT
					 : EXEC_OUTPUT,
			    t->cancel_fd, err);
}

static struct channel *open_file(const struct target *t, struct err *err)
{
	if (t->writing)
		return channel_file_write(t->uri->path, t->uri->offset, t->cancel_fd, t->patience,
					  err);
	return channel_file_read(t->uri->path, t->uri->offset, t->cancel_fd, err);
}

static struct channel *(*const kinds[])(const struct target *t, struct err *err) = {
    [URI_TCP] = open_tcp,   [URI_UNIX] = open_unix, [URI_FD] = open_fd,
    [URI_EXEC] = open_exec, [URI_FILE] = open_file,
};

struct channel *channel_open(const struct migration_uri *uri, const struct sockaddr_list *to,
			     int fd, bool writing, int cancel_fd, struct patience *patience,
			     struct err *err)
{
	const struct target t = {.uri = uri,
				 .to = to,
				 .fd = fd,
				 .writing = writing,
				 .cancel_fd = cancel_fd,
				 .patience = patience};

	if ((size_t)uri->kind < ARRAY_LEN(kinds))
		return kinds[uri->kind](&t, err);
	(void)err_set(err, EINVAL, "unknown kind of address");
	return NULL;
}

struct channel *channel_with_layer(struct channel *c, const struct channel_layer *l, bool incoming,
				   struct err *err)
{
	return c && l ? l->put_on(l, c, incoming, err) : c;
}
