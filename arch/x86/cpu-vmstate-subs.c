/*
 * cpu-vmstate-subs.c - subsections of section cpu (machine-microvm 3.6)
 *
 * Most are sent when their value is not the one an absent subsection stands
 * for; a few when the guest's CPUID offers the feature.  A receiver knows all
 * of them, also those that this machine never sends.
 */
#include <errno.h>
#include <string.h>

#include "arch/x86/cpu-state.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/vmstate.h"

#define U8(m, n)   VMS_U8(struct cpu_state, m, "env." n)
#define U16(m, n)  VMS_U16(struct cpu_state, m, "env." n)
#define U32(m, n)  VMS_U32(struct cpu_state, m, "env." n)
#define U64(m, n)  VMS_U64(struct cpu_state, m, "env." n)
#define U8S(m, n)  VMS_ARRAY(uint8_t, struct cpu_state, m, "env." n)
#define U64S(m, n) VMS_ARRAY(uint64_t, struct cpu_state, m, "env." n)

/* static bool NAME_needed(void *dev): 'cond' over s */
#define NEEDED(id, cond)                                                                           \
	static bool id##_needed(void *dev)                                                         \
	{                                                                                          \
		const struct cpu_state *s = dev;                                                   \
                                                                                                   \
		return (cond);                                                                     \
	}
#define SUB(id, wire, cond, ...)                                                                   \
	NEEDED(id, cond)                                                                           \
	static const struct vms_field id##_fields[] = {__VA_ARGS__, VMS_LAST};                     \
	static const struct vms_desc id##_desc = {.name = "cpu/" wire,                             \
						  .version = 1,                                    \
						  .min_version = 1,                                \
						  .fields = id##_fields,                           \
						  .needed = id##_needed};

static bool any(const void *p, size_t n)
{
	const uint8_t *b = p;

	return n > 0 && (b[0] != 0 || memcmp(b, b + 1, n - 1) != 0);
}
#define ANY(m) any(&s->m, sizeof(s->m))

/* clang-format off */
SUB(exception_info, "exception_info", s->exception_pending && (s->hflags & HF_GUEST),
    U8(exception_pending, "exception_pending"),
    U8(exception_injected, "exception_injected"),
    U8(exception_has_payload, "exception_has_payload"),
    U64(exception_payload, "exception_payload"))
SUB(async_pf, "async_pf_msr", s->async_pf_en_msr != 0,
    U64(async_pf_en_msr, "async_pf_en_msr"))
SUB(async_pf_int, "async_pf_int_msr", s->async_pf_int_msr != 0,
    U64(async_pf_int_msr, "async_pf_int_msr"))
SUB(pv_eoi, "async_pv_eoi_msr", s->pv_eoi_en_msr != 0,
    U64(pv_eoi_en_msr, "pv_eoi_en_msr"))
SUB(steal_time, "steal_time_msr", s->steal_time_msr != 0,
    U64(steal_time_msr, "steal_time_msr"))
SUB(poll_control, "poll_control_msr", s->poll_control_msr != 1,
    U64(poll_control_msr, "poll_control_msr"))
SUB(fpop, "fpop_ip_dp", s->fpop || s->fpip || s->fpdp,
    U16(fpop, "fpop"),
    U64(fpip, "fpip"),
    U64(fpdp, "fpdp"))
SUB(tsc_adjust, "msr_tsc_adjust", s->tsc_adjust != 0,
    U64(tsc_adjust, "tsc_adjust"))
SUB(tsc_deadline, "msr_tscdeadline", s->tsc_deadline != 0,
    U64(tsc_deadline, "tsc_deadline"))
SUB(misc_enable, "msr_ia32_misc_enable", s->misc_enable != 1,
    U64(misc_enable, "msr_ia32_misc_enable"))
SUB(feature_control, "msr_ia32_feature_control", s->feature_control != 0,
    U64(feature_control, "msr_ia32_feature_control"))
