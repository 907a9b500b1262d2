/*
 * internal.h - what the files of arch/x86 share
 *
 * Everything hangs from struct x86, which is machine->arch_state, and struct
 * x86_vcpu, which is vcpu->arch.
 */
#ifndef MINIVMM_ARCH_X86_INTERNAL_H
#define MINIVMM_ARCH_X86_INTERNAL_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86/boot.h"
#include "arch/x86/cpu-state.h"
#include "arch/x86/cpuid.h"
#include "arch/x86/irqchip.h"
#include "arch/x86/lapic.h"
#include "vmm/blocker.h"
#include "vmm/vcpu.h"

struct buf;
struct err;
struct machine;
struct src;
struct vms_desc;

/* Section kvmclock, and what the clocks need between a stop and the next start. */
struct x86_clock {
	uint64_t clock_ns;    /* KVM_GET_CLOCK at the stop, or from the stream */
	uint64_t realtime_ns; /* the host's time of day then; 0: not known */
	bool clock_is_reliable;
	/* what a saved guest's description says: the same two, which belong to clock_ns if equal */
	uint64_t told_clock_ns, told_realtime_ns;
	/* at the next start all clocks go on by the time since then; 0: from where they stood */
	uint64_t advance_from_ns;
	/* clock_ns is to be set at the next start */
	bool clock_held;
	/*
	 * The TSC and the LAPIC deadline in the vCPUs' state are the guest's;
	 * KVM has not got them: they are set at the next start.
	 */
	bool tsc_held;
};

struct x86 {
	/* set at creation and then constant */
	struct machine *m;
	struct cpu_model model;
	struct kvm_cpuid2 *supported; /* owned; what KVM offers */
	unsigned phys_bits;
	uint64_t mcg_cap;
	int64_t tsc_khz; /* of the vCPUs at creation; 0: KVM does not say */
	bool have_sregs2, have_smm, have_triple_fault, have_xcrs, have_reliable_clock;
	bool have_tsc_offset; /* KVM_VCPU_TSC_OFFSET */
	size_t xsave_bytes;   /* of KVM's buffer, at least 4096 */
	struct boot_image boot;
	/* machine lock */
	uint8_t *msr_refused; /* owned; by row of msr_table: KVM has refused it once, said so */
	uint8_t *msr_listed;  /* owned; by row: KVM lists it */
	struct irqchip irqchip;
	struct x86_clock clock;
	struct blocker invtsc; /* the guest relies on this host's TSC */
	bool booted;           /* a boot has been staged before: RAM may hold old bytes */
};

struct x86_vcpu {
	struct vcpu *v;
	struct cpu_common common;
	struct cpu_state cpu;
	struct apic_state apic;
	struct kvm_cpuid2 *cpuid; /* owned */
};

static inline struct x86_vcpu *x86_vcpu(const struct vcpu *v)
{
	return v->arch;
}

/* ---- machine.c: the host, also where there is no board ---- */

/* What KVM offers; returns owned, NULL with *err set. */
struct kvm_cpuid2 *x86_supported_cpuid(const struct machine *m, struct err *err);
/* 'supported' is borrowed, for the life of *host. */
void x86_identify_host(const struct machine *m, const struct kvm_cpuid2 *supported,
		       struct cpu_host *host);

/* ---- cpu-regs.c: all of a vCPU but MSRs and the LAPIC's registers ---- */

/* Fill xv->cpu, common and apic from KVM, but for the TSC and, while it is held, the deadline. */
int x86_vcpu_fetch(struct x86 *x, struct x86_vcpu *xv, struct err *err);
/* Write all into KVM but TSC and deadline, in the order of machine-microvm 3.6. */
int x86_vcpu_push(struct x86 *x, struct x86_vcpu *xv, struct err *err);

/* ---- msrs.c ---- */

int x86_msrs_init(struct x86 *x, struct err *err);
/* Its second half: these are the MSRs that KVM has. */
void x86_msrs_take_list(struct x86 *x, const struct kvm_msr_list *list);
void x86_msrs_fini(struct x86 *x);
/* Read the MSRs of those groups that KVM has into xv->cpu; one that is refused is said once and
 * skipped. */
int x86_msrs_fetch(struct x86 *x, struct x86_vcpu *xv, unsigned when, struct err *err);
/* Groups of MSRs by when they are written: a mask of these. */
#define MSR_FIRST    (1U << 0) /* before the special registers */
#define MSR_USUAL    (1U << 1)
#define MSR_TSC      (1U << 2) /* when the machine starts */
#define MSR_DEADLINE (1U << 3) /* after TSC and LAPIC */
/* Write the MSRs of those groups; a refused one is named in a warning and skipped. */
int x86_msrs_push(struct x86 *x, struct x86_vcpu *xv, unsigned when, struct err *err);

/* The MSRs that the guest may have put something into, and what of another's this KVM lacks:
 * arch_ops.describe, compare. */
void x86_msrs_describe(const struct x86 *x, struct buf *out);
int x86_msrs_compare(const struct x86 *x, struct src *body, struct buf *diff);

/* ---- describe.c: arch_ops ---- */

void x86_describe(struct machine *m, struct buf *out);
int x86_compare(struct machine *m, unsigned kind, struct src *body, struct buf *diff);

/* ---- xsave.c: pure ---- */

#define XSAVE_LEGACY_BYTES 576 /* FXSAVE area and header */
/*
 * Between the area of KVM_GET_XSAVE ('bytes' long, standard format) and the
 * state.  Offsets of the components come from CPUID leaf 0xd in 'supported';
 * one that does not fit into the area is left alone.
 */
void xsave_to_state(const uint8_t *area, size_t bytes, const struct kvm_cpuid2 *supported,
		    struct cpu_state *s);
void xsave_from_state(uint8_t *area, size_t bytes, const struct kvm_cpuid2 *supported,
		      const struct cpu_state *s);

/* ---- clock.c ---- */

extern const struct vms_desc kvmclock_vmstate; /* over struct x86_clock */
bool x86_clock_has_tsc_offset(const struct vcpu *v);
void x86_clock_stopped(struct machine *m);
void x86_clock_starting(struct machine *m);
/* arch_ops.advance */
int x86_clock_advance(struct machine *m, uint64_t since_ns);
/* The host's time of day when clock_ns was read; 0: not known. */
uint64_t x86_clock_realtime(const struct x86_clock *c);
/* Put what is held forward by the time from advance_from_ns to now. */
void x86_clock_put_forward(struct machine *m, uint64_t now_ns);
/* How many ticks of a TSC of that rate are in so many ns. */
uint64_t x86_clock_ticks(uint64_t ns, int64_t tsc_khz);

#endif
