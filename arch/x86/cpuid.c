/*
 * cpuid.c - the CPUID table of a vCPU, leaf by leaf (machine-microvm 4)
 *
 * The cache leaves describe fixed caches, whatever the host's are, so that
 * they are the same on both ends of a move.
 */
#include "arch/x86/cpuid.h"

#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

#define TABLE_MAX     100
#define XSAVE_COMPACT (1U << 1 | XSAVE_XSAVES) /* XSAVEC, XSAVES */

const struct kvm_cpuid_entry2 *cpuid_find(const struct kvm_cpuid2 *table, uint32_t leaf,
					  uint32_t subleaf)
{
	for (uint32_t i = 0; i < table->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &table->entries[i];

		if (e->function != leaf)
			continue;
		if (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == subleaf)
			return e;
	}
	return NULL;
}

uint32_t cpuid_reg(const struct kvm_cpuid2 *table, uint32_t leaf, uint32_t subleaf,
		   enum cpuid_reg reg)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(table, leaf, subleaf);

	if (!e)
		return 0;
	switch (reg) {
	case CPUID_EAX:
		return e->eax;
	case CPUID_EBX:
		return e->ebx;
	case CPUID_ECX:
		return e->ecx;
	case CPUID_EDX:
		break;
	}
	return e->edx;
}

/* Those of a model that has no others. */
static const struct cpu_caches usual_caches = {
    .l1d = 0x40020140,
    .l1i = 0x40020140,
    .l2 = 0x02008140,
    .l3 = 0x00808140,
    .leaf_2 = {0x4d,			  0x2c307d},
    .leaf_4 = { {0x121, 0x01c0003f, 0x3f, 1},
	       {0x122, 0x01c0003f, 0x3f, 1},
	       {0x143, 0x03c0003f, 0xfff, 1},
	       {0x163, 0x03c0003f, 0x3fff, 6}},
    .leaf_1d = {          {0x121, 0x0040003f, 0x1ff, 1},
               {0x122, 0x0040003f, 0x1ff, 1},
               {0x43, 0x03c0003f, 0x1ff, 0},
               {0x163, 0x03c0003f, 0x3fff, 6}},
};

struct builder {
	struct kvm_cpuid2 *table;
	const struct cpu_model *m;
	const struct cpu_topology *topo;
	unsigned apic_id;
	unsigned core_shift;    /* where the core's number starts in an APIC id */
	unsigned package_shift; /* and the package's */
	const struct cpu_host *host;
};

/* An absent entry reads as zeros, so one that is all zero is not written. */
static void leaf_put(struct builder *b, uint32_t leaf, uint32_t eax, uint32_t ebx, uint32_t ecx,
		     uint32_t edx)
{
	if (!(eax | ebx | ecx | edx) || b->table->nent >= TABLE_MAX)
		return;
	b->table->entries[b->table->nent++] = (struct kvm_cpuid_entry2){
	    .function = leaf, .eax = eax, .ebx = ebx, .ecx = ecx, .edx = edx};
}

static void put_sub(struct builder *b, uint32_t leaf, uint32_t subleaf, uint32_t eax, uint32_t ebx,
		    uint32_t ecx, uint32_t edx)
{
	if (b->table->nent >= TABLE_MAX)
		return;
	b->table->entries[b->table->nent++] =
	    (struct kvm_cpuid_entry2){.function = leaf,
				      .index = subleaf,
				      .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
				      .eax = eax,
				      .ebx = ebx,
				      .ecx = ecx,
				      .edx = edx};
}

static bool vendor_is(const struct builder *b, const char *name)
{
	return strcmp(b->m->vendor, name) == 0;
}

static bool is_amd(const struct builder *b)
{
	return vendor_is(b, "AuthenticAMD") || vendor_is(b, "HygonGenuine");
}

static unsigned cpus_per_package(const struct builder *b)
{
	return b->topo->cores * b->topo->threads;
}

static const struct cpu_caches *caches_of(const struct builder *b)
{
	return b->m->caches ? b->m->caches : &usual_caches;
}

static void put_cache(struct builder *b, uint32_t leaf, uint32_t i, const struct cpu_cache_leaf *c,
		      uint32_t cpus)
{
	put_sub(b, leaf, i, c->eax | cpus, c->ebx, c->ecx, c->edx);
}

static void put_name(struct builder *b, uint32_t leaf, uint32_t max)
{
	uint32_t v[3];

	memcpy(v, b->m->vendor, sizeof(v));
	leaf_put(b, leaf, max, v[0], v[2], v[1]);
}

static void put_1(struct builder *b)
{
	uint32_t ebx = b->apic_id << 24 | 8 << 8; /* cache line of 8 quadwords */
	uint32_t edx = b->m->features[FEAT_1_EDX];

	if (cpus_per_package(b) > 1) {
		ebx |= (cpus_per_package(b) & 0xff) << 16;
		edx |= F1_EDX_HTT;
	}
	leaf_put(b, 1, b->m->signature, ebx, b->m->features[FEAT_1_ECX], edx);
}