SUB(pmu, "msr_architectural_pmu", ANY(pmu),
    U64(pmu.fixed_ctrl, "msr_fixed_ctr_ctrl"),
    U64(pmu.global_ctrl, "msr_global_ctrl"),
    U64(pmu.global_status, "msr_global_status"),
    U64(pmu.global_ovf_ctrl, "msr_global_ovf_ctrl"),
    U64S(pmu.fixed, "msr_fixed_counters"),
    U64S(pmu.gp, "msr_gp_counters"),
    U64S(pmu.evtsel, "msr_gp_evtsel"))

static const struct vms_field bound_fields[] = {
    VMS_U64(struct x86_bound, lb, "lb"),
    VMS_U64(struct x86_bound, ub, "ub"),
    VMS_LAST,
};
static const struct vms_desc bound_desc = {
    .name = "bnd_regs", .version = 1, .min_version = 1, .fields = bound_fields};
SUB(mpx, "mpx", ANY(bnd) || s->bndcfgu || s->bndstatus || s->bndcfgs,
    VMS_STRUCTS(struct cpu_state, bnd, "env.bnd_regs", &bound_desc),
    U64(bndcfgu, "bndcs_regs.cfgu"),
    U64(bndstatus, "bndcs_regs.sts"),
    U64(bndcfgs, "msr_bndcfgs"))

SUB(hv_hypercall, "msr_hyperv_hypercall", s->hv.hypercall || s->hv.guest_os_id,
    U64(hv.guest_os_id, "msr_hv_guest_os_id"),
    U64(hv.hypercall, "msr_hv_hypercall"))
SUB(hv_vapic, "msr_hyperv_vapic", s->hv.vapic != 0,
    U64(hv.vapic, "msr_hv_vapic"))
SUB(hv_time, "msr_hyperv_time", s->hv.tsc != 0,
    U64(hv.tsc, "msr_hv_tsc"))
SUB(hv_crash, "msr_hyperv_crash", ANY(hv.crash_params),
    U64S(hv.crash_params, "msr_hv_crash_params"))
SUB(hv_runtime, "msr_hyperv_runtime", s->hv.runtime != 0,
    U64(hv.runtime, "msr_hv_runtime"))
SUB(hv_synic, "msr_hyperv_synic",
    s->hv.synic_control || s->hv.synic_evt_page || s->hv.synic_msg_page || ANY(hv.synic_sint),
    U64(hv.synic_control, "msr_hv_synic_control"),
    U64(hv.synic_evt_page, "msr_hv_synic_evt_page"),
    U64(hv.synic_msg_page, "msr_hv_synic_msg_page"),
    U64S(hv.synic_sint, "msr_hv_synic_sint"))
SUB(hv_stimer, "msr_hyperv_stimer", ANY(hv.stimer_config) || ANY(hv.stimer_count),
    U64S(hv.stimer_config, "msr_hv_stimer_config"),
    U64S(hv.stimer_count, "msr_hv_stimer_count"))
SUB(hv_reenlightenment, "msr_hyperv_reenlightenment",
    s->hv.reenlightenment_control || s->hv.tsc_emulation_control || s->hv.tsc_emulation_status,
    U64(hv.reenlightenment_control, "msr_hv_reenlightenment_control"),
    U64(hv.tsc_emulation_control, "msr_hv_tsc_emulation_control"),
    U64(hv.tsc_emulation_status, "msr_hv_tsc_emulation_status"))
/* clang-format on */

#define ZMM_Q(i)                                                                                   \
	{                                                                                          \
		.name = "_q_ZMMReg[" #i "]", .kind = VMS_UINT,                                     \
		.offset = offsetof(struct x86_zmm, q[i]), .size = sizeof(uint64_t)                 \
	}
static const struct vms_field zmmh_fields[] = {ZMM_Q(4), ZMM_Q(5), ZMM_Q(6), ZMM_Q(7), VMS_LAST};
static const struct vms_desc zmmh_desc = {
    .name = "zmmh_reg", .version = 1, .min_version = 1, .fields = zmmh_fields};
static const struct vms_field zmm_fields[] = {ZMM_Q(0), ZMM_Q(1), ZMM_Q(2), ZMM_Q(3), ZMM_Q(4),
					      ZMM_Q(5), ZMM_Q(6), ZMM_Q(7), VMS_LAST};
