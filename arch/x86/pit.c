/*
 * pit.c - the 8254 that KVM emulates: section i8254 v3, and its times
 *
 * KVM tells when a counter was loaded on the host's CLOCK_MONOTONIC; the
 * stream tells it on the virtual clock, which stops with the machine.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/irqchip.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

#define PIT_HZ     1193182
#define NS_PER_SEC 1000000000
#define COUNT_MAX  0x10000

static int64_t add_ns(int64_t a, int64_t b)
{
	int64_t sum;

	/* A time from a stream may be anything; one out of range is as good as the other. */
	return __builtin_add_overflow(a, b, &sum) ? 0 : sum;
}

/* When channel 0's output changes next after it was loaded. */
static int64_t next_transition(const struct pit_channel *c)
{
	int64_t ticks = c->count;

	if (c->mode == 3)
		ticks = (ticks + 1) / 2;
	return add_ns(c->count_load_time, ticks * NS_PER_SEC / PIT_HZ);
}

void pit_from_kvm(struct pit_state *p, const struct kvm_pit_state2 *k, int64_t offset_ns)
{
	p->irq_disabled = k->flags & KVM_PIT_FLAGS_HPET_LEGACY ? 1 : 0;
	for (unsigned i = 0; i < ARRAY_LEN(p->channels); i++) {
		const struct kvm_pit_channel_state *kc = &k->channels[i];
		struct pit_channel *c = &p->channels[i];

		c->count = (int32_t)kc->count;
		c->latched_count = kc->latched_count;
		c->count_latched = kc->count_latched;
		c->status_latched = kc->status_latched;
		c->status = kc->status;
		c->read_state = kc->read_state;
		c->write_state = kc->write_state;
		c->write_latch = kc->write_latch;
		c->rw_mode = kc->rw_mode;
		c->mode = kc->mode;
		c->bcd = kc->bcd;
		c->gate = kc->gate;
		c->count_load_time = add_ns(kc->count_load_time, offset_ns);
		c->next_transition_time = 0;
	}
	p->channels[0].next_transition_time = next_transition(&p->channels[0]);
	p->irq_timer = p->channels[0].next_transition_time;
}

void pit_to_kvm(const struct pit_state *p, struct kvm_pit_state2 *k, int64_t offset_ns)
{
	memset(k, 0, sizeof(*k));
	k->flags = p->irq_disabled ? KVM_PIT_FLAGS_HPET_LEGACY : 0;
	for (unsigned i = 0; i < ARRAY_LEN(p->channels); i++) {
		const struct pit_channel *c = &p->channels[i];
		struct kvm_pit_channel_state *kc = &k->channels[i];

		kc->count = (uint32_t)c->count;
		kc->latched_count = c->latched_count;
		kc->count_latched = c->count_latched;
		kc->status_latched = c->status_latched;
		kc->status = c->status;
		kc->read_state = c->read_state;
		kc->write_state = c->write_state;
		kc->write_latch = c->write_latch;
		kc->rw_mode = c->rw_mode;
		kc->mode = c->mode;
		kc->bcd = c->bcd;
		kc->gate = c->gate;
		kc->count_load_time = add_ns(c->count_load_time, -offset_ns);
	}
}

static int64_t clock_offset(const struct machine *m)
{
	return vclock_now_ns(&m->vclock) - host_now_ns();
}

int irqchip_pit_hold(struct machine *m, struct irqchip *c, struct err *err)
{
	struct kvm_pit_state2 k;

	if (!c->have_pit || c->pit_held)
		return 0;
	memset(&k, 0, sizeof(k));
	if (ioctl(m->vm_fd, KVM_GET_PIT2, &k) < 0)
		return err_set(err, errno, "KVM does not tell the state of the 8254: %s",
			       err_text(errno));
	pit_from_kvm(&c->pit, &k, clock_offset(m));
	c->pit_held = true;
	return 0;
}

int irqchip_pit_release(struct machine *m, struct irqchip *c, struct err *err)
{
	struct kvm_pit_state2 k;

	if (!c->have_pit || !c->pit_held)
		return 0;
	pit_to_kvm(&c->pit, &k, clock_offset(m));
	if (ioctl(m->vm_fd, KVM_SET_PIT2, &k) < 0)
		return err_set(err, errno, "KVM refuses the state of the 8254: %s",
			       err_text(errno));
	c->pit_held = false;
	return 0;
}

#define CH(k, m) k(struct pit_channel, m, #m)
static const struct vms_field channel_fields[] = {
    CH(VMS_S32, count),
    CH(VMS_U16, latched_count),
    CH(VMS_U8, count_latched),
    CH(VMS_U8, status_latched),
    CH(VMS_U8, status),
    CH(VMS_U8, read_state),
    CH(VMS_U8, write_state),
    CH(VMS_U8, write_latch),
    CH(VMS_U8, rw_mode),
    CH(VMS_U8, mode),
    CH(VMS_U8, bcd),
    CH(VMS_U8, gate),
    CH(VMS_S64, count_load_time),
    CH(VMS_S64, next_transition_time),
    VMS_LAST,
};
static const struct vms_desc channel_desc = {
    .name = "pit channel", .version = 2, .min_version = 2, .fields = channel_fields};

static int pit_post_load(void *dev, uint32_t version, struct err *err)
{
	const struct pit_state *p = dev;

	(void)version;
	/* KVM divides by the count and indexes by the states: only what the chip can hold. */
	for (unsigned i = 0; i < ARRAY_LEN(p->channels); i++) {
		const struct pit_channel *c = &p->channels[i];

		if (c->count < 0 || c->count > COUNT_MAX)
			return err_set(err, EINVAL,
				       "count %d of channel %u is none of a 16 bit counter",
				       c->count, i);
		if (c->mode > 7 || c->rw_mode > 3 || c->read_state > 4 || c->write_state > 4)
			return err_set(err, EINVAL, "channel %u is in no state that the chip knows",
				       i);
	}
	return 0;
}

static const struct vms_field pit_fields[] = {
    VMS_U32(struct pit_state, irq_disabled, "channels[0].irq_disabled", .since = 3),
    VMS_STRUCTS(struct pit_state, channels, "channels", &channel_desc),
    VMS_S64(struct pit_state, irq_timer, "channels[0].next_transition_time"),
    VMS_LAST,
};

const struct vms_desc pit_vmstate = {
    .name = "i8254",
    .version = 3,
    .min_version = 2,
    .fields = pit_fields,
    .post_load = pit_post_load,
};
