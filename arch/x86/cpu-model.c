/*
 * cpu-model.c - what a -cpu option stands for on this host
 *
 * A model is a fixed list of features (cpu-models.c).  The options are applied on top, then
 * whatever the host lacks is taken out, bit by bit and by name.
 */
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/cpu-models.h"
#include "arch/x86/cpu-props.h"
#include "arch/x86/cpu-state.h"
#include "arch/x86/cpuid.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"

/* Names that stand for this host's processor; "max" is the same, for KVM can give no more. */
static const char *const host_names[] = {"host", "max"};

static bool is_host_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(host_names); i++)
		if (strcmp(name, host_names[i]) == 0)
			return true;
	return false;
}

static const char *versioned(const char *name)
{
	for (size_t i = 0; i < n_cpu_model_aliases; i++)
		if (strcmp(name, cpu_model_aliases[i].alias) == 0)
			return cpu_model_aliases[i].name;
	return name;
}

/* What features are put on by hand: QEMU's "base", of which a static model is made. */
static const struct cpu_model_def base_model = {.name = "base", .brand = "no features at all"};

static const struct cpu_model_def *find_model(const char *name)
{
	if (strcmp(name, base_model.name) == 0)
		return &base_model;
	for (size_t i = 0; i < n_cpu_models; i++)
		if (strcmp(versioned(name), cpu_models[i].name) == 0)
			return &cpu_models[i];
	return NULL;
}

void cpu_model_list(FILE *out)
{
	for (size_t i = 0; i < ARRAY_LEN(host_names); i++)
		(void)fprintf(out, "%-26s the host's processor, all that KVM can give of it\n",
			      host_names[i]);
	for (size_t i = 0; i < n_cpu_model_aliases; i++)
		(void)fprintf(out, "%-26s %s\n", cpu_model_aliases[i].alias,
			      cpu_model_aliases[i].name);
	for (size_t i = 0; i < n_cpu_models; i++)
		(void)fprintf(out, "%-26s %s\n", cpu_models[i].name, cpu_models[i].brand);
	(void)fprintf(out, "%-26s %s\n", base_model.name, base_model.brand);
}

bool cpu_model_name_at(size_t i, struct cpu_model_name *out)
{
	*out = (struct cpu_model_name){.migration_safe = true};
	if (i < ARRAY_LEN(host_names)) {
		out->name = host_names[i];
		out->migration_safe = false;
		return true;
	}
	i -= ARRAY_LEN(host_names);
	if (i < n_cpu_model_aliases) {
		out->name = cpu_model_aliases[i].alias;
		out->alias_of = cpu_model_aliases[i].name;
		return true;
	}
	i -= n_cpu_model_aliases;
	if (i < n_cpu_models) {
		out->name = cpu_models[i].name;
		return true;
	}
	out->name = base_model.name;
	out->is_static = true;
	return i == n_cpu_models;
}

void host_identify(struct cpu_host *host)
{
	uint32_t r[12] = {0}, eax, ebx, ecx, edx;

	for (uint32_t i = 0; i < 3; i++) {
		uint32_t *part = &r[(size_t)4 * i];

		if (!__get_cpuid(0x80000002 + i, &part[0], &part[1], &part[2], &part[3]))
			break;
	}
	memcpy(host->brand, r, sizeof(r));
	host->brand[sizeof(host->brand) - 1] = '\0';
	host->phys_bits = 36;
	if (__get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx) && (eax & 0xff))
		host->phys_bits = eax & 0xff;
}

/* What the host can give in one word, with what KVM has but does not list. */
static uint32_t host_word(const struct cpu_host *host, enum feature_word w)
{
	const struct feature_info *info = feature_info(w);
	uint32_t v = cpuid_reg(host->supported, info->leaf, info->subleaf, info->reg);

	switch (w) {
	case FEAT_1_ECX:
		v |= F1_ECX_HYPERVISOR | (host->tsc_deadline ? F1_ECX_DEADLINE : 0);
		return v & ~F1_ECX_VMX;
	case FEAT_7_EBX:
		return v & ~(F7_EBX_SGX | F7_EBX_INTEL_PT);
	case FEAT_7_ECX:
		return v & ~(F7_ECX_SGX_LC | F7_ECX_CET_SS);
	case FEAT_7_EDX:
		return v & ~(F7_EDX_AMX | F7_EDX_ARCH_LBR | F7_EDX_CET_IBT);
	case FEAT_8000_0001_EDX:
		return v & ~F81_EDX_ALIASES; /* repeated from 1.EDX when the table is built */
	case FEAT_8000_0001_ECX:
		return (v | F81_ECX_TOPOEXT) & ~F81_ECX_SVM;
	case FEAT_6_EAX:
		return v | 1U << 2;
	case FEAT_KVM_HINTS:
		return v | 1;
	case FEAT_ARCH_CAPS:
		return (uint32_t)host->arch_caps;
	default:
		return v;
	}
}