static const struct vms_desc hi16_zmm_desc = {
    .name = "hi16_zmm_reg", .version = 1, .min_version = 1, .fields = zmm_fields};

/* 16 vector registers from 'first' on. */
#define VECTORS(first, n, d)                                                                       \
	{                                                                                          \
		.name = (n), .kind = VMS_STRUCT, .offset = offsetof(struct cpu_state, zmm[first]), \
		.size = sizeof(struct x86_zmm), .count = 16, .sub = (d)                            \
	}

static bool avx512_needed(void *dev)
{
	const struct cpu_state *s = dev;

	for (unsigned i = 0; i < 16; i++)
		if (any(&s->zmm[i].q[4], sizeof(uint64_t) * 4) || ANY(zmm[16 + i]))
			return true;
	return ANY(opmask);
}
static const struct vms_field avx512_fields[] = {
    U64S(opmask, "opmask_regs"),
    VECTORS(0, "env.xmm_regs[0]", &zmmh_desc),
    VECTORS(16, "env.xmm_regs[1]", &hi16_zmm_desc),
    VMS_LAST,
};
static const struct vms_desc avx512_desc = {.name = "cpu/avx512",
					    .version = 1,
					    .min_version = 1,
					    .fields = avx512_fields,
					    .needed = avx512_needed};

static const struct vms_field lbr_record_fields[] = {
    VMS_U64(struct x86_lbr, from, "from"),
    VMS_U64(struct x86_lbr, to, "to"),
    VMS_U64(struct x86_lbr, info, "info"),
    VMS_LAST,
};
static const struct vms_desc lbr_record_desc = {
    .name = "arch_lbr_records_vars", .version = 1, .min_version = 1, .fields = lbr_record_fields};

/* clang-format off */
SUB(xss, "xss", s->xss != 0, U64(xss, "xss"))
SUB(umwait, "umwait", s->umwait != 0, U32(umwait, "umwait"))
SUB(tsc_khz, "tsc_khz", s->tsc_khz != 0, VMS_S64(struct cpu_state, tsc_khz, "env.tsc_khz"))
SUB(smi_count, "msr_smi_count", s->smi_count != 0, U64(smi_count, "msr_smi_count"))
SUB(pkru, "pkru", s->pkru != 0, U32(pkru, "pkru"))
SUB(pkrs, "pkrs", s->pkrs != 0, U32(pkrs, "pkrs"))
SUB(spec_ctrl, "spec_ctrl", s->spec_ctrl != 0, U64(spec_ctrl, "spec_ctrl"))
SUB(tsc_scale, "amd_tsc_scale_msr", s->exposes & EXPOSES_TSC_SCALE,
    U64(amd_tsc_scale, "amd_tsc_scale_msr"))
SUB(mcg_ext_ctl, "mcg_ext_ctl", (s->exposes & EXPOSES_LMCE) && s->mcg_ext_ctl,
    U64(mcg_ext_ctl, "mcg_ext_ctl"))
SUB(intel_pt, "intel_pt",
    s->rtit_ctrl || s->rtit_status || s->rtit_output_base || s->rtit_output_mask ||
    s->rtit_cr3 || ANY(rtit_addr),
    U64(rtit_ctrl, "msr_rtit_ctrl"),
    U64(rtit_status, "msr_rtit_status"),
    U64(rtit_output_base, "msr_rtit_output_base"),
    U64(rtit_output_mask, "msr_rtit_output_mask"),
    U64(rtit_cr3, "msr_rtit_cr3_match"),
    U64S(rtit_addr, "msr_rtit_addrs"))
SUB(virt_ssbd, "virt_ssbd", s->virt_ssbd != 0, U64(virt_ssbd, "virt_ssbd"))
/* Its name on the wire is spelled so. */
SUB(svm_npt, "svn_npt", s->hflags2 & HF2_NPT,
    U64(nested_cr3, "nested_cr3"),
    U32(nested_pg_mode, "nested_pg_mode"))
SUB(svm_guest, "svm_guest", s->int_ctl != 0, U32(int_ctl, "int_ctl"))
SUB(tsx_ctrl, "msr_tsx_ctrl", s->exposes & EXPOSES_TSX_CTRL, U32(tsx_ctrl, "tsx_ctrl"))
SUB(intel_sgx, "intel_sgx", s->exposes & EXPOSES_SGX_LC,
    U64S(sgx_pubkey_hash, "msr_ia32_sgxlepubkeyhash"))
