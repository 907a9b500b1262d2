/*
 * listen.c - binding and listening: stale unix sockets, both IP families, port ranges
 *
 * A unix socket whose program has died stays in the file system and makes
 * bind() fail.  It is replaced only if no program serves it (is_served) and it
 * is a socket; the path is removed at the end only while it is still the inode
 * that was bound.
 *
 * For IP the first address that can be bound decides the port, which the other
 * addresses then use.  [::] takes IPv4 too unless the list has 0.0.0.0 itself.
 */
#include "vmm/base/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/leftovers.h"
#include "vmm/base/log.h"

/* ---- unix ---- */

/*
 * Does a program serve the socket at this address?  A connection would tell, but a
 * listener may be there for one only.  The kernel says the same to a socket of
 * another type, which never gets in: EPROTOTYPE where one is bound, ECONNREFUSED
 * where none is.  1, 0, or -errno.
 */
static int is_served(const struct sockaddr_un *un)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), ret = 1;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)un, sizeof(*un)) < 0 && errno != EPROTOTYPE)
		ret = errno == ECONNREFUSED || errno == ENOENT ? 0 : -errno;
	(void)close(fd);
	return ret;
}

static int say_served(const char *path, struct err *err)
{
	pid_t pid = unix_socket_owner(path);

	if (pid == getpid())
		return err_set(err, EADDRINUSE,
			       "Failed to bind socket to %s: it is in use already, by another "
			       "option or command of this program",
			       path);
	if (pid)
		return err_set(err, EADDRINUSE,
			       "Failed to bind socket to %s: it is in use by process %ld", path,
			       (long)pid);
	return err_set(err, EADDRINUSE, "Failed to bind socket to %s: another program uses it",
		       path);
}

/* Something is at the path: make room for a new socket if it is one without a listener. */
static int replace_stale(const struct sockaddr_un *un, const char *path, struct err *err)
{
	struct stat st;
	int ret;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0
				       : err_set(err, errno, "Failed to bind socket to %s: %s",
						 path, err_text(errno));
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, EADDRINUSE,
			       "Failed to bind socket to %s: something that is not a socket has "
			       "this name",
			       path);
	ret = is_served(un);
	if (ret > 0)
		return say_served(path, err);
	if (ret == 0 && unlink(path) < 0 && errno != ENOENT)
		ret = -errno;
	if (ret < 0)
		return err_set(err, -ret,
			       "Failed to bind socket to %s: cannot replace the socket there: %s",
			       path, err_text(-ret));
	return 0;
}

static int bind_unix(int fd, const struct sockaddr_un *un, const char *path, struct err *err)
{
	int ret = bind(fd, (const struct sockaddr *)un, sizeof(*un)) < 0 ? -errno : 0;

	if (ret == -EADDRINUSE) {
		ret = replace_stale(un, path, err);
		if (ret < 0)
			return ret;
		ret = bind(fd, (const struct sockaddr *)un, sizeof(*un)) < 0 ? -errno : 0;
	}
	if (ret < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
		ret = ret < 0 ? ret : -errno;
		return err_set(err, -ret, "Failed to bind socket to %s: %s", path, err_text(-ret));
	}
	return 0;
}

int listen_unix(struct listen_set *set, const char *path, struct err *err)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct stat st;
	int fd, ret;

	*set = (struct listen_set){0};
	if (strlen(path) >= sizeof(un.sun_path))
		return err_set(err, ENAMETOOLONG,
			       "UNIX socket path '%s' is too long: it must be less than %zu bytes",
			       path, sizeof(un.sun_path));
	memcpy(un.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, errno, "Failed to create Unix socket: %s", err_text(errno));
	ret = bind_unix(fd, &un, path, err);
	if (ret < 0) {
		(void)close(fd);
		return ret;
	}
	set->fd[set->n++] = fd;
	if (lstat(path, &st) == 0) {
		set->path = xstrdup(path);
		set->dev = st.st_dev;
		set->ino = st.st_ino;
		leftover_add(path);
	}
	return 0;
}

/* ---- tcp ---- */

static bool is_any(const struct sockaddr_storage *ss)
{
	if (ss->ss_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)ss)->sin6_addr);
	return ((const struct sockaddr_in *)ss)->sin_addr.s_addr == htonl(INADDR_ANY);
}

