#include "devices/chardev/address.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/host.h"
#include "vmm/options/config.h"

static int resolve_unix(struct addresses *as, const char *path, struct err *err)
{
	struct sockaddr_un *sun = (struct sockaddr_un *)&as->v[0].sa;

	if (strlen(path) >= sizeof(sun->sun_path))
		return err_set(err, ENAMETOOLONG,
			       "UNIX socket path '%s' is too long: it must be less than %zu bytes",
			       path, sizeof(sun->sun_path));
	*sun = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(sun->sun_path, path, strlen(path));
	as->v[0].len = sizeof(*sun);
	as->n = 1;
	return 0;
}

static int resolve_now(struct addresses *as, const struct cfg_chardev *cfg, struct err *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = cfg->server ? AI_PASSIVE : 0};
	const char *host = cfg->host && *cfg->host ? cfg->host : NULL;
	struct addrinfo *list = NULL;
	int ret;

	*as = (struct addresses){0};
	if (cfg->path)
		return resolve_unix(as, cfg->path, err);
	if (!cfg->port)
		return err_set(
		    err, EINVAL,
		    "chardev '%s': a socket needs path=, host= and port=, or fd=", cfg->id);
	ret = getaddrinfo(host, cfg->port, &hints, &list);
	if (ret)
		return err_set(err, EINVAL, "address resolution failed for %s:%s: %s",
			       host ? host : "", cfg->port, gai_strerror(ret));
	for (struct addrinfo *ai = list; ai && as->n < ADDRESS_MAX; ai = ai->ai_next) {
		memcpy(&as->v[as->n].sa, ai->ai_addr, ai->ai_addrlen);
		as->v[as->n++].len = ai->ai_addrlen;
	}
	freeaddrinfo(list);
	return 0;
}

static int new_socket(const struct address *a, int flags)
{
	int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	return fd < 0 ? -errno : fd;
}

static void remove_stale(const char *path)
{
	struct stat st;

	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)unlink(path);
}

static int listen_one(const struct address *a)
{
	int one = 1, ret = 0;
	int fd = new_socket(a, SOCK_NONBLOCK);

	if (fd < 0)
		return fd;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (const struct sockaddr *)&a->sa, a->len) < 0 || listen(fd, 1) < 0)
		ret = -errno;
	if (ret < 0)
		(void)close(fd);
	return ret < 0 ? ret : fd;
}

int address_listen(const struct addresses *as, const struct cfg_chardev *cfg, struct err *err)
{
	int fd = -EINVAL;

	if (cfg->path)
		remove_stale(cfg->path);
	for (size_t i = 0; i < as->n && fd < 0; i++)
		fd = listen_one(&as->v[i]);
	if (fd >= 0)
		return fd;
	if (cfg->path)
		return err_set(err, -fd, "Failed to bind socket to %s: %s", cfg->path,
			       err_text(-fd));
	return err_set(err, -fd, "Failed to bind socket to %s:%s: %s", cfg->host ? cfg->host : "",
		       cfg->port, err_text(-fd));
}

static int connect_one(const struct address *a)
{
	int fd = new_socket(a, 0);
	int ret = 0;

	if (fd < 0)
		return fd;
	if (connect(fd, (const struct sockaddr *)&a->sa, a->len) < 0 ||
	    fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		ret = -errno;
	if (ret < 0)
		(void)close(fd);
	return ret < 0 ? ret : fd;
}

static int connect_now(const struct addresses *as, const struct cfg_chardev *cfg, struct err *err)
{
	int fd = -EINVAL;

	for (size_t i = 0; i < as->n && fd < 0; i++)
		fd = connect_one(&as->v[i]);
	if (fd >= 0)
		return fd;
	if (cfg->path)
		return err_set(err, -fd, "Failed to connect to '%s': %s", cfg->path, err_text(-fd));
	return err_set(err, -fd, "Failed to connect to '%s:%s': %s", cfg->host ? cfg->host : "",
		       cfg->port, err_text(-fd));
}

/* What the kernel or a name server may take minutes for; on a thread of its own. */
struct work {
	const struct cfg_chardev *cfg;
	bool connect;
	struct addresses peers;
	struct err err;
	int ret;
};

static void do_work(void *arg)
{
	struct work *w = arg;

	w->ret = w->connect ? connect_now(&w->peers, w->cfg, &w->err)
			    : resolve_now(&w->peers, w->cfg, &w->err);
}

static int run_work(struct host *h, struct addresses *as, const struct cfg_chardev *cfg,
		    bool connect, struct err *err)
{
	struct work *w = NEW(struct work);
	CLEANUP(cleanup_free)
	char *what = xasprintf("chardev '%s' %s", cfg->id ? cfg->id : "",
			       connect ? "connects" : "looks its host up");
	int ret;

	*w = (struct work){.cfg = cfg, .connect = connect, .peers = *as};
	ret = host_run(h, do_work, w, what, err);
	if (ret < 0)
		return ret; /* the thread still has it */
	*as = w->peers;
	ret = w->ret;
	if (ret < 0 && err)
		*err = w->err;
	free(w);
	return ret;
}

int address_resolve(struct host *h, struct addresses *as, const struct cfg_chardev *cfg,
		    struct err *err)
{
	*as = (struct addresses){0};
	return cfg->path || !cfg->port ? resolve_now(as, cfg, err)
				       : run_work(h, as, cfg, false, err);
}

int address_connect(struct host *h, struct addresses *as, const struct cfg_chardev *cfg,
		    struct err *err)
{
	return cfg->path ? connect_now(as, cfg, err) : run_work(h, as, cfg, true, err);
}

int address_connect_start(const struct address *a)
{
	int fd = new_socket(a, SOCK_NONBLOCK);
	int ret;

	if (fd < 0 || connect(fd, (const struct sockaddr *)&a->sa, a->len) == 0 ||
	    errno == EINPROGRESS)
		return fd;
	ret = -errno;
	(void)close(fd);
	return ret;
}

void address_text(const struct address *a, char *text)
{
	char host[64], port[16];

	*text = 0;
	if (a->sa.ss_family == AF_UNIX ||
	    getnameinfo((const struct sockaddr *)&a->sa, a->len, host, sizeof(host), port,
			sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		return;
	(void)snprintf(text, ADDRESS_TEXT, a->sa.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
		       port);
}
