/*
 * cpu-regs.c - a vCPU's registers between KVM and its state
 *
 * The order of the ioctls matters and is that of machine-microvm 3.6: reading
 * the MP state may change CS and RIP; the special registers decide what the
 * others mean; the LAPIC's base comes before its registers.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

#define RFLAGS_IF (1ULL << 9)

static int vcpu_ioctl(const struct x86_vcpu *xv, unsigned long req, void *arg, const char *what,
		      struct err *err)
{
	int errnum;

	if (ioctl(xv->v->fd, req, arg) >= 0)
		return 0;
	errnum = errno;
	return err_set(err, errnum, "vCPU %u: KVM refuses to %s: %s", xv->v->index, what,
		       err_text(errnum));
}

/* ---- general registers ---- */

static int fetch_regs(struct x86_vcpu *xv, struct err *err)
{
	struct cpu_state *s = &xv->cpu;
	struct kvm_regs r;
	int ret = vcpu_ioctl(xv, KVM_GET_REGS, &r, "tell the general registers", err);

	if (ret < 0)
		return ret;
	const uint64_t regs[GPR_COUNT] = {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi,
					  r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};

	memcpy(s->regs, regs, sizeof(regs));
	s->rip = r.rip;
	s->rflags = r.rflags;
	return 0;
}

static int push_regs(struct x86_vcpu *xv, struct err *err)
{
	const uint64_t *g = xv->cpu.regs;
	struct kvm_regs r = {.rax = g[0],
			     .rcx = g[1],
			     .rdx = g[2],
			     .rbx = g[3],
			     .rsp = g[4],
			     .rbp = g[5],
			     .rsi = g[6],
			     .rdi = g[7],
			     .r8 = g[8],
			     .r9 = g[9],
			     .r10 = g[10],
			     .r11 = g[11],
			     .r12 = g[12],
			     .r13 = g[13],
			     .r14 = g[14],
			     .r15 = g[15],
			     .rip = xv->cpu.rip,
			     .rflags = xv->cpu.rflags};

	return vcpu_ioctl(xv, KVM_SET_REGS, &r, "take the general registers", err);
}

/* ---- special registers ---- */

static struct x86_segment segment_from_kvm(const struct kvm_segment *k)
{
	uint32_t flags = (uint32_t)k->type << SEG_TYPE_SHIFT | (k->s ? SEG_S : 0) |
			 (uint32_t)k->dpl << SEG_DPL_SHIFT |
			 (k->present && !k->unusable ? SEG_P : 0) | (k->avl ? SEG_AVL : 0) |
			 (k->l ? SEG_L : 0) | (k->db ? SEG_DB : 0) | (k->g ? SEG_G : 0);

	return (struct x86_segment){
	    .selector = k->selector, .base = k->base, .limit = k->limit, .flags = flags};
}

static struct kvm_segment segment_to_kvm(const struct x86_segment *s)
{
	return (struct kvm_segment){.selector = (uint16_t)s->selector,
				    .base = s->base,
				    .limit = s->limit,
				    .type = s->flags >> SEG_TYPE_SHIFT & 0xf,
				    .present = (s->flags & SEG_P) != 0,
				    .dpl = s->flags >> SEG_DPL_SHIFT & 3,
				    .db = (s->flags & SEG_DB) != 0,
				    .s = (s->flags & SEG_S) != 0,
				    .l = (s->flags & SEG_L) != 0,
				    .g = (s->flags & SEG_G) != 0,
				    .avl = (s->flags & SEG_AVL) != 0,
				    .unusable = !(s->flags & SEG_P)};
}

/* In virtual 8086 mode a segment is what its selector says. */
static struct kvm_segment segment_v86(const struct x86_segment *s)
{
	return (struct kvm_segment){.selector = (uint16_t)s->selector,
				    .base = s->base,
				    .limit = s->limit,
				    .type = 3,
				    .present = 1,
				    .dpl = 3,
				    .s = 1};
}

static struct x86_segment table_from_kvm(const struct kvm_dtable *k)
{
	return (struct x86_segment){.base = k->base, .limit = k->limit};
}

