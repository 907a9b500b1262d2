/*
 * cpu-state.c - a vCPU's state after power-on, and what is derived from it
 *
 * hflags is a summary of other registers that is part of the stream.  The bits
 * in HF_DERIVED are computed from those registers; the others are kept as they
 * were loaded.
 */
#include "arch/x86/cpu-state.h"

#include <linux/kvm.h>
#include <stddef.h>
#include <string.h>

#define MISC_ENABLE_FAST_STRING 1ULL
#define PAT_RESET               0x0007040600070406ULL
#define SMBASE_RESET            0x30000

void cpu_state_defaults(struct cpu_state *s)
{
	size_t from = offsetof(struct cpu_state, exception_pending);
	int64_t khz = s->tsc_khz;

	memset((uint8_t *)s + from, 0, sizeof(*s) - from);
	s->tsc_khz = khz;
	/* the parts of the vector registers that only AVX-512 has */
	for (unsigned i = 0; i < 16; i++)
		memset(&s->zmm[i].q[4], 0, sizeof(s->zmm[i].q) / 2);
	memset(&s->zmm[16], 0, 16 * sizeof(s->zmm[16]));
	s->poll_control_msr = 1;
	s->misc_enable = MISC_ENABLE_FAST_STRING;
}

static struct x86_segment segment(uint32_t selector, uint64_t base, uint32_t flags)
{
	return (struct x86_segment){
	    .selector = selector, .base = base, .limit = 0xffff, .flags = flags};
}

void cpu_state_reset(struct cpu_state *s, uint32_t signature, unsigned phys_bits, bool bsp)
{
	struct cpu_state old = {
	    .exposes = s->exposes, .tsc_khz = s->tsc_khz, .mcg_cap = s->mcg_cap};

	memset(s, 0, sizeof(*s));
	s->exposes = old.exposes;
	s->tsc_khz = old.tsc_khz;
	s->mcg_cap = old.mcg_cap;
	cpu_state_defaults(s);

	s->rip = 0xfff0;
	s->rflags = RFLAGS_SET;
	s->regs[GPR_RDX] = signature;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		s->segs[i] = segment(0, 0, SEG_P | SEG_S | 3U << SEG_TYPE_SHIFT);
	s->segs[SEG_CS] = segment(0xf000, 0xffff0000, SEG_P | SEG_S | 0xbU << SEG_TYPE_SHIFT);
	s->ldt = segment(0, 0, SEG_P | 2U << SEG_TYPE_SHIFT);
	s->tr = segment(0, 0, SEG_P | 0xbU << SEG_TYPE_SHIFT);
	s->gdt = segment(0, 0, 0);
	s->idt = segment(0, 0, 0);
	s->cr0 = 0x60000010;
	s->dr[4] = s->dr[6] = 0xffff0ff0;
	s->dr[5] = s->dr[7] = 0x400;
	s->a20_mask = -1;
	s->fpuc = 0x37f;
	s->mxcsr = 0x1f80;
	s->xcr0 = 1;
	s->xstate_bv = 3;
	s->smbase = SMBASE_RESET;
	s->pat = PAT_RESET;
	s->hflags2 = HF2_GIF | HF2_VGIF;
	for (unsigned i = 0; i < 8; i++)
		s->mtrr_var[i].mask = phys_bits < 52 ? (1ULL << 52) - (1ULL << phys_bits) : 0;
	s->interrupt_injected = -1;
	s->exception_nr = -1;
	s->mp_state = bsp ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED;
	if (s->mcg_cap) {
		s->mcg_ctl = ~0ULL;
		for (unsigned i = 0; i < MCE_BANKS; i++)
			s->mce_banks[(size_t)4 * i] = ~0ULL;
	}
	s->hflags = cpu_state_hflags(s);
}

#define HF_CS32         (1U << 4)
#define HF_SS32         (1U << 5)
#define HF_ADDSEG       (1U << 6)
#define HF_PE           (1U << 7)
#define HF_CS64         (1U << 15)
#define HF_LMA          (1U << 14)
#define HF_OSFXSR       (1U << 22)
#define HF_AVX          (1U << 28)
#define HF_CR0_MP_EM_TS 0xe00U     /* bits 9..11, CR0 bits 1..3 */
#define HF_RFLAGS       0x23100ULL /* TF, IOPL, VM stand where RFLAGS has them */
#define HF_DERIVED                                                                                 \
	(3U | HF_CS32 | HF_SS32 | HF_ADDSEG | HF_PE | HF_CR0_MP_EM_TS | (uint32_t)HF_RFLAGS |      \
	 HF_LMA | HF_CS64 | HF_OSFXSR | HF_AVX)
#define CR4_OSFXSR   (1ULL << 9)
#define CR4_OSXSAVE  (1ULL << 18)
#define XCR0_SSE_AVX 6ULL

uint32_t cpu_state_hflags(const struct cpu_state *s)
{
	const struct x86_segment *cs = &s->segs[SEG_CS], *ss = &s->segs[SEG_SS];
	uint32_t h = s->hflags & ~HF_DERIVED;
	bool flat;

	h |= (ss->flags & SEG_DPL) >> SEG_DPL_SHIFT;
	h |= s->cr0 & CR0_PE ? HF_PE : 0;
	h |= (uint32_t)(s->cr0 << 8) & HF_CR0_MP_EM_TS;
	h |= (uint32_t)(s->rflags & HF_RFLAGS);
	h |= s->cr4 & CR4_OSFXSR ? HF_OSFXSR : 0;
	h |= (s->cr4 & CR4_OSXSAVE) && (s->xcr0 & XCR0_SSE_AVX) == XCR0_SSE_AVX ? HF_AVX : 0;
	h |= s->efer & EFER_LMA ? HF_LMA : 0;
	if ((h & HF_LMA) && (cs->flags & SEG_L))
		return h | HF_CS32 | HF_SS32 | HF_CS64;

	h |= cs->flags & SEG_DB ? HF_CS32 : 0;
	h |= ss->flags & SEG_DB ? HF_SS32 : 0;
	flat = !(s->segs[SEG_DS].base | s->segs[SEG_ES].base | ss->base);
	if (!(h & HF_PE) || (s->rflags & RFLAGS_VM) || !(h & HF_CS32) || !flat)
		h |= HF_ADDSEG;
	return h;
}

void cpu_state_real_mode_dpl(struct cpu_state *s)
{
	if ((s->cr0 & CR0_PE) || !(s->segs[SEG_CS].flags & SEG_DPL))
		return;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		s->segs[i].flags &= ~SEG_DPL;
}
