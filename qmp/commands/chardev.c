/*
 * chardev.c - chardevs that come, go and change; breaks, ring buffers (qmp-surface 5.4)
 *
 * A back end is described by types of its own, whose members become the keys of -chardev: what they
 * may be is in its tables.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/microvm.h"
#include "qmp/command.h"
#include "qmp/session.h"
#include "qmp/types.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/host.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"
#include "vmm/options/options.h"

/* ---- the types ---- */

struct legacy_address {
	int type; /* enum qmp_socket_type */
	struct qmp_socket_address data;
};

struct backend_data {
	const char *logfile, *in, *out;
	struct legacy_address addr;
	const char *tls_creds, *tls_authz;
	bool has_logappend, logappend, has_append, append, has_signal, signal;
	bool has_server, server, has_wait, wait, has_nodelay, nodelay, has_telnet, telnet;
	bool has_tn3270, tn3270, has_websocket, websocket, has_reconnect, has_size;
	int64_t reconnect, size;
};

enum backend_kind { BACKEND_NULL, BACKEND_FILE, BACKEND_SOCKET, BACKEND_PTY, BACKEND_RINGBUF };

struct backend {
	int type; /* enum backend_kind */
	struct backend_data data;
};

#define COMMON                                                                                     \
	QMP_SET(struct backend_data, logfile, "logfile"),                                          \
	    QMP_OPT(struct backend_data, logappend, "logappend")

static const struct qmp_member common_members[] = {COMMON, {0}};
static const struct qmp_type common_type =
    QMP_OBJECT_TYPE(struct backend_data, "ChardevCommon", common_members);
static const struct qmp_member file_members[] = {
    COMMON,
    QMP_SET(struct backend_data, in, "in"),
    QMP_REQ(struct backend_data, out, "out"),
    QMP_OPT(struct backend_data, append, "append"),
    {0},
};
static const struct qmp_type file_type =
    QMP_OBJECT_TYPE(struct backend_data, "ChardevFile", file_members);
static const struct qmp_member ringbuf_members[] = {
    COMMON,
    QMP_OPT(struct backend_data, size, "size"),
    {0},
};
static const struct qmp_type ringbuf_type =
    QMP_OBJECT_TYPE(struct backend_data, "ChardevRingbuf", ringbuf_members);

/* SocketAddressLegacy: what belongs to the type is in 'data'. */
static const struct qmp_member inet_members[] = {
    QMP_REQ_T(struct legacy_address, data, "data", &qmp_inet_address_type),
    {0},
};
static const struct qmp_type inet_type =
    QMP_OBJECT_TYPE(struct legacy_address, "InetSocketAddressWrapper", inet_members);
static const struct qmp_member unix_members[] = {
    QMP_REQ_T(struct legacy_address, data, "data", &qmp_unix_address_type),
    {0},
};
static const struct qmp_type unix_type =
    QMP_OBJECT_TYPE(struct legacy_address, "UnixSocketAddressWrapper", unix_members);
static const struct qmp_member fd_members[] = {
    QMP_REQ_T(struct legacy_address, data, "data", &qmp_fd_address_type),
    {0},
};
static const struct qmp_type fd_type =
    QMP_OBJECT_TYPE(struct legacy_address, "FdSocketAddressWrapper", fd_members);
static const char *const address_kinds[] = {"inet", "unix", "fd", NULL};
static const struct qmp_type address_kind = QMP_ENUM_TYPE("SocketAddressType", address_kinds);
static const struct qmp_type *const address_variants[] = {&inet_type, &unix_type, &fd_type};
static const struct qmp_member address_members[] = {
    QMP_REQ_T(struct legacy_address, type, "type", &address_kind),
    {0},
};
static const struct qmp_type address_type = {
    .kind = QMP_KIND_OBJECT,
    .name = "SocketAddressLegacy",
    .size = sizeof(struct legacy_address),
    .members = address_members,
    .tag = "type",
    .variants = address_variants,
};
static const struct qmp_member socket_members[] = {
    COMMON,
    QMP_REQ_T(struct backend_data, addr, "addr", &address_type),
    QMP_SET(struct backend_data, tls_creds, "tls-creds"),
    QMP_SET(struct backend_data, tls_authz, "tls-authz"),
    QMP_OPT(struct backend_data, server, "server"),
    QMP_OPT(struct backend_data, wait, "wait"),
    QMP_OPT(struct backend_data, nodelay, "nodelay"),
    QMP_OPT(struct backend_data, telnet, "telnet"),
    QMP_OPT(struct backend_data, tn3270, "tn3270"),
    QMP_OPT(struct backend_data, websocket, "websocket"),
    QMP_OLD(struct backend_data, reconnect, "reconnect",
	    offsetof(struct backend_data, has_reconnect)),
    {0},
};
static const struct qmp_type socket_type =
    QMP_OBJECT_TYPE(struct backend_data, "ChardevSocket", socket_members);

