#include "qmp/loose-types.h"

#include "migration/settings/params.h"
#include "vmm/job.h"

/* The table's, and behind them the one that is no single value. */
static const char *param_at(const struct qmp_type *t, size_t i, unsigned *features)
{
	const struct migration_param_info *p = migration_param_table;
	size_t k;

	(void)t;
	for (k = 0; p->name && k < i; k++)
		p++;
	*features = (p->unstable ? QMP_UNSTABLE : 0) | (p->deprecated ? QMP_DEPRECATED : 0);
	if (p->name)
		return p->name;
	return k == i ? "block-bitmap-mapping" : NULL;
}

static const struct qmp_type parameter_type = {
    .kind = QMP_KIND_ENUM,
    .name = "MigrationParameter",
    .size = sizeof(int),
    .value_at = param_at,
};

static const char *verb_at(const struct qmp_type *t, size_t i, unsigned *features)
{
	(void)t;
	*features = 0;
	return i < JOB_VERBS ? job_verb_name((enum job_verb)i) : NULL;
}

static const struct qmp_type verb_type = {
    .kind = QMP_KIND_ENUM,
    .name = "JobVerb",
    .size = sizeof(int),
    .value_at = verb_at,
};

static const char *const messages[] = {
    "checkpoint-ready", "checkpoint-request", "checkpoint-reply", "vmstate-send",
    "vmstate-size",     "vmstate-received",   "vmstate-loaded",   NULL};
static const struct qmp_type message_type = QMP_ENUM_TYPE("COLOMessage", messages);
static const char *const failovers[] = {"none", "require", "active", "completed", "relaunch", NULL};
static const struct qmp_type failover_type = QMP_ENUM_TYPE("FailoverStatus", failovers);

const struct qmp_type *const qmp_loose_types[] = {&parameter_type, &verb_type, &message_type,
						  &failover_type, NULL};
