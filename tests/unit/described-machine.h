/*
 * described-machine.h - a machine with all that a description tells, without KVM
 *
 * Two vCPUs, two RAM blocks, a serial port, a disk and a network card, an
 * entry of each kind in the CPUID table, and a few MSRs.  A test changes what
 * it wants between described_new() and the comparison.
 */
#ifndef MINIVMM_TESTS_DESCRIBED_MACHINE_H
#define MINIVMM_TESTS_DESCRIBED_MACHINE_H

#include <stdlib.h>
#include <string.h>

#include "arch/x86/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define DESCRIBED_CPUID_MAX 16
#define DESCRIBED_MSRS      5

struct described {
	struct config cfg;
	struct machine m;
	struct x86 x;
	struct x86_vcpu xv;
	struct vcpu v;
	struct vcpu *vcpus[1];
	struct kvm_cpuid2 *cpuid;  /* owned */
	struct kvm_msr_list *msrs; /* owned */
	struct board_device *serial, *disk, *nic;
	struct vms_desc section;
};

static const struct vms_field described_fields[] = {VMS_LAST};

static const struct arch_ops described_arch = {.describe = x86_describe, .compare = x86_compare};

static inline const char *described_bit(unsigned bit)
{
	return bit == 5 ? "config-wce" : NULL;
}

static inline void described_cpuid(struct described *d)
{
	static const struct kvm_cpuid_entry2 entries[] = {
	    {.function = 0,             .eax = 0xd,                            .ebx = 0x756e6547, .ecx = 0x6c65746e, .edx = 0x49656e69},
	    {.function = 1,        .ecx = F1_ECX_CX16 | F1_ECX_AVX | 1U << 11,                            .edx = F1_EDX_HTT | 1},
	    {.function = 7,             .flags = 1, .ebx = 1U << 5 | 1U << 8},
	    {.function = 7,                         .flags = 1,						  .index = 1, .eax = 1U << 4},
	    {.function = 0xa, .eax = 0x300802,                                      .edx = 3},
	    {.function = 0xd,.flags = 1,.eax = 7, .ecx = 832},
	    {.function = 0xd,                         .flags = 1,						.index = 2, .eax = 256, .ebx = 576},
	    {.function = 0x40000001,                 .eax = 1U << 4 | 1U << 5                },
	    {.function = 0x80000001,                         .ecx = F81_ECX_CMP_LEGACY,										      .edx = F81_EDX_LM},
	    {.function = 0x80000008,                         .eax = 48 << 8 | 46                                               },
	};

	d->cpuid =
	    xcalloc(1, sizeof(*d->cpuid) + DESCRIBED_CPUID_MAX * sizeof(d->cpuid->entries[0]));
	d->cpuid->nent = ARRAY_LEN(entries);
	memcpy(d->cpuid->entries, entries, sizeof(entries));
	d->xv.cpuid = d->cpuid;
	(void)strcpy(d->x.model.name, "qemu64");
	d->x.model.features[FEAT_KVM] = 1U << 4 | 1U << 5;
	d->x.model.pmu_gp = 8;
}

static inline struct kvm_cpuid_entry2 *described_leaf(struct described *d, uint32_t leaf,
						      uint32_t subleaf)
{
	return &d->cpuid->entries[cpuid_find(d->cpuid, leaf, subleaf) - d->cpuid->entries];
}

static inline void described_msrs(struct described *d)
{
	static const uint32_t list[DESCRIBED_MSRS] = {0xc0000081, 0x10, 0x4b564d03, 0x4b564d02,
						      0x34};

	d->msrs = xcalloc(1, sizeof(*d->msrs) + sizeof(list));
	d->msrs->nmsrs = DESCRIBED_MSRS;
	memcpy(d->msrs->indices, list, sizeof(list));
	x86_msrs_take_list(&d->x, d->msrs);
}

static inline void described_board(struct described *d)
{
	struct board *b = &d->m.board;

	(void)board_add(b, BOARD_FW_CFG, "fw_cfg");
	d->serial = board_add(b, BOARD_SERIAL, "serial");
	d->serial->base = BOARD_PORT_SERIAL;
	d->serial->gsi = BOARD_GSI_SERIAL;
	d->disk = board_add(b, BOARD_VIRTIO_MMIO, "virtio-blk");
	(void)strcpy(d->disk->id, "root");
	d->disk->slot = 7;
	d->disk->feature_name = described_bit;
	board_prop(d->disk, "capacity", "2048");
	board_prop(d->disk, "features", "0x100000060");
	d->nic = board_add(b, BOARD_VIRTIO_MMIO, "virtio-net");
	d->nic->slot = 6;
	board_prop(d->nic, "mac", "52:54:00:12:34:56");
}

static inline struct described *described_new(void)
{
	static const struct ram_backend anon = {.kind = RAM_ANONYMOUS, .fd = -1};
	struct described *d = NEW(struct described);
	struct machine *m = &d->m;

	d->cfg = (struct config){
	    .cpus = 2, .cores = 2, .acpi = true, .pic = true, .pit = true, .rtc = true};
	m->cfg = &d->cfg;
	m->kvm_fd = m->vm_fd = -1;
	m->arch = &described_arch;
	m->arch_state = &d->x;
	d->x.m = m;
	d->v.arch = &d->xv;
	d->vcpus[0] = &d->v;
	m->vcpus = d->vcpus;
	m->n_vcpus = 1;
	pthread_mutex_init(&m->lock, NULL);
	vms_registry_init(&m->vmstate);
	memory_init(&m->mem, -1);
	(void)memory_add_block(&m->mem, "microvm.ram", 2 * MiB, &anon, NULL);
	(void)memory_add_block(&m->mem, "pc.bios", 64 * KiB, &anon, NULL);
	described_board(d);
	d->section = (struct vms_desc){
	    .name = "serial", .version = 3, .min_version = 2, .fields = described_fields};
	vms_register(&m->vmstate, VMS_RANK_SERIAL, "serial", 0, -1, &d->section, d);
	described_cpuid(d);
	described_msrs(d);
	return d;
}

static inline void described_free(struct described *d)
{
	x86_msrs_fini(&d->x);
	free(d->msrs);
	free(d->cpuid);
	vms_registry_fini(&d->m.vmstate);
	memory_fini(&d->m.mem);
	pthread_mutex_destroy(&d->m.lock);
	free(d);
}

#endif
