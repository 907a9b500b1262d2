/*
 * cpu-models.h - the named processor models, as data
 */
#ifndef MINIVMM_ARCH_X86_CPU_MODELS_H
#define MINIVMM_ARCH_X86_CPU_MODELS_H

#include <stddef.h>
#include <stdint.h>

#include "arch/x86/cpuid.h"

/* kvmclock, nopiodelay, asyncpf, steal-time, pv-eoi, stable bit: what models have under KVM. */
#define KVM_FEATURES_DEFAULT 0x0100007bU

struct cpu_model_def {
	const char *name, *brand;
	uint32_t level, xlevel, signature;
	const struct cpu_caches *caches; /* NULL: those that all others have */
	uint32_t features[FEAT_COUNT];
};

struct cpu_model_alias {
	const char *alias, *name;
};

extern const struct cpu_model_def cpu_models[];
extern const size_t n_cpu_models;
extern const struct cpu_model_alias cpu_model_aliases[];
extern const size_t n_cpu_model_aliases;

#endif
