/*
 * xsave.c - the vector and floating point registers in KVM's XSAVE area
 *
 * The standard format: the 512 bytes of FXSAVE, a header whose first 8 bytes
 * say which components are not in their initial state, then one extended
 * component after the other at offsets that CPUID leaf 0xd tells.
 */
#include <string.h>

#include "arch/x86/internal.h"
#include "vmm/base/bytes.h"
#include "vmm/base/units.h"

#define OFF_FCW        0
#define OFF_FSW        2
#define OFF_FTW        4 /* abridged: one bit a register, set if valid */
#define OFF_FOP        6
#define OFF_FIP        8
#define OFF_FDP        16
#define OFF_MXCSR      24
#define OFF_MXCSR_MASK 28
#define OFF_ST         32 /* 16 bytes each, 10 used */
#define OFF_XMM        160
#define OFF_XSTATE_BV  512

enum {
	COMP_AVX = 2,
	COMP_BNDREGS = 3,
	COMP_BNDCSR = 4,
	COMP_OPMASK = 5,
	COMP_ZMM_HI256 = 6,
	COMP_HI16_ZMM = 7,
	COMP_PKRU = 9,
	COMP_XTILECFG = 17,
	COMP_XTILEDATA = 18
};

/* A piece of a component and the member of the state that it is. */
struct piece {
	unsigned comp;
	size_t at;     /* in the component */
	size_t offset; /* in struct cpu_state */
	size_t bytes, count, stride;
};

#define PIECE(c, a, m, b, n, s)                                                                    \
	{                                                                                          \
		.comp = (c), .at = (a), .offset = offsetof(struct cpu_state, m), .bytes = (b),     \
		.count = (n), .stride = (s)                                                        \
	}

/* Little-endian on both sides: the processor's own layout. */
static const struct piece pieces[] = {
    PIECE(COMP_AVX, 0, zmm[0].q[2], 16, 16, sizeof(struct x86_zmm)),
    PIECE(COMP_BNDREGS, 0, bnd, 16, 4, 16),
    PIECE(COMP_BNDCSR, 0, bndcfgu, 8, 1, 8),
    PIECE(COMP_BNDCSR, 8, bndstatus, 8, 1, 8),
    PIECE(COMP_OPMASK, 0, opmask, 8, 8, 8),
    PIECE(COMP_ZMM_HI256, 0, zmm[0].q[4], 32, 16, sizeof(struct x86_zmm)),
    PIECE(COMP_HI16_ZMM, 0, zmm[16], 64, 16, sizeof(struct x86_zmm)),
    PIECE(COMP_PKRU, 0, pkru, 4, 1, 4),
    PIECE(COMP_XTILECFG, 0, xtilecfg, 64, 1, 64),
    PIECE(COMP_XTILEDATA, 0, xtiledata, 8192, 1, 8192),
};

/* Where piece p starts in an area of that size, or 0: not there. */
static size_t piece_offset(const struct piece *p, size_t area_bytes,
			   const struct kvm_cpuid2 *supported)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(supported, 0xd, p->comp);
	size_t need = p->at + p->bytes * p->count;

	if (!e || e->eax < need || e->ebx < XSAVE_LEGACY_BYTES || e->ebx > area_bytes ||
	    area_bytes - e->ebx < need)
		return 0;
	return e->ebx + p->at;
}

void xsave_to_state(const uint8_t *area, size_t bytes, const struct kvm_cpuid2 *supported,
		    struct cpu_state *s)
{
	s->fpuc = get_le16(area + OFF_FCW);
	s->fpus = get_le16(area + OFF_FSW);
	s->fptag = area[OFF_FTW];
	s->fpop = get_le16(area + OFF_FOP);
	s->fpip = get_le64(area + OFF_FIP);
	s->fpdp = get_le64(area + OFF_FDP);
	s->mxcsr = get_le32(area + OFF_MXCSR);
	for (size_t i = 0; i < 8; i++) {
		s->fpregs[i].mant = get_le64(area + OFF_ST + 16 * i);
		s->fpregs[i].exp = get_le16(area + OFF_ST + 16 * i + 8);
	}
	for (size_t i = 0; i < 16; i++)
		memcpy(s->zmm[i].q, area + OFF_XMM + 16 * i, 16);
	s->xstate_bv = get_le64(area + OFF_XSTATE_BV);

	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		const struct piece *p = &pieces[i];
		size_t from = piece_offset(p, bytes, supported);
		uint8_t *to = (uint8_t *)s + p->offset;

		for (size_t k = 0; from != 0 && k < p->count; k++)
			memcpy(to + k * p->stride, area + from + k * p->bytes, p->bytes);
	}
}

void xsave_from_state(uint8_t *area, size_t bytes, const struct kvm_cpuid2 *supported,
		      const struct cpu_state *s)
{
	memset(area, 0, bytes);
	put_le16(area + OFF_FCW, s->fpuc);
	put_le16(area + OFF_FSW, s->fpus);
	area[OFF_FTW] = (uint8_t)s->fptag;
	put_le16(area + OFF_FOP, s->fpop);
	put_le64(area + OFF_FIP, s->fpip);
	put_le64(area + OFF_FDP, s->fpdp);
	put_le32(area + OFF_MXCSR, s->mxcsr);
	for (size_t i = 0; i < 8; i++) {
		put_le64(area + OFF_ST + 16 * i, s->fpregs[i].mant);
		put_le16(area + OFF_ST + 16 * i + 8, s->fpregs[i].exp);
	}
	for (size_t i = 0; i < 16; i++)
		memcpy(area + OFF_XMM + 16 * i, s->zmm[i].q, 16);
	put_le64(area + OFF_XSTATE_BV, s->xstate_bv);

	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		const struct piece *p = &pieces[i];
		size_t to = piece_offset(p, bytes, supported);
		const uint8_t *from = (const uint8_t *)s + p->offset;

		for (size_t k = 0; to != 0 && k < p->count; k++)
			memcpy(area + to + k * p->bytes, from + k * p->stride, p->bytes);
	}
}
