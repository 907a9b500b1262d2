/* misc.c - the monitor itself: negotiation, version, introspection, descriptors, chardevs */
#include <errno.h>
#include <string.h>

#include "devices/microvm.h"
#include "qmp/command.h"
#include "qmp/commands/version.h"
#include "qmp/connection.h"
#include "qmp/introspect.h"
#include "qmp/session.h"
#include "vmm/base/error.h"
#include "vmm/base/version.h"
#include "vmm/machine.h"

/* ---- qmp_capabilities ---- */

struct negotiate_args {
	struct qmp_array enable; /* of int */
};

static const char *const monitor_capabilities[] = {"oob", NULL};
static const struct qmp_type monitor_capability =
    QMP_ENUM_TYPE("QMPCapability", monitor_capabilities);
static const struct qmp_type monitor_capability_list = QMP_ARRAY_TYPE(&monitor_capability);
static const struct qmp_member negotiate_members[] = {
    QMP_SET_T(struct negotiate_args, enable, "enable", &monitor_capability_list),
    {0},
};
static const struct qmp_type negotiate_type =
    QMP_OBJECT_TYPE(struct negotiate_args, "q_obj_qmp_capabilities-arg", negotiate_members);

static int qmp_capabilities(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct negotiate_args *a = arg;

	(void)ret;
	(void)err;
	qmp_connection_negotiate(call->connection, a->enable.n > 0); /* there is but one: oob */
	return 0;
}

/* ---- query-version ---- */

const struct qmp_version_info qmp_version = {
    .qemu = {.micro = 0, .minor = INTERFACE_MINOR, .major = INTERFACE_MAJOR},
    .package = VERSION_TEXT,
};

static const struct qmp_member triple_members[] = {
    QMP_REQ(struct qmp_version_triple, micro, "micro"),
    QMP_REQ(struct qmp_version_triple, minor, "minor"),
    QMP_REQ(struct qmp_version_triple, major, "major"),
    {0},
};
static const struct qmp_type triple_type =
    QMP_OBJECT_TYPE(struct qmp_version_triple, "VersionTriple", triple_members);
static const struct qmp_member version_members[] = {
    QMP_REQ_T(struct qmp_version_info, qemu, "qemu", &triple_type),
    QMP_REQ(struct qmp_version_info, package, "package"),
    {0},
};
const struct qmp_type qmp_version_type =
    QMP_OBJECT_TYPE(struct qmp_version_info, "VersionInfo", version_members);

static int query_version(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)call;
	(void)arg;
	(void)err;
	*(struct qmp_version_info *)ret = qmp_version;
	return 0;
}

/* ---- query-commands, query-qmp-schema ---- */

struct command_info {
	const char *name;
};

static const struct qmp_member command_members[] = {
    QMP_REQ(struct command_info, name, "name"),
    {0},
};
static const struct qmp_type command_type =
    QMP_OBJECT_TYPE(struct command_info, "CommandInfo", command_members);
static const struct qmp_type command_list = QMP_ARRAY_TYPE(&command_type);

static int query_commands(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	struct command_info *infos;
	size_t n = 0;

	(void)arg;
	(void)err;
	while (qmp_command_at(n))
		n++;
	infos = qmp_alloc(call->pool, n, sizeof(*infos));
	for (size_t i = 0; i < n; i++)
		infos[i].name = qmp_command_at(i)->name;
	*(struct qmp_array *)ret = (struct qmp_array){infos, n};
	return 0;
}

static int query_schema(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)arg;
	(void)err;
	qmp_introspect(call->pool, ret);
	return 0;
}

/* ---- getfd, closefd ---- */

struct fd_args {
	const char *name;
};

static const struct qmp_member fd_members[] = {
    QMP_REQ(struct fd_args, name, "fdname"),
    {0},
};
static const struct qmp_type fd_type =
    QMP_OBJECT_TYPE(struct fd_args, "q_obj_getfd-arg", fd_members);

static int getfd(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	int fd = *call->fd;

	(void)ret;
	*call->fd = -1;
	return qmp_session_name_fd(call->session, fd, ((const struct fd_args *)arg)->name, err);
}

static int closefd(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const char *name = ((const struct fd_args *)arg)->name;

	(void)ret;
	if (!qmp_session_close_fd(call->session, name))
		return err_set(err, ENOENT, "File descriptor named '%.200s' not found", name);
	return 0;
}

/* ---- query-chardev ---- */

struct chardev_info {
	const char *label, *filename;
	bool frontend_open;
};

static const struct qmp_member chardev_members[] = {
    QMP_REQ(struct chardev_info, label, "label"),
    QMP_REQ(struct chardev_info, filename, "filename"),
    QMP_REQ(struct chardev_info, frontend_open, "frontend-open"),
    {0},
};
static const struct qmp_type chardev_type =
    QMP_OBJECT_TYPE(struct chardev_info, "ChardevInfo", chardev_members);
static const struct qmp_type chardev_list = QMP_ARRAY_TYPE(&chardev_type);

static int query_chardev(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct chardevs *cs = &call->be->chardevs;
	struct chardev_info *infos = qmp_alloc(call->pool, cs->n, sizeof(*infos));

	(void)arg;
	(void)err;
	pthread_mutex_lock(&call->m->control_lock); /* some are the control thread's */
	for (size_t i = 0; i < cs->n; i++) {
		const struct chardev *c = cs->v[i];
		const char *name = c->filename ? c->filename : c->ops->type;

		infos[i] = (struct chardev_info){
		    .label = c->id,
		    .filename = qmp_printf(call->pool, "%s", name),
		    .frontend_open = c->client && !c->client_closed,
		};
	}
	pthread_mutex_unlock(&call->m->control_lock);
	*(struct qmp_array *)ret = (struct qmp_array){infos, cs->n};
	return 0;
}

const struct qmp_command qmp_misc_commands[] = {
    {"qmp_capabilities", &negotiate_type, NULL, qmp_capabilities, 0},
    {"query-version",              NULL, &qmp_version_type, query_version, 0},
    {"query-commands",                 NULL, &command_list, query_commands, 0},
    {"query-qmp-schema",    NULL, &qmp_schema_type, query_schema, 0},
    {"getfd", &fd_type, NULL, getfd, QMP_TAKES_FD},
    {"closefd",		 &fd_type, NULL, closefd, 0},
    {"query-chardev",   NULL, &chardev_list, query_chardev, 0},
    {0    },
};
