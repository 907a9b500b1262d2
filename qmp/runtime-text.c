/* runtime-text.c - the runtime entry: how to reach this program and what it is */
#include "qmp/runtime-text.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/version.h"
#include "vmm/options/config.h"

/* Owned: the path from the root. */
static char *absolute(const char *path)
{
	char folder[PATH_MAX];

	return *path == '/' || !getcwd(folder, sizeof(folder)) ? xstrdup(path)
							       : xasprintf("%s/%s", folder, path);
}

/* Owned: where a socket that was given listens; NULL: it has no path. */
static char *given_path(int fd)
{
	struct sockaddr_un un = {0};
	socklen_t n = sizeof(un) - 1;

	if (getsockname(fd, (struct sockaddr *)&un, &n) < 0 || un.sun_family != AF_UNIX ||
	    !un.sun_path[0])
		return NULL;
	return absolute(un.sun_path);
}

/* Owned: how to connect to it; NULL: nobody can. */
static char *address(const struct cfg_chardev *c)
{
	if (!c || strcmp(c->type, "socket") != 0 || !c->server)
		return NULL;
	if (c->path)
		return absolute(c->path);
	if (c->fd >= 0)
		return given_path(c->fd);
	if (!c->port || !strcmp(c->port, "0"))
		return NULL;
	return xasprintf(c->host && strchr(c->host, ':') ? "tcp:[%s]:%s" : "tcp:%s:%s",
			 c->host && *c->host ? c->host : "localhost", c->port);
}

static size_t put_monitors(struct json_writer *w, const struct config *cfg)
{
	size_t n = 0;

	jw_key(w, "monitors");
	jw_open(w, '[');
	for (size_t i = 0; i < cfg->n_monitors; i++) {
		char *a = address(config_chardev(cfg, cfg->monitors[i].chardev));

		if (a) {
			jw_str(w, a);
			n++;
		}
		free(a);
	}
	jw_close(w, ']');
	return n;
}

static void put_disks(struct json_writer *w, const struct config *cfg)
{
	jw_key(w, "disks");
	jw_open(w, '[');
	for (size_t i = 0; i < cfg->n_blockdevs; i++) {
		if (cfg->blockdevs[i].filename) {
			char *path = absolute(cfg->blockdevs[i].filename);

			jw_str(w, path);
			free(path);
		}
	}
	jw_close(w, ']');
}

bool runtime_text(struct buf *out, const struct config *cfg)
{
	struct json_writer w = json_writer(out, false);
	size_t before = out->len, monitors;

	jw_open(&w, '{');
	jw_key(&w, "pid");
	jw_int(&w, getpid());
	jw_key(&w, "name");
	jw_str(&w, cfg->name ? cfg->name : "");
	jw_key(&w, "program");
	jw_str(&w, "minivmm " MINIVMM_VERSION);
	jw_key(&w, "started");
	jw_int(&w, time(NULL));
	jw_key(&w, "ram");
	jw_uint(&w, cfg->ram_bytes);
	jw_key(&w, "cpus");
	jw_uint(&w, cfg->cpus);
	monitors = put_monitors(&w, cfg);
	put_disks(&w, cfg);
	jw_close(&w, '}');
	buf_put(out, "\n", 1);
	if (!monitors)
		out->len = before;
	return monitors > 0;
}