static struct kvm_dtable table_to_kvm(const struct x86_segment *s)
{
	return (struct kvm_dtable){.base = s->base, .limit = (uint16_t)s->limit};
}

/* The members that struct kvm_sregs and struct kvm_sregs2 have in common. */
#define SREGS_TO_STATE(k, s, xv)                                                                   \
	do {                                                                                       \
		(s)->segs[SEG_ES] = segment_from_kvm(&(k)->es);                                    \
		(s)->segs[SEG_CS] = segment_from_kvm(&(k)->cs);                                    \
		(s)->segs[SEG_SS] = segment_from_kvm(&(k)->ss);                                    \
		(s)->segs[SEG_DS] = segment_from_kvm(&(k)->ds);                                    \
		(s)->segs[SEG_FS] = segment_from_kvm(&(k)->fs);                                    \
		(s)->segs[SEG_GS] = segment_from_kvm(&(k)->gs);                                    \
		(s)->ldt = segment_from_kvm(&(k)->ldt);                                            \
		(s)->tr = segment_from_kvm(&(k)->tr);                                              \
		(s)->gdt = table_from_kvm(&(k)->gdt);                                              \
		(s)->idt = table_from_kvm(&(k)->idt);                                              \
		(s)->cr0 = (k)->cr0;                                                               \
		(s)->cr2 = (k)->cr2;                                                               \
		(s)->cr3 = (k)->cr3;                                                               \
		(s)->cr4 = (k)->cr4;                                                               \
		(s)->efer = (k)->efer;                                                             \
		(xv)->apic.apicbase = (uint32_t)(k)->apic_base;                                    \
	} while (0)

#define STATE_TO_SREGS(s, xv, k, seg)                                                              \
	do {                                                                                       \
		(k)->es = (seg)(&(s)->segs[SEG_ES]);                                               \
		(k)->cs = (seg)(&(s)->segs[SEG_CS]);                                               \
		(k)->ss = (seg)(&(s)->segs[SEG_SS]);                                               \
		(k)->ds = (seg)(&(s)->segs[SEG_DS]);                                               \
		(k)->fs = (seg)(&(s)->segs[SEG_FS]);                                               \
		(k)->gs = (seg)(&(s)->segs[SEG_GS]);                                               \
		(k)->ldt = segment_to_kvm(&(s)->ldt);                                              \
		(k)->tr = segment_to_kvm(&(s)->tr);                                                \
		(k)->gdt = table_to_kvm(&(s)->gdt);                                                \
		(k)->idt = table_to_kvm(&(s)->idt);                                                \
		(k)->cr0 = (s)->cr0;                                                               \
		(k)->cr2 = (s)->cr2;                                                               \
		(k)->cr3 = (s)->cr3;                                                               \
		(k)->cr4 = (s)->cr4;                                                               \
		(k)->cr8 = (xv)->apic.tpr >> 4;                                                    \
		(k)->efer = (s)->efer;                                                             \
		(k)->apic_base = (xv)->apic.apicbase;                                              \
	} while (0)

static int fetch_sregs(const struct x86 *x, struct x86_vcpu *xv, struct err *err)
{
	static const char what[] = "tell the special registers";
	struct cpu_state *s = &xv->cpu;
	struct kvm_sregs2 k2;
	struct kvm_sregs k;
	int ret;

	s->pdptrs_valid = 0;
	if (!x->have_sregs2) {
		ret = vcpu_ioctl(xv, KVM_GET_SREGS, &k, what, err);
		if (ret == 0)
			SREGS_TO_STATE(&k, s, xv);
		return ret;
	}
	ret = vcpu_ioctl(xv, KVM_GET_SREGS2, &k2, what, err);
	if (ret < 0)
		return ret;
	SREGS_TO_STATE(&k2, s, xv);
	if (k2.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID) {
		s->pdptrs_valid = 1;
		memcpy(s->pdptrs, k2.pdptrs, sizeof(s->pdptrs));
	}
	return 0;
}

