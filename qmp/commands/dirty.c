/*
 * dirty.c - how fast the guest dirties memory: measured, limited (qmp-surface 2.1, 3.5)
 */
#include <errno.h>

#include "migration/dirty/limit.h"
#include "migration/dirty/rate.h"
#include "migration/migration.h"
#include "qmp/command.h"
#include "vmm/base/error.h"
#include "vmm/machine.h"

/* ---- calc-dirty-rate ---- */

static const char *const mode_names[] = {"page-sampling", "dirty-ring", "dirty-bitmap", NULL};
static const struct qmp_type mode_type = QMP_ENUM_TYPE("DirtyRateMeasureMode", mode_names);
static const char *const status_names[] = {"unstarted", "measuring", "measured", NULL};
static const struct qmp_type status_type = QMP_ENUM_TYPE("DirtyRateStatus", status_names);

struct calc_args {
	int64_t calc_time;
	bool has_sample_pages, has_mode;
	int64_t sample_pages;
	int mode;
};

static const struct qmp_member calc_members[] = {
    QMP_REQ(struct calc_args, calc_time, "calc-time"),
    QMP_OPT(struct calc_args, sample_pages, "sample-pages"),
    QMP_OPT_T(struct calc_args, mode, "mode", &mode_type),
    {0},
};
static const struct qmp_type calc_type =
    QMP_OBJECT_TYPE(struct calc_args, "q_obj_calc-dirty-rate-arg", calc_members);

static int calc_dirty_rate(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct calc_args *a = arg;
	struct dirty_rate_args args = {
	    .calc_time_s = a->calc_time,
	    .has_sample_pages = a->has_sample_pages,
	    .sample_pages = a->sample_pages,
	    .mode = a->has_mode ? (enum dirty_rate_mode)a->mode : DIRTY_RATE_PAGE_SAMPLING,
	};

	(void)ret;
	/* Pages that are sampled are touched. */
	if (args.mode == DIRTY_RATE_PAGE_SAMPLING && migration_check_complete(call->mg, err) < 0)
		return err_prefix(err, -EBUSY, "calc-dirty-rate has to wait");
	return dirty_rate_start(migration_dirty_rate(call->mg), &args, err);
}

/* ---- query-dirty-rate ---- */

struct vcpu_rate {
	int64_t id, rate;
};

static const struct qmp_member vcpu_rate_members[] = {
    QMP_REQ(struct vcpu_rate, id, "id"),
    QMP_REQ(struct vcpu_rate, rate, "dirty-rate"),
    {0},
};
static const struct qmp_type vcpu_rate_type =
    QMP_OBJECT_TYPE(struct vcpu_rate, "DirtyRateVcpu", vcpu_rate_members);
static const struct qmp_type vcpu_rate_list = QMP_ARRAY_TYPE(&vcpu_rate_type);

struct rate_info {
	bool has_rate;
	int64_t rate, start_time, calc_time;
	int status, mode;
	uint64_t sample_pages;
	struct qmp_array vcpus;
};

static const struct qmp_member rate_members[] = {
    QMP_OPT(struct rate_info, rate, "dirty-rate"),
    QMP_REQ_T(struct rate_info, status, "status", &status_type),
    QMP_REQ(struct rate_info, start_time, "start-time"),
    QMP_REQ(struct rate_info, calc_time, "calc-time"),
    QMP_REQ(struct rate_info, sample_pages, "sample-pages"),
    QMP_REQ_T(struct rate_info, mode, "mode", &mode_type),
    QMP_SET_T(struct rate_info, vcpus, "vcpu-dirty-rate", &vcpu_rate_list),
    {0},
};
static const struct qmp_type rate_type =
    QMP_OBJECT_TYPE(struct rate_info, "DirtyRateInfo", rate_members);

