/*
 * msrs.c - model specific registers: one table says which, where, when
 *
 * A row is one MSR or several consecutive ones.  Rows that KVM does not list
 * (KVM_GET_MSR_INDEX_LIST) are left alone, except those that every KVM has
 * without listing them.  KVM processes a batch until the first one it
 * refuses; that one is named, remembered, and the rest goes on.
 */
#include <asm/kvm_para.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/describe.h"
#include "vmm/machine.h"

struct msr_row {
	const char *name;
	size_t offset; /* in struct cpu_state */
	uint32_t index;
	/* a guest may use it when it has any of these features; 0: always */
	uint32_t features;
	enum feature_word word;
	unsigned when;
	uint8_t bytes; /* of the member: 4 or 8 */
	uint8_t count; /* consecutive MSRs, consecutive members */
	bool unlisted; /* KVM has it whether it lists it or not */
	bool mce;      /* only with machine check banks */
	bool loose;    /* no guest is told of it: nothing is lost where KVM lacks it */
};

#define ROW(i, n, m, w, ...)                                                                       \
	{                                                                                          \
		.index = (i), .name = (n), .offset = offsetof(struct cpu_state, m),                \
		.bytes = sizeof(((struct cpu_state *)0)->m), .count = 1, .when = (w),              \
		##__VA_ARGS__                                                                      \
	}
#define ROWS(i, n, m, w, ...)                                                                      \
	{                                                                                          \
		.index = (i), .name = (n), .offset = offsetof(struct cpu_state, m), .bytes = 8,    \
		.count = sizeof(((struct cpu_state *)0)->m) / 8, .when = (w), ##__VA_ARGS__        \
	}
#define FIXED         .unlisted = true
#define LOOSE         .loose = true
#define WITH(w, bits) .word = (w), .features = (bits)

#define MSR_MTRR_VAR_FIRST 0x200
#define KVM_CLOCK          (1U << KVM_FEATURE_CLOCKSOURCE | 1U << KVM_FEATURE_CLOCKSOURCE2)

