/*
 * cpu-vmstate.c - sections cpu_common v1 and cpu v12: the base fields (machine-microvm 3.6)
 */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

#include "arch/x86/cpu-state.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/vmstate.h"

/* ---- cpu_common ---- */

static int common_pre_load(void *dev, struct err *err)
{
	(void)err;
	((struct cpu_common *)dev)->crash_occurred = 0;
	return 0;
}

static int common_post_load(void *dev, uint32_t version, struct err *err)
{
	struct cpu_common *c = dev;

	(void)version;
	(void)err;
	c->interrupt_request &= ~1U; /* a request that only old senders made */
	return 0;
}

static const struct vms_field common_fields[] = {
    VMS_U32(struct cpu_common, halted, "halted"),
    VMS_U32(struct cpu_common, interrupt_request, "interrupt_request"),
    VMS_LAST,
};

static bool crash_needed(void *dev)
{
	return ((struct cpu_common *)dev)->crash_occurred != 0;
}

static const struct vms_field crash_fields[] = {
    VMS_U8(struct cpu_common, crash_occurred, "crash_occurred"),
    VMS_LAST,
};
static const struct vms_desc crash_desc = {
    .name = "cpu_common/crash_occurred",
    .version = 1,
    .min_version = 1,
    .fields = crash_fields,
    .needed = crash_needed,
};
static const struct vms_desc *const common_subs[] = {&crash_desc, NULL};

const struct vms_desc cpu_common_vmstate = {
    .name = "cpu_common",
    .version = 1,
    .min_version = 1,
    .fields = common_fields,
    .subs = common_subs,
    .pre_load = common_pre_load,
    .post_load = common_post_load,
};

/* ---- cpu ---- */

static const struct vms_field segment_fields[] = {
    VMS_U32(struct x86_segment, selector, "selector"),
    VMS_U64(struct x86_segment, base, "base"),
    VMS_U32(struct x86_segment, limit, "limit"),
    VMS_U32(struct x86_segment, flags, "flags"),
    VMS_LAST,
};
static const struct vms_desc segment_desc = {
    .name = "segment", .version = 1, .min_version = 1, .fields = segment_fields};

static const struct vms_field fpreg_tmp_fields[] = {
    VMS_U64(struct x86_fpreg, mant, "tmp_mant"),
    VMS_U16(struct x86_fpreg, exp, "tmp_exp"),
    VMS_LAST,
};
static const struct vms_desc fpreg_tmp_desc = {.name = "fpreg_tmp", .fields = fpreg_tmp_fields};
static const struct vms_field fpreg_fields[] = {
    VMS_TMP("tmp", &fpreg_tmp_desc),
    VMS_LAST,
};
static const struct vms_desc fpreg_desc = {.name = "fpreg", .fields = fpreg_fields};

#define ZMM_Q(i)                                                                                   \
	{                                                                                          \
		.name = "_q_ZMMReg[" #i "]", .kind = VMS_UINT,                                     \
		.offset = offsetof(struct x86_zmm, q[i]), .size = sizeof(uint64_t)                 \
	}

static const struct vms_field xmm_fields[] = {ZMM_Q(0), ZMM_Q(1), VMS_LAST};
static const struct vms_desc xmm_desc = {
    .name = "xmm_reg", .version = 1, .min_version = 1, .fields = xmm_fields};
static const struct vms_field ymmh_fields[] = {ZMM_Q(2), ZMM_Q(3), VMS_LAST};
static const struct vms_desc ymmh_desc = {
    .name = "ymmh_reg", .version = 1, .min_version = 1, .fields = ymmh_fields};

/* A part of each of the first 16 vector registers. */
#define VECTOR_PART(n, d, ...)                                                                     \
	{                                                                                          \
		.name = (n), .kind = VMS_STRUCT, .offset = offsetof(struct cpu_state, zmm),        \
		.size = sizeof(struct x86_zmm), .count = 16, .sub = (d), ##__VA_ARGS__             \
	}

