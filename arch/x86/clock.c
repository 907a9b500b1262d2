/*
 * clock.c - the clocks of a machine that stops and goes on, here or elsewhere
 *
 * At a stop the TSC of every vCPU and kvmclock are read, all at once, so that
 * they belong to the same moment.  At the next start, in this order: TSC
 * frequency (already set with the other state), TSC, LAPIC deadline (it is a
 * TSC value), kvmclock, then run.
 *
 * A guest that is only paused and goes on here keeps its TSC: it ran on, as
 * it does on hardware that was held by its firmware.  kvmclock is set back to
 * where it stopped and each vCPU is told that it was paused, so that its
 * watchdogs do not bark.  After a reset or a load the TSC is "held": the
 * guest's value waits in the state until the start, so that time between the
 * load and the start does not count either.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/internal.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/machine.h"
#include "vmm/vmstate.h"

static void read_kvmclock(struct machine *m, struct x86_clock *c)
{
	struct kvm_clock_data data;

	memset(&data, 0, sizeof(data));
	if (ioctl(m->vm_fd, KVM_GET_CLOCK, &data) < 0) {
		log_warn("KVM does not tell its clock: %s", err_text(errno));
		return;
	}
	c->clock_ns = data.clock;
	c->clock_held = true;
}

void x86_clock_stopped(struct machine *m)
{
	struct x86 *x = m->arch_state;
	struct err err = {0};

	for (unsigned i = 0; i < m->n_vcpus && !x->clock.tsc_held; i++)
		if (x86_msrs_fetch(x, x86_vcpu(m->vcpus[i]), MSR_TSC, &err) < 0)
			log_warn("%s", err.msg);
	if (!x->clock.clock_held)
		read_kvmclock(m, &x->clock);
	x->clock.clock_is_reliable = x->have_reliable_clock;
	if (irqchip_pit_hold(m, &x->irqchip, &err) < 0)
		log_warn("%s", err.msg);
}

/* TSC of all, then the deadlines: vCPUs whose TSCs agree must get them close to each other. */
static void release_tsc(struct machine *m, struct x86 *x)
{
	static const unsigned order[] = {MSR_TSC, MSR_DEADLINE};
	struct err err = {0};

	for (unsigned step = 0; step < 2; step++)
		for (unsigned i = 0; i < m->n_vcpus; i++)
			if (x86_msrs_push(x, x86_vcpu(m->vcpus[i]), order[step], &err) < 0)
				log_warn("%s", err.msg);
	x->clock.tsc_held = false;
}

static void release_kvmclock(struct machine *m, struct x86 *x)
{
	struct kvm_clock_data data;

	memset(&data, 0, sizeof(data));
	data.clock = x->clock.clock_ns;
	if (ioctl(m->vm_fd, KVM_SET_CLOCK, &data) < 0)
		log_warn("KVM refuses to set its clock: %s", err_text(errno));
	x->clock.clock_held = false;
	/* Refused for a vCPU whose guest does not use kvmclock, which is fine. */
	for (unsigned i = 0; i < m->n_vcpus; i++)
		(void)ioctl(m->vcpus[i]->fd, KVM_KVMCLOCK_CTRL, 0);
}

void x86_clock_starting(struct machine *m)
{
	struct x86 *x = m->arch_state;
	struct err err = {0};

	if (x->clock.tsc_held)
		release_tsc(m, x);
	if (x->clock.clock_held)
		release_kvmclock(m, x);
	if (irqchip_pit_release(m, &x->irqchip, &err) < 0)
		log_warn("%s", err.msg);
}

static int clock_pre_load(void *dev, struct err *err)
{
	struct x86_clock *c = dev;

	(void)err;
	c->clock_is_reliable = false;
	return 0;
}

static int clock_post_load(void *dev, uint32_t version, struct err *err)
{
	struct x86_clock *c = dev;

	(void)version;
	(void)err;
	c->clock_held = true;
	return 0;
}

static const struct vms_field reliable_fields[] = {
    VMS_BOOL(struct x86_clock, clock_is_reliable, "clock_is_reliable"),
    VMS_LAST,
};
static const struct vms_desc reliable_desc = {.name = "kvmclock/clock_is_reliable",
					      .version = 1,
					      .min_version = 1,
					      .fields = reliable_fields};
static const struct vms_desc *const clock_subs[] = {&reliable_desc, NULL};

static const struct vms_field clock_fields[] = {
    VMS_U64(struct x86_clock, clock_ns, "clock"),
    VMS_LAST,
};

const struct vms_desc kvmclock_vmstate = {
    .name = "kvmclock",
    .version = 1,
    .min_version = 1,
    .fields = clock_fields,
    .subs = clock_subs,
    .pre_load = clock_pre_load,
    .post_load = clock_post_load,
};