/* A listening descriptor, or -errno. */
static int listen_on(const struct sockaddr_storage *addr, socklen_t len, uint16_t port,
		     bool v6_only)
{
	struct sockaddr_storage ss = *addr;
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), e;
	int on = 1, only = v6_only;

	if (fd < 0)
		return -errno;
	sockaddr_set_port(&ss, port);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (ss.ss_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
	if (bind(fd, (const struct sockaddr *)&ss, len) == 0 && listen(fd, LISTEN_BACKLOG) == 0)
		return fd;
	e = errno;
	(void)close(fd);
	return -e;
}

/* Does [::] have to stand for IPv4 too?  Not where 0.0.0.0 is in the list itself. */
static bool takes_both(const struct sockaddr_list *list, int family)
{
	bool any6 = false, any4 = false;

	for (int i = 0; i < list->n; i++)
		*(list->addr[i].ss_family == AF_INET6 ? &any6 : &any4) |= is_any(&list->addr[i]);
	return family == AF_UNSPEC && any6 && !any4;
}

/* The first port of the range that is free. */
static int listen_first(const struct sockaddr_storage *ss, socklen_t len, uint16_t port_to,
			bool both, const char *what)
{
	unsigned first = sockaddr_port(ss);
	int fd = listen_on(ss, len, (uint16_t)first, !both);

	for (unsigned port = first + 1; fd == -EADDRINUSE && port <= port_to; port++)
		fd = listen_on(ss, len, (uint16_t)port, !both);
	if (fd != -EADDRINUSE || !both)
		return fd;
	fd = listen_on(ss, len, (uint16_t)first, true);
	if (fd >= 0)
		log_warn("%s: another program has the port on IPv4: listening on IPv6 only", what);
	return fd;
}

/* A failure on one of the other addresses is ignored. */
static void listen_others(struct listen_set *set, const struct sockaddr_list *list, int from)
{
	struct sockaddr_storage real = {0};
	socklen_t len = sizeof(real);

	if (getsockname(set->fd[0], (struct sockaddr *)&real, &len) < 0)
		return;
	for (int i = from; i < list->n; i++) {
		int fd = listen_on(&list->addr[i], list->len[i], sockaddr_port(&real), true);

		if (fd >= 0)
			set->fd[set->n++] = fd;
	}
}

int listen_inet(struct listen_set *set, const struct sockaddr_list *list, int family,
		uint16_t port_to, const char *what, struct err *err)
{
	bool both = takes_both(list, family);
	int fd = -EADDRNOTAVAIL, i;

	*set = (struct listen_set){0};
	/* A family that this host does not have is passed over. */
	for (i = 0; i < list->n && (fd == -EADDRNOTAVAIL || fd == -EAFNOSUPPORT); i++)
		fd = listen_first(&list->addr[i], list->len[i], port_to, both, what);
	if (fd < 0)
		return err_set(err, -fd, "Failed to bind socket to %s: %s", what, err_text(-fd));
	set->fd[set->n++] = fd;
	listen_others(set, list, i);
	return 0;
}

/* ---- all ---- */

void listen_given(struct listen_set *set, int fd)
{
	int listens = 0;
	socklen_t len = sizeof(listens);

	*set = (struct listen_set){.n = 1};
	set->fd[0] = fd;
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	/* Who made it may have thought of a single client. */
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens)
		(void)listen(fd, LISTEN_BACKLOG);
}

int listen_accept(const struct listen_set *set)
{
	for (int i = 0; i < set->n; i++) {
		int fd = accept4(set->fd[i], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0)
			return fd;
	}
	return -EAGAIN;
}

bool listen_pending(const struct listen_set *set, int timeout_ms)
{
	struct pollfd p[SOCKADDR_LIST_MAX];

	for (int i = 0; i < set->n; i++)
		p[i] = (struct pollfd){.fd = set->fd[i], .events = POLLIN};
	return poll(p, (nfds_t)set->n, timeout_ms) > 0;
}

void listen_close(struct listen_set *set)
{
	struct stat st;

	for (int i = 0; i < set->n; i++)
		(void)close(set->fd[i]);
	if (set->path)
		leftover_forget(set->path);
	if (set->path && lstat(set->path, &st) == 0 && st.st_ino == set->ino &&
	    st.st_dev == set->dev)
		(void)unlink(set->path);
	free(set->path);
	*set = (struct listen_set){0};
}
