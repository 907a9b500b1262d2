/*
 * describe.c - the processors, for the other end of a move
 *
 * A move fits when the guest can go on using all that it was given: features,
 * sizes and places of its register areas, MSRs.  What the destination has
 * beyond that is no harm, and what only describes (caches, brand, signature)
 * is not compared, but for the model's name: it has no effect on what works.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "arch/x86/internal.h"
#include "vmm/base/units.h"
#include "vmm/describe.h"
#include "vmm/machine.h"

static void describe_cpuid(const struct kvm_cpuid2 *table, struct buf *out)
{
	for (uint32_t i = 0; i < table->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &table->entries[i];
		size_t begun = desc_begin(out, DESC_CPUID);

		buf_be32(out, e->function);
		buf_be32(out, e->index);
		buf_be32(out, e->eax);
		buf_be32(out, e->ebx);
		buf_be32(out, e->ecx);
		buf_be32(out, e->edx);
		desc_end(out, begun);
	}
}

static void describe_clock(const struct x86_clock *c, struct buf *out)
{
	uint64_t realtime_ns = x86_clock_realtime(c);
	size_t begun = desc_begin(out, DESC_CLOCK);

	buf_be64(out, realtime_ns ? c->clock_ns : 0);
	buf_be64(out, realtime_ns);
	desc_end(out, begun);
}

/* All vCPUs have the same but for their APIC ids. */
void x86_describe(struct machine *m, struct buf *out)
{
	const struct x86 *x = m->arch_state;
	const struct x86_vcpu *first;
	size_t begun;

	if (!m->n_vcpus)
		return;
	first = x86_vcpu(m->vcpus[0]);
	/* First, as most of the other differences follow from it. */
	begun = desc_begin(out, DESC_CPU_MODEL);
	buf_str8(out, x->model.name);
	desc_end(out, begun);
	describe_cpuid(first->cpuid, out);
	x86_msrs_describe(x, out);
	begun = desc_begin(out, DESC_TSC_KHZ);
	buf_be32(out, (uint32_t)first->cpu.tsc_khz);
	desc_end(out, begun);
	describe_clock(&x->clock, out);
}

static int compare_cpuid(const struct kvm_cpuid2 *own, struct src *body, struct buf *diff)
{
	struct kvm_cpuid_entry2 e = {0};

	if (src_be32(body, &e.function) < 0 || src_be32(body, &e.index) < 0 ||
	    src_be32(body, &e.eax) < 0 || src_be32(body, &e.ebx) < 0 ||
	    src_be32(body, &e.ecx) < 0 || src_be32(body, &e.edx) < 0)
		return -EIO;
	cpuid_compare(own, &e, diff);
	return 0;
}

/* Only a rate that was asked for is kept; any other is the guest's own, wherever it comes to. */
static int compare_tsc(const struct x86 *x, struct src *body, struct buf *diff)
{
	uint64_t wanted = x->model.tsc_hz / 1000;
	uint32_t khz;

	if (src_be32(body, &khz) < 0)
		return -EIO;
	if (wanted && khz != wanted)
		desc_differ(diff,
			    "TSC: %" PRIu32 " kHz at the source, %" PRIu64
			    " kHz (tsc-frequency=) at the destination",
			    khz, wanted);
	return 0;
}

/* "host" is whatever the host is; the others promise a family and a brand, too. */
static int compare_model(const struct x86 *x, struct src *body, struct buf *diff)
{
	char name[256];

	if (src_str8(body, name) < 0)
		return -EIO;
	if (strcmp(name, x->model.name) != 0)
		desc_differ(diff, "CPU model: '%.40s' at the source, '%s' at the destination", name,
			    x->model.name);
	return 0;
}

/* No two clocks are alike; x86_clock_advance() may ask. */
static int note_clock(struct x86_clock *c, struct src *body)
{
	uint64_t clock_ns, realtime_ns;

	if (src_be64(body, &clock_ns) < 0 || src_be64(body, &realtime_ns) < 0)
		return -EIO;
	c->told_clock_ns = clock_ns;
	c->told_realtime_ns = realtime_ns;
	return 0;
}

int x86_compare(struct machine *m, unsigned kind, struct src *body, struct buf *diff)
{
	struct x86 *x = m->arch_state;

	if (!m->n_vcpus)
		return 0;
	switch (kind) {
	case DESC_CPUID:
		return compare_cpuid(x86_vcpu(m->vcpus[0])->cpuid, body, diff);
	case DESC_CPU_MODEL:
		return compare_model(x, body, diff);
	case DESC_MSR:
		return x86_msrs_compare(x, body, diff);
	case DESC_TSC_KHZ:
		return compare_tsc(x, body, diff);
	case DESC_CLOCK:
		return note_clock(&x->clock, body);
	default:
		return 0;
	}
}