static int query_dirty_rate(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	struct rate_info *o = ret;
	struct dirty_rate_info i;
	struct vcpu_rate *v;

	(void)arg;
	(void)err;
	dirty_rate_query(migration_dirty_rate(call->mg), &i);
	*o = (struct rate_info){
	    .has_rate = i.status == DIRTY_RATE_MEASURED,
	    .rate = i.rate_mb_s,
	    .status = (int)i.status,
	    .start_time = i.start_time_s,
	    .calc_time = i.calc_time_s,
	    .sample_pages = i.sample_pages,
	    .mode = (int)i.mode,
	};
	v = qmp_alloc(call->pool, i.n_vcpus, sizeof(*v));
	for (unsigned k = 0; k < i.n_vcpus; k++)
		v[k] = (struct vcpu_rate){.id = k, .rate = i.vcpu_rate_mb_s[k]};
	o->vcpus = (struct qmp_array){v, i.n_vcpus};
	return 0;
}

/* ---- limits ---- */

struct set_limit {
	bool has_cpu;
	int64_t cpu;
	uint64_t rate;
};

static const struct qmp_member set_limit_members[] = {
    QMP_OPT(struct set_limit, cpu, "cpu-index"),
    QMP_REQ(struct set_limit, rate, "dirty-rate"),
    {0},
};
static const struct qmp_type set_limit_type =
    QMP_OBJECT_TYPE(struct set_limit, "q_obj_set-vcpu-dirty-limit-arg", set_limit_members);

static const struct qmp_member cancel_limit_members[] = {
    QMP_OPT(struct set_limit, cpu, "cpu-index"),
    {0},
};
static const struct qmp_type cancel_limit_type =
    QMP_OBJECT_TYPE(struct set_limit, "q_obj_cancel-vcpu-dirty-limit-arg", cancel_limit_members);

/* The cancelling one's rate is 0. */
static int set_limit(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct set_limit *a = arg;
	int64_t cpu = a->has_cpu ? a->cpu : DIRTY_LIMIT_ALL;

	(void)ret;
	if (a->has_cpu && a->cpu < 0)
		cpu = INT64_MAX; /* no vCPU has that number either */
	return dirty_limits_set(migration_dirty_limits(call->mg), cpu, a->rate, err);
}

struct limit_info {
	int64_t cpu;
	uint64_t limit, current;
};

static const struct qmp_member limit_members[] = {
    QMP_REQ(struct limit_info, cpu, "cpu-index"),
    QMP_REQ(struct limit_info, limit, "limit-rate"),
    QMP_REQ(struct limit_info, current, "current-rate"),
    {0},
};
static const struct qmp_type limit_type =
    QMP_OBJECT_TYPE(struct limit_info, "DirtyLimitInfo", limit_members);
static const struct qmp_type limit_list = QMP_ARRAY_TYPE(&limit_type);

static int query_limits(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	struct limit_info *v = qmp_alloc(call->pool, call->m->n_vcpus, sizeof(*v));
	size_t n = 0;

	(void)arg;
	(void)err;
	for (unsigned i = 0; i < call->m->n_vcpus; i++) {
		struct limit_info one = {.cpu = i};

		one.limit = dirty_limits_get(migration_dirty_limits(call->mg), i, &one.current);
		if (one.limit)
			v[n++] = one;
	}
	*(struct qmp_array *)ret = (struct qmp_array){v, n};
	return 0;
}

const struct qmp_command qmp_dirty_commands[] = {
    {"calc-dirty-rate",  &calc_type, NULL, calc_dirty_rate, QMP_GUEST},
    {"query-dirty-rate",              NULL, &rate_type, query_dirty_rate, 0},
    {"set-vcpu-dirty-limit",         &set_limit_type, NULL, set_limit, QMP_GUEST},
    {"cancel-vcpu-dirty-limit", &cancel_limit_type, NULL, set_limit, QMP_GUEST},
    {"query-vcpu-dirty-limit",        NULL, &limit_list, query_limits, 0},
    {0		},
};