static int push_sregs(const struct x86 *x, struct x86_vcpu *xv, struct err *err)
{
	static const char what[] = "take the special registers";
	const struct cpu_state *s = &xv->cpu;
	struct kvm_segment (*seg)(const struct x86_segment *) =
	    s->rflags & RFLAGS_VM ? segment_v86 : segment_to_kvm;
	struct kvm_sregs2 k2 = {0};
	struct kvm_sregs k = {0};

	if (!x->have_sregs2) {
		STATE_TO_SREGS(s, xv, &k, seg);
		return vcpu_ioctl(xv, KVM_SET_SREGS, &k, what, err);
	}
	STATE_TO_SREGS(s, xv, &k2, seg);
	if (s->pdptrs_valid) {
		k2.flags |= KVM_SREGS2_FLAGS_PDPTRS_VALID;
		memcpy(k2.pdptrs, s->pdptrs, sizeof(s->pdptrs));
	}
	return vcpu_ioctl(xv, KVM_SET_SREGS2, &k2, what, err);
}

/* ---- vector registers ---- */

static int fetch_xsave(const struct x86 *x, struct x86_vcpu *xv, struct err *err)
{
	CLEANUP(cleanup_free) uint8_t *area = xcalloc(1, x->xsave_bytes);
	unsigned long req =
	    x->xsave_bytes > sizeof(struct kvm_xsave) ? KVM_GET_XSAVE2 : KVM_GET_XSAVE;
	struct kvm_xcrs xcrs;
	int ret = vcpu_ioctl(xv, req, area, "tell the vector registers", err);

	if (ret < 0)
		return ret;
	xsave_to_state(area, x->xsave_bytes, x->supported, &xv->cpu);
	if (!x->have_xcrs)
		return 0;
	ret = vcpu_ioctl(xv, KVM_GET_XCRS, &xcrs, "tell XCR0", err);
	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < xcrs.nr_xcrs && i < KVM_MAX_XCRS; i++)
		if (xcrs.xcrs[i].xcr == 0)
			xv->cpu.xcr0 = xcrs.xcrs[i].value;
	return 0;
}

static int push_xsave(const struct x86 *x, struct x86_vcpu *xv, struct err *err)
{
	CLEANUP(cleanup_free) uint8_t *area = xcalloc(1, x->xsave_bytes);
	struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = xv->cpu.xcr0}}};
	int ret;

	xsave_from_state(area, x->xsave_bytes, x->supported, &xv->cpu);
	ret = vcpu_ioctl(xv, KVM_SET_XSAVE, area, "take the vector registers", err);
	if (ret < 0 || !x->have_xcrs)
		return ret;
	return vcpu_ioctl(xv, KVM_SET_XCRS, &xcrs, "take XCR0", err);
}

/* ---- events ---- */

static uint32_t flag(bool on, uint32_t bit)
{
	return on ? bit : 0;
}

static int fetch_events(const struct x86 *x, struct x86_vcpu *xv, struct err *err)
{
	struct cpu_state *s = &xv->cpu;
	struct kvm_vcpu_events e = {0};
	int ret = vcpu_ioctl(xv, KVM_GET_VCPU_EVENTS, &e, "tell the pending events", err);

	if (ret < 0)
		return ret;
	s->exception_pending = 0;
	s->exception_has_payload = 0;
	s->exception_injected = e.exception.injected;
	s->exception_nr = e.exception.injected ? e.exception.nr : -1;
	s->has_error_code = e.exception.has_error_code;
	s->error_code = e.exception.error_code;
	s->interrupt_injected = e.interrupt.injected ? e.interrupt.nr : -1;
	s->soft_interrupt = e.interrupt.soft;
	s->nmi_injected = e.nmi.injected;
	s->nmi_pending = e.nmi.pending;
	s->sipi_vector = e.sipi_vector;
	s->triple_fault = x->have_triple_fault && (e.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT)
			      ? e.triple_fault.pending
			      : 0;

	s->hflags &= ~(HF_INHIBIT_IRQ | HF_SMM);
	s->hflags |= flag(e.interrupt.shadow != 0, HF_INHIBIT_IRQ) | flag(e.smi.smm, HF_SMM);
	s->hflags2 &= ~(HF2_NMI | HF2_SMM_NMI);
	s->hflags2 |= flag(e.nmi.masked, HF2_NMI) | flag(e.smi.smm_inside_nmi, HF2_SMM_NMI);
	xv->common.interrupt_request =
	    flag(e.smi.pending, CPU_INTERRUPT_SMI) | flag(e.smi.latched_init, CPU_INTERRUPT_INIT);
	return 0;
}