#define WRAPPER(t, wire)                                                                           \
	static const struct qmp_member t##_wrapper_members[] = {                                   \
	    QMP_REQ_T(struct backend, data, "data", &t##_type),                                    \
	    {0},                                                                                   \
	};                                                                                         \
	static const struct qmp_type t##_wrapper =                                                 \
	    QMP_OBJECT_TYPE(struct backend, wire, t##_wrapper_members)

WRAPPER(common, "ChardevCommonWrapper");
WRAPPER(file, "ChardevFileWrapper");
WRAPPER(socket, "ChardevSocketWrapper");
WRAPPER(ringbuf, "ChardevRingbufWrapper");

static const char *const kinds[] = {
    [BACKEND_NULL] = "null", [BACKEND_FILE] = "file",       [BACKEND_SOCKET] = "socket",
    [BACKEND_PTY] = "pty",   [BACKEND_RINGBUF] = "ringbuf", NULL};

/* What there is and cannot be made later, and what there is not. */
static const char *refused(const char *kind)
{
	if (!strcmp(kind, "stdio"))
		return "stdio is the program's own: give it as -chardev";
	return "use socket, file, pty, ringbuf or null";
}

static const struct qmp_type kind_type = {
    .kind = QMP_KIND_ENUM,
    .name = "ChardevBackendKind",
    .size = sizeof(int),
    .values = kinds,
    .refused = refused,
};
static const struct qmp_type *const variants[] = {
    [BACKEND_NULL] = &common_wrapper,     [BACKEND_FILE] = &file_wrapper,
    [BACKEND_SOCKET] = &socket_wrapper,   [BACKEND_PTY] = &common_wrapper,
    [BACKEND_RINGBUF] = &ringbuf_wrapper,
};
static const struct qmp_member backend_members[] = {
    QMP_REQ_T(struct backend, type, "type", &kind_type),
    {0},
};
static const struct qmp_type backend_type = {
    .kind = QMP_KIND_OBJECT,
    .name = "ChardevBackend",
    .size = sizeof(struct backend),
    .members = backend_members,
    .tag = "type",
    .variants = variants,
};

/* ---- chardev-add, chardev-change ---- */

struct add_args {
	const char *id;
	struct backend backend;
};

static const struct qmp_member add_members[] = {
    QMP_REQ(struct add_args, id, "id"),
    QMP_REQ_T(struct add_args, backend, "backend", &backend_type),
    {0},
};
static const struct qmp_type add_type =
    QMP_OBJECT_TYPE(struct add_args, "q_obj_chardev-add-arg", add_members);

struct add_info {
	const char *pty;
};

static const struct qmp_member info_members[] = {
    QMP_SET(struct add_info, pty, "pty"),
    {0},
};
static const struct qmp_type info_type =
    QMP_OBJECT_TYPE(struct add_info, "ChardevReturn", info_members);

static void add_switch(struct keyvals *kv, const char *key, bool given, bool on)
{
	if (given)
		keyvals_add(kv, key, on ? "on" : "off");
}

static void add_text(struct keyvals *kv, const char *key, const char *val)
{
	if (val)
		keyvals_add(kv, key, val);
}

static void add_number(struct keyvals *kv, const char *key, bool given, int64_t n)
{
	CLEANUP(cleanup_free) char *text = xasprintf("%lld", (long long)n);

	if (given)
		keyvals_add(kv, key, text);
}

/* A path is meant where the program was started. */
static void add_path(struct keyvals *kv, const struct qmp_call *call, const char *key,
		     const char *path)
{
	CLEANUP(cleanup_free) char *there = path ? host_path(call->m->host, path) : NULL;

	add_text(kv, key, there);
}

static void add_address(struct keyvals *kv, const struct qmp_call *call,
			const struct legacy_address *a)
{
	if (a->type == QMP_SOCKET_INET) {
		add_text(kv, "host", a->data.host);
		add_text(kv, "port", a->data.port);
		add_switch(kv, "ipv4", a->data.has_ipv4, a->data.ipv4);
		add_switch(kv, "ipv6", a->data.has_ipv6, a->data.ipv6);
	} else if (a->type == QMP_SOCKET_UNIX) {
		add_path(kv, call, "path", a->data.path);
	}
}

static void add_socket(struct keyvals *kv, const struct qmp_call *call,
		       const struct backend_data *d)
{
	bool server = !d->has_server || d->server;

	add_address(kv, call, &d->addr);
	add_switch(kv, "server", true, server);
	if (server || d->has_wait)
		add_switch(kv, "wait", true, d->has_wait && d->wait);
	add_switch(kv, "nodelay", d->has_nodelay && d->nodelay, d->nodelay);
	add_switch(kv, "telnet", d->has_telnet, d->telnet);
	add_switch(kv, "tn3270", d->has_tn3270, d->tn3270);
	add_switch(kv, "websocket", d->has_websocket, d->websocket);
	add_number(kv, "reconnect", d->has_reconnect, d->reconnect);
	add_text(kv, "tls-creds", d->tls_creds);
	add_text(kv, "tls-authz", d->tls_authz);
}

static void describe(struct keyvals *kv, const struct qmp_call *call, const struct backend *b)
{
	const struct backend_data *d = &b->data;

	add_path(kv, call, "logfile", d->logfile);
	add_switch(kv, "logappend", d->has_logappend, d->logappend);
	if (b->type == BACKEND_FILE) {
		add_path(kv, call, "path", d->out);
		add_text(kv, "input-path", d->in);
		add_switch(kv, "append", d->has_append, d->append);
	} else if (b->type == BACKEND_SOCKET) {
		add_socket(kv, call, d);
	} else if (b->type == BACKEND_RINGBUF) {
		add_number(kv, "size", d->has_size, d->size);
	}
}

/* A copy of the descriptor that getfd has named, or -errno. */
static int copy_fd(const struct qmp_call *call, const char *name, struct err *err)
{
	int fd = qmp_session_fd(call->session, name);
	struct stat st;

	if (fd < 0)
		return err_set(err, ENOENT, "File descriptor named '%.96s' not found", name);
	if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode))
		return err_set(err, EINVAL, "File descriptor '%.96s' is not a socket", name);
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? err_set(err, errno, "File descriptor '%.96s': %s", name, err_text(errno))
		      : fd;
}

