/*
 * cpu-query.h - the processor models and what they are on this host, for those who ask
 *
 * A model's properties are a list: its features by name, then what else -cpu takes.  The list is
 * the same for all models; only the values differ.
 */
#ifndef MINIVMM_ARCH_X86_CPU_QUERY_H
#define MINIVMM_ARCH_X86_CPU_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86/cpuid.h"

struct err;
struct machine;

/* This host, as models are cut to it.  'supported' is owned; see cpu_query_fini(). */
struct cpu_query {
	struct cpu_host host;
	struct kvm_cpuid2 *supported;
};
/* Also without a board (-machine none).  Main thread; 0 or -errno with *err set. */
int cpu_query_init(struct cpu_query *q, const struct machine *m, struct err *err);
void cpu_query_fini(struct cpu_query *q);

/* The model of this machine's vCPUs; NULL: there are none. */
const struct cpu_model *cpu_query_own(const struct machine *m);

enum cpu_prop_kind { CPU_PROP_BOOL, CPU_PROP_NUMBER, CPU_PROP_TEXT };
struct cpu_prop {
	const char *name;
	enum cpu_prop_kind kind;
	bool is_static; /* part of what a static model is made of */
	bool on;
	int64_t number;
	const char *text; /* points into the model */
};
/* fn returns false to end the walk; what it is given lives for the call, names and texts longer. */
typedef bool cpu_prop_fn(void *opaque, const struct cpu_prop *p);
/* Call fn for each property of the model; false when fn has ended it. */
bool cpu_props_each(const struct cpu_model *m, cpu_prop_fn *fn, void *opaque);
/* Call fn with the name of each feature that was asked for and that the host has not got. */
void cpu_lost_each(const struct cpu_model *m, void (*fn)(void *opaque, const char *name),
		   void *opaque);

#endif
