/* stats.c - query-stats, query-stats-schemas: what KVM counts (vmm/kvm-stats.h) */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "qmp/command.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/kvm-stats.h"
#include "vmm/machine.h"
#include "vmm/vcpu.h"

static const char *const providers[] = {"kvm", NULL};
static const char *const targets[] = {"vm", "vcpu", NULL};
static const char *const types[] = {"cumulative",       "instant",        "peak",
				    "linear-histogram", "log2-histogram", NULL};
static const char *const units[] = {"bytes", "seconds", "cycles", "boolean", NULL};
static const struct qmp_type provider_enum = QMP_ENUM_TYPE("StatsProvider", providers);
static const struct qmp_type target_enum = QMP_ENUM_TYPE("StatsTarget", targets);
static const struct qmp_type type_enum = QMP_ENUM_TYPE("StatsType", types);
static const struct qmp_type unit_enum = QMP_ENUM_TYPE("StatsUnit", units);
enum target { TARGET_VM, TARGET_VCPU };

/* ---- query-stats ---- */

struct stats_request {
	int provider;
	bool has_names;
	struct qmp_array names;
};

struct args {
	int target;
	bool has_providers, has_vcpus;
	struct qmp_array providers, vcpus;
};

static const struct qmp_member request_members[] = {
    QMP_REQ_T(struct stats_request, provider, "provider", &provider_enum),
    QMP_OPT_T(struct stats_request, names, "names", &qmp_str_array),
    {0},
};
static const struct qmp_type request_type =
    QMP_OBJECT_TYPE(struct stats_request, "StatsRequest", request_members);
static const struct qmp_type request_list = QMP_ARRAY_TYPE(&request_type);
static const struct qmp_member vcpu_members[] = {
    QMP_OPT_T(struct args, vcpus, "vcpus", &qmp_str_array),
    {0},
};
static const struct qmp_type vcpu_filter =
    QMP_OBJECT_TYPE(struct args, "StatsVCPUFilter", vcpu_members);
static const struct qmp_type *const filters[] = {NULL, &vcpu_filter};
static const struct qmp_member args_members[] = {
    QMP_REQ_T(struct args, target, "target", &target_enum),
    QMP_OPT_T(struct args, providers, "providers", &request_list),
    {0},
};
static const struct qmp_type args_type = {
    .kind = QMP_KIND_OBJECT,
    .name = "StatsFilter",
    .size = sizeof(struct args),
    .members = args_members,
    .tag = "target",
    .variants = filters,
};

struct stat {
	const char *name;
	struct qmp_any value;
};

struct result {
	int provider;
	const char *path;
	struct qmp_array stats;
};

static const struct qmp_type number_list = QMP_ARRAY_TYPE(&qmp_u64);
static const struct qmp_type *const values[] = {&qmp_u64, &qmp_bool, &number_list, NULL};
static const struct qmp_type value_type = QMP_ALTERNATE_TYPE("StatsValue", values);
static const struct qmp_member stat_members[] = {
    QMP_REQ(struct stat, name, "name"),
    QMP_REQ_T(struct stat, value, "value", &value_type),
    {0},
};
static const struct qmp_type stat_type = QMP_OBJECT_TYPE(struct stat, "Stats", stat_members);
static const struct qmp_type stat_list = QMP_ARRAY_TYPE(&stat_type);
static const struct qmp_member result_members[] = {
    QMP_REQ_T(struct result, provider, "provider", &provider_enum),
    QMP_SET(struct result, path, "qom-path"),
    QMP_REQ_T(struct result, stats, "stats", &stat_list),
    {0},
};
static const struct qmp_type result_type =
    QMP_OBJECT_TYPE(struct result, "StatsResult", result_members);
static const struct qmp_type result_list = QMP_ARRAY_TYPE(&result_type);

static bool is_in(const struct qmp_array *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++)
		if (!strcmp(((const char *const *)names->v)[i], name))
			return true;
	return false;
}

/* Is it asked for?  Without providers all is; a provider without names has all of it. */
static bool is_wanted(const struct args *a, const char *name)
{
	const struct stats_request *r = a->providers.v;

	for (size_t i = 0; a->has_providers && i < a->providers.n; i++)
		if (!r[i].has_names || is_in(&r[i].names, name))
			return true;
	return !a->has_providers;
}

/* The values are copied into the pool. */
static struct qmp_any value_of(struct qmp_pool *pool, const struct kvm_stat *s)
{
	uint64_t *v = qmp_alloc(pool, s->n, sizeof(*v));
	struct qmp_array *a;
	bool *b;

	memcpy(v, s->values, s->n * sizeof(*v));
	if (s->n == 1 && s->unit == KVM_STAT_BOOLEAN) {
		b = qmp_alloc(pool, 1, sizeof(*b));
		*b = *v != 0;
		return (struct qmp_any){.type = &qmp_bool, .p = b};
	}
	if (s->n == 1)
		return (struct qmp_any){.type = &qmp_u64, .p = v};
	a = qmp_alloc(pool, 1, sizeof(*a));
	*a = (struct qmp_array){v, s->n};
	return (struct qmp_any){.type = &number_list, .p = a};
}

static int add_result(struct qmp_call *call, const struct args *a, int stats_fd, struct result *out,
		      struct err *err)
{
	CLEANUP(kvm_stats_fini) struct kvm_stats s;
	int ret = kvm_stats_read(&s, stats_fd, err);
	struct stat *v = qmp_alloc(call->pool, s.n, sizeof(*v));
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		if (is_wanted(a, s.v[i].name))
			v[n++] = (struct stat){qmp_printf(call->pool, "%s", s.v[i].name),
					       value_of(call->pool, &s.v[i])};
	out->stats = (struct qmp_array){v, n};
	return ret;
}

