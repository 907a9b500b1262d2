/*
 * channels.c - MigrationChannel: types, and what they say as an address (QEMU since 8.2;
 * qmp-surface 2.1)
 *
 * What there is no way to (rdma, a channel for cpr) is no value of these types.
 */
#include "qmp/channels.h"

#include <errno.h>
#include <string.h>

#include "migration/channel/uri.h"
#include "qmp/json.h"
#include "qmp/types.h"
#include "vmm/base/error.h"
#include "vmm/base/inet.h"
#include "vmm/base/units.h"

enum transport { TRANSPORT_SOCKET, TRANSPORT_EXEC, TRANSPORT_FILE };

struct address {
	struct qmp_socket_address socket; /* first: SocketAddress is a variant */
	int transport;                    /* enum transport */
	struct qmp_array args;            /* exec: strings */
	const char *filename;             /* file: */
	uint64_t offset;
};

_Static_assert(offsetof(struct address, socket) == 0, "a variant's offsets are from the union");

struct channel_arg {
	int type; /* 'main' is the only one */
	struct address addr;
};

static const struct qmp_member exec_members[] = {
    QMP_REQ_T(struct address, args, "args", &qmp_str_array),
    {0},
};
static const struct qmp_type exec_type =
    QMP_OBJECT_TYPE(struct address, "MigrationExecCommand", exec_members);
static const struct qmp_member file_members[] = {
    QMP_REQ(struct address, filename, "filename"),
    QMP_REQ(struct address, offset, "offset"),
    {0},
};
static const struct qmp_type file_type =
    QMP_OBJECT_TYPE(struct address, "FileMigrationArgs", file_members);

static const char *const transports[] = {"socket", "exec", "file", NULL};
static const struct qmp_type transport_type = QMP_ENUM_TYPE("MigrationAddressType", transports);
static const struct qmp_type *const address_variants[] = {
    [TRANSPORT_SOCKET] = &qmp_socket_address_type,
    [TRANSPORT_EXEC] = &exec_type,
    [TRANSPORT_FILE] = &file_type,
};
static const struct qmp_member address_members[] = {
    QMP_REQ_T(struct address, transport, "transport", &transport_type),
    {0},
};
static const struct qmp_type address_type = {
    .kind = QMP_KIND_OBJECT,
    .name = "MigrationAddress",
    .size = sizeof(struct address),
    .members = address_members,
    .tag = "transport",
    .variants = address_variants,
};

static const char *const channel_types[] = {"main", NULL};
static const struct qmp_type channel_type_type =
    QMP_ENUM_TYPE("MigrationChannelType", channel_types);
static const struct qmp_member channel_members[] = {
    QMP_REQ_T(struct channel_arg, type, "channel-type", &channel_type_type),
    QMP_REQ_T(struct channel_arg, addr, "addr", &address_type),
    {0},
};
static const struct qmp_type channel_type =
    QMP_OBJECT_TYPE(struct channel_arg, "MigrationChannel", channel_members);
const struct qmp_type qmp_channels_type = QMP_ARRAY_TYPE(&channel_type);

/* ---- as an address ---- */

static int parse_port(const char *text, uint16_t *port)
{
	uint32_t v = 0;

	for (const char *s = text; *s; s++) {
		if (*s < '0' || *s > '9' || v > UINT16_MAX)
			return -EINVAL;
		v = v * 10 + (uint32_t)(*s - '0');
	}
	*port = (uint16_t)v;
	return *text && v <= UINT16_MAX ? 0 : -EINVAL;
}

static enum ip_choice choice(bool given, bool on)
{
	return !given ? IP_UNSET : on ? IP_ON : IP_OFF;
}

static int take_inet(struct qmp_pool *pool, const struct qmp_socket_address *a,
		     struct migration_uri *u, struct err *err)
{
	bool v6 = strchr(a->host, ':');

	u->kind = URI_TCP;
	u->host = qmp_printf(pool, "%s", a->host);
	u->text = qmp_printf(pool, v6 ? "[%s]:%s" : "%s:%s", a->host, a->port);
	if (parse_port(a->port, &u->port) < 0)
		return err_set(err, EINVAL,
			       "Parameter 'port' expects a number from 0 to 65535, not '%.64s'",
			       a->port);
	if (a->has_to && (a->to < u->port || a->to > UINT16_MAX))
		return err_set(err, EINVAL,
			       "Parameter 'to' expects a number from the port to 65535");
	u->port_to = a->has_to ? (uint16_t)a->to : u->port;
	u->family = ip_family(choice(a->has_ipv4, a->ipv4), choice(a->has_ipv6, a->ipv6));
	if (u->family < 0)
		return err_set(err, EINVAL, "'%s' is to be reached over neither ipv4 nor ipv6",
			       u->text);
	u->keep_alive = a->keep_alive;
	return 0;
}

