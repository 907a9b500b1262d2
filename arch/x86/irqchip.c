/*
 * irqchip.c - IOAPIC, 8259 pair and TPR helper: KVM's structs to the stream's and back
 *
 * irqchip_in_kvm: the chips run in the kernel.  fetch reads their registers
 * into the structs over which the state tables stand; push writes them back,
 * after a reset or a load.  The 8254 is in pit.c, for its times need
 * translation.  The tables are those of irqchip_split (irqchip-split.c) too.
 */
#include "arch/x86/irqchip.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define REDIRECTION_RESET 0x10000 /* masked */

/*
 * KVM's own routing of a new irqchip is this board's (machine-microvm 1.4):
 * GSI n drives IOAPIC pin n, and PIC pin n for n < 16.  It is not replaced.
 */
static int kvm_create(struct machine *m, struct irqchip *c, struct err *err)
{
	struct kvm_pit_config pit = {0}; /* no speaker: no device answers port 0x61 */

	if (ioctl(m->vm_fd, KVM_CREATE_IRQCHIP) < 0)
		return err_set(err, errno, "KVM cannot make its interrupt controllers: %s",
			       err_text(errno));
	if (c->have_pit && ioctl(m->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
		return err_set(err, errno, "KVM cannot make its interval timer: %s",
			       err_text(errno));
	return 0;
}

int irqchip_create(struct machine *m, struct irqchip *c, struct err *err)
{
	int ret;

	c->ops = m->cfg->split_irqchip ? &irqchip_split : &irqchip_in_kvm;
	c->have_pic = m->cfg->pic;
	c->have_pit = m->cfg->pit;
	c->n_ioapics = m->cfg->ioapic2 ? 2 : 1;
	ret = c->ops->create(m, c, err);
	if (ret < 0)
		return ret;
	for (unsigned i = 0; i < c->n_ioapics; i++)
		vms_register(&m->vmstate, VMS_RANK_IOAPIC, "ioapic", i, -1, &ioapic_vmstate,
			     &c->ioapic[i]);
	if (c->have_pic) {
		vms_register(&m->vmstate, VMS_RANK_PIC, "i8259", 0, 0x20, &pic_vmstate, &c->pic[0]);
		vms_register(&m->vmstate, VMS_RANK_PIC, "i8259", 1, 0xa0, &pic_vmstate, &c->pic[1]);
	}
	if (c->have_pit)
		vms_register(&m->vmstate, VMS_RANK_PIT, "i8254", 0, 0x40, &pit_vmstate, &c->pit);
	return 0;
}

void irqchip_destroy(struct irqchip *c)
{
	if (c->ops && c->ops->destroy)
		c->ops->destroy(c);
}

void irqchip_reset(struct irqchip *c)
{
	memset(&c->ioapic, 0, sizeof(c->ioapic));
	for (unsigned i = 0; i < IOAPIC_MAX * IOAPIC_PINS; i++)
		c->ioapic[i / IOAPIC_PINS].ioredtbl[i % IOAPIC_PINS] = REDIRECTION_RESET;
	memset(c->pic, 0, sizeof(c->pic));
	memset(&c->pit, 0, sizeof(c->pit));
	for (unsigned i = 0; i < 3; i++)
		c->pit.channels[i] =
		    (struct pit_channel){.count = 0x10000, .mode = 3, .gate = i != 2};
	c->pit.irq_timer = -1;
}

#define EACH_PIC_FIELD(X)                                                                          \
	X(last_irr)                                                                                \
	X(irr)                                                                                     \
	X(imr)                                                                                     \
	X(isr)                                                                                     \
	X(priority_add)                                                                            \
	X(irq_base)                                                                                \
	X(read_reg_select)                                                                         \
	X(poll)                                                                                    \
	X(special_mask)                                                                            \
	X(init_state)                                                                              \
	X(auto_eoi)                                                                                \
	X(rotate_on_auto_eoi)                                                                      \
	X(special_fully_nested_mode)                                                               \
	X(init4)                                                                                   \
	X(elcr)

static void pic_from_kvm(struct pic_state *p, const struct kvm_pic_state *k)
{
#define X(f) p->f = k->f;
	EACH_PIC_FIELD(X)
#undef X
	p->single_mode = 0; /* KVM has no such mode */
}

static void pic_to_kvm(const struct pic_state *p, struct kvm_irqchip *chip, unsigned id,
		       uint8_t elcr_mask)
{
	struct kvm_pic_state *k = &chip->chip.pic;

	memset(chip, 0, sizeof(*chip));
	chip->chip_id = id;
#define X(f) k->f = p->f;
	EACH_PIC_FIELD(X)
#undef X
	k->elcr_mask = elcr_mask;
}

static int get_chip(struct machine *m, struct kvm_irqchip *chip, unsigned id, const char *name,
		    struct err *err)
{
	memset(chip, 0, sizeof(*chip));
	chip->chip_id = id;
	if (ioctl(m->vm_fd, KVM_GET_IRQCHIP, chip) < 0)
		return err_set(err, errno, "KVM does not tell the state of the %s: %s", name,
			       err_text(errno));
	return 0;
}

static int set_chip(struct machine *m, struct kvm_irqchip *chip, const char *name, struct err *err)
{
	if (ioctl(m->vm_fd, KVM_SET_IRQCHIP, chip) < 0)
		return err_set(err, errno, "KVM refuses the state of the %s: %s", name,
			       err_text(errno));
	return 0;
}

static int fetch_pics(struct machine *m, struct irqchip *c, struct err *err)
{
	struct kvm_irqchip chip;

	for (unsigned i = 0; i < 2; i++) {
		int ret = get_chip(m, &chip, KVM_IRQCHIP_PIC_MASTER + i, "8259", err);

		if (ret < 0)
			return ret;
		pic_from_kvm(&c->pic[i], &chip.chip.pic);
	}
	return 0;
}

static int kvm_fetch(struct machine *m, struct irqchip *c, struct err *err)
{
	struct ioapic_state *ioapic = &c->ioapic[0];
	struct kvm_irqchip chip;
	int ret = get_chip(m, &chip, KVM_IRQCHIP_IOAPIC, "IOAPIC", err);

	if (ret < 0)
		return ret;
	ioapic->id = (uint8_t)chip.chip.ioapic.id;
	ioapic->ioregsel = (uint8_t)chip.chip.ioapic.ioregsel;
	ioapic->irr = chip.chip.ioapic.irr;
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		ioapic->ioredtbl[i] = chip.chip.ioapic.redirtbl[i].bits;
	ret = fetch_pics(m, c, err);
	if (ret < 0)
		return ret;
	return c->pit_held ? 0 : irqchip_pit_hold(m, c, err);
}

static int kvm_push(struct machine *m, struct irqchip *c, struct err *err)
{
	const struct ioapic_state *ioapic = &c->ioapic[0];
	struct kvm_irqchip chip;
	int ret;

	for (unsigned i = 0; i < 2; i++) {
		pic_to_kvm(&c->pic[i], &chip, KVM_IRQCHIP_PIC_MASTER + i,
			   i == 0 ? PIC_ELCR_MASTER : PIC_ELCR_SLAVE);
		ret = set_chip(m, &chip, "8259", err);
		if (ret < 0)
			return ret;
	}
	memset(&chip, 0, sizeof(chip));
	chip.chip_id = KVM_IRQCHIP_IOAPIC;
	chip.chip.ioapic.base_address = BOARD_IOAPIC_BASE;
	chip.chip.ioapic.id = ioapic->id;
	chip.chip.ioapic.ioregsel = ioapic->ioregsel;
	chip.chip.ioapic.irr = ioapic->irr;
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		chip.chip.ioapic.redirtbl[i].bits = ioapic->ioredtbl[i];
	ret = set_chip(m, &chip, "IOAPIC", err);
	c->pit_held = c->have_pit;
	return ret;
}

const struct irqchip_ops irqchip_in_kvm = {
    .create = kvm_create,
    .fetch = kvm_fetch,
    .push = kvm_push,
    .stopped = irqchip_pit_hold,
    .starting = irqchip_pit_release,
};

/* ---- ioapic ---- */

static const struct vms_field ioapic_fields[] = {
    VMS_U8(struct ioapic_state, id, "id"),
    VMS_U8(struct ioapic_state, ioregsel, "ioregsel"),
    VMS_UNUSED("unused", 8, .since = 2),
    VMS_U32(struct ioapic_state, irr, "irr", .since = 2),
    VMS_ARRAY(uint64_t, struct ioapic_state, ioredtbl, "ioredtbl"),
    VMS_LAST,
};

const struct vms_desc ioapic_vmstate = {
    .name = "ioapic",
    .version = 3,
    .min_version = 1,
    .fields = ioapic_fields,
};

/* ---- i8259 ---- */

#define PIC(f) VMS_U8(struct pic_state, f, #f)
static const struct vms_field pic_fields[] = {
    PIC(last_irr),
    PIC(irr),
    PIC(imr),
    PIC(isr),
    PIC(priority_add),
    PIC(irq_base),
    PIC(read_reg_select),
    PIC(poll),
    PIC(special_mask),
    PIC(init_state),
    PIC(auto_eoi),
    PIC(rotate_on_auto_eoi),
    PIC(special_fully_nested_mode),
    PIC(init4),
    PIC(single_mode),
    PIC(elcr),
    VMS_LAST,
};

const struct vms_desc pic_vmstate = {
    .name = "i8259",
    .version = 1,
    .min_version = 1,
    .fields = pic_fields,
};

/* ---- kvm-tpr-opt ---- */

#define TPR(m, n)  VMS_U32(struct tpr_opt_state, m, n)
#define HANDLER(m) VMS_U32(struct tpr_handlers, m, #m)

static const struct vms_field tpr_handlers_fields[] = {
    HANDLER(set_tpr),
    HANDLER(set_tpr_eax),
    VMS_ARRAY(uint32_t, struct tpr_handlers, get_tpr, "get_tpr"),
    HANDLER(get_tpr_stack),
    VMS_LAST,
};
static const struct vms_desc tpr_handlers_desc = {
    .name = "kvmvapic-handlers", .version = 1, .min_version = 1, .fields = tpr_handlers_fields};

/* On the wire a struct of its own; here its members stand in the one struct. */
static const struct vms_field tpr_rom_fields[] = {
    VMS_UNUSED("unused", 8),
    TPR(vaddr, "vaddr"),
    TPR(fixup_start, "fixup_start"),
    TPR(fixup_end, "fixup_end"),
    TPR(vapic_vaddr, "vapic_vaddr"),
    TPR(vapic_size, "vapic_size"),
    TPR(vcpu_shift, "vcpu_shift"),
    TPR(rom_tpr_addr, "real_tpr_addr"),
    VMS_STRUCT(struct tpr_opt_state, up, "up", &tpr_handlers_desc),
    VMS_STRUCT(struct tpr_opt_state, mp, "mp", &tpr_handlers_desc),
    VMS_LAST,
};
static const struct vms_desc tpr_rom_desc = {
    .name = "kvmvapic-guest-rom", .version = 1, .min_version = 1, .fields = tpr_rom_fields};

static int tpr_post_load(void *dev, uint32_t version, struct err *err)
{
	const struct tpr_opt_state *t = dev;

	(void)version;
	if (t->state != 0)
		return err_set(err, ENOTSUP,
			       "the guest's accesses to its task priority register "
			       "were patched (state %u); this machine cannot go on "
			       "with that",
			       t->state);
	return 0;
}

static const struct vms_field tpr_fields[] = {
    {.name = "rom_state",
     .kind = VMS_STRUCT,
     .size = sizeof(struct tpr_opt_state),
     .sub = &tpr_rom_desc},
    TPR(state, "state"),
    TPR(real_tpr_addr, "real_tpr_addr"),
    TPR(rom_state_vaddr, "rom_state_vaddr"),
    TPR(vapic_paddr, "vapic_paddr"),
    TPR(rom_state_paddr, "rom_state_paddr"),
    VMS_LAST,
};

const struct vms_desc tpr_opt_vmstate = {
    .name = "kvm-tpr-opt",
    .version = 1,
    .min_version = 1,
    .fields = tpr_fields,
    .post_load = tpr_post_load,
};