static int query_vcpus(struct qmp_call *call, const struct args *a, struct qmp_array *ret,
		       struct err *err)
{
	const struct machine *m = call->m;
	struct result *v = qmp_alloc(call->pool, m->n_vcpus, sizeof(*v));
	size_t n = 0;

	for (unsigned i = 0; i < m->n_vcpus; i++) {
		const char *path = qmp_printf(call->pool, "/machine/unattached/device[%u]", i);
		int r;

		if (m->vcpus[i]->stats_fd < 0 || (a->has_vcpus && !is_in(&a->vcpus, path)))
			continue;
		v[n].path = path;
		r = add_result(call, a, m->vcpus[i]->stats_fd, &v[n++], err);
		if (r < 0)
			return r;
	}
	*ret = (struct qmp_array){v, n};
	return 0;
}

static int query_vm(struct qmp_call *call, const struct args *a, struct qmp_array *ret,
		    struct err *err)
{
	CLEANUP(cleanup_close) int fd = kvm_stats_open(call->m->vm_fd);
	struct result *v = qmp_alloc(call->pool, 1, sizeof(*v));

	*ret = (struct qmp_array){v, fd >= 0};
	return add_result(call, a, fd, v, err);
}

static int query_stats(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct args *a = arg;

	if (a->has_providers && !a->providers.n) /* of nobody */
		return 0;
	return a->target == TARGET_VM ? query_vm(call, a, ret, err)
				      : query_vcpus(call, a, ret, err);
}

/* ---- query-stats-schemas ---- */

struct schema_value {
	const char *name;
	int type;
	bool has_unit, has_base, has_bucket_bytes;
	int unit;
	int64_t base, exponent, bucket_bytes;
};

struct schema {
	int provider, target;
	struct qmp_array stats;
};

struct schema_args {
	bool has_provider;
	int provider;
};

static const struct qmp_member schema_args_members[] = {
    QMP_OPT_T(struct schema_args, provider, "provider", &provider_enum),
    {0},
};
static const struct qmp_type schema_args =
    QMP_OBJECT_TYPE(struct schema_args, "q_obj_query-stats-schemas-arg", schema_args_members);
static const struct qmp_member value_members[] = {
    QMP_REQ(struct schema_value, name, "name"),
    QMP_REQ_T(struct schema_value, type, "type", &type_enum),
    QMP_OPT_T(struct schema_value, unit, "unit", &unit_enum),
    QMP_OPT(struct schema_value, base, "base"),
    QMP_REQ(struct schema_value, exponent, "exponent"),
    QMP_OPT(struct schema_value, bucket_bytes, "bucket-size"),
    {0},
};
static const struct qmp_type schema_value_type =
    QMP_OBJECT_TYPE(struct schema_value, "StatsSchemaValue", value_members);
static const struct qmp_type schema_value_list = QMP_ARRAY_TYPE(&schema_value_type);
static const struct qmp_member schema_members[] = {
    QMP_REQ_T(struct schema, provider, "provider", &provider_enum),
    QMP_REQ_T(struct schema, target, "target", &target_enum),
    QMP_REQ_T(struct schema, stats, "stats", &schema_value_list),
    {0},
};
static const struct qmp_type schema_type =
    QMP_OBJECT_TYPE(struct schema, "StatsSchema", schema_members);
static const struct qmp_type schema_list = QMP_ARRAY_TYPE(&schema_type);

static int add_schema(struct qmp_call *call, int stats_fd, enum target target, struct schema *out,
		      struct err *err)
{
	CLEANUP(kvm_stats_fini) struct kvm_stats s;
	int ret = kvm_stats_read(&s, stats_fd, err);
	struct schema_value *v = qmp_alloc(call->pool, s.n, sizeof(*v));

	for (size_t i = 0; i < s.n; i++)
		v[i] = (struct schema_value){
		    .name = qmp_printf(call->pool, "%s", s.v[i].name),
		    .type = (int)s.v[i].type,
		    .has_unit = s.v[i].unit != KVM_STAT_NONE,
		    .unit = (int)s.v[i].unit - 1,
		    .has_base = s.v[i].exponent != 0,
		    .base = s.v[i].base,
		    .exponent = s.v[i].exponent,
		    .has_bucket_bytes = s.v[i].type == KVM_STAT_LINEAR,
		    .bucket_bytes = s.v[i].bucket_bytes,
		};
	*out = (struct schema){
	    .target = (int)target, .stats = {v, s.n}
        };
	return ret;
}

static int query_schemas(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct machine *m = call->m;
	CLEANUP(cleanup_close) int fd = kvm_stats_open(m->vm_fd);
	struct schema *v = qmp_alloc(call->pool, 2, sizeof(*v));
	size_t n = 0;
	int r = 0;

	(void)arg; /* there is one provider */
	if (fd >= 0)
		r = add_schema(call, fd, TARGET_VM, &v[n++], err);
	if (r == 0 && m->n_vcpus && m->vcpus[0]->stats_fd >= 0)
		r = add_schema(call, m->vcpus[0]->stats_fd, TARGET_VCPU, &v[n++], err);
	*(struct qmp_array *)ret = (struct qmp_array){v, n};
	return r;
}

const struct qmp_command qmp_stats_commands[] = {
    {"query-stats", &args_type, &result_list, query_stats, 0},
    {"query-stats-schemas", &schema_args, &schema_list, query_schemas, 0},
    {0	   },
};
