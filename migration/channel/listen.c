#include "migration/channel/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "migration/channel/address.h"
#include "migration/channel/resolve.h"
#include "migration/channel/uri.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/loop.h"

#define BACKLOG 256 /* the most channels there can be, and the main one */

struct listener {
	struct loop *loop;
	void (*accepted)(void *opaque, int fd);
	void *opaque;
	int fd[SOCKADDR_LIST_MAX];
	struct loop_fd *watch[SOCKADDR_LIST_MAX];
	int n;
	char *unlink_path; /* owned; the unix socket to remove, or NULL */
	struct stat made;  /* what was made there */
};

static void ready(void *opaque, int events)
{
	struct listener *ls = opaque;
	int fd = -1;

	(void)events;
	for (int i = 0; i < ls->n && fd < 0; i++)
		fd = accept4(ls->fd[i], NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0) /* the client has gone again: the next one will do */
		return;
	ls->accepted(ls->opaque, fd);
}

static void add_fd(struct listener *ls, int fd)
{
	ls->fd[ls->n] = fd;
	ls->watch[ls->n++] = loop_fd_add(ls->loop, fd, LOOP_READABLE, ready, ls);
}

/* ---- unix ---- */

static int listen_unix(struct listener *ls, const char *path, struct migration_address *addr,
		       struct err *err)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct stat st;
	int fd;

	if (strlen(path) >= sizeof(un.sun_path))
		return err_set(err, ENAMETOOLONG, "UNIX socket path '%s' is too long", path);
	memcpy(un.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, errno, "Failed to create Unix socket: %s", err_text(errno));
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)unlink(path); /* left by one that has ended */
	if (bind(fd, (const struct sockaddr *)&un, sizeof(un)) < 0 || listen(fd, BACKLOG) < 0) {
		int e = errno;

		(void)close(fd);
		return err_set(err, e, "Failed to bind socket to %s: %s", path, err_text(e));
	}
	if (lstat(path, &ls->made) == 0)
		ls->unlink_path = xstrdup(path);
	add_fd(ls, fd);
	addr->type = ADDR_UNIX;
	memcpy(addr->path, path, strlen(path) + 1);
	return 0;
}

/* ---- tcp ---- */

static void set_port(struct sockaddr_storage *ss, uint16_t port)
{
	if (ss->ss_family == AF_INET6)
		((struct sockaddr_in6 *)ss)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)ss)->sin_port = htons(port);
}

static uint16_t get_port(const struct sockaddr_storage *ss)
{
	/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): getsockname() has filled it */
	return ntohs(ss->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)ss)->sin6_port
					       : ((const struct sockaddr_in *)ss)->sin_port);
}

/* A listening descriptor, or -errno. */
static int listen_on(struct sockaddr_storage *ss, socklen_t len, uint16_t port)
{
	int fd = socket(ss->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
	int e;

	if (fd < 0)
		return -errno;
	set_port(ss, port);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (ss->ss_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)ss, len) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	e = errno;
	(void)close(fd);
	return -e;
}

/* The first port of the range that the first address can have. */
static int listen_in_range(const struct migration_uri *uri, struct sockaddr_list *list)
{
	int fd = listen_on(&list->addr[0], list->len[0], uri->port);

	for (unsigned port = uri->port + 1U; fd == -EADDRINUSE && port <= uri->port_to; port++)
		fd = listen_on(&list->addr[0], list->len[0], (uint16_t)port);
	return fd;
}

static int listen_tcp(struct listener *ls, const struct migration_uri *uri,
		      struct migration_address *addr, struct err *err)
{
	struct sockaddr_storage real = {0};
	struct sockaddr_list list = {0};
	socklen_t len = sizeof(real);
	int ret = resolve_now(uri, true, &list, err);
	int fd;

	if (ret < 0)
		return ret;
	fd = list.n ? listen_in_range(uri, &list) : -EADDRNOTAVAIL;
	if (fd < 0)
		return err_set(err, -fd, "Failed to bind socket to %s: %s", uri->text,
			       err_text(-fd));
	add_fd(ls, fd);
	if (getsockname(fd, (struct sockaddr *)&real, &len) < 0 ||
	    getnameinfo((const struct sockaddr *)&real, len, addr->host, sizeof(addr->host),
			addr->port, sizeof(addr->port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return err_set(err, EIO, "cannot learn the address of the socket on %s", uri->text);
	addr->type = ADDR_INET;
	addr->ipv4 = real.ss_family == AF_INET;
	addr->ipv6 = real.ss_family == AF_INET6;
	for (int i = 1; i < list.n; i++) { /* the other family is a courtesy */
		fd = listen_on(&list.addr[i], list.len[i], get_port(&real));
		if (fd >= 0)
			add_fd(ls, fd);
	}
	return 0;
}

struct listener *listener_new(struct loop *l, const struct migration_uri *uri,
			      void (*accepted)(void *opaque, int fd), void *opaque,
			      struct migration_address *addr, struct err *err)
{
	struct listener *ls = NEW(struct listener);
	int ret;

	ls->loop = l;
	ls->accepted = accepted;
	ls->opaque = opaque;
	*addr = (struct migration_address){0};
	if (uri->kind == URI_UNIX)
		ret = listen_unix(ls, uri->path, addr, err);
	else
		ret = listen_tcp(ls, uri, addr, err);
	if (ret < 0) {
		listener_free(ls);
		return NULL;
	}
	return ls;
}

void listener_free(struct listener *ls)
{
	struct stat st;

	if (!ls)
		return;
	for (int i = 0; i < ls->n; i++) {
		loop_fd_del(ls->watch[i]);
		(void)close(ls->fd[i]);
	}
	if (ls->unlink_path && lstat(ls->unlink_path, &st) == 0 && st.st_ino == ls->made.st_ino &&
	    st.st_dev == ls->made.st_dev)
		(void)unlink(ls->unlink_path);
	free(ls->unlink_path);
	free(ls);
}

bool listener_pending(const struct listener *ls)
{
	for (int i = 0; i < ls->n; i++) {
		struct pollfd p = {.fd = ls->fd[i], .events = POLLIN};

		if (poll(&p, 1, 0) > 0)
			return true;
	}
	return false;
}
