#include "qmp/types.h"

#include "migration/migration.h"
#include "vmm/job.h"
#include "vmm/runstate.h"

static const char *const socket_types[] = {"inet", "unix", "fd", "vsock", NULL};
static const struct qmp_type socket_type = QMP_ENUM_TYPE("SocketAddressType", socket_types);

static const struct qmp_member inet_members[] = {
    QMP_REQ(struct qmp_socket_address, host, "host"),
    QMP_REQ(struct qmp_socket_address, port, "port"),
    QMP_NONE("numeric", &qmp_bool),
    QMP_OPT(struct qmp_socket_address, to, "to"),
    QMP_OPT(struct qmp_socket_address, ipv4, "ipv4"),
    QMP_OPT(struct qmp_socket_address, ipv6, "ipv6"),
    QMP_OPT(struct qmp_socket_address, keep_alive, "keep-alive"),
    QMP_NONE("mptcp", &qmp_bool),
    {0},
};
static const struct qmp_member unix_members[] = {
    QMP_REQ(struct qmp_socket_address, path, "path"),
    QMP_NONE("abstract", &qmp_bool),
    QMP_NONE("tight", &qmp_bool),
    {0},
};
static const struct qmp_member fd_members[] = {
    QMP_REQ(struct qmp_socket_address, path, "str"),
    {0},
};
static const struct qmp_member vsock_members[] = {
    QMP_REQ(struct qmp_socket_address, host, "cid"),
    QMP_REQ(struct qmp_socket_address, port, "port"),
    {0},
};
const struct qmp_type qmp_inet_address_type =
    QMP_OBJECT_TYPE(struct qmp_socket_address, "InetSocketAddress", inet_members);
const struct qmp_type qmp_unix_address_type =
    QMP_OBJECT_TYPE(struct qmp_socket_address, "UnixSocketAddress", unix_members);
const struct qmp_type qmp_fd_address_type =
    QMP_OBJECT_TYPE(struct qmp_socket_address, "FdSocketAddress", fd_members);

static const struct qmp_type vsock_type =
    QMP_OBJECT_TYPE(struct qmp_socket_address, "VsockSocketAddress", vsock_members);

static const struct qmp_type *const socket_variants[] = {
    &qmp_inet_address_type, &qmp_unix_address_type, &qmp_fd_address_type, &vsock_type};

static const struct qmp_member socket_members[] = {
    QMP_REQ_T(struct qmp_socket_address, type, "type", &socket_type),
    {0},
};
const struct qmp_type qmp_socket_address_type = {
    .kind = QMP_KIND_OBJECT,
    .name = "SocketAddress",
    .size = sizeof(struct qmp_socket_address),
    .members = socket_members,
    .tag = "type",
    .variants = socket_variants,
};

static const char *migration_status_at(const struct qmp_type *t, size_t i, unsigned *features)
{
	(void)t;
	*features = 0;
	return i < MIG_STATUS_COUNT ? migration_status_name((enum migration_status)i) : NULL;
}

const struct qmp_type qmp_migration_status_type = {
    .kind = QMP_KIND_ENUM,
    .name = "MigrationStatus",
    .size = sizeof(int),
    .value_at = migration_status_at,
};

static const char *run_state_at(const struct qmp_type *t, size_t i, unsigned *features)
{
	(void)t;
	*features = 0;
	return i < RS_COUNT ? runstate_name((enum runstate)i) : NULL;
}

const struct qmp_type qmp_run_state_type = {
    .kind = QMP_KIND_ENUM,
    .name = "RunState",
    .size = sizeof(int),
    .value_at = run_state_at,
};

static const char *job_status_at(const struct qmp_type *t, size_t i, unsigned *features)
{
	(void)t;
	*features = 0;
	return i < JOB_STATUSES ? job_status_name((enum job_status)i) : NULL;
}

const struct qmp_type qmp_job_status_type = {
    .kind = QMP_KIND_ENUM,
    .name = "JobStatus",
    .size = sizeof(int),
    .value_at = job_status_at,
};

static const char *const colo_modes[] = {"none", "primary", "secondary", NULL};
const struct qmp_type qmp_colo_mode_type = QMP_ENUM_TYPE("COLOMode", colo_modes);
static const char *const colo_exits[] = {"none", "request", "error", "processing", NULL};
const struct qmp_type qmp_colo_exit_type = QMP_ENUM_TYPE("COLOExitReason", colo_exits);