/* Leaves 2 and 4 are Intel's way to tell the caches; AMD's are 8000_0005, 6 and 1d. */
static void put_2_4(struct builder *b)
{
	uint32_t cores = (b->topo->cores - 1) << 26;
	uint32_t threads = (b->topo->threads - 1) << 14;
	uint32_t package = ((1U << b->package_shift) - 1) << 14;
	const uint32_t cpus[4] = {cores, cores, cores | threads, cores | package};

	if (is_amd(b))
		return;
	b->table->entries[b->table->nent++] = (struct kvm_cpuid_entry2){
	    .function = 2,
	    .flags = KVM_CPUID_FLAG_STATEFUL_FUNC | KVM_CPUID_FLAG_STATE_READ_NEXT,
	    .eax = 1,
	    .ecx = caches_of(b)->leaf_2[0],
	    .edx = caches_of(b)->leaf_2[1]};
	for (uint32_t i = 0; i < ARRAY_LEN(cpus); i++)
		put_cache(b, 4, i, &caches_of(b)->leaf_4[i], cpus[i]);
	put_sub(b, 4, 4, 0, 0, 0, 0);
}

static void put_7(struct builder *b)
{
	const uint32_t *f = b->m->features;

	put_sub(b, 7, 0, f[FEAT_7_1_EAX] ? 1 : 0, f[FEAT_7_EBX], f[FEAT_7_ECX], f[FEAT_7_EDX]);
	if (f[FEAT_7_1_EAX])
		put_sub(b, 7, 1, f[FEAT_7_1_EAX], 0, 0, 0);
}

static void put_b(struct builder *b)
{
	put_sub(b, 0xb, 0, b->core_shift, b->topo->threads, 0x100, b->apic_id);
	put_sub(b, 0xb, 1, b->package_shift, cpus_per_package(b), 0x201, b->apic_id);
	put_sub(b, 0xb, 2, 0, 0, 2, b->apic_id);
}

static uint64_t xstate_components(const struct builder *b)
{
	const uint32_t *f = b->m->features;
	uint64_t have = cpuid_reg(b->host->supported, 0xd, 0, CPUID_EAX);
	uint64_t v = 3; /* x87 and SSE are always there */

	v |= f[FEAT_1_ECX] & F1_ECX_AVX ? 1ULL << 2 : 0;
	v |= f[FEAT_7_EBX] & F7_EBX_MPX ? 3ULL << 3 : 0;
	v |= f[FEAT_7_EBX] & F7_EBX_AVX512F ? 7ULL << 5 : 0;
	v |= f[FEAT_7_ECX] & F7_ECX_PKU ? 1ULL << 9 : 0;
	return v & have;
}

/* Bytes of an XSAVE area with all that the guest may switch on. */
static uint32_t xsave_size(const struct builder *b, uint64_t comps, bool compact)
{
	uint32_t size = 576; /* the legacy area and the header */

	for (unsigned i = 2; i < 32; i++) {
		const struct kvm_cpuid_entry2 *e = cpuid_find(b->host->supported, 0xd, i);

		if (!(comps >> i & 1) || !e)
			continue;
		if (compact && (e->ecx & 2))
			size = (uint32_t)ALIGN_UP(size, 64);
		size = compact ? size + e->eax : MAX(size, e->ebx + e->eax);
	}
	return size;
}

/* KVM keeps EBX up to date with what the guest has switched on, where it sees that. */
static void put_d(struct builder *b)
{
	uint64_t comps = xstate_components(b);
	uint32_t size = xsave_size(b, comps, false);
	uint32_t f = b->m->features[FEAT_XSAVE];

	if (!(b->m->features[FEAT_1_ECX] & F1_ECX_XSAVE))
		return;
	put_sub(b, 0xd, 0, (uint32_t)comps, size, size, 0);
	put_sub(b, 0xd, 1, f, f & XSAVE_COMPACT ? xsave_size(b, comps, true) : 0, 0, 0);
	for (unsigned i = 2; i < 32; i++) {
		const struct kvm_cpuid_entry2 *e = cpuid_find(b->host->supported, 0xd, i);

		if ((comps >> i & 1) && e)
			put_sub(b, 0xd, i, e->eax, e->ebx, e->ecx & 6, 0);
	}
}

static void put_basic(struct builder *b)
{
	const struct cpu_model *m = b->m;

	put_name(b, 0, m->level);
	put_1(b);
	put_2_4(b);
	if (m->level >= 5)
		leaf_put(b, 5, 0, 0, 3, 0);
	if (m->level >= 6)
		leaf_put(b, 6, m->features[FEAT_6_EAX], 0, 0, 0);
	if (m->level >= 7)
		put_7(b);
	if (m->level >= 0xa)
		leaf_put(b, 0xa, m->pmu_regs[CPUID_EAX], m->pmu_regs[CPUID_EBX],
			 m->pmu_regs[CPUID_ECX], m->pmu_regs[CPUID_EDX]);
	if (m->level >= 0xb)
		put_b(b);
	if (m->level >= 0xd)
		put_d(b);
}