/* A guest of KVM_FEATURE_CLOCKSOURCE2 writes 4b564d0[01]; 0x11 and 0x12 read the same. */
static const struct msr_row msr_table[] = {
    ROW(0x3a, "IA32_FEATURE_CONTROL", feature_control, MSR_FIRST, WITH(FEAT_1_ECX, F1_ECX_VMX)),
    ROW(0x174, "IA32_SYSENTER_CS", sysenter_cs, MSR_USUAL, FIXED),
    ROW(0x175, "IA32_SYSENTER_ESP", sysenter_esp, MSR_USUAL, FIXED),
    ROW(0x176, "IA32_SYSENTER_EIP", sysenter_eip, MSR_USUAL, FIXED),
    ROW(0x277, "IA32_PAT", pat, MSR_USUAL, FIXED),
    ROW(0xc0000081, "STAR", star, MSR_USUAL),
    ROW(0xc0000082, "LSTAR", lstar, MSR_USUAL),
    ROW(0xc0000083, "CSTAR", cstar, MSR_USUAL),
    ROW(0xc0000084, "SFMASK", fmask, MSR_USUAL),
    ROW(0xc0000102, "KERNEL_GS_BASE", kernelgsbase, MSR_USUAL),
    ROW(0xc0000103, "TSC_AUX", tsc_aux, MSR_USUAL, WITH(FEAT_8000_0001_EDX, F81_EDX_RDTSCP)),
    ROW(0xc0000104, "AMD64_TSC_RATIO", amd_tsc_scale, MSR_USUAL, LOOSE),
    ROW(0xc0010117, "VM_HSAVE_PA", vm_hsave, MSR_USUAL, WITH(FEAT_8000_0001_ECX, F81_ECX_SVM)),
    ROW(0xc001011f, "VIRT_SPEC_CTRL", virt_ssbd, MSR_USUAL,
	WITH(FEAT_8000_0008_EBX, F88_EBX_VIRT_SSBD)),
    ROW(0x34, "SMI_COUNT", smi_count, MSR_USUAL, LOOSE),
    ROW(0x3b, "IA32_TSC_ADJUST", tsc_adjust, MSR_USUAL, WITH(FEAT_7_EBX, F7_EBX_TSC_ADJUST)),
    ROW(0x48, "IA32_SPEC_CTRL", spec_ctrl, MSR_USUAL,
	WITH(FEAT_7_EDX, F7_EDX_SPEC_CTRL | F7_EDX_SSBD)),
    ROW(0x9e, "IA32_SMBASE", smbase, MSR_USUAL, LOOSE),
    ROW(0xe1, "IA32_UMWAIT_CONTROL", umwait, MSR_USUAL, WITH(FEAT_7_ECX, F7_ECX_WAITPKG)),
    ROW(0x122, "IA32_TSX_CTRL", tsx_ctrl, MSR_USUAL, LOOSE),
    ROW(0x1a0, "IA32_MISC_ENABLE", misc_enable, MSR_USUAL),
    ROW(0x1c4, "IA32_XFD", xfd, MSR_USUAL, WITH(FEAT_XSAVE, XSAVE_XFD)),
    ROW(0x1c5, "IA32_XFD_ERR", xfd_err, MSR_USUAL, WITH(FEAT_XSAVE, XSAVE_XFD)),
    ROW(0x6e1, "IA32_PKRS", pkrs, MSR_USUAL, WITH(FEAT_7_ECX, F7_ECX_PKS)),
    ROW(0xd90, "IA32_BNDCFGS", bndcfgs, MSR_USUAL, WITH(FEAT_7_EBX, F7_EBX_MPX)),
    ROW(0xda0, "IA32_XSS", xss, MSR_USUAL, WITH(FEAT_XSAVE, XSAVE_XSAVES)),
    ROWS(0x8c, "IA32_SGXLEPUBKEYHASH", sgx_pubkey_hash, MSR_USUAL, WITH(FEAT_7_ECX, F7_ECX_SGX_LC)),
    ROW(0xc0010015, "HWCR", hwcr, MSR_USUAL, LOOSE),

    /* the interrupts that KVM itself raises for the guest */
    ROW(0x12, "KVM_SYSTEM_TIME", system_time_msr, MSR_USUAL, WITH(FEAT_KVM, KVM_CLOCK)),
    ROW(0x11, "KVM_WALL_CLOCK", wall_clock_msr, MSR_USUAL, WITH(FEAT_KVM, KVM_CLOCK)),
    /* the interrupt's vector before what makes use of it */
    ROW(0x4b564d06, "KVM_ASYNC_PF_INT", async_pf_int_msr, MSR_USUAL,
	WITH(FEAT_KVM, 1U << KVM_FEATURE_ASYNC_PF_INT)),
    ROW(0x4b564d02, "KVM_ASYNC_PF_EN", async_pf_en_msr, MSR_USUAL,
	WITH(FEAT_KVM, 1U << KVM_FEATURE_ASYNC_PF)),
    ROW(0x4b564d03, "KVM_STEAL_TIME", steal_time_msr, MSR_USUAL,
	WITH(FEAT_KVM, 1U << KVM_FEATURE_STEAL_TIME)),
    ROW(0x4b564d04, "KVM_PV_EOI_EN", pv_eoi_en_msr, MSR_USUAL,
	WITH(FEAT_KVM, 1U << KVM_FEATURE_PV_EOI)),
    ROW(0x4b564d05, "KVM_POLL_CONTROL", poll_control_msr, MSR_USUAL,
	WITH(FEAT_KVM, 1U << KVM_FEATURE_POLL_CONTROL)),

    /* counters stop, take their values, and run again under global control */
    ROW(0x38d, "IA32_FIXED_CTR_CTRL", pmu.fixed_ctrl, MSR_USUAL),
    ROWS(0x309, "IA32_FIXED_CTR", pmu.fixed, MSR_USUAL),
    ROWS(0xc1, "IA32_PMC", pmu.gp, MSR_USUAL),
    ROWS(0x186, "IA32_PERFEVTSEL", pmu.evtsel, MSR_USUAL),
    ROW(0x38e, "IA32_PERF_GLOBAL_STATUS", pmu.global_status, MSR_USUAL),
    ROW(0x390, "IA32_PERF_GLOBAL_OVF_CTRL", pmu.global_ovf_ctrl, MSR_USUAL),
    ROW(0x38f, "IA32_PERF_GLOBAL_CTRL", pmu.global_ctrl, MSR_USUAL),

    ROW(0x250, "MTRR_FIX64K_00000", mtrr_fixed[0], MSR_USUAL, FIXED),
    ROW(0x258, "MTRR_FIX16K_80000", mtrr_fixed[1], MSR_USUAL, FIXED),
    ROW(0x259, "MTRR_FIX16K_A0000", mtrr_fixed[2], MSR_USUAL, FIXED),
    ROW(0x268, "MTRR_FIX4K_C0000", mtrr_fixed[3], MSR_USUAL, FIXED),
    ROW(0x269, "MTRR_FIX4K_C8000", mtrr_fixed[4], MSR_USUAL, FIXED),
    ROW(0x26a, "MTRR_FIX4K_D0000", mtrr_fixed[5], MSR_USUAL, FIXED),
    ROW(0x26b, "MTRR_FIX4K_D8000", mtrr_fixed[6], MSR_USUAL, FIXED),
    ROW(0x26c, "MTRR_FIX4K_E0000", mtrr_fixed[7], MSR_USUAL, FIXED),
    ROW(0x26d, "MTRR_FIX4K_E8000", mtrr_fixed[8], MSR_USUAL, FIXED),
    ROW(0x26e, "MTRR_FIX4K_F0000", mtrr_fixed[9], MSR_USUAL, FIXED),
    ROW(0x26f, "MTRR_FIX4K_F8000", mtrr_fixed[10], MSR_USUAL, FIXED),
    ROWS(MSR_MTRR_VAR_FIRST, "MTRR_PHYS", mtrr_var, MSR_USUAL, FIXED),
    ROW(0x2ff, "MTRR_DEF_TYPE", mtrr_deftype, MSR_USUAL, FIXED),

    ROW(0x17a, "IA32_MCG_STATUS", mcg_status, MSR_USUAL, .mce = true),
    ROW(0x17b, "IA32_MCG_CTL", mcg_ctl, MSR_USUAL, .mce = true),
    ROW(0x4d0, "IA32_MCG_EXT_CTL", mcg_ext_ctl, MSR_USUAL, LOOSE),
    ROWS(0x400, "IA32_MC", mce_banks, MSR_USUAL, FIXED, .mce = true),

    ROW(0x10, "IA32_TSC", tsc, MSR_TSC),
    ROW(0x6e0, "IA32_TSC_DEADLINE", tsc_deadline, MSR_DEADLINE, WITH(FEAT_1_ECX, F1_ECX_DEADLINE)),
};

