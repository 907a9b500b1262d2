/*
 * Sections of the processor side: any bytes load or fail cleanly; what loads
 * can be turned into KVM's structures and is saved again.  The first byte
 * chooses the table.
 */
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/internal.h"
#include "arch/x86/ioapic.h"
#include "arch/x86/pic.h"
#include "arch/x86/pit-counter.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/vmstate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void use_apic(void *dev)
{
	struct kvm_lapic_state page;

	apic_to_kvm(dev, &page, 0, 1000000);
	apic_from_kvm(dev, &page, 2000000);
}

static bool odd(void *opaque, uint8_t vector)
{
	(void)opaque;
	return vector & 1;
}

/* As the controllers that KVM does not emulate go on with it. */
static void use_ioapic(void *dev)
{
	struct ioapic_state *s = dev;
	uint32_t lines = s->irr;
	bool changed;

	ioapic_heal(s, odd, NULL);
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		(void)ioapic_message(s->ioredtbl[i]);
		(void)ioapic_set_line(s, &lines, i, i & 1);
		(void)ioapic_eoi(s, ioapic_vector(s->ioredtbl[i]));
	}
	for (unsigned i = 0; i < 256; i++) {
		(void)ioapic_write(s, 0x10, ioapic_read(s, 0x10), &changed);
		(void)ioapic_write(s, 0, i, &changed);
	}
}

static void use_pic(void *dev)
{
	struct pic_state p[2];

	p[0] = p[1] = *(struct pic_state *)dev;
	for (unsigned i = 0; i < PIC_LINES; i++) {
		pic_set_line(p, i, i & 1);
		if (pic_intr(p))
			(void)pic_acknowledge(p);
		pic_write(p, i & 1, 0, (uint8_t)(i << 5));
		(void)pic_read(p, i & 1, i >> 1 & 1);
	}
}

static void use_counters(struct pit_state *p)
{
	for (unsigned i = 0; i < 4; i++) {
		(void)pit_read(p, i, 77);
		pit_write(p, i, 0xc2, INT64_MAX);
		(void)pit_read(p, i, INT64_MIN);
	}
	for (size_t i = 0; i < ARRAY_LEN(p->channels); i++) {
		(void)pit_out(&p->channels[i], INT64_MAX);
		(void)pit_next_change(&p->channels[i], 0);
	}
}

static void use_pit(void *dev)
{
	struct kvm_pit_state2 k;

	pit_to_kvm(dev, &k, -5000000);
	pit_from_kvm(dev, &k, INT64_MAX);
	use_counters(dev);
}

static void use_cpu(void *dev)
{
	static uint8_t area[4096];
	const struct kvm_cpuid2 none = {.nent = 0};
	struct cpu_state *s = dev;

	s->hflags = cpu_state_hflags(s);
	xsave_from_state(area, sizeof(area), &none, s);
	xsave_to_state(area, sizeof(area), &none, s);
}

static const struct {
	const struct vms_desc *desc;
	size_t bytes;
	void (*use)(void *dev);
} tables[] = {
    {&cpu_vmstate,        sizeof(struct cpu_state),     use_cpu   },
    {&cpu_common_vmstate, sizeof(struct cpu_common),    NULL      },
    {&apic_vmstate,       sizeof(struct apic_state),    use_apic  },
    {&tpr_opt_vmstate,    sizeof(struct tpr_opt_state), NULL      },
    {&ioapic_vmstate,     sizeof(struct ioapic_state),  use_ioapic},
    {&pic_vmstate,        sizeof(struct pic_state),     use_pic   },
    {&pit_vmstate,        sizeof(struct pit_state),     use_pit   },
    {&kvmclock_vmstate,   sizeof(struct x86_clock),     NULL      },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct buf out = {0};
	struct err err;
	struct src in;
	size_t i;
	void *dev;

	if (len == 0)
		return 0;
	i = data[0] % ARRAY_LEN(tables);
	dev = xcalloc(1, tables[i].bytes);
	in = src_mem(data + 1, len - 1);
	if (vms_load(tables[i].desc, dev, &in, tables[i].desc->version, &err) == 0) {
		if (vms_save(tables[i].desc, dev, &out, NULL, &err) < 0)
			abort();
		if (tables[i].use)
			tables[i].use(dev);
	}
	buf_free(&out);
	free(dev);
	return 0;
}
