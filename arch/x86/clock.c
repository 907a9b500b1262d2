/*
 * clock.c - the clocks of a machine that stops and goes on, here or elsewhere
 *
 * While a machine is stopped no time passes for its guest: TSC and kvmclock
 * are read at the stop and "held", the values waiting in the state, and both
 * are set to them at the next start, in this order: TSC frequency (already set
 * with the other state), TSC, LAPIC deadline (it is a TSC value), kvmclock,
 * then run.
 *
 * They must be held together.  A guest computes kvmclock from the TSC and a
 * page that KVM fills when that vCPU next enters the guest; the vDSO on every
 * vCPU reads the page of vCPU 0.  If only one of the two were set back, one
 * vCPU would run with the page of the old time until the other is entered, and
 * the guest's clock would jump by the length of the stop, and back.
 *
 * A TSC is best set through its offset (KVM_VCPU_TSC_OFFSET): a plain write
 * within a second of what KVM expects is taken for an attempt to synchronise
 * vCPUs and changes nothing.  Where KVM has no offsets, the TSC of a guest
 * that is only paused is left to run on.
 *
 * A guest that was loaded from a file may be asked to go on as if it had run
 * meanwhile (x86_clock_advance): when the machine starts, kvmclock and TSCs, which
 * are held then, are both put forward by the time since they were read.  A LAPIC
 * deadline is a TSC value, so that one that has passed fires at once.  When the
 * clock was read, KVM says (KVM_CLOCK_REALTIME, Linux 5.16), else the host's time of
 * day is read beside it; it travels in the description of a saved machine, with the
 * clock's value, because QEMU knows no field for it.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/internal.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
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
	c->realtime_ns = data.flags & KVM_CLOCK_REALTIME ? data.realtime : host_realtime_ns();
	c->told_clock_ns = c->told_realtime_ns = 0;
	c->clock_held = true;
}

/* ---- TSC ---- */

/* NOLINTNEXTLINE(readability-non-const-parameter): KVM writes there */
static int tsc_offset(const struct vcpu *v, unsigned long req, uint64_t *offset)
{
	struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL,
				       .attr = KVM_VCPU_TSC_OFFSET,
				       .addr = (uint64_t)(uintptr_t)offset};

	return ioctl(v->fd, req, &attr) < 0 ? -errno : 0;
}

/* Some KVMs take an offset and do nothing: one that is set must be there afterwards. */
bool x86_clock_has_tsc_offset(const struct vcpu *v)
{
	uint64_t was, set, is = 0;

	if (tsc_offset(v, KVM_GET_DEVICE_ATTR, &was) < 0)
		return false;
	set = was - 1;
	if (tsc_offset(v, KVM_SET_DEVICE_ATTR, &set) < 0 ||
	    tsc_offset(v, KVM_GET_DEVICE_ATTR, &is) < 0)
		return false;
	(void)tsc_offset(v, KVM_SET_DEVICE_ATTR, &was);
	return is == set;
}

static void fetch_msr(struct x86 *x, unsigned i, unsigned when)
{
	struct err err = {0};

	if (x86_msrs_fetch(x, x86_vcpu(x->m->vcpus[i]), when, &err) < 0)
		log_warn("%s", err.msg);
}

static void push_msr(struct x86 *x, unsigned i, unsigned when)
{
	struct err err = {0};

	if (x86_msrs_push(x, x86_vcpu(x->m->vcpus[i]), when, &err) < 0)
		log_warn("%s", err.msg);
}

/* Read all; those whose offsets agree come out equal, though they are read one after the other. */
static void hold_tsc(struct machine *m, struct x86 *x)
{
	uint64_t first = 0, offset;

	for (unsigned i = 0; i < m->n_vcpus; i++) {
		fetch_msr(x, i, MSR_TSC | MSR_DEADLINE);
		if (!x->have_tsc_offset ||
		    tsc_offset(m->vcpus[i], KVM_GET_DEVICE_ATTR, &offset) < 0)
			continue;
		if (i == 0)
			first = offset;
		else
			x86_vcpu(m->vcpus[i])->cpu.tsc =
			    x86_vcpu(m->vcpus[0])->cpu.tsc + (offset - first);
	}
	x->clock.tsc_held = x->have_tsc_offset;
}

/* Another sender has read them one after the other: what is that close was equal. */
static bool was_equal(const struct cpu_state *a, const struct cpu_state *b)
{
	uint64_t apart = a->tsc > b->tsc ? a->tsc - b->tsc : b->tsc - a->tsc;

	return apart < (uint64_t)MAX(b->tsc_khz, 0) * 1000;
}

static bool release_by_offset(struct machine *m, struct x86 *x)
{
	struct cpu_state *first = &x86_vcpu(m->vcpus[0])->cpu;
	uint64_t now, want = first->tsc, offset;

	/* the host's TSC in the guest's units: what vCPU 0 has, less its offset */
	fetch_msr(x, 0, MSR_TSC);
	now = first->tsc;
	first->tsc = want;
	if (tsc_offset(m->vcpus[0], KVM_GET_DEVICE_ATTR, &offset) < 0)
		return false;
	now -= offset;
	for (unsigned i = 0; i < m->n_vcpus; i++) {
		const struct cpu_state *s = &x86_vcpu(m->vcpus[i])->cpu;

		offset = (was_equal(s, first) ? want : s->tsc) - now;
		if (tsc_offset(m->vcpus[i], KVM_SET_DEVICE_ATTR, &offset) < 0)
			return false;
	}
	return true;
}

