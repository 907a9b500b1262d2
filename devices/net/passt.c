/*
 * passt.c - a network made by the program passt, which runs without rights: frames go to it as in
 * stream.c, over a socket pair
 *
 * passt goes into the background when it is ready, and what runs then ends with
 * the socket; so the program started here is waited for, and its status says
 * whether the options are good.  Why they are not it says itself, on stderr.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devices/net/backends.h"
#include "devices/net/stream.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/spawn.h"
#include "vmm/base/units.h"
#include "vmm/host.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

enum how {
	VALUE, /* FLAG VALUE */
	LIST,  /* FLAG VALUE,VALUE... */
	WORDS, /* FLAG "VALUE VALUE..." */
	RAW,   /* VALUE VALUE... */
	IF_ON,
	IF_OFF,
};

/* As QEMU 11.1 calls it for these options. */
static const struct {
	const char *key, *flag;
	enum how how;
} table[] = {
    {"mtu",	       "--mtu",               VALUE },
    {"address",           "--address",           VALUE },
    {"netmask",           "--netmask",           VALUE },
    {"mac",	       "--mac-addr",          VALUE },
    {"gateway",           "--gateway",           VALUE },
    {"interface",         "--interface",         VALUE },
    {"outbound",          "--outbound",          VALUE },
    {"outbound-if4",      "--outbound-if4",      VALUE },
    {"outbound-if6",      "--outbound-if6",      VALUE },
    {"dns",	       "--dns",               VALUE },
    {"search",            "--search",            WORDS },
    {"fqdn",	      "--fqdn",              VALUE },
    {"dhcp-dns",          "--no-dhcp-dns",       IF_OFF},
    {"dhcp-search",       "--no-dhcp-search",    IF_OFF},
    {"map-host-loopback", "--map-host-loopback", VALUE },
    {"map-guest-addr",    "--map-guest-addr",    VALUE },
    {"dns-forward",       "--dns-forward",       VALUE },
    {"dns-host",          "--dns-host",          VALUE },
    {"tcp",	       "--no-tcp",            IF_OFF},
    {"udp",	       "--no-udp",            IF_OFF},
    {"icmp",	      "--no-icmp",           IF_OFF},
    {"dhcp",	      "--no-dhcp",           IF_OFF},
    {"ndp",	       "--no-ndp",            IF_OFF},
    {"dhcpv6",            "--no-dhcpv6",         IF_OFF},
    {"ra",		"--no-ra",             IF_OFF},
    {"freebind",          "--freebind",          IF_ON },
    {"ipv4",	      "--ipv6-only",         IF_OFF},
    {"ipv6",	      "--ipv4-only",         IF_OFF},
    {"tcp-ports",         "--tcp-ports",         LIST  },
    {"udp-ports",         "--udp-ports",         LIST  },
    {"param",             NULL,                  RAW   },
};

struct args {
	char **v; /* owned, NULL-terminated */
	size_t n;
};

static void args_add(struct args *a, const char *text)
{
	a->v = xrealloc(a->v, (a->n + 2) * sizeof(*a->v));
	a->v[a->n++] = xstrdup(text);
	a->v[a->n] = NULL;
}

static void args_fini(struct args *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->v[i]);
	free(a->v);
}

/* FLAG and all values of the key as one word. */
static void args_add_joined(struct args *a, const struct keyvals *props, const char *key,
			    const char *flag, char separator)
{
	CLEANUP(cleanup_free) const char **v = keyvals_all(props, key);
	struct buf joined = {0};

	if (!*v)
		return;
	for (size_t i = 0; v[i]; i++) {
		buf_put(&joined, v[i], strlen(v[i]));
		buf_u8(&joined, (uint8_t)(v[i + 1] ? separator : 0));
	}
	args_add(a, flag);
	args_add(a, (const char *)joined.data);
	buf_free(&joined);
}

static void args_add_each(struct args *a, const struct keyvals *props, const char *key)
{
	CLEANUP(cleanup_free) const char **v = keyvals_all(props, key);

	for (size_t i = 0; v[i]; i++)
		args_add(a, v[i]);
}