static uint32_t named_bits(const struct feature_info *info)
{
	uint32_t v = 0;

	for (unsigned b = 0; b < 32; b++)
		if (info->names[b])
			v |= 1U << b;
	return v;
}

/* "host": everything that has a name and can be moved. */
static void take_host(struct cpu_model *m, const struct cpu_host *host)
{
	m->level = cpuid_reg(host->supported, 0, 0, CPUID_EAX);
	m->xlevel = cpuid_reg(host->supported, 0x80000000, 0, CPUID_EAX);
	m->signature = cpuid_reg(host->supported, 1, 0, CPUID_EAX);
	memcpy(m->brand, host->brand, sizeof(m->brand));
	for (unsigned w = 0; w < FEAT_COUNT; w++) {
		const struct feature_info *info = feature_info((enum feature_word)w);

		m->features[w] = host_word(host, (enum feature_word)w) & named_bits(info);
		if (m->migratable)
			m->features[w] &= ~info->unmigratable;
	}
	/* The CPUID table sets it where there are several. */
	m->features[FEAT_1_EDX] &= ~F1_EDX_HTT;
	m->pmu = true;
}

struct missing {
	void (*fn)(void *opaque, const char *what);
	void *opaque;
	char list[300]; /* all of them, as far as there is room */
};

static void missing_note(struct missing *t, const char *what)
{
	size_t n = strlen(t->list);

	if (n + strlen(what) + 8 < sizeof(t->list))
		(void)snprintf(t->list + n, sizeof(t->list) - n, "%s%s", n ? ", " : "", what);
	else if (n && t->list[n - 1] != '.')
		(void)snprintf(t->list + n, sizeof(t->list) - n, " ...");
}

static unsigned filter_word(struct cpu_model *m, enum feature_word w, uint32_t have,
			    struct missing *tell)
{
	uint32_t lost = m->features[w] & ~have;
	unsigned n = 0;

	for (unsigned b = 0; b < 32; b++) {
		if (!(lost >> b & 1))
			continue;
		n++;
		missing_note(tell, feature_text(w, b).s);
		if (tell->fn && (m->check || m->enforce))
			tell->fn(tell->opaque, feature_text(w, b).s);
	}
	m->lost[w] = lost;
	m->features[w] &= have;
	return n;
}

static unsigned filter_features(struct cpu_model *m, const struct cpu_host *host,
				struct missing *tell)
{
	unsigned lost = 0;

	if (!m->expose_kvm)
		m->features[FEAT_KVM] = m->features[FEAT_KVM_HINTS] = 0;
	for (unsigned w = 0; w < FEAT_COUNT; w++)
		lost += filter_word(m, (enum feature_word)w, host_word(host, (enum feature_word)w),
				    tell);
	if (!(m->features[FEAT_1_ECX] & F1_ECX_XSAVE)) {
		/* nothing that lives in extended state without it */
		m->features[FEAT_XSAVE] = 0;
		m->features[FEAT_1_ECX] &= ~F1_ECX_AVX;
		m->features[FEAT_7_EBX] &= ~(F7_EBX_AVX512F | F7_EBX_MPX);
		m->features[FEAT_7_ECX] &= ~F7_ECX_PKU;
	}
	return lost;
}

static void raise_to(uint32_t *level, uint32_t to)
{
	*level = MAX(*level, to);
}

/* The leaves that the features need must be within reach. */
static void raise_levels(struct cpu_model *m)
{
	for (unsigned w = 0; w < FEAT_COUNT; w++) {
		const struct feature_info *info = feature_info((enum feature_word)w);

		if (!m->features[w] || w == FEAT_KVM || w == FEAT_KVM_HINTS || w == FEAT_ARCH_CAPS)
			continue;
		raise_to(info->leaf & 0x80000000 ? &m->xlevel : &m->level, info->leaf);
	}
	if (m->features[FEAT_1_ECX] & F1_ECX_XSAVE)
		raise_to(&m->level, 0xd);
}

