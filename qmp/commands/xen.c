/* xen.c - the devices' state alone, and the dirty log, for who moves memory himself (qmp-surface
 * 2.1) */
#include "migration/device-file.h"
#include "qmp/command.h"

struct file_args {
	const char *filename;
	bool has_live, live;
};

static const struct qmp_member save_members[] = {
    QMP_REQ(struct file_args, filename, "filename"),
    QMP_OPT(struct file_args, live, "live"),
    {0},
};
static const struct qmp_member load_members[] = {
    QMP_REQ(struct file_args, filename, "filename"),
    {0},
};
static const struct qmp_type save_type =
    QMP_OBJECT_TYPE(struct file_args, "q_obj_xen-save-devices-state-arg", save_members);
static const struct qmp_type load_type =
    QMP_OBJECT_TYPE(struct file_args, "q_obj_xen-load-devices-state-arg", load_members);

static int save_devices(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct file_args *a = arg;

	(void)ret;
	return migration_save_devices(call->mg, a->filename, a->live || !a->has_live, err);
}

static int load_devices(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)ret;
	return migration_load_devices(call->mg, ((const struct file_args *)arg)->filename, err);
}

struct log_args {
	bool enable;
};

static const struct qmp_member log_members[] = {
    QMP_REQ(struct log_args, enable, "enable"),
    {0},
};
static const struct qmp_type log_type =
    QMP_OBJECT_TYPE(struct log_args, "q_obj_xen-set-global-dirty-log-arg", log_members);

static int set_log(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)ret;
	return migration_log_dirty(call->mg, ((const struct log_args *)arg)->enable, err);
}

const struct qmp_command qmp_xen_commands[] = {
    {"xen-save-devices-state", &save_type, NULL, save_devices, QMP_WAITS | QMP_GUEST},
    {"xen-load-devices-state",                    &load_type, NULL, load_devices, QMP_WAITS | QMP_GUEST},
    {"xen-set-global-dirty-log",   &log_type, NULL, set_log, QMP_WAITS | QMP_GUEST},
    {0},
};