static const struct vms_field mtrr_var_fields[] = {
    VMS_U64(struct x86_mtrr_var, base, "base"),
    VMS_U64(struct x86_mtrr_var, mask, "mask"),
    VMS_LAST,
};
static const struct vms_desc mtrr_var_desc = {
    .name = "mtrr_var", .version = 1, .min_version = 1, .fields = mtrr_var_fields};

#define U8(m, n)   VMS_U8(struct cpu_state, m, "env." n)
#define U16(m, n)  VMS_U16(struct cpu_state, m, "env." n)
#define U32(m, n)  VMS_U32(struct cpu_state, m, "env." n)
#define U64(m, n)  VMS_U64(struct cpu_state, m, "env." n)
#define S32(m, n)  VMS_S32(struct cpu_state, m, "env." n)
#define U64S(m, n) VMS_ARRAY(uint64_t, struct cpu_state, m, "env." n)
#define SEG(m, n)  VMS_STRUCT(struct cpu_state, m, "env." n, &segment_desc)

static const struct vms_field cpu_fields[] = {
    U64S(regs, "regs"),
    U64(rip, "eip"),
    U64(rflags, "eflags"),
    U32(hflags, "hflags"),
    U16(fpuc, "fpuc"),
    U16(fpus, "fpus_vmstate"),
    U16(fptag, "fptag_vmstate"),
    U16(fpregs_format, "fpregs_format_vmstate"),
    VMS_STRUCTS(struct cpu_state, fpregs, "env.fpregs", &fpreg_desc),
    VMS_STRUCTS(struct cpu_state, segs, "env.segs", &segment_desc),
    SEG(ldt, "ldt"),
    SEG(tr, "tr"),
    SEG(gdt, "gdt"),
    SEG(idt, "idt"),
    U32(sysenter_cs, "sysenter_cs"),
    U64(sysenter_esp, "sysenter_esp"),
    U64(sysenter_eip, "sysenter_eip"),
    U64(cr0, "cr[0]"),
    U64(cr2, "cr[2]"),
    U64(cr3, "cr[3]"),
    U64(cr4, "cr[4]"),
    U64S(dr, "dr"),
    S32(a20_mask, "a20_mask"),
    U32(mxcsr, "mxcsr"),
    VECTOR_PART("env.xmm_regs[0]", &xmm_desc),
    U64(efer, "efer"),
    U64(star, "star"),
    U64(lstar, "lstar"),
    U64(cstar, "cstar"),
    U64(fmask, "fmask"),
    U64(kernelgsbase, "kernelgsbase"),
    U32(smbase, "smbase"),
    U64(pat, "pat"),
    U32(hflags2, "hflags2"),
    U64(vm_hsave, "vm_hsave"),
    U64(vm_vmcb, "vm_vmcb"),
    U64(tsc_offset, "tsc_offset"),
    U64(intercept, "intercept"),
    U16(intercept_cr_read, "intercept_cr_read"),
    U16(intercept_cr_write, "intercept_cr_write"),
    U16(intercept_dr_read, "intercept_dr_read"),
    U16(intercept_dr_write, "intercept_dr_write"),
    U32(intercept_exceptions, "intercept_exceptions"),
    U8(v_tpr, "v_tpr"),
    U64S(mtrr_fixed, "mtrr_fixed"),
    U64(mtrr_deftype, "mtrr_deftype"),
    VMS_STRUCTS(struct cpu_state, mtrr_var, "env.mtrr_var", &mtrr_var_desc),
    S32(interrupt_injected, "interrupt_injected"),
    U32(mp_state, "mp_state"),
    U64(tsc, "tsc"),
    S32(exception_nr, "exception_nr"),
    U8(soft_interrupt, "soft_interrupt"),
    U8(nmi_injected, "nmi_injected"),
    U8(nmi_pending, "nmi_pending"),
    U8(has_error_code, "has_error_code"),
    U32(sipi_vector, "sipi_vector"),
    U64(mcg_cap, "mcg_cap"),
    U64(mcg_status, "mcg_status"),
    U64(mcg_ctl, "mcg_ctl"),
    U64S(mce_banks, "mce_banks"),
    U64(tsc_aux, "tsc_aux"),
    U64(system_time_msr, "system_time_msr"),
    U64(wall_clock_msr, "wall_clock_msr"),
    U64(xcr0, "xcr0"),
    U64(xstate_bv, "xstate_bv"),
    VECTOR_PART("env.xmm_regs[1]", &ymmh_desc),
    VMS_LAST,
};