/* True when the TSC is known to be what was asked for. */
static bool release_tsc(struct machine *m, struct x86 *x)
{
	bool exact = x->have_tsc_offset && release_by_offset(m, x);

	if (!exact)
		for (unsigned i = 0; i < m->n_vcpus; i++)
			push_msr(x, i, MSR_TSC);
	for (unsigned i = 0; i < m->n_vcpus; i++)
		push_msr(x, i, MSR_DEADLINE);
	x->clock.tsc_held = false;
	return exact;
}

/* ---- kvmclock ---- */

/* How long the guest's TSC has run since it was released, ns. */
static uint64_t since_release_ns(struct machine *m, struct x86 *x)
{
	struct cpu_state *s = &x86_vcpu(m->vcpus[0])->cpu;
	uint64_t start = s->tsc, ran;

	fetch_msr(x, 0, MSR_TSC);
	ran = s->tsc - start;
	s->tsc = start;
	if (s->tsc_khz <= 0 || ran > UINT64_MAX / 1000000)
		return 0;
	return ran * 1000000 / (uint64_t)s->tsc_khz;
}

static void set_kvmclock(struct machine *m, uint64_t ns)
{
	struct kvm_clock_data data;

	memset(&data, 0, sizeof(data));
	data.clock = ns;
	if (ioctl(m->vm_fd, KVM_SET_CLOCK, &data) < 0)
		log_warn("KVM refuses to set its clock: %s", err_text(errno));
}

/*
 * The clock is to stand to the TSC as it did at the stop, or a little ahead:
 * the first try tells how long setting it takes, the second allows for that.
 */
static void release_kvmclock(struct machine *m, struct x86 *x, bool with_tsc)
{
	int64_t took = 0;

	for (unsigned i = 0; i < 2; i++) {
		int64_t start = host_now_ns();
		uint64_t ran = with_tsc ? since_release_ns(m, x) : 0;

		set_kvmclock(m, x->clock.clock_ns + ran + (with_tsc ? (uint64_t)took : 0));
		took = host_now_ns() - start;
	}
	x->clock.clock_held = false;
	/* Refused for a vCPU whose guest does not use kvmclock, which is fine. */
	for (unsigned i = 0; i < m->n_vcpus; i++)
		(void)ioctl(m->vcpus[i]->fd, KVM_KVMCLOCK_CTRL, 0);
}

/* ---- after a load: as if it had run ---- */

uint64_t x86_clock_realtime(const struct x86_clock *c)
{
	if (!c->clock_held)
		return 0;
	return c->told_realtime_ns && c->told_clock_ns == c->clock_ns ? c->told_realtime_ns
								      : c->realtime_ns;
}

uint64_t x86_clock_ticks(uint64_t ns, int64_t tsc_khz)
{
	return tsc_khz > 0 ? (uint64_t)((unsigned __int128)ns * (uint64_t)tsc_khz / 1000000) : 0;
}

int x86_clock_advance(struct machine *m, uint64_t since_ns)
{
	struct x86 *x = m->arch_state;

	x->clock.advance_from_ns = since_ns ? since_ns : x86_clock_realtime(&x->clock);
	return x->clock.advance_from_ns ? 0 : -ENODATA;
}

void x86_clock_put_forward(struct machine *m, uint64_t now_ns)
{
	struct x86 *x = m->arch_state;
	uint64_t from = x->clock.advance_from_ns, ticks;

	x->clock.advance_from_ns = 0;
	if (now_ns < from) {
		log_warn("the guest was saved %" PRIu64 " s later than it is on this host's clock: "
			 "the guest's clock does not go forward",
			 (from - now_ns) / 1000000000);
		return;
	}
	x->clock.clock_ns += now_ns - from;
	if (!x->clock.tsc_held || !m->n_vcpus)
		return;
	ticks = x86_clock_ticks(now_ns - from, x86_vcpu(m->vcpus[0])->cpu.tsc_khz);
	for (unsigned i = 0; i < m->n_vcpus; i++)
		x86_vcpu(m->vcpus[i])->cpu.tsc += ticks;
}

/* ---- stop and start ---- */

void x86_clock_stopped(struct machine *m)
{
	struct x86 *x = m->arch_state;
	struct err err = {0};

	if (!x->clock.tsc_held)
		hold_tsc(m, x);
	if (!x->clock.clock_held)
		read_kvmclock(m, &x->clock);
	x->clock.clock_is_reliable = x->have_reliable_clock;
	if (x->irqchip.ops->stopped(m, &x->irqchip, &err) < 0)
		log_warn("%s", err.msg);
}

void x86_clock_starting(struct machine *m)
{
	struct x86 *x = m->arch_state;
	struct err err = {0};
	bool with_tsc;

	if (x->clock.advance_from_ns && x->clock.clock_held)
		x86_clock_put_forward(m, host_realtime_ns());
	with_tsc = x->clock.tsc_held && m->n_vcpus > 0 && release_tsc(m, x);

	if (x->clock.clock_held)
		release_kvmclock(m, x, with_tsc);
	if (x->irqchip.ops->starting(m, &x->irqchip, &err) < 0)
		log_warn("%s", err.msg);
}

/* ---- section kvmclock ---- */

static int clock_pre_load(void *dev, struct err *err)
{
	struct x86_clock *c = dev;

	(void)err;
	c->clock_is_reliable = false;
	c->realtime_ns = c->advance_from_ns = 0;
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