static void take_pmu(struct cpu_model *m, const struct cpu_host *host)
{
	for (unsigned r = 0; r < 4; r++)
		m->pmu_regs[r] = m->pmu ? cpuid_reg(host->supported, 0xa, 0, (enum cpuid_reg)r) : 0;
	if (!(m->pmu_regs[CPUID_EAX] & 0xff))
		return;
	m->pmu_gp = MIN(m->pmu_regs[CPUID_EAX] >> 8 & 0xff, PMU_GP_MAX);
	m->pmu_fixed = MIN(m->pmu_regs[CPUID_EDX] & 0x1f, PMU_FIXED_MAX);
}

/* 'def' NULL: the host's.  m->migratable is set. */
static void take_model(struct cpu_model *m, const char *name, const struct cpu_model_def *def,
		       const struct cpu_host *host)
{
	uint32_t vendor[3] = {cpuid_reg(host->supported, 0, 0, CPUID_EBX),
			      cpuid_reg(host->supported, 0, 0, CPUID_EDX),
			      cpuid_reg(host->supported, 0, 0, CPUID_ECX)};

	/* Always the host's vendor: system calls work differently. */
	memcpy(m->vendor, vendor, sizeof(vendor));
	m->vendor[sizeof(vendor)] = '\0';
	(void)snprintf(m->name, sizeof(m->name), "%s", name);
	m->phys_bits = host->phys_bits;
	m->check = true;
	m->expose_kvm = true;
	if (!def) {
		take_host(m, host);
		return;
	}
	m->named = true;
	m->level = def->level;
	m->xlevel = def->xlevel;
	m->signature = def->signature;
	m->caches = def->caches;
	(void)snprintf(m->brand, sizeof(m->brand), "%s", def->brand);
	memcpy(m->features, def->features, sizeof(m->features));
}

static int unknown_model(const char *name, struct err *err)
{
	size_t n = strcspn(name, "-");

	/* The family is known: which versions of it are there? */
	for (size_t i = 0; i < n_cpu_models; i++)
		if (strncmp(cpu_models[i].name, name, n) == 0 && cpu_models[i].name[n] == '-')
			return err_set(
			    err, EINVAL,
			    "unable to find CPU model '%s' (-cpu help lists the versions "
			    "of %.*s)",
			    name, (int)n, name);
	return err_set(err, EINVAL, "unable to find CPU model '%s' (-cpu help lists them)", name);
}

static int begin_model(struct cpu_model *m, const char *name, bool migratable,
		       const struct cpu_host *host, struct err *err)
{
	const struct cpu_model_def *def = find_model(name);

	if (!def && !is_host_name(name))
		return unknown_model(name, err);
	m->migratable = migratable;
	take_model(m, name, def, host);
	return 0;
}

static int finish_model(struct cpu_model *m, const struct cpu_host *host, struct missing *tell,
			struct err *err)
{
	unsigned lost = filter_features(m, host, tell);

	if (lost > 0 && m->enforce)
		return err_set(err, EINVAL, "Host doesn't support requested features: %s",
			       tell->list);
	raise_levels(m);
	take_pmu(m, host);
	return 0;
}

int cpu_model_make(struct cpu_model *out, const char *name, const char *features,
		   const struct cpu_host *host, void (*missing)(void *opaque, const char *what),
		   void *opaque, struct err *err)
{
	struct missing tell = {.fn = missing, .opaque = opaque};
	struct cpu_model m = {0};
	int ret = begin_model(&m, name, cpu_props_migratable(features), host, err);

	if (ret == 0 && features)
		ret = cpu_props_apply(&m, features, err);
	if (ret == 0)
		ret = finish_model(&m, host, &tell, err);
	if (ret == 0)
		*out = m;
	return ret;
}

int cpu_model_make_pairs(struct cpu_model *out, const char *name, const struct keyvals *pairs,
			 const struct cpu_host *host, struct err *err)
{
	struct missing tell = {0};
	struct cpu_model m = {0};
	int ret = begin_model(&m, name, keyvals_bool(pairs, "migratable", true), host, err);

	for (size_t i = 0; ret == 0 && i < pairs->n; i++)
		ret = cpu_props_set(&m, pairs->v[i].key, pairs->v[i].val, err);
	if (ret == 0)
		ret = finish_model(&m, host, &tell, err);
	if (ret == 0)
		*out = m;
	return ret;
}

uint32_t cpu_model_exposes(const struct cpu_model *m)
{
	uint32_t v = 0;

	/* the others are never offered by host_word() */
	v |= m->features[FEAT_XSAVE] & XSAVE_XFD ? EXPOSES_XFD : 0;
	return v;
}