static int take_socket(struct qmp_pool *pool, const struct qmp_socket_address *a,
		       struct migration_uri *u, struct err *err)
{
	bool is_fd = a->type == QMP_SOCKET_FD;

	if (a->type == QMP_SOCKET_INET)
		return take_inet(pool, a, u, err);
	if (a->type == QMP_SOCKET_VSOCK)
		return err_set(
		    err, ENOTSUP,
		    "address type 'vsock' is not supported by minivmm: use inet, or unix "
		    "and a program that connects the two");
	if (!*a->path)
		return err_set(err, EINVAL, "Parameter '%s' is empty", is_fd ? "str" : "path");
	u->kind = is_fd ? URI_FD : URI_UNIX;
	u->path = qmp_printf(pool, "%s", a->path);
	u->text = qmp_printf(pool, "%s:%s", is_fd ? "fd" : "unix", a->path);
	return 0;
}

static int take_exec(struct qmp_pool *pool, const struct qmp_array *args, struct migration_uri *u,
		     struct err *err)
{
	const char *const *from = args->v;

	if (!args->n || !*from[0])
		return err_set(err, EINVAL,
			       "Parameter 'args' expects a program, and its arguments");
	u->kind = URI_EXEC;
	u->argv = qmp_alloc(pool, args->n + 1, sizeof(*u->argv));
	u->path = qmp_printf(pool, "%s", from[0]);
	for (size_t i = 0; i < args->n; i++) {
		u->argv[i] = qmp_printf(pool, "%s", from[i]);
		if (i)
			u->path = qmp_printf(pool, "%s %s", u->path, from[i]);
	}
	u->text = qmp_printf(pool, "exec:%s", u->path);
	return 0;
}

static int take_file(struct qmp_pool *pool, const struct address *a, struct migration_uri *u,
		     struct err *err)
{
	if (!*a->filename)
		return err_set(err, EINVAL, "Parameter 'filename' is empty");
	if (a->offset > INT64_MAX)
		return err_set(err, EINVAL, "Parameter 'offset' expects bytes, up to 2^63-1");
	u->kind = URI_FILE;
	u->path = qmp_printf(pool, "%s", a->filename);
	u->offset = a->offset;
	u->text = qmp_printf(pool, "file:%s", a->filename);
	return 0;
}

static int take_channel(struct qmp_pool *pool, const struct channel_arg *c, struct migration_uri *u,
			struct err *err)
{
	const struct address *a = &c->addr;

	*u = (struct migration_uri){0};
	if (a->transport == TRANSPORT_EXEC)
		return take_exec(pool, &a->args, u, err);
	if (a->transport == TRANSPORT_FILE)
		return take_file(pool, a, u, err);
	return take_socket(pool, &a->socket, u, err);
}

int qmp_channels_where(struct qmp_pool *pool, const char *uri, const struct qmp_array *channels,
		       bool incoming, struct migration_where *where, struct err *err)
{
	struct migration_uri *u;

	*where = (struct migration_where){.uri = uri};
	if ((uri != NULL) == (channels->n > 0))
		return err_set(err, EINVAL, "need either 'uri' or 'channels' argument");
	if (uri)
		return 0;
	if (channels->n > 1)
		return err_set(err, EINVAL, "%s",
			       incoming ? "Channel list must have only one entry, for type 'main'"
					: "Channel list has more than one main entry");
	where->members = u = qmp_alloc(pool, 1, sizeof(*u));
	return take_channel(pool, channels->v, u, err);
}

int qmp_channel_parse(struct qmp_pool *pool, const char *text, struct migration_uri *out,
		      struct err *err)
{
	struct json_reader *r = json_reader_new();
	struct channel_arg c = {0};
	struct json_object *v = NULL;
	size_t used, n = strlen(text);
	enum json_event e = json_reader_feed(r, (const uint8_t *)text, n, &used, &v, err);
	int ret = -EINVAL;

	if (e == JSON_MORE)
		e = json_reader_end(r, &v, err);
	if (e == JSON_VALUE && text[used + strspn(text + used, " \t\r\n")])
		(void)err_set(err, EINVAL, "JSON parse error, '%.64s' follows the object",
			      text + used);
	else if (e == JSON_VALUE)
		ret = qmp_parse_arguments(&channel_type, v, &c, pool, err);
	if (ret == 0)
		ret = take_channel(pool, &c, out, err);
	json_free(v);
	json_reader_free(r);
	return ret;
}
