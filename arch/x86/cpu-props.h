/* cpu-props.h - what a -cpu option says beyond the model's name; cpu-model.c's other half */
#ifndef MINIVMM_ARCH_X86_CPU_PROPS_H
#define MINIVMM_ARCH_X86_CPU_PROPS_H

#include <stdbool.h>

struct cpu_model;
struct err;

/* One property, "sse", "family" or "vendor", with its value as typed; -EINVAL, -ENOTSUP by name. */
int cpu_props_set(struct cpu_model *m, const char *name, const char *val, struct err *err);
/* All of "+f,-f,f=on|off", in the order in which they act. */
int cpu_props_apply(struct cpu_model *m, const char *features, struct err *err);
/* What such a text (NULL: none) says of "migratable", which acts before all others. */
bool cpu_props_migratable(const char *features);

#endif
