/*
 * cpu-state.h - the state of one vCPU as the stream knows it
 *
 * The structs here stand between KVM and the stream: fetch fills them from
 * KVM, push writes them into KVM, the tables (cpu-vmstate.c) carry them over.
 * Members keep the representation of the wire (machine-microvm 3.6), so that
 * what was loaded is saved again to the same bytes; cpu-regs.c, xsave.c and
 * msrs.c translate.
 */
#ifndef MINIVMM_ARCH_X86_CPU_STATE_H
#define MINIVMM_ARCH_X86_CPU_STATE_H

#include <stdbool.h>
#include <stdint.h>

struct vms_desc;

enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT };
enum { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI, GPR_COUNT = 16 };

/* Bits of segment flags: the high dword of a descriptor. */
#define SEG_TYPE_SHIFT 8
#define SEG_S          (1U << 12)
#define SEG_DPL_SHIFT  13
#define SEG_DPL        (3U << SEG_DPL_SHIFT)
#define SEG_P          (1U << 15)
#define SEG_AVL        (1U << 20)
#define SEG_L          (1U << 21)
#define SEG_DB_SHIFT   22
#define SEG_DB         (1U << SEG_DB_SHIFT)
#define SEG_G          (1U << 23)

#define CR0_PE     (1ULL << 0)
#define CR0_ET     (1ULL << 4)
#define CR0_NE     (1ULL << 5)
#define CR0_PG     (1ULL << 31)
#define CR4_PAE    (1ULL << 5)
#define EFER_LME   (1ULL << 8)
#define EFER_LMA   (1ULL << 10)
#define RFLAGS_TF  (1ULL << 8)
#define RFLAGS_VM  (1ULL << 17)
#define RFLAGS_SET (1ULL << 1) /* always reads as one */

/* Derived flags that the stream carries. */
#define HF_INHIBIT_IRQ (1U << 3)
#define HF_SMM         (1U << 19)
#define HF_GUEST       (1U << 21)
#define HF2_GIF        (1U << 0)
#define HF2_NMI        (1U << 2) /* NMIs are masked */
#define HF2_SMM_NMI    (1U << 4) /* in SMM, entered from an NMI handler */
#define HF2_NPT        (1U << 6)
#define HF2_VGIF       (1U << 8)

/* CPUID features whose state is sent even when it is zero. */
#define EXPOSES_TSC_SCALE (1U << 0)
#define EXPOSES_TSX_CTRL  (1U << 1)
#define EXPOSES_SGX_LC    (1U << 2)
#define EXPOSES_XFD       (1U << 3)
#define EXPOSES_AMX       (1U << 4)
#define EXPOSES_ARCH_LBR  (1U << 5)
#define EXPOSES_LMCE      (1U << 6)

#define MCE_BANKS       10
#define PMU_FIXED_MAX   3
#define PMU_GP_MAX      18
#define LBR_ENTRIES     32
#define HV_CRASH_PARAMS 5
#define HV_SINTS        16
#define HV_STIMERS      4

struct x86_segment {
	uint32_t selector;
	uint64_t base;
	uint32_t limit; /* in bytes, expanded */
	uint32_t flags;
};

struct x86_fpreg {
	uint64_t mant;
	uint16_t exp;
};

struct x86_zmm {
	uint64_t q[8]; /* low first */
};

struct x86_mtrr_var {
	uint64_t base;
	uint64_t mask; /* with all bits from the physical width to 51 set, as on the wire */
};

struct x86_bound {
	uint64_t lb, ub;
};

struct x86_lbr {
	uint64_t from, to, info;
};

/* Hyper-V's MSRs: parsed; a guest that uses them is refused. */
struct x86_hyperv {
	uint64_t guest_os_id, hypercall, vapic, tsc;
	uint64_t crash_params[HV_CRASH_PARAMS];
	uint64_t runtime;
	uint64_t synic_control, synic_evt_page, synic_msg_page, synic_sint[HV_SINTS];
	uint64_t stimer_config[HV_STIMERS], stimer_count[HV_STIMERS];
	uint64_t reenlightenment_control, tsc_emulation_control, tsc_emulation_status;
};

struct x86_pmu {
	uint64_t fixed_ctrl, global_ctrl, global_status, global_ovf_ctrl;
	uint64_t fixed[PMU_FIXED_MAX], gp[PMU_GP_MAX], evtsel[PMU_GP_MAX];
};

struct cpu_state {
	/* set at creation and then constant */
	uint32_t exposes;