static int make_config(const struct qmp_call *call, const struct add_args *a,
		       struct cfg_chardev *cfg, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals kv = {0};
	const struct legacy_address *addr = &a->backend.data.addr;
	int fd = -1, ret;

	describe(&kv, call, &a->backend);
	if (a->backend.type == BACKEND_SOCKET && addr->type == QMP_SOCKET_FD) {
		fd = copy_fd(call, addr->data.path, err);
		if (fd < 0)
			return fd;
		add_number(&kv, "fd", true, fd);
	}
	ret = options_chardev(cfg, kinds[a->backend.type], a->id, &kv, err);
	if (ret < 0 && fd >= 0)
		(void)close(fd);
	return ret;
}

static int add_or_change(struct qmp_call *call, const struct add_args *a, struct add_info *info,
			 bool change, struct err *err)
{
	struct chardevs *cs = &call->be->chardevs;
	const struct chardev *c;
	struct cfg_chardev cfg;
	int ret = make_config(call, a, &cfg, err);

	if (ret < 0)
		return ret;
	ret =
	    change ? chardevs_change(cs, call->m, &cfg, err) : chardevs_add(cs, call->m, &cfg, err);
	if (ret < 0 && cfg.fd >= 0)
		(void)close(cfg.fd);
	config_chardev_fini(&cfg);
	c = ret < 0 ? NULL : chardevs_find(cs, a->id);
	if (c && !strncmp(c->filename, "pty:", 4))
		info->pty = qmp_printf(call->pool, "%s", c->filename + 4);
	return ret;
}

static int chardev_add(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	return add_or_change(call, arg, ret, false, err);
}

static int chardev_change(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	return add_or_change(call, arg, ret, true, err);
}

/* ---- chardev-remove, chardev-send-break ---- */

struct id_args {
	const char *id;
};

static const struct qmp_member id_members[] = {
    QMP_REQ(struct id_args, id, "id"),
    {0},
};
static const struct qmp_type remove_type =
    QMP_OBJECT_TYPE(struct id_args, "q_obj_chardev-remove-arg", id_members);
static const struct qmp_type break_type =
    QMP_OBJECT_TYPE(struct id_args, "q_obj_chardev-send-break-arg", id_members);

static int chardev_remove(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)ret;
	return chardevs_remove(&call->be->chardevs, ((const struct id_args *)arg)->id, err);
}

static int send_break(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const char *id = ((const struct id_args *)arg)->id;
	struct chardev *c = chardevs_find(&call->be->chardevs, id);

	(void)ret;
	if (!c)
		return err_set(err, ENOENT, "Chardev '%.96s' not found", id);
	return chardev_send_break(c, err);
}

/* ---- query-chardev-backends ---- */

struct backend_info {
	const char *name;
};

static const struct qmp_member backend_info_members[] = {
    QMP_REQ(struct backend_info, name, "name"),
    {0},
};
static const struct qmp_type backend_info_type =
    QMP_OBJECT_TYPE(struct backend_info, "ChardevBackendInfo", backend_info_members);
static const struct qmp_type backend_info_list = QMP_ARRAY_TYPE(&backend_info_type);

static int query_backends(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	struct backend_info *infos;
	size_t n = 0;

	(void)arg;
	(void)err;
	while (options_chardev_type(n))
		n++;
	infos = qmp_alloc(call->pool, n, sizeof(*infos));
	for (size_t i = 0; i < n; i++)
		infos[i].name = options_chardev_type(i);
	*(struct qmp_array *)ret = (struct qmp_array){infos, n};
	return 0;
}

const struct qmp_command qmp_chardev_commands[] = {
    {"chardev-add",    &add_type, &info_type, chardev_add, 0},
    {"chardev-change",      &add_type, &info_type, chardev_change, 0},
    {"chardev-remove",               &remove_type, NULL, chardev_remove, 0},
    {"chardev-send-break", &break_type, NULL, send_break, 0},
    {"query-chardev-backends",      NULL, &backend_info_list, query_backends, 0},
    {0	      },
};
