#include "arch/x86/cpu-query.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

int cpu_query_init(struct cpu_query *q, const struct machine *m, struct err *err)
{
	*q = (struct cpu_query){.supported = x86_supported_cpuid(m, err)};
	if (!q->supported)
		return -EIO;
	x86_identify_host(m, q->supported, &q->host);
	return 0;
}

void cpu_query_fini(struct cpu_query *q)
{
	free(q->supported);
	q->supported = NULL;
}

const struct cpu_model *cpu_query_own(const struct machine *m)
{
	const struct x86 *x = m->arch_state;

	return x ? &x->model : NULL;
}

/* A name that stands for two bits is one property. */
static bool is_repeated(enum feature_word w, unsigned bit)
{
	const char *const *names = feature_info(w)->names;

	for (unsigned b = 0; w == FEAT_KVM && b < bit; b++)
		if (names[b] && !strcmp(names[b], names[bit]))
			return true;
	return false;
}

/* Call fn for each feature that has a name, with its bit, until it returns false. */
static bool each_feature(const struct cpu_model *m,
			 bool (*fn)(void *opaque, const struct cpu_model *m, enum feature_word w,
				    unsigned bit, const char *name),
			 void *opaque)
{
	for (unsigned w = 0; w < FEAT_COUNT; w++)
		for (unsigned b = 0; b < 32; b++) {
			const char *name = feature_info((enum feature_word)w)->names[b];

			if (name && !is_repeated((enum feature_word)w, b) &&
			    !fn(opaque, m, (enum feature_word)w, b, name))
				return false;
		}
	return true;
}

static unsigned family_of(uint32_t signature)
{
	unsigned family = signature >> 8 & 0xf;

	return family == 0xf ? family + (signature >> 20 & 0xff) : family;
}

#define NUMBER(n, s, v)                                                                            \
	{                                                                                          \
		.name = (n), .kind = CPU_PROP_NUMBER, .is_static = (s), .number = (int64_t)(v)     \
	}
#define TEXT(n, v)                                                                                 \
	{                                                                                          \
		.name = (n), .kind = CPU_PROP_TEXT, .is_static = true, .text = (v)                 \
	}
#define SWITCH(n, v)                                                                               \
	{                                                                                          \
		.name = (n), .on = (v)                                                             \
	}

/* What is no feature. */
static bool each_other(const struct cpu_model *m, cpu_prop_fn *fn, void *opaque)
{
	const uint32_t sig = m->signature;
	const struct cpu_prop props[] = {
	    NUMBER("family", true, family_of(sig)),
	    NUMBER("model", true, (sig >> 4 & 0xf) | (sig >> 12 & 0xf0)),
	    NUMBER("stepping", true, sig & 0xf),
	    NUMBER("min-level", true, m->level),
	    NUMBER("min-xlevel", true, m->xlevel),
	    TEXT("vendor", m->vendor),
	    TEXT("model-id", m->brand),
	    NUMBER("tsc-frequency", false, m->tsc_hz),
	    SWITCH("check", m->check),
	    SWITCH("enforce", m->enforce),
	    SWITCH("kvm", m->expose_kvm),
	    SWITCH("pmu", m->pmu),
	    SWITCH("migratable", m->migratable),
	    SWITCH("host-phys-bits", true),
	};

	for (size_t i = 0; i < ARRAY_LEN(props); i++)
		if (!fn(opaque, &props[i]))
			return false;
	return true;
}

struct each_prop {
	cpu_prop_fn *fn;
	void *opaque;
};

static bool feature_prop(void *opaque, const struct cpu_model *m, enum feature_word w, unsigned bit,
			 const char *name)
{
	const struct each_prop *e = opaque;
	const struct cpu_prop p = {
	    .name = name, .is_static = true, .on = m->features[w] >> bit & 1};

	return e->fn(e->opaque, &p);
}

bool cpu_props_each(const struct cpu_model *m, cpu_prop_fn *fn, void *opaque)
{
	struct each_prop e = {fn, opaque};

	return each_feature(m, feature_prop, &e) && each_other(m, fn, opaque);
}

struct each_lost {
	void (*fn)(void *opaque, const char *name);
	void *opaque;
};

static bool lost_feature(void *opaque, const struct cpu_model *m, enum feature_word w, unsigned bit,
			 const char *name)
{
	const struct each_lost *e = opaque;

	if (m->lost[w] >> bit & 1)
		e->fn(e->opaque, name);
	return true;
}

void cpu_lost_each(const struct cpu_model *m, void (*fn)(void *opaque, const char *name),
		   void *opaque)
{
	struct each_lost e = {fn, opaque};

	(void)each_feature(m, lost_feature, &e);
}
