/*
 * lapic.h - the local APIC: section "apic" v3, and KVM's page of registers
 */
#ifndef MINIVMM_ARCH_X86_LAPIC_H
#define MINIVMM_ARCH_X86_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

struct kvm_lapic_state;
struct vms_desc;

#define APIC_BASE_RESET  0xfee00800U /* enabled */
#define APIC_BASE_BSP    (1U << 8)
#define APIC_BASE_X2APIC (1U << 10)

/* machine-microvm 3.5; times are virtual-clock ns. */
struct apic_state {
	uint32_t apicbase;
	uint8_t id, arb_id, tpr;
	uint32_t spurious_vec;
	uint8_t log_dest, dest_mode;
	uint32_t isr[8], tmr[8], irr[8], lvt[6];
	uint32_t esr, icr[2], divide_conf;
	int32_t count_shift;
	uint32_t initial_count;
	int64_t initial_count_load_time, next_time, timer_expiry;
	int32_t sipi_vector, wait_for_sipi; /* a subsection: 0 under KVM */
};

extern const struct vms_desc apic_vmstate; /* over struct apic_state */

void apic_state_reset(struct apic_state *a, unsigned id, bool bsp);
/*
 * Between the registers of KVM_GET_LAPIC and the state; pure.  'now_ns' is the
 * virtual clock: the timer's current count is told by when it was loaded.
 * 'id' is the initial APIC id.  apicbase is taken as it stands in *a.
 */
void apic_from_kvm(struct apic_state *a, const struct kvm_lapic_state *page, int64_t now_ns);
void apic_to_kvm(const struct apic_state *a, struct kvm_lapic_state *page, unsigned id,
		 int64_t now_ns);

#endif