	/* base fields, the stream's order; machine lock, vCPU parked */
	uint64_t regs[GPR_COUNT];
	uint64_t rip, rflags;
	uint32_t hflags;
	uint16_t fpuc, fpus, fptag, fpregs_format;
	struct x86_fpreg fpregs[8]; /* ST(0) first, as XSAVE has them */
	struct x86_segment segs[SEG_COUNT], ldt, tr, gdt, idt;
	uint32_t sysenter_cs;
	uint64_t sysenter_esp, sysenter_eip;
	uint64_t cr0, cr2, cr3, cr4;
	uint64_t dr[8];
	int32_t a20_mask;
	uint32_t mxcsr;
	struct x86_zmm zmm[32];
	uint64_t efer, star, lstar, cstar, fmask, kernelgsbase;
	uint32_t smbase;
	uint64_t pat;
	uint32_t hflags2;
	uint64_t vm_hsave, vm_vmcb, tsc_offset, intercept;
	uint16_t intercept_cr_read, intercept_cr_write, intercept_dr_read, intercept_dr_write;
	uint32_t intercept_exceptions;
	uint8_t v_tpr;
	uint64_t mtrr_fixed[11], mtrr_deftype;
	struct x86_mtrr_var mtrr_var[8];
	int32_t interrupt_injected;
	uint32_t mp_state;
	uint64_t tsc;
	int32_t exception_nr;
	uint8_t soft_interrupt, nmi_injected, nmi_pending, has_error_code;
	uint32_t sipi_vector;
	uint64_t mcg_cap, mcg_status, mcg_ctl, mce_banks[4 * MCE_BANKS];
	uint64_t tsc_aux, system_time_msr, wall_clock_msr;
	uint64_t xcr0, xstate_bv;

	/* subsections; the defaults of absent ones are set by cpu_state_defaults() */
	uint8_t exception_pending, exception_injected, exception_has_payload;
	uint64_t exception_payload;
	uint64_t async_pf_en_msr, async_pf_int_msr, pv_eoi_en_msr, steal_time_msr;
	uint64_t poll_control_msr;
	uint16_t fpop;
	uint64_t fpip, fpdp;
	uint64_t tsc_adjust, tsc_deadline, misc_enable, feature_control;
	struct x86_pmu pmu;
	struct x86_bound bnd[4];
	uint64_t bndcfgu, bndstatus, bndcfgs;
	struct x86_hyperv hv;
	uint64_t opmask[8];
	uint64_t xss;
	uint32_t umwait;
	int64_t tsc_khz;
	uint64_t smi_count;
	uint32_t pkru, pkrs;
	uint64_t spec_ctrl, amd_tsc_scale, mcg_ext_ctl;
	uint64_t rtit_ctrl, rtit_status, rtit_output_base, rtit_output_mask, rtit_cr3, rtit_addr[8];
	uint64_t virt_ssbd;
	uint64_t nested_cr3;
	uint32_t nested_pg_mode, int_ctl;
	uint32_t tsx_ctrl;
	uint64_t sgx_pubkey_hash[4];
	uint8_t pdptrs_valid;
	uint64_t pdptrs[4];
	uint64_t xfd, xfd_err;
	uint8_t xtilecfg[64], xtiledata[8192];
	uint64_t lbr_ctl, lbr_depth;
	struct x86_lbr lbr[LBR_ENTRIES];
	uint8_t triple_fault;
	uint64_t hwcr;

	/* not in the stream */
	uint32_t error_code; /* of the injected exception; lost in a move, as QEMU does */
};

/* Section cpu_common (machine-microvm 3.5). */
#define CPU_INTERRUPT_SMI  0x40U
#define CPU_INTERRUPT_INIT 0x400U

struct cpu_common {
	uint32_t halted;
	uint32_t interrupt_request;
	uint8_t crash_occurred; /* a subsection */
};

/* The values that absent subsections stand for. */
void cpu_state_defaults(struct cpu_state *s);
/*
 * Power-on state (machine-microvm 1.7).  tsc_khz, mcg_cap and 'exposes' are
 * kept.  'signature' is CPUID.1:EAX; 'bsp': runnable, else waiting for INIT.
 */
void cpu_state_reset(struct cpu_state *s, uint32_t signature, unsigned phys_bits, bool bsp);
/* hflags that follow from the registers; the rest of s->hflags is kept. */
uint32_t cpu_state_hflags(const struct cpu_state *s);
/* In real mode no segment has a privilege level, whatever KVM or an older sender says. */
void cpu_state_real_mode_dpl(struct cpu_state *s);

extern const struct vms_desc cpu_vmstate;        /* over struct cpu_state */
extern const struct vms_desc cpu_common_vmstate; /* over struct cpu_common */
/* Its subsections, in the stream's order; NULL-terminated. */
extern const struct vms_desc *const cpu_vmstate_subs[];

#endif
