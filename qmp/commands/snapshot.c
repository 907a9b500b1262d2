/* snapshot.c - snapshot-save, snapshot-load and snapshot-delete: jobs (qmp-surface 2.5) */
#include "migration/snapshot/snapshot.h"

#include "devices/microvm.h"
#include "migration/migration.h"
#include "qmp/command.h"
#include "vmm/job.h"

struct snapshot_args {
	const char *job_id, *tag, *vmstate, *parent;
	struct qmp_array devices; /* of const char * */
	bool has_complete, complete, has_stopped, stopped, has_eager, eager;
	bool has_track, track;
};

static const struct qmp_member save_members[] = {
    QMP_REQ(struct snapshot_args, job_id, "job-id"),
    QMP_REQ(struct snapshot_args, tag, "tag"),
    QMP_REQ(struct snapshot_args, vmstate, "vmstate"),
    QMP_REQ_T(struct snapshot_args, devices, "devices", &qmp_str_array),
    QMP_OPT(struct snapshot_args, complete, "x-minivmm-complete"),
    QMP_OPT(struct snapshot_args, stopped, "x-minivmm-stopped"),
    QMP_SET(struct snapshot_args, parent, "x-minivmm-parent"),
    QMP_OPT(struct snapshot_args, track, "x-minivmm-track"),
    {0},
};
static const struct qmp_type save_type =
    QMP_OBJECT_TYPE(struct snapshot_args, "q_obj_snapshot-save-arg", save_members);

static const struct qmp_member load_members[] = {
    QMP_REQ(struct snapshot_args, job_id, "job-id"),
    QMP_REQ(struct snapshot_args, tag, "tag"),
    QMP_REQ(struct snapshot_args, vmstate, "vmstate"),
    QMP_REQ_T(struct snapshot_args, devices, "devices", &qmp_str_array),
    QMP_OPT(struct snapshot_args, eager, "x-minivmm-eager"),
    {0},
};
static const struct qmp_type load_type =
    QMP_OBJECT_TYPE(struct snapshot_args, "q_obj_snapshot-load-arg", load_members);

static const struct qmp_member delete_members[] = {
    QMP_REQ(struct snapshot_args, job_id, "job-id"),
    QMP_REQ(struct snapshot_args, tag, "tag"),
    QMP_REQ_T(struct snapshot_args, devices, "devices", &qmp_str_array),
    {0},
};
static const struct qmp_type delete_type =
    QMP_OBJECT_TYPE(struct snapshot_args, "q_obj_snapshot-delete-arg", delete_members);

static int start(struct qmp_call *call, const void *arg, enum job_type type, struct err *err)
{
	const struct snapshot_args *a = arg;
	struct snapshot_request r = {
	    .blocks = &call->be->blocks,
	    .tag = a->tag,
	    .vmstate = a->vmstate,
	    .devices = a->devices.v,
	    .n_devices = a->devices.n,
	    .complete = a->complete,
	    .stopped = a->stopped,
	    .eager = a->eager,
	    .parent = a->parent,
	    .track = a->track,
	    .untrack = a->has_track && !a->track,
	};

	return snapshots_start_job(migration_snapshots(call->mg), type, a->job_id, &r, err);
}

static int snapshot_save_job(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)ret;
	return start(call, arg, JOB_SNAPSHOT_SAVE, err);
}

static int snapshot_load_job(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)ret;
	return start(call, arg, JOB_SNAPSHOT_LOAD, err);
}

static int snapshot_delete_job(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)ret;
	return start(call, arg, JOB_SNAPSHOT_DELETE, err);
}

const struct qmp_command qmp_snapshot_commands[] = {
    {"snapshot-save", &save_type, NULL, snapshot_save_job, QMP_GUEST},
    {"snapshot-load",           &load_type, NULL, snapshot_load_job, QMP_GUEST},
    {"snapshot-delete",      &delete_type, NULL, snapshot_delete_job, QMP_GUEST},
    {0},
};