#define MSR_INDEX_LIST_MAX 4096
#define BATCH_MAX          256 /* the table has about 190 */

static bool listed(const struct kvm_msr_list *list, uint32_t index)
{
	for (uint32_t i = 0; i < list->nmsrs; i++)
		if (list->indices[i] == index)
			return true;
	return false;
}

void x86_msrs_take_list(struct x86 *x, const struct kvm_msr_list *list)
{
	x->msr_refused = xcalloc(ARRAY_LEN(msr_table), 1);
	x->msr_listed = xcalloc(ARRAY_LEN(msr_table), 1);
	for (size_t i = 0; i < ARRAY_LEN(msr_table); i++) {
		const struct msr_row *r = &msr_table[i];

		x->msr_listed[i] =
		    (r->unlisted || listed(list, r->index)) && (!r->mce || x->mcg_cap != 0);
	}
}

int x86_msrs_init(struct x86 *x, struct err *err)
{
	CLEANUP(cleanup_free)
	struct kvm_msr_list *list =
	    xcalloc(1, sizeof(*list) + MSR_INDEX_LIST_MAX * sizeof(list->indices[0]));

	list->nmsrs = MSR_INDEX_LIST_MAX;
	if (ioctl(x->m->kvm_fd, KVM_GET_MSR_INDEX_LIST, list) < 0)
		return err_set(err, errno, "KVM does not list its MSRs: %s", err_text(errno));
	x86_msrs_take_list(x, list);
	return 0;
}

void x86_msrs_fini(struct x86 *x)
{
	free(x->msr_refused);
	free(x->msr_listed);
	x->msr_refused = x->msr_listed = NULL;
}

