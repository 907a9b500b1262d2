/*
 * Sections of the processor side: any bytes load or fail cleanly; what loads
 * can be turned into KVM's structures and is saved again.  The first byte
 * chooses the table.
 */
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/internal.h"
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

static void use_pit(void *dev)
{
	struct kvm_pit_state2 k;

	pit_to_kvm(dev, &k, -5000000);
	pit_from_kvm(dev, &k, INT64_MAX);
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
    {&cpu_vmstate,        sizeof(struct cpu_state),     use_cpu },
    {&cpu_common_vmstate, sizeof(struct cpu_common),    NULL    },
    {&apic_vmstate,       sizeof(struct apic_state),    use_apic},
    {&tpr_opt_vmstate,    sizeof(struct tpr_opt_state), NULL    },
    {&ioapic_vmstate,     sizeof(struct ioapic_state),  NULL    },
    {&pic_vmstate,        sizeof(struct pic_state),     NULL    },
    {&pit_vmstate,        sizeof(struct pit_state),     use_pit },
    {&kvmclock_vmstate,   sizeof(struct x86_clock),     NULL    },
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
