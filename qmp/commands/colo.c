/*
 * colo.c - what belongs to COLO, replication and SPICE, none of which minivmm has (qmp-surface 2.1)
 *
 * The commands are part of the interface of migration: they answer as QEMU does where no such thing
 * is in use.
 */
#include <errno.h>
#include <string.h>

#include "qmp/command.h"
#include "qmp/types.h"
#include "vmm/base/error.h"

/* ---- x-colo-lost-heartbeat, query-colo-status ---- */

static int lost_heartbeat(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)call;
	(void)arg;
	(void)ret;
	return err_set(err, ENOTSUP, "The feature 'colo' is not enabled");
}

struct colo_status {
	int mode, last_mode, reason;
};

static const struct qmp_member colo_members[] = {
    QMP_REQ_T(struct colo_status, mode, "mode", &qmp_colo_mode_type),
    QMP_REQ_T(struct colo_status, last_mode, "last-mode", &qmp_colo_mode_type),
    QMP_REQ_T(struct colo_status, reason, "reason", &qmp_colo_exit_type),
    {0},
};
static const struct qmp_type colo_type =
    QMP_OBJECT_TYPE(struct colo_status, "COLOStatus", colo_members);

static int query_colo(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)call;
	(void)arg;
	(void)ret; /* all are 'none' */
	(void)err;
	return 0;
}

/* ---- client_migrate_info ---- */

struct spice_args {
	const char *protocol, *hostname, *subject;
	bool has_port, has_tls_port;
	int64_t port, tls_port;
};

static const struct qmp_member spice_members[] = {
    QMP_REQ(struct spice_args, protocol, "protocol"),
    QMP_REQ(struct spice_args, hostname, "hostname"),
    QMP_OPT(struct spice_args, port, "port"),
    QMP_OPT(struct spice_args, tls_port, "tls-port"),
    QMP_SET(struct spice_args, subject, "cert-subject"),
    {0},
};
static const struct qmp_type spice_type =
    QMP_OBJECT_TYPE(struct spice_args, "q_obj_client_migrate_info-arg", spice_members);

/* There is no SPICE server whose clients would be told. */
static int client_migrate_info(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct spice_args *a = arg;

	(void)ret;
	if (strcmp(a->protocol, "spice") != 0)
		return err_set(err, EINVAL, "Parameter 'protocol' expects 'spice'");
	call->error_class = "DeviceNotActive";
	return err_set(err, ENODEV, "SPICE is not in use");
}

/* ---- xen-set-replication, query-xen-replication-status, xen-colo-do-checkpoint ---- */

struct replication_args {
	bool enable, primary, has_failover, failover;
};

static const struct qmp_member replication_members[] = {
    QMP_REQ(struct replication_args, enable, "enable"),
    QMP_REQ(struct replication_args, primary, "primary"),
    QMP_OPT(struct replication_args, failover, "failover"),
    {0},
};
static const struct qmp_type replication_type =
    QMP_OBJECT_TYPE(struct replication_args, "q_obj_xen-set-replication-arg", replication_members);

/* Of all disks that are replicated: there is none. */
static int set_replication(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct replication_args *a = arg;

	(void)call;
	(void)ret;
	if (a->enable && a->failover)
		return err_set(err, EINVAL,
			       "Parameter 'failover' is only for stopping replication");
	return 0;
}

struct replication_status {
	bool error;
	const char *desc;
};

static const struct qmp_member status_members[] = {
    QMP_REQ(struct replication_status, error, "error"),
    QMP_SET(struct replication_status, desc, "desc"),
    {0},
};
static const struct qmp_type status_type =
    QMP_OBJECT_TYPE(struct replication_status, "ReplicationStatus", status_members);

static int query_replication(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)call;
	(void)arg;
	(void)ret; /* no error */
	(void)err;
	return 0;
}

static int do_checkpoint(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)call;
	(void)arg;
	(void)ret;
	(void)err;
	return 0;
}

const struct qmp_command qmp_colo_commands[] = {
    {"x-colo-lost-heartbeat", NULL, NULL, lost_heartbeat, QMP_UNSTABLE},
    {"query-colo-status",                   NULL, &colo_type, query_colo, 0},
    {"client_migrate_info",           &spice_type, NULL, client_migrate_info, 0},
    {"xen-set-replication",     &replication_type, NULL, set_replication, 0},
    {"query-xen-replication-status",             NULL, &status_type, query_replication, 0},
    {"xen-colo-do-checkpoint",                      NULL, NULL, do_checkpoint, 0},
    {0  },
};