/* One batch, its front laid out as struct kvm_msrs, and which row each entry came from. */
struct batch {
	uint32_t nmsrs, pad;
	struct kvm_msr_entry entries[BATCH_MAX];
	uint16_t row[BATCH_MAX];
};

_Static_assert(offsetof(struct batch, entries) == sizeof(struct kvm_msrs), "not as KVM has it");

static void *member(struct cpu_state *s, const struct msr_row *r, unsigned i)
{
	return (uint8_t *)s + r->offset + (size_t)i * r->bytes;
}

static uint64_t load_member(struct cpu_state *s, const struct msr_row *r, unsigned i)
{
	uint64_t v64;
	uint32_t v32;

	if (r->bytes == sizeof(v32)) {
		memcpy(&v32, member(s, r, i), sizeof(v32));
		return v32;
	}
	memcpy(&v64, member(s, r, i), sizeof(v64));
	return v64;
}

static void store_member(struct cpu_state *s, const struct msr_row *r, unsigned i, uint64_t v)
{
	uint32_t v32 = (uint32_t)v;

	if (r->bytes == sizeof(v32))
		memcpy(member(s, r, i), &v32, sizeof(v32));
	else
		memcpy(member(s, r, i), &v, sizeof(v));
}

/* Bits from the physical address width to 51: set in a variable MTRR's mask on the wire, not in
 * KVM. */
static uint64_t mtrr_wire_bits(const struct x86 *x, uint32_t index)
{
	bool mask = index >= MSR_MTRR_VAR_FIRST && index < MSR_MTRR_VAR_FIRST + 16 && index & 1;

	return mask && x->phys_bits < 52 ? (1ULL << 52) - (1ULL << x->phys_bits) : 0;
}

static unsigned row_count(const struct x86 *x, const struct msr_row *r)
{
	unsigned n = r->count;

	/* As many of the general counters as CPUID gives the guest. */
	if (r->offset == offsetof(struct cpu_state, pmu.gp) ||
	    r->offset == offsetof(struct cpu_state, pmu.evtsel))
		n = MIN(n, x->model.pmu_gp);
	if (r->offset == offsetof(struct cpu_state, pmu.fixed))
		n = MIN(n, x->model.pmu_fixed);
	if (r->offset == offsetof(struct cpu_state, mce_banks))
		n = MIN(n, 4 * (unsigned)(x->mcg_cap & 0xff));
	return n;
}

static void batch_add_rows(const struct x86 *x, struct batch *b, struct cpu_state *s, unsigned when)
{
	b->nmsrs = 0;
	for (size_t i = 0; i < ARRAY_LEN(msr_table); i++) {
		const struct msr_row *r = &msr_table[i];
		unsigned count = row_count(x, r);

		if (!(r->when & when) || !x->msr_listed[i])
			continue;
		for (unsigned k = 0; k < count && b->nmsrs < BATCH_MAX; k++) {
			struct kvm_msr_entry *e = &b->entries[b->nmsrs];

			e->index = r->index + k;
			e->reserved = 0;
			e->data = load_member(s, r, k) & ~mtrr_wire_bits(x, e->index);
			b->row[b->nmsrs++] = (uint16_t)i;
		}
	}
}

static const struct msr_row *entry_row(const struct batch *b, uint32_t at)
{
	return &msr_table[b->row[at]];
}

static void warn_refused(struct x86 *x, struct x86_vcpu *xv, const struct batch *b, uint32_t at,
			 const char *what)
{
	const struct msr_row *r = entry_row(b, at);

	/* Said once a row: the same machine refuses it on every vCPU, every time. */
	if (x->msr_refused[b->row[at]])
		return;
	x->msr_refused[b->row[at]] = 1;
	log_warn("vCPU %u: KVM refuses to %s MSR 0x%" PRIx32 " (%s)", xv->v->index, what,
		 b->entries[at].index, r->name);
}

/* Drop the first 'n' entries. */
static void batch_drop(struct batch *b, uint32_t n)
{
	b->nmsrs -= n;
	memmove(b->entries, b->entries + n, b->nmsrs * sizeof(b->entries[0]));
	memmove(b->row, b->row + n, b->nmsrs * sizeof(b->row[0]));
}