/* "KVMKVMKVM", where a guest looks for the hypervisor's own features. */
static void put_kvm(struct builder *b, uint32_t tsc_khz)
{
	const uint32_t *f = b->m->features;
	bool known_tsc = tsc_khz && (b->m->tsc_hz || f[FEAT_8000_0007_EDX] & F87_EDX_INVTSC);

	if (!b->m->expose_kvm)
		return;
	leaf_put(b, 0x40000000, known_tsc ? 0x40000010 : 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d);
	leaf_put(b, 0x40000001, f[FEAT_KVM], 0, 0, f[FEAT_KVM_HINTS]);
	if (known_tsc)
		leaf_put(b, 0x40000010, tsc_khz, 1000000, 0, 0); /* TSC and APIC bus, kHz */
}

static void put_8000_001d_1e(struct builder *b)
{
	uint32_t threads = (b->topo->threads - 1) << 14;
	uint32_t package = (cpus_per_package(b) - 1) << 14;
	const uint32_t cpus[4] = {threads, threads, threads, package};

	if (b->m->xlevel < 0x8000001d)
		return;
	for (uint32_t i = 0; i < ARRAY_LEN(cpus); i++)
		put_cache(b, 0x8000001d, i, &caches_of(b)->leaf_1d[i], cpus[i]);
	put_sub(b, 0x8000001d, 4, 0, 0, 0, 0);
	if (b->m->xlevel >= 0x8000001e)
		leaf_put(b, 0x8000001e, b->apic_id,
			 (b->topo->threads - 1) << 8 |
			     ((b->apic_id >> b->core_shift) &
			      ((1U << (b->package_shift - b->core_shift)) - 1)),
			 b->apic_id >> b->package_shift & 0xff, 0);
}

static void put_extended(struct builder *b)
{
	const struct cpu_model *m = b->m;
	uint32_t ecx = m->features[FEAT_8000_0001_ECX];
	uint32_t edx = m->features[FEAT_8000_0001_EDX];
	uint32_t virt = m->features[FEAT_7_ECX] & F7_ECX_LA57 ? 57 : 48;
	uint32_t brand[3][4];

	put_name(b, 0x80000000, m->xlevel);
	if (is_amd(b))
		edx |= m->features[FEAT_1_EDX] & F81_EDX_ALIASES;
	if (cpus_per_package(b) > 1 && !vendor_is(b, "GenuineIntel"))
		ecx |= F81_ECX_CMP_LEGACY;
	leaf_put(b, 0x80000001, m->signature, 0, ecx, edx);
	memcpy(brand, m->brand, sizeof(brand));
	for (unsigned i = 0; i < 3; i++)
		leaf_put(b, 0x80000002 + i, brand[i][0], brand[i][1], brand[i][2], brand[i][3]);
	leaf_put(b, 0x80000005, 0x01ff01ff, 0x01ff01ff, caches_of(b)->l1d, caches_of(b)->l1i);
	leaf_put(b, 0x80000006, 0, 0x42004200, caches_of(b)->l2, caches_of(b)->l3);
	if (m->xlevel >= 0x80000007)
		leaf_put(b, 0x80000007, 0, m->features[FEAT_8000_0007_EBX], 0,
			 m->features[FEAT_8000_0007_EDX]);
	if (m->xlevel >= 0x80000008)
		leaf_put(b, 0x80000008, m->phys_bits | virt << 8, m->features[FEAT_8000_0008_EBX],
			 cpus_per_package(b) > 1
			     ? b->package_shift << 12 | (cpus_per_package(b) - 1)
			     : 0,
			 0);
	put_8000_001d_1e(b);
	if (m->xlevel >= 0x80000021)
		leaf_put(b, 0x80000021, m->features[FEAT_8000_0021_EAX], 0, 0, 0);
}

static unsigned bits_for(unsigned n)
{
	unsigned bits = 0;

	while (1U << bits < n)
		bits++;
	return bits;
}

struct kvm_cpuid2 *cpuid_build(const struct cpu_model *model, const struct cpu_topology *topo,
			       unsigned apic_id, uint32_t tsc_khz, const struct cpu_host *host)
{
	struct builder b = {.m = model, .topo = topo, .apic_id = apic_id, .host = host};

	b.table = xcalloc(1, sizeof(*b.table) + TABLE_MAX * sizeof(b.table->entries[0]));
	b.core_shift = bits_for(topo->threads);
	b.package_shift = b.core_shift + bits_for(topo->cores);
	put_kvm(&b, tsc_khz);
	put_basic(&b);
	put_extended(&b);
	return b.table;
}