static void args_add_option(struct args *a, const struct keyvals *props, size_t row)
{
	const char *key = table[row].key, *flag = table[row].flag;
	const char *val = keyvals_get(props, key);

	switch (table[row].how) {
	case VALUE:
		if (val) {
			args_add(a, flag);
			args_add(a, val);
		}
		break;
	case LIST:
		args_add_joined(a, props, key, flag, ',');
		break;
	case WORDS:
		args_add_joined(a, props, key, flag, ' ');
		break;
	case RAW:
		args_add_each(a, props, key);
		break;
	case IF_ON:
		if (keyvals_bool(props, key, false))
			args_add(a, flag);
		break;
	case IF_OFF:
		if (!keyvals_bool(props, key, true))
			args_add(a, flag);
		break;
	}
}

static void args_of(struct args *a, const struct keyvals *props, const char *program, int fd)
{
	char number[16];

	args_add(a, program);
	if (keyvals_bool(props, "quiet", true))
		args_add(a, "--quiet");
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		args_add_option(a, props, i);
	(void)snprintf(number, sizeof(number), "%d", fd);
	args_add(a, "--fd");
	args_add(a, number);
}

/* Until passt has gone into the background; a signal that ends the program ends it too. */
static int passt_wait(struct net_backend *b, pid_t pid, const char *program, struct err *err)
{
	CLEANUP(cleanup_free) char *what = xasprintf("%s starts", program);
	int status = 0, ret = host_wait_program(b->m->host, pid, what, &status, err);

	if (ret < 0)
		return ret;
	if (WIFSIGNALED(status))
		return err_set(err, EIO, "netdev '%s': %s ended by signal %d", b->id, program,
			       WTERMSIG(status));
	if (WEXITSTATUS(status))
		return err_set(err, EIO,
			       "netdev '%s': %s exited with code %d, and says why itself%s", b->id,
			       program, WEXITSTATUS(status),
			       WEXITSTATUS(status) == 1 ? " (with quiet=off it says more)" : "");
	return 0;
}

static int passt_spawn(struct net_backend *b, const struct cfg_netdev *cfg, int fd, struct err *err)
{
	const char *path = keyvals_get(&cfg->props, "path"), *program = path ? path : "passt";
	struct args a = {0};
	struct spawn s = {.in = -1, .out = -1, .search = true};
	pid_t pid;
	int ret;

	args_of(&a, &cfg->props, program, fd);
	s.argv = (const char *const *)a.v;
	ret = spawn_program(&pid, &s);
	args_fini(&a);
	if (ret == ENOENT && !path)
		return err_set(err, ENOENT,
			       "netdev '%s': the program passt is not installed: install the "
			       "package passt, give path=, or use -netdev user",
			       b->id);
	if (ret)
		return err_set(err, ret, "netdev '%s': cannot run '%s': %s", b->id, program,
			       err_text(ret));
	return passt_wait(b, pid, program, err);
}

static int passt_open(struct net_backend *b, const struct cfg_netdev *cfg, struct err *err)
{
	CLEANUP(cleanup_close) int theirs = -1;
	int fds[2], ret;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return err_set(err, errno, "netdev '%s': cannot make a socket pair: %s", b->id,
			       err_text(errno));
	theirs = fds[1];
	/* Nothing else is started at this time. */
	ret = fcntl(theirs, F_SETFD, 0) < 0
		  ? err_set(err, errno, "netdev '%s': %s", b->id, err_text(errno))
		  : passt_spawn(b, cfg, theirs, err);
	if (ret < 0) {
		(void)close(fds[0]);
		return ret;
	}
	stream_open_fd(b, fds[0], "passt");
	return 0;
}

const struct net_backend_ops net_passt_ops = {
    .type = "passt",
    .open = passt_open,
    .attach = stream_attach,
    .detach = stream_detach,
    .send = stream_send,
    .can_receive = stream_can_receive,
    .close = stream_close,
};