#define VECTOR_DEBUG      1
#define VECTOR_PAGE_FAULT 14

/*
 * An exception that is pending, not yet injected, is sent as an injected one:
 * what its delivery would have written must be in place then.
 */
static int cpu_pre_save(void *dev, struct err *err)
{
	struct cpu_state *s = dev;

	(void)err;
	s->fpregs_format = 0;
	cpu_state_real_mode_dpl(s);
	if (!s->exception_pending || (s->hflags & HF_GUEST))
		return 0;
	s->exception_pending = 0;
	s->exception_injected = 1;
	if (s->exception_has_payload && s->exception_nr == VECTOR_DEBUG)
		s->dr[6] = (s->dr[6] & ~0xfULL) | s->exception_payload;
	else if (s->exception_has_payload && s->exception_nr == VECTOR_PAGE_FAULT)
		s->cr2 = s->exception_payload;
	s->exception_has_payload = 0;
	return 0;
}

static int cpu_pre_load(void *dev, struct err *err)
{
	struct cpu_state *s = dev;

	(void)err;
	cpu_state_defaults(s);
	return 0;
}

static int check_events(struct cpu_state *s, struct err *err)
{
	if (s->mp_state > KVM_MP_STATE_SIPI_RECEIVED)
		return err_set(err, EINVAL, "mp_state %u is none that a processor can be in",
			       s->mp_state);
	if (s->interrupt_injected < -1 || s->interrupt_injected > 255)
		return err_set(err, EINVAL, "injected interrupt %d is not a vector",
			       s->interrupt_injected);
	if (s->exception_nr < -1 || s->exception_nr > 31)
		return err_set(err, EINVAL, "injected exception %d is not an exception's vector",
			       s->exception_nr);
	return 0;
}

static int cpu_post_load(void *dev, uint32_t version, struct err *err)
{
	struct cpu_state *s = dev;

	(void)version;
	if (s->fpregs_format != 0)
		return err_set(err, EINVAL, "floating point registers in format %u, not 0",
			       s->fpregs_format);
	if (s->hflags & HF_GUEST)
		return err_set(err, EINVAL,
			       "the guest was stopped inside a nested guest of its "
			       "own, whose state is not in the stream");
	if (s->mcg_cap > UINT32_MAX || (s->mcg_cap & 0xff) > MCE_BANKS)
		return err_set(err, EINVAL, "%u machine check banks, %d are supported",
			       (unsigned)(s->mcg_cap & 0xff), MCE_BANKS);
	if (memcmp(&s->hv, &(struct x86_hyperv){0}, sizeof(s->hv)) != 0)
		return err_set(err, ENOTSUP,
			       "the guest uses Hyper-V enlightenments, which this "
			       "machine does not offer");
	/* Older senders say only that there is an exception, not how far it has come. */
	if (s->exception_nr != -1 && !s->exception_pending && !s->exception_injected)
		s->exception_injected = 1;
	cpu_state_real_mode_dpl(s);
	return check_events(s, err);
}

const struct vms_desc cpu_vmstate = {
    .name = "cpu",
    .version = 12,
    .min_version = 12,
    .fields = cpu_fields,
    .subs = cpu_vmstate_subs,
    .pre_save = cpu_pre_save,
    .pre_load = cpu_pre_load,
    .post_load = cpu_post_load,
};