/* Which way an instruction holds interrupts off is not told: after STI they are enabled. */
static uint8_t interrupt_shadow(const struct cpu_state *s)
{
	if (!(s->hflags & HF_INHIBIT_IRQ))
		return 0;
	return s->rflags & RFLAGS_IF ? KVM_X86_SHADOW_INT_STI : KVM_X86_SHADOW_INT_MOV_SS;
}

static int push_events(const struct x86 *x, struct x86_vcpu *xv, struct err *err)
{
	const struct cpu_state *s = &xv->cpu;
	struct kvm_vcpu_events e = {.flags = KVM_VCPUEVENT_VALID_NMI_PENDING |
					     KVM_VCPUEVENT_VALID_SIPI_VECTOR |
					     KVM_VCPUEVENT_VALID_SHADOW};

	if (s->exception_nr >= 0 && (s->exception_injected || s->exception_pending)) {
		e.exception.injected = 1;
		e.exception.nr = (uint8_t)s->exception_nr;
		e.exception.has_error_code = s->has_error_code;
		e.exception.error_code = s->error_code;
	}
	if (s->interrupt_injected >= 0) {
		e.interrupt.injected = 1;
		e.interrupt.nr = (uint8_t)s->interrupt_injected;
		e.interrupt.soft = s->soft_interrupt;
	}
	e.interrupt.shadow = interrupt_shadow(s);
	e.nmi.injected = s->nmi_injected;
	e.nmi.pending = s->nmi_pending;
	e.nmi.masked = (s->hflags2 & HF2_NMI) != 0;
	e.sipi_vector = s->sipi_vector;
	if (x->have_smm) {
		e.flags |= KVM_VCPUEVENT_VALID_SMM;
		e.smi.smm = (s->hflags & HF_SMM) != 0;
		e.smi.smm_inside_nmi = (s->hflags2 & HF2_SMM_NMI) != 0;
		e.smi.pending = (xv->common.interrupt_request & CPU_INTERRUPT_SMI) != 0;
		e.smi.latched_init = (xv->common.interrupt_request & CPU_INTERRUPT_INIT) != 0;
	}
	if (x->have_triple_fault) {
		e.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
		e.triple_fault.pending = s->triple_fault;
	}
	return vcpu_ioctl(xv, KVM_SET_VCPU_EVENTS, &e, "take the pending events", err);
}

/* ---- the rest ---- */

static int fetch_mp_state(struct x86_vcpu *xv, struct err *err)
{
	struct kvm_mp_state mp;
	int ret = vcpu_ioctl(xv, KVM_GET_MP_STATE, &mp, "tell the MP state", err);

	if (ret < 0)
		return ret;
	xv->cpu.mp_state = mp.mp_state;
	xv->common.halted = mp.mp_state == KVM_MP_STATE_HALTED;
	return 0;
}

static int push_mp_state(struct x86_vcpu *xv, struct err *err)
{
	struct kvm_mp_state mp = {.mp_state = xv->cpu.mp_state};

	return vcpu_ioctl(xv, KVM_SET_MP_STATE, &mp, "take the MP state", err);
}

static int fetch_debug(struct x86_vcpu *xv, struct err *err)
{
	struct kvm_debugregs d;
	int ret = vcpu_ioctl(xv, KVM_GET_DEBUGREGS, &d, "tell the debug registers", err);

	if (ret < 0)
		return ret;
	for (unsigned i = 0; i < 4; i++)
		xv->cpu.dr[i] = d.db[i];
	xv->cpu.dr[4] = xv->cpu.dr[6] = d.dr6;
	xv->cpu.dr[5] = xv->cpu.dr[7] = d.dr7;
	return 0;
}

