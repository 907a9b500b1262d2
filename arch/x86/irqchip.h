/*
 * irqchip.h - the interrupt controllers but the local APICs, and the timer:
 * IOAPICs, the two 8259, the 8254; and the (always idle) TPR patching helper
 *
 * KVM emulates them (kernel_irqchip=on), or they are here (split): that is a
 * choice between two rows of functions, irqchip_ops.  The sections are the
 * same.
 *
 * Sections ioapic v3, i8259 v1, i8254 v3, kvm-tpr-opt v1 (machine-microvm
 * 3.5).  Machine lock; vCPUs parked for everything that uses KVM.
 */
#ifndef MINIVMM_ARCH_X86_IRQCHIP_H
#define MINIVMM_ARCH_X86_IRQCHIP_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct machine;
struct vms_desc;
struct irqchip;
struct kvm_pit_state2;
struct split;
struct vcpu;

#define IOAPIC_PINS 24
#define IOAPIC_MAX  2

#define PIC_ELCR_MASTER 0xf8 /* lines that may be level-triggered */
#define PIC_ELCR_SLAVE  0xde

struct ioapic_state {
	uint8_t id, ioregsel;
	uint32_t irr;
	uint64_t ioredtbl[IOAPIC_PINS];
};

struct pic_state {
	uint8_t last_irr, irr, imr, isr, priority_add, irq_base, read_reg_select, poll,
	    special_mask, init_state, auto_eoi, rotate_on_auto_eoi, special_fully_nested_mode,
	    init4, single_mode, elcr;
};

struct pit_channel {
	int32_t count;
	uint16_t latched_count;
	uint8_t count_latched, status_latched, status, read_state, write_state, write_latch,
	    rw_mode, mode, bcd, gate;
	int64_t count_load_time, next_transition_time; /* virtual-clock ns */
};

struct pit_state {
	uint32_t irq_disabled;
	struct pit_channel channels[3];
	int64_t irq_timer; /* channel 0's next transition once more, or -1 */
};

struct tpr_handlers {
	uint32_t set_tpr, set_tpr_eax, get_tpr[8], get_tpr_stack;
};

struct tpr_opt_state {
	uint32_t vaddr, fixup_start, fixup_end, vapic_vaddr, vapic_size, vcpu_shift, rom_tpr_addr;
	struct tpr_handlers up, mp;
	uint32_t state, real_tpr_addr, rom_state_vaddr, vapic_paddr, rom_state_paddr;
};

struct irqchip_ops {
	int (*create)(struct machine *m, struct irqchip *c, struct err *err);
	void (*destroy)(struct irqchip *c); /* may be NULL */
	/* Between the state and the controllers; push after the vCPUs' own. */
	int (*fetch)(struct machine *m, struct irqchip *c, struct err *err);
	int (*push)(struct machine *m, struct irqchip *c, struct err *err);
	/* The machine has stopped, or is about to run. */
	int (*stopped)(struct machine *m, struct irqchip *c, struct err *err);
	int (*starting)(struct machine *m, struct irqchip *c, struct err *err);
	/* Of arch_ops; NULL: as there. */
	void (*irq_line)(struct machine *m, unsigned gsi, bool level);
	void (*before_run)(struct vcpu *v);
};
extern const struct irqchip_ops irqchip_in_kvm, irqchip_split;

struct irqchip {
	/* set at creation and then constant */
	const struct irqchip_ops *ops;
	bool have_pic, have_pit;
	unsigned n_ioapics;
	struct split *split; /* owned; NULL: the controllers are KVM's */
	/* machine lock; split: and split's own lock */
	struct ioapic_state ioapic[IOAPIC_MAX];
	struct pic_state pic[2];
	struct pit_state pit;
	/*
	 * KVM's PIT has no notion of a stopped machine: its state is taken at
	 * the stop and given back, with its times moved, at the next start.  Not split.
	 */
	bool pit_held;
	struct tpr_opt_state tpr_opt;
};

extern const struct vms_desc ioapic_vmstate;  /* over struct ioapic_state */
extern const struct vms_desc pic_vmstate;     /* over struct pic_state */
extern const struct vms_desc pit_vmstate;     /* over struct pit_state */
extern const struct vms_desc tpr_opt_vmstate; /* over struct tpr_opt_state */

/* Make the controllers and register their sections, all but kvm-tpr-opt. */
int irqchip_create(struct machine *m, struct irqchip *c, struct err *err);
void irqchip_destroy(struct irqchip *c);
/* Power-on state, in *c only. */
void irqchip_reset(struct irqchip *c);
int irqchip_pit_hold(struct machine *m, struct irqchip *c, struct err *err);
int irqchip_pit_release(struct machine *m, struct irqchip *c, struct err *err);

/* Pure: 'offset_ns' is virtual minus CLOCK_MONOTONIC, which KVM's times are on. */
void pit_from_kvm(struct pit_state *p, const struct kvm_pit_state2 *k, int64_t offset_ns);
void pit_to_kvm(const struct pit_state *p, struct kvm_pit_state2 *k, int64_t offset_ns);

/* The vCPU has left with KVM_EXIT_IOAPIC_EOI: 0, or -ENOTSUP: the controllers are KVM's. */
int x86_split_eoi(struct vcpu *v);

#endif
