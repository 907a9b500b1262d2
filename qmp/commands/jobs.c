/* jobs.c - the jobs, and what a client may ask of one (qmp-surface 2.6) */
#include <errno.h>

#include "qmp/command.h"
#include "qmp/types.h"
#include "vmm/base/error.h"
#include "vmm/job.h"
#include "vmm/machine.h"

static const char *type_at(const struct qmp_type *t, size_t i, unsigned *features)
{
	(void)t;
	*features = 0;
	return i < JOB_TYPES ? job_type_name((enum job_type)i) : NULL;
}

static const struct qmp_type type_type = {
    .kind = QMP_KIND_ENUM,
    .name = "JobType",
    .size = sizeof(int),
    .value_at = type_at,
};

static const struct qmp_member figures_members[] = {
    QMP_REQ(struct job_figures, vmstate_bytes, "vm-state-size"),
    QMP_REQ(struct job_figures, memory_bytes, "memory"),
    QMP_REQ(struct job_figures, pause_us, "pause-us"),
    QMP_REQ(struct job_figures, total_us, "total-us"),
    QMP_OPT(struct job_figures, resume_us, "resume-us"),
    QMP_OPT(struct job_figures, resident_us, "resident-us"),
    {0},
};
static const struct qmp_type figures_type =
    QMP_OBJECT_TYPE(struct job_figures, "MinivmmSnapshot", figures_members);

struct job_info {
	const char *id;
	int type, status;
	uint64_t done_bytes, total_bytes;
	const char *error;
	bool measured;
	struct job_figures figures;
};

static const struct qmp_member info_members[] = {
    QMP_REQ(struct job_info, id, "id"),
    QMP_REQ_T(struct job_info, type, "type", &type_type),
    QMP_REQ_T(struct job_info, status, "status", &qmp_job_status_type),
    QMP_REQ(struct job_info, done_bytes, "current-progress"),
    QMP_REQ(struct job_info, total_bytes, "total-progress"),
    QMP_SET(struct job_info, error, "error"),
    {.name = "x-minivmm-snapshot",
				       .type = &figures_type,
				       .offset = offsetof(struct job_info, figures),
				       .has = offsetof(struct job_info, measured),
				       .size = sizeof(struct job_figures),
				       .features = QMP_UNSTABLE},
    {0},
};
static const struct qmp_type info_type = QMP_OBJECT_TYPE(struct job_info, "JobInfo", info_members);
static const struct qmp_type info_list = QMP_ARRAY_TYPE(&info_type);

static int query_jobs(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	struct job_info *v;
	size_t n = 0;

	(void)arg;
	(void)err;
	while (job_at(call->m, n))
		n++;
	v = qmp_alloc(call->pool, n + 1, sizeof(*v));
	for (size_t i = 0; i < n; i++) {
		const struct job *j = job_at(call->m, i);

		v[i].id = qmp_printf(call->pool, "%s", j->id);
		v[i].type = (int)j->ops->type;
		v[i].status = (int)j->status;
		v[i].done_bytes = __atomic_load_n(&j->done_bytes, __ATOMIC_RELAXED);
		v[i].total_bytes = __atomic_load_n(&j->total_bytes, __ATOMIC_RELAXED);
		v[i].measured = j->measured;
		v[i].figures = j->figures;
		if (j->err.errnum)
			v[i].error = qmp_printf(call->pool, "%s", j->err.msg);
	}
	*(struct qmp_array *)ret = (struct qmp_array){v, n};
	return 0;
}

struct job_args {
	const char *id;
};

static const struct qmp_member job_members[] = {
    QMP_REQ(struct job_args, id, "id"),
    {0},
};

/* The schema masks the names: one type serves all. */
static const struct qmp_type job_args =
    QMP_OBJECT_TYPE(struct job_args, "q_obj_job-arg", job_members);

static int apply(struct qmp_call *call, const void *arg, enum job_verb v, struct err *err)
{
	struct job *j = job_find(call->m, ((const struct job_args *)arg)->id);

	return j ? job_apply(j, v, err) : err_set(err, ENOENT, "Job not found");
}

#define JOB_COMMAND(name, verb)                                                                    \
	static int name(struct qmp_call *call, const void *arg, void *ret, struct err *err)        \
	{                                                                                          \
		(void)ret;                                                                         \
		return apply(call, arg, verb, err);                                                \
	}

JOB_COMMAND(job_cancel, JOB_CANCEL)
JOB_COMMAND(job_pause, JOB_PAUSE)
JOB_COMMAND(job_resume, JOB_RESUME)
JOB_COMMAND(job_complete, JOB_COMPLETE)
JOB_COMMAND(job_finalize, JOB_FINALIZE)
JOB_COMMAND(job_dismiss, JOB_DISMISS)

const struct qmp_command qmp_job_commands[] = {
    {"query-jobs", NULL, &info_list, query_jobs, 0},
    {"job-cancel",  &job_args, NULL, job_cancel, 0},
    {"job-pause",           &job_args, NULL, job_pause, 0},
    {"job-resume", &job_args, NULL, job_resume, 0},
    {"job-complete",        &job_args, NULL, job_complete, 0},
    {"job-finalize",           &job_args, NULL, job_finalize, 0},
    {"job-dismiss",  &job_args, NULL, job_dismiss, 0},
    {0       },
};