SUB(xfd, "msr_xfd", s->exposes & EXPOSES_XFD,
    U64(xfd, "msr_xfd"),
    U64(xfd_err, "msr_xfd_err"))
SUB(amx, "intel_amx_xtile", s->exposes & EXPOSES_AMX,
    U8S(xtilecfg, "xtilecfg"),
    U8S(xtiledata, "xtiledata"))
SUB(arch_lbr, "arch_lbr", s->exposes & EXPOSES_ARCH_LBR,
    U64(lbr_ctl, "msr_lbr_ctl"),
    U64(lbr_depth, "msr_lbr_depth"),
    VMS_STRUCTS(struct cpu_state, lbr, "env.lbr_records", &lbr_record_desc))
SUB(triple_fault, "triple_fault", s->triple_fault != 0,
    U8(triple_fault, "triple_fault_pending"))
/* clang-format on */

/* Newer senders only: taken, but not passed on, since a QEMU 7.2 does not know it. */
static bool never(void *dev)
{
	(void)dev;
	return false;
}
static const struct vms_field hwcr_fields[] = {U64(hwcr, "msr_hwcr"), VMS_LAST};
static const struct vms_desc hwcr_desc = {
    .name = "cpu/msr_hwcr", .version = 1, .min_version = 1, .fields = hwcr_fields, .needed = never};

static int pdptrs_post_load(void *dev, uint32_t version, struct err *err)
{
	(void)version;
	(void)err;
	((struct cpu_state *)dev)->pdptrs_valid = 1;
	return 0;
}
NEEDED(pdptrs, s->pdptrs_valid != 0)
static const struct vms_field pdptrs_fields[] = {U64S(pdptrs, "pdptrs"), VMS_LAST};
static const struct vms_desc pdptrs_desc = {.name = "cpu/pdptrs",
					    .version = 1,
					    .min_version = 1,
					    .fields = pdptrs_fields,
					    .needed = pdptrs_needed,
					    .post_load = pdptrs_post_load};

static int refuse_nested(void *dev, struct err *err)
{
	(void)dev;
	return err_set(err, ENOTSUP,
		       "the guest has used virtualisation extensions (VMX or SVM), "
		       "which this machine does not offer");
}
static const struct vms_field no_fields[] = {VMS_LAST};
static const struct vms_desc nested_desc = {.name = "cpu/nested_state",
					    .version = 1,
					    .min_version = 1,
					    .fields = no_fields,
					    .needed = never,
					    .pre_load = refuse_nested};

const struct vms_desc *const cpu_vmstate_subs[] = {
    &exception_info_desc,
    &async_pf_desc,
    &async_pf_int_desc,
    &pv_eoi_desc,
    &steal_time_desc,
    &poll_control_desc,
    &fpop_desc,
    &tsc_adjust_desc,
    &tsc_deadline_desc,
    &misc_enable_desc,
    &feature_control_desc,
    &pmu_desc,
    &mpx_desc,
    &hv_hypercall_desc,
    &hv_vapic_desc,
    &hv_time_desc,
    &hv_crash_desc,
    &hv_runtime_desc,
    &hv_synic_desc,
    &hv_stimer_desc,
    &hv_reenlightenment_desc,
    &avx512_desc,
    &xss_desc,
    &umwait_desc,
    &tsc_khz_desc,
    &smi_count_desc,
    &pkru_desc,
    &pkrs_desc,
    &spec_ctrl_desc,
    &tsc_scale_desc,
    &mcg_ext_ctl_desc,
    &intel_pt_desc,
    &virt_ssbd_desc,
    &svm_npt_desc,
    &svm_guest_desc,
    &nested_desc,
    &tsx_ctrl_desc,
    &intel_sgx_desc,
    &pdptrs_desc,
    &xfd_desc,
    &amx_desc,
    &arch_lbr_desc,
    &triple_fault_desc,
    &hwcr_desc,
    NULL,
};