static int push_debug(struct x86_vcpu *xv, struct err *err)
{
	struct kvm_debugregs d = {.dr6 = xv->cpu.dr[6], .dr7 = xv->cpu.dr[7]};

	for (unsigned i = 0; i < 4; i++)
		d.db[i] = xv->cpu.dr[i];
	return vcpu_ioctl(xv, KVM_SET_DEBUGREGS, &d, "take the debug registers", err);
}

static int fetch_lapic(const struct x86 *x, struct x86_vcpu *xv, struct err *err)
{
	struct kvm_lapic_state k;
	int ret = vcpu_ioctl(xv, KVM_GET_LAPIC, &k, "tell the local APIC", err);

	if (ret == 0)
		apic_from_kvm(&xv->apic, &k, vclock_now_ns(&x->m->vclock));
	return ret;
}

static int push_lapic(const struct x86 *x, struct x86_vcpu *xv, struct err *err)
{
	struct kvm_lapic_state k;

	apic_to_kvm(&xv->apic, &k, xv->v->index, vclock_now_ns(&x->m->vclock));
	return vcpu_ioctl(xv, KVM_SET_LAPIC, &k, "take the local APIC", err);
}

/* A rate that KVM cannot give is no reason to lose the guest; its clock may drift. */
static void push_tsc_khz(const struct x86 *x, const struct x86_vcpu *xv)
{
	int64_t khz = xv->cpu.tsc_khz;
	long now = ioctl(xv->v->fd, KVM_GET_TSC_KHZ, 0);

	if (khz <= 0 || khz > UINT32_MAX || khz == now ||
	    ioctl(xv->v->fd, KVM_SET_TSC_KHZ, (unsigned long)khz) == 0)
		return;
	if (xv->v->index == 0)
		log_warn("TSC frequency mismatch between VM (%lld kHz) and host (%lld kHz), and "
			 "TSC scaling unavailable",
			 (long long)khz, (long long)x->tsc_khz);
}

int x86_vcpu_fetch(struct x86 *x, struct x86_vcpu *xv, struct err *err)
{
	unsigned msrs = MSR_FIRST | MSR_USUAL | (x->clock.tsc_held ? 0 : MSR_DEADLINE);
	int ret = fetch_events(x, xv, err);

	if (ret == 0)
		ret = fetch_mp_state(xv, err);
	if (ret == 0)
		ret = fetch_regs(xv, err);
	if (ret == 0)
		ret = fetch_xsave(x, xv, err);
	if (ret == 0)
		ret = fetch_sregs(x, xv, err);
	if (ret == 0)
		ret = x86_msrs_fetch(x, xv, msrs, err);
	if (ret == 0)
		ret = fetch_lapic(x, xv, err);
	if (ret == 0)
		ret = fetch_debug(xv, err);
	if (ret == 0)
		xv->cpu.hflags = cpu_state_hflags(&xv->cpu);
	return ret;
}

int x86_vcpu_push(struct x86 *x, struct x86_vcpu *xv, struct err *err)
{
	int ret = x86_msrs_push(x, xv, MSR_FIRST, err);

	if (ret == 0)
		ret = push_sregs(x, xv, err);
	if (ret == 0)
		ret = push_lapic(x, xv, err);
	if (ret < 0)
		return ret;
	push_tsc_khz(x, xv);
	ret = push_regs(xv, err);
	if (ret == 0)
		ret = push_xsave(x, xv, err);
	if (ret == 0)
		ret = x86_msrs_push(x, xv, MSR_USUAL, err);
	if (ret == 0)
		ret = push_events(x, xv, err);
	if (ret == 0)
		ret = push_mp_state(xv, err);
	if (ret == 0)
		ret = push_debug(xv, err);
	return ret;
}
