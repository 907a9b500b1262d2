/*
 * address.c - the addresses of a socket chardev: resolve, listen, connect
 *
 * At the start a look-up or a connect may block for minutes; it runs on a
 * thread of its own so that a signal can end the program (host_run).
 * Reconnecting later uses address_connect_start(), which does not block.
 */
#include "devices/chardev/address.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/listen.h"
#include "vmm/base/units.h"
#include "vmm/host.h"
#include "vmm/options/config.h"

static int resolve_unix(struct sockaddr_list *as, const char *path, struct err *err)
{
	struct sockaddr_un *sun = (struct sockaddr_un *)&as->addr[0];

	if (strlen(path) >= sizeof(sun->sun_path))
		return err_set(err, ENAMETOOLONG,
			       "UNIX socket path '%s' is too long: it must be less than %zu bytes",
			       path, sizeof(sun->sun_path));
	*sun = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(sun->sun_path, path, strlen(path));
	as->len[0] = sizeof(*sun);
	as->n = 1;
	return 0;
}

int address_resolve(struct host *h, struct sockaddr_list *as, const struct cfg_chardev *cfg,
		    struct err *err)
{
	CLEANUP(cleanup_free) char *what = NULL;

	*as = (struct sockaddr_list){0};
	if (cfg->path)
		return resolve_unix(as, cfg->path, err);
	if (!cfg->port)
		return err_set(
		    err, EINVAL,
		    "chardev '%s': a socket needs path=, host= and port=, or fd=", cfg->id);
	if (cfg->later) /* no name server is waited for */
		return inet_lookup(
		    as, cfg->host, cfg->port, ip_family(cfg->ipv4, cfg->ipv6),
		    (cfg->server ? AI_PASSIVE : 0) |
			(cfg->host && strcmp(cfg->host, "localhost") != 0 ? AI_NUMERICHOST : 0),
		    err);
	what = xasprintf("chardev '%s' looks its host up", cfg->id ? cfg->id : "");
	return host_lookup(h, as, cfg->host, cfg->port, ip_family(cfg->ipv4, cfg->ipv6),
			   cfg->server ? AI_PASSIVE : 0, what, err);
}

int address_listen(struct listen_set *set, const struct sockaddr_list *as,
		   const struct cfg_chardev *cfg, struct err *err)
{
	CLEANUP(cleanup_free) char *what = NULL;

	if (cfg->path)
		return listen_unix(set, cfg->path, err);
	what = xasprintf("%s:%s", cfg->host ? cfg->host : "", cfg->port);
	return listen_inet(set, as, ip_family(cfg->ipv4, cfg->ipv6), 0, what, err);
}

static int connect_one(const struct sockaddr_storage *ss, socklen_t len)
{
	int fd = socket(ss->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)ss, len) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		ret = -errno;
	if (ret < 0)
		(void)close(fd);
	return ret < 0 ? ret : fd;
}

static int connect_now(const struct sockaddr_list *as, const struct cfg_chardev *cfg,
		       struct err *err)
{
	int fd = -EINVAL;

	for (int i = 0; i < as->n && fd < 0; i++)
		fd = connect_one(&as->addr[i], as->len[i]);
	if (fd >= 0)
		return fd;
	if (cfg->path)
		return err_set(err, -fd, "Failed to connect to '%s': %s", cfg->path, err_text(-fd));
	return err_set(err, -fd, "Failed to connect to '%s:%s': %s", cfg->host ? cfg->host : "",
		       cfg->port, err_text(-fd));
}

/* An attempt to connect, which may take minutes; on a thread of its own. */
struct attempt {
	const struct cfg_chardev *cfg;
	struct sockaddr_list peers;
	struct err err;
	int ret;
};

static void run_attempt(void *arg)
{
	struct attempt *a = arg;

	a->ret = connect_now(&a->peers, a->cfg, &a->err);
}

int address_connect(struct host *h, const struct sockaddr_list *as, const struct cfg_chardev *cfg,
		    struct err *err)
{
	CLEANUP(cleanup_free)
	char *what = xasprintf("chardev '%s' connects", cfg->id ? cfg->id : "");
	struct attempt *a = NEW(struct attempt);
	int ret;

	*a = (struct attempt){.cfg = cfg, .peers = *as};
	ret = host_run(h, run_attempt, a, what, err);
	if (ret < 0)
		return ret; /* the abandoned thread still uses it */
	ret = a->ret;
	if (ret < 0 && err)
		*err = a->err;
	free(a);
	return ret;
}

int address_connect_start(const struct sockaddr_list *as, int i)
{
	int fd = socket(as->addr[i].ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int ret;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&as->addr[i], as->len[i]) == 0 ||
	    errno == EINPROGRESS)
		return fd;
	ret = -errno;
	(void)close(fd);
	return ret;
}

void address_text(const struct sockaddr_storage *ss, socklen_t len, char *text)
{
	char host[64], port[16];

	*text = 0;
	if (ss->ss_family == AF_UNIX ||
	    getnameinfo((const struct sockaddr *)ss, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		return;
	(void)snprintf(text, ADDRESS_TEXT, ss->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
		       port);
}
