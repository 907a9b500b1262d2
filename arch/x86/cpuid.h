/*
 * cpuid.h - processor models, their features, and the CPUID table of a vCPU
 *
 * Everything but host_identify() is pure: it works on tables handed in, so
 * that what a guest would see on another host can be tested on this one.
 */
#ifndef MINIVMM_ARCH_X86_CPUID_H
#define MINIVMM_ARCH_X86_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct buf;
struct err;
struct keyvals;

/* The registers in which features are announced. */
enum feature_word {
	FEAT_1_EDX,
	FEAT_1_ECX,
	FEAT_7_EBX,
	FEAT_7_ECX,
	FEAT_7_EDX,
	FEAT_7_1_EAX,
	FEAT_8000_0001_EDX,
	FEAT_8000_0001_ECX,
	FEAT_8000_0007_EBX,
	FEAT_8000_0007_EDX,
	FEAT_8000_0008_EBX,
	FEAT_8000_0021_EAX,
	FEAT_ARCH_CAPS, /* an MSR, 0x10a, bits 0 to 31 */
	FEAT_KVM,
	FEAT_KVM_HINTS,
	FEAT_XSAVE,
	FEAT_6_EAX,
	FEAT_COUNT
};

enum cpuid_reg { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

struct feature_info {
	uint32_t leaf, subleaf;
	bool indexed; /* the leaf has subleaves */
	enum cpuid_reg reg;
	const char *const *names; /* of 32 bits; NULL: not known by a name */
	uint32_t unmigratable;    /* named, but "host" does not have it by itself */
};

/* cpu-features.c */
const struct feature_info *feature_info(enum feature_word w);
/* "CPUID.07H:EBX.avx2 [bit 5]", "CPUID.07H.01H:EAX.avx-vnni [bit 4]", as QEMU and the SDM say it.
 */
struct feature_text {
	char s[80];
};
struct feature_text feature_text(enum feature_word w, unsigned bit);
/* Find a feature by any of its names ('-' and '_' are the same); false if there is none. */
bool feature_find(const char *name, enum feature_word *word, unsigned *bit);

#define F1_EDX_APIC        (1U << 9)
#define F1_EDX_HTT         (1U << 28)
#define F1_ECX_PNI         (1U << 0)
#define F1_ECX_VMX         (1U << 5)
#define F1_ECX_CX16        (1U << 13)
#define F1_ECX_X2APIC      (1U << 21)
#define F1_ECX_DEADLINE    (1U << 24)
#define F1_ECX_XSAVE       (1U << 26)
#define F1_ECX_AVX         (1U << 28)
#define F1_ECX_HYPERVISOR  (1U << 31)
#define F7_ECX_CET_SS      (1U << 7)
#define F7_EDX_CET_IBT     (1U << 20)
#define F7_EBX_TSC_ADJUST  (1U << 1)
#define F7_EBX_SGX         (1U << 2)
#define F7_EBX_MPX         (1U << 14)
#define F7_EBX_AVX512F     (1U << 16)
#define F7_EBX_INTEL_PT    (1U << 25)
#define F7_ECX_PKU         (1U << 3)
#define F7_ECX_WAITPKG     (1U << 5)
#define F7_ECX_LA57        (1U << 16)
#define F7_ECX_SGX_LC      (1U << 30)
#define F7_ECX_PKS         (1U << 31)
#define F7_EDX_ARCH_LBR    (1U << 19)
#define F7_EDX_AMX_TILE    (1U << 24)
#define F7_EDX_AMX         (1U << 22 | 1U << 24 | 1U << 25)
#define F7_EDX_SPEC_CTRL   (1U << 26)
#define F7_EDX_ARCH_CAPS   (1U << 29)
#define F7_EDX_SSBD        (1U << 31)
#define F81_EDX_RDTSCP     (1U << 27)
#define F81_EDX_LM         (1U << 29)
#define F81_ECX_CMP_LEGACY (1U << 1)
#define F81_ECX_SVM        (1U << 2)
#define F81_ECX_TOPOEXT    (1U << 22)
#define F87_EDX_INVTSC     (1U << 8)
#define F88_EBX_VIRT_SSBD  (1U << 25)
#define F88_EBX_NEWER      (1U << 17 | 1U << 28) /* that QEMU 7.2's "host" has not */
#define XSAVE_XSAVES       (1U << 3)
#define XSAVE_XFD          (1U << 4)
#define MSR_ARCH_CAPS      0x10a
/* Bits of 1.EDX that AMD repeats in 8000_0001.EDX. */
#define F81_EDX_ALIASES 0x0183f3ffU

/* What a model is made from. */
/*
 * Caches as CPUID tells them: the words of 8000_0005, 8000_0006 and 2, and the
 * leaves 4 and 8000_001d without the numbers of processors.
 */
struct cpu_cache_leaf {
	uint32_t eax, ebx, ecx, edx;
};
struct cpu_caches {
	uint32_t l1d, l1i, l2, l3, leaf_2[2]; /* ecx, edx */
	struct cpu_cache_leaf leaf_4[4], leaf_1d[4];
};

struct cpu_host {
	const struct kvm_cpuid2 *supported; /* borrowed: KVM_GET_SUPPORTED_CPUID */
	char brand[49];
	unsigned phys_bits;
	bool tsc_deadline;  /* KVM_CAP_TSC_DEADLINE_TIMER */
	uint64_t arch_caps; /* of MSR 0x10a, what KVM can give; 0: it has no such MSR */
};

struct cpu_model {
	char name[32];
	char vendor[13];
	uint32_t signature; /* 1.EAX: family, model, stepping */
	uint32_t level, xlevel;
	char brand[49];
	uint32_t features[FEAT_COUNT];   /* what the guest sees */
	uint32_t lost[FEAT_COUNT];       /* was asked for, and the host has not got it */
	const struct cpu_caches *caches; /* constant */
	unsigned phys_bits;
	bool named;      /* of the table, not the host's */
	bool migratable; /* the host's, without what ties the guest to it */
	bool check, enforce;
	bool expose_kvm; /* leaves 0x40000000... */
	bool pmu;
	unsigned pmu_gp, pmu_fixed; /* counters of the architectural PMU */
	uint32_t pmu_regs[4];       /* leaf 0xa */
	uint64_t tsc_hz;            /* "tsc-frequency=", or 0: the host's */
};

struct cpu_topology {
	unsigned cores, threads; /* of one socket; of one core */
};

/* Fill brand and phys_bits from the processor this runs on. */
void host_identify(struct cpu_host *host);

/*
 * A model by name with "+f,-f,f=on|off" on top (features may be NULL), cut to
 * what the host has.  What is lost is told to 'missing', one call a bit
 * ("CPUID.01H:ECX.pni [bit 0]"); with "enforce" it is an error.
 */
int cpu_model_make(struct cpu_model *out, const char *name, const char *features,
		   const struct cpu_host *host, void (*missing)(void *opaque, const char *what),
		   void *opaque, struct err *err);
/*
 * The same with the properties as pairs: true and false, numbers and texts as they are typed.
 * Those that the host lacks are in out->lost.
 */
int cpu_model_make_pairs(struct cpu_model *out, const char *name, const struct keyvals *pairs,
			 const struct cpu_host *host, struct err *err);
/* The i-th name that -cpu takes, as query-cpu-definitions tells of it; false behind the last. */
struct cpu_model_name {
	const char *name;
	const char *alias_of; /* the version that it stands for now; NULL: it is one */
	bool is_static;       /* the same on all hosts, whatever they have */
	bool migration_safe;  /* the same on all hosts that have it */
};
bool cpu_model_name_at(size_t i, struct cpu_model_name *out);
/* The models' names, one a line. */
void cpu_model_list(FILE *out);

/* The EXPOSES_* of cpu-state.h that the model's features mean. */
uint32_t cpu_model_exposes(const struct cpu_model *model);

/*
 * The table of the vCPU with that APIC id; tsc_khz as KVM has it (0: not
 * known).  Returns owned (free with free()).
 */
struct kvm_cpuid2 *cpuid_build(const struct cpu_model *model, const struct cpu_topology *topo,
			       unsigned apic_id, uint32_t tsc_khz, const struct cpu_host *host);
/* The entry, or NULL; a leaf without subleaves matches any. */
const struct kvm_cpuid_entry2 *cpuid_find(const struct kvm_cpuid2 *table, uint32_t leaf,
					  uint32_t subleaf);
/*
 * cpuid-compare.c: an entry of another machine's table against our own: what
 * it gives its guest and ours does not is told in 'diff' (describe.h), a sentence a bit.
 */
void cpuid_compare(const struct kvm_cpuid2 *own, const struct kvm_cpuid_entry2 *theirs,
		   struct buf *diff);
/* One register of it, 0 if there is no such entry. */
uint32_t cpuid_reg(const struct kvm_cpuid2 *table, uint32_t leaf, uint32_t subleaf,
		   enum cpuid_reg reg);

#endif
