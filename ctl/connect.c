/*
 * connect.c - the way to a monitor
 *
 * A monitor serves one client at a time: the next ones wait in the backlog of its socket, connected
 * but without a greeting.
 */
#include "ctl/connect.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl/backlog.h"
#include "ctl/say.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/inet.h"
#include "vmm/base/units.h"

#define RETRY_MS 20

/* The sentence for a unix socket that cannot be connected to. */
static int refused(const char *path, int errnum, struct err *err)
{
	switch (errnum) {
	case ENOENT:
		return err_set(err, errnum,
			       "%s: there is no such socket ('minivmm-ctl list' shows what runs)",
			       path);
	case EACCES:
	case EPERM:
		return err_set(err, errnum, "%s: no permission to connect to this socket", path);
	case ECONNREFUSED:
		return err_set(err, errnum,
			       "%s: nobody listens there: it is a socket that a program has left "
			       "behind, or no socket",
			       path);
	case EPROTOTYPE:
		return err_set(err, errnum, "%s: this is a socket of another kind, not a monitor",
			       path);
	default:
		return err_set(err, errnum, "%s: cannot connect: %s", path, err_text(errnum));
	}
}

/* A full backlog is tried again. */
static int connect_fd(int fd, const struct sockaddr_un *un, int wait_ms, struct err *err)
{
	int waited = 0;

	while (connect(fd, (const struct sockaddr *)un, sizeof(*un)) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return refused(un->sun_path, errno, err);
		if (wait_ms && waited >= wait_ms)
			return err_set(err, EBUSY, "%s: too many clients wait for this monitor",
				       un->sun_path);
		(void)poll(NULL, 0, RETRY_MS);
		waited += RETRY_MS;
	}
	return 0;
}

static int connect_unix(const char *path, int wait_ms, struct err *err)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd, ret;

	if (!*path || strlen(path) >= sizeof(un.sun_path))
		return err_set(err, EINVAL, "'%s' is no path of a socket: it has 1 to %zu bytes",
			       path, sizeof(un.sun_path) - 1);
	memcpy(un.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, errno, "%s: no socket: %s", path, err_text(errno));
	ret = connect_fd(fd, &un, wait_ms, err);
	if (ret < 0)
		(void)close(fd);
	return ret < 0 ? ret : fd;
}

/* 'where' is behind "tcp:". */
static int connect_tcp(const char *where, const char *path, int wait_ms, struct err *err)
{
	const char *colon = strrchr(where, ':');
	CLEANUP(cleanup_free) char *host = NULL;
	struct sockaddr_list list = {0};
	int ret, last = ECONNREFUSED;

	if (!colon || !colon[1])
		return err_set(err, EINVAL, "%s: it is tcp:HOST:PORT", path);
	host = where[0] == '[' && colon > where && colon[-1] == ']'
		   ? xstrndup(where + 1, (size_t)(colon - where) - 2)
		   : xstrndup(where, (size_t)(colon - where));
	ret = inet_lookup(&list, host, colon + 1, AF_UNSPEC, 0, err);
	if (ret < 0)
		return err_prefix(err, ret, "%s: ", path);
	for (int i = 0; i < list.n; i++) {
		int fd =
		    socket(list.addr[i].ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		socklen_t n = sizeof(last);

		if (fd < 0)
			continue;
		if (connect(fd, (struct sockaddr *)&list.addr[i], list.len[i]) == 0)
			return fd;
		last = errno;
		if (last == EINPROGRESS && poll(&p, 1, wait_ms ? wait_ms : -1) == 1 &&
		    getsockopt(fd, SOL_SOCKET, SO_ERROR, &last, &n) == 0 && last == 0)
			return fd;
		(void)close(fd);
	}
	return err_set(err, last, "%s: cannot connect: %s", path,
		       err_text(last == EINPROGRESS ? ETIMEDOUT : last));
}

int connect_to(const char *path, int wait_ms, struct err *err)
{
	if (!strncmp(path, "tcp:", 4))
		return connect_tcp(path + 4, path, wait_ms, err);
	return connect_unix(!strncmp(path, "unix:", 5) ? path + 5 : path, wait_ms, err);
}

/* "minivmm-ctl, pid 12", or "another client". */
static const char *holder_text(pid_t pid, char out[64])
{
	char path[64], comm[32] = "";
	FILE *f;

	(void)snprintf(out, 64, "another client");
	(void)snprintf(path, sizeof(path), "/proc/%ld/comm", (long)pid);
	f = pid ? fopen(path, "re") : NULL;
	if (!f)
		return out;
	if (fgets(comm, sizeof(comm), f))
		(void)snprintf(out, 64, "another client, %.*s (pid %ld)", (int)strcspn(comm, "\n"),
			       comm, (long)pid);
	(void)fclose(f);
	return say_clean(out);
}

void connect_say_held(int fd, const char *path)
{
	char text[64];
	pid_t holder;

	if (backlog_waits(fd, &holder))
		(void)fprintf(
		    stderr,
		    "minivmm-ctl: %s: %s holds the monitor, which takes one at a time: waiting\n",
		    path, holder_text(holder, text));
}

int connect_silent(int fd, const char *path, struct err *err)
{
	char text[64];
	pid_t holder;

	if (backlog_waits(fd, &holder))
		return err_set(err, EBUSY, "%s: %s holds the monitor, which takes one at a time",
			       path, holder_text(holder, text));
	return err_set(
	    err, ETIMEDOUT,
	    "%s: it is connected, and does not greet: the peer hangs, or this is not a QMP monitor",
	    path);
}
