/*
 * cpuid-compare.c - would a guest that was given one CPUID table do with another?
 *
 * By entry of the source's table: feature bits must be there; numbers that
 * say how much there is must not be smaller; the vendor and the layout of the
 * XSAVE area must be the same, for code and memory of the guest rely on them.
 * All else (caches, brand, signature, topology, power) only describes.
 */
#include <stdio.h>
#include <string.h>

#include "arch/x86/cpuid.h"
#include "vmm/base/buf.h"
#include "vmm/base/units.h"
#include "vmm/describe.h"

#define LEAF_XSAVE  0xd
#define NOT_OFFERED ": on at the source, not offered at the destination"

static uint32_t reg_of(const struct kvm_cpuid_entry2 *e, enum cpuid_reg reg)
{
	const uint32_t regs[] = {e->eax, e->ebx, e->ecx, e->edx};

	return regs[reg];
}

/* Bits that only say how many vCPUs are in a package. */
static uint32_t follows_topology(enum feature_word w)
{
	return w == FEAT_1_EDX ? F1_EDX_HTT : w == FEAT_8000_0001_ECX ? F81_ECX_CMP_LEGACY : 0;
}

/* A line a bit: people look for a flag in the output of -cpu help, or in /proc/cpuinfo. */
static void compare_features(const struct kvm_cpuid2 *own, const struct kvm_cpuid_entry2 *theirs,
			     struct buf *diff)
{
	for (unsigned w = 0; w < FEAT_COUNT; w++) {
		const struct feature_info *info = feature_info((enum feature_word)w);
		uint32_t missing;

		if (info->leaf != theirs->function ||
		    (info->indexed && info->subleaf != theirs->index))
			continue;
		missing = reg_of(theirs, info->reg) &
			  ~cpuid_reg(own, info->leaf, info->subleaf, info->reg) &
			  ~follows_topology((enum feature_word)w);
		for (unsigned b = 0; b < 32; b++)
			if (missing >> b & 1)
				desc_differ(diff, "%s" NOT_OFFERED,
					    feature_text((enum feature_word)w, b).s);
	}
}

static void compare_vendor(const struct kvm_cpuid2 *own, const struct kvm_cpuid_entry2 *theirs,
			   struct buf *diff)
{
	const uint32_t a[] = {theirs->ebx, theirs->edx, theirs->ecx};
	const uint32_t b[] = {cpuid_reg(own, 0, 0, CPUID_EBX), cpuid_reg(own, 0, 0, CPUID_EDX),
			      cpuid_reg(own, 0, 0, CPUID_ECX)};

	if (memcmp(a, b, sizeof(a)) != 0)
		desc_differ(diff, "CPU vendor: %.12s at the source, %.12s at the destination",
			    (const char *)a, (const char *)b);
}

/* Numbers of which the guest may use as many as it was told. */
static const struct amount {
	uint32_t leaf;
	enum cpuid_reg reg;
	unsigned shift, bits;
	const char *what;
} amounts[] = {
    {0xa,        CPUID_EAX, 0,  8, "PMU version"          },
    {0xa,        CPUID_EAX, 8,  8, "PMU counters"         },
    {0xa,        CPUID_EAX, 16, 8, "bits of a PMU counter"},
    {0xa,        CPUID_EDX, 0,  5, "fixed PMU counters"   },
    {0x80000008, CPUID_EAX, 0,  8, "physical address bits"},
    {0x80000008, CPUID_EAX, 8,  8, "linear address bits"  },
};

static void compare_amounts(const struct kvm_cpuid2 *own, const struct kvm_cpuid_entry2 *theirs,
			    struct buf *diff)
{
	for (size_t i = 0; i < ARRAY_LEN(amounts); i++) {
		const struct amount *a = &amounts[i];
		uint32_t mask = (1U << a->bits) - 1, want, have;

		if (a->leaf != theirs->function)
			continue;
		want = reg_of(theirs, a->reg) >> a->shift & mask;
		have = cpuid_reg(own, a->leaf, 0, a->reg) >> a->shift & mask;
		if (have < want)
			desc_differ(diff, "%s: %u at the source, %u at the destination", a->what,
				    want, have);
	}
}

static const char *const components[32] = {"x87",    "sse",       "avx",      "bndregs",   "bndcsr",
					   "opmask", "zmm-hi256", "hi16-zmm", "pt",        "pkru",
					   "pasid",  "cet-u",     "cet-s",    "hdc",       "uintr",
					   "lbr",    "hwp",       "xtilecfg", "xtiledata", "apx"};

struct component_text {
	char s[16];
};

static struct component_text component_text(unsigned bit)
{
	struct component_text t;

	if (components[bit])
		(void)snprintf(t.s, sizeof(t.s), "%s", components[bit]);
	else
		(void)snprintf(t.s, sizeof(t.s), "%u", bit);
	return t;
}

static void compare_xsave(const struct kvm_cpuid2 *own, const struct kvm_cpuid_entry2 *theirs,
			  struct buf *diff)
{
	uint32_t missing = theirs->eax & ~cpuid_reg(own, LEAF_XSAVE, 0, CPUID_EAX);
	const struct kvm_cpuid_entry2 *ours = cpuid_find(own, LEAF_XSAVE, theirs->index);

	for (unsigned b = 0; theirs->index == 0 && b < 32; b++)
		if (missing >> b & 1)
			desc_differ(diff, "XSAVE component %s" NOT_OFFERED, component_text(b).s);
	if (theirs->index < 2 || theirs->index >= 32 || !ours)
		return; /* one that is missing has been named already */
	if (theirs->eax != ours->eax || theirs->ebx != ours->ebx)
		desc_differ(diff,
			    "XSAVE component %s: %u bytes at offset %u at the source, %u bytes at "
			    "offset %u at the destination",
			    component_text(theirs->index).s, theirs->eax, theirs->ebx, ours->eax,
			    ours->ebx);
}

void cpuid_compare(const struct kvm_cpuid2 *own, const struct kvm_cpuid_entry2 *theirs,
		   struct buf *diff)
{
	compare_features(own, theirs, diff);
	compare_amounts(own, theirs, diff);
	if (theirs->function == 0)
		compare_vendor(own, theirs, diff);
	if (theirs->function == LEAF_XSAVE)
		compare_xsave(own, theirs, diff);
}