static int msrs_error(const struct x86_vcpu *xv, const char *what, struct err *err)
{
	int errnum = errno;

	return err_set(err, errnum, "vCPU %u: cannot %s MSRs: %s", xv->v->index, what,
		       err_text(errnum));
}

static void store_entries(struct x86 *x, const struct batch *b, struct cpu_state *s, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct msr_row *r = entry_row(b, i);
		uint32_t index = b->entries[i].index;

		store_member(s, r, index - r->index, b->entries[i].data | mtrr_wire_bits(x, index));
	}
}

int x86_msrs_fetch(struct x86 *x, struct x86_vcpu *xv, unsigned when, struct err *err)
{
	CLEANUP(cleanup_free) struct batch *b = NEW(struct batch);

	batch_add_rows(x, b, &xv->cpu, when);
	while (b->nmsrs > 0) {
		int n = ioctl(xv->v->fd, KVM_GET_MSRS, b);

		if (n < 0)
			return msrs_error(xv, "read", err);
		store_entries(x, b, &xv->cpu, (uint32_t)n);
		if ((uint32_t)n >= b->nmsrs)
			break;
		warn_refused(x, xv, b, (uint32_t)n, "read");
		batch_drop(b, (uint32_t)n + 1);
	}
	return 0;
}

int x86_msrs_push(struct x86 *x, struct x86_vcpu *xv, unsigned when, struct err *err)
{
	CLEANUP(cleanup_free) struct batch *b = NEW(struct batch);

	batch_add_rows(x, b, &xv->cpu, when);
	while (b->nmsrs > 0) {
		int n = ioctl(xv->v->fd, KVM_SET_MSRS, b);

		if (n < 0)
			return msrs_error(xv, "write", err);
		if ((uint32_t)n >= b->nmsrs)
			break;
		/* One that cannot be written but is 0 anyway is no loss. */
		if (b->entries[n].data != 0)
			warn_refused(x, xv, b, (uint32_t)n, "set");
		batch_drop(b, (uint32_t)n + 1);
	}
	return 0;
}

/* ---- which of them a guest can have put something into ---- */

static bool counts_events(const struct msr_row *r)
{
	return r->offset >= offsetof(struct cpu_state, pmu) &&
	       r->offset < offsetof(struct cpu_state, pmu) + sizeof(struct x86_pmu);
}

static bool may_hold_something(const struct x86 *x, size_t i)
{
	const struct msr_row *r = &msr_table[i];

	if (!x->msr_listed[i] || x->msr_refused[i] || r->unlisted || r->loose)
		return false;
	if (counts_events(r) && !x->model.pmu_gp)
		return false;
	return (!r->features || (x->model.features[r->word] & r->features)) && row_count(x, r) > 0;
}

void x86_msrs_describe(const struct x86 *x, struct buf *out)
{
	for (size_t i = 0; i < ARRAY_LEN(msr_table); i++) {
		const struct msr_row *r = &msr_table[i];
		size_t begun;

		if (!may_hold_something(x, i))
			continue;
		begun = desc_begin(out, DESC_MSR);
		buf_be32(out, r->index);
		buf_be16(out, (uint16_t)row_count(x, r));
		buf_str8(out, r->name);
		desc_end(out, begun);
	}
}

int x86_msrs_compare(const struct x86 *x, struct src *body, struct buf *diff)
{
	uint32_t index;
	uint16_t count;
	char name[256];

	if (src_be32(body, &index) < 0 || src_be16(body, &count) < 0 || src_str8(body, name) < 0)
		return -EIO;
	for (size_t i = 0; i < ARRAY_LEN(msr_table); i++) {
		const struct msr_row *r = &msr_table[i];

		if (r->index != index)
			continue;
		if (!x->msr_listed[i])
			desc_differ(diff,
				    "MSR 0x%" PRIx32 " (%s): KVM has it at the source and lacks it "
				    "at the destination",
				    index, r->name);
		else if (count > row_count(x, r))
			desc_differ(diff,
				    "MSRs from 0x%" PRIx32 " (%s) on: %u at the source, %u at the "
				    "destination",
				    index, r->name, count, row_count(x, r));
		return 0;
	}
	desc_differ(diff, "MSR 0x%" PRIx32 " (%.40s): unknown to the destination", index, name);
	return 0;
}
