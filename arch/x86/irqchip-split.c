/*
 * irqchip-split.c - kernel_irqchip=split: IOAPICs, 8259 pair and 8254 here, the local APICs in KVM
 *
 *     device --line--> 8259 pair --INTR--> vCPU 0
 *         `--line--> IOAPIC --KVM_SIGNAL_MSI--> local APICs
 *                       ^--KVM_EXIT_IOAPIC_EOI----'
 *
 * GSI n drives pin n % 24 of IOAPIC n / 24, and line n of the pair for n < 16
 * (machine-microvm 1.4).  KVM leaves the guest at the end of a level-triggered
 * interrupt if it knows a route with that vector; so every level-triggered pin
 * has a route, masked or not, under its GSI.
 *
 * The pair's interrupt is not queued with KVM_INTERRUPT, for KVM does not tell
 * of one that it has not delivered yet, and a machine that is saved then would
 * lose it.  It is put among the vCPU's events as injected, where it is saved as
 * such.  KVM does not look there when it decides whether a halted vCPU may
 * go on, so that one is set running, too.
 *
 * The news of an end may be lost where a machine is saved between the guest's
 * EOI and the exit that tells of it: ioapic_heal() finds the pins that wait for
 * an interrupt which no local APIC has.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "arch/x86/internal.h"
#include "arch/x86/ioapic.h"
#include "arch/x86/pic.h"
#include "arch/x86/pit-counter.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define PORT_PIC_MASTER 0x20
#define PORT_PIC_SLAVE  0xa0
#define PORT_PIT        0x40
#define PORT_ELCR       0x4d0

#define PIT_LINE     0
#define IOAPIC_BYTES 0x1000
#define VECTOR_FIRST 16 /* below, none can be sent */
#define PENDING_INTR 2U /* in cpu_common's interrupt_request */
#define NS_PER_SEC   1000000000
#define PIT_REST_NS  50000 /* a counter that runs out faster than that is late */
#define PIT_LOOK_NS  3600000000000
#define SPLIT_PINS   ((size_t)IOAPIC_MAX * IOAPIC_PINS)

struct split_ioapic {
	struct split *s;
	unsigned index;
};

struct split {
	/* set at creation and then constant */
	struct machine *m;
	struct irqchip *c;
	struct split_ioapic ioapics[IOAPIC_MAX];
	int pit_fd; /* timerfd; -1: no 8254 */
	struct loop_fd *pit_watch;
	/* machine lock */
	bool running;
	int64_t pit_due; /* channel 0's output rises next, virtual ns; PIT_NEVER */
	/* A leaf; also guards the states of irqchip, which I/O threads change through lines. */
	pthread_mutex_t lock;
	uint32_t lines[IOAPIC_MAX];     /* levels of the pins' inputs */
	bool intr;                      /* the pair's output */
	struct kvm_irq_routing *routes; /* owned: as KVM has them */
};

/* ---- to KVM; split.lock held ---- */

static void send_messages(const struct split *s, unsigned chip, uint32_t pins)
{
	for (; pins; pins &= pins - 1) {
		unsigned pin = (unsigned)__builtin_ctz(pins);
		struct ioapic_message msg = ioapic_message(s->c->ioapic[chip].ioredtbl[pin]);
		struct kvm_msi msi = {.address_lo = msg.address, .data = msg.data};

		if (s->m->vm_fd >= 0)
			(void)ioctl(s->m->vm_fd, KVM_SIGNAL_MSI, &msi);
	}
}

static size_t routes_bytes(const struct kvm_irq_routing *r)
{
	return sizeof(*r) + r->nr * sizeof(r->entries[0]);
}

static void build_routes(const struct split *s, struct kvm_irq_routing *r)
{
	for (unsigned gsi = 0; gsi < s->c->n_ioapics * IOAPIC_PINS; gsi++) {
		uint64_t e = s->c->ioapic[gsi / IOAPIC_PINS].ioredtbl[gsi % IOAPIC_PINS];
		struct ioapic_message msg = ioapic_message(e);

		if (!ioapic_is_level(e) || ioapic_vector(e) < VECTOR_FIRST)
			continue;
		r->entries[r->nr++] = (struct kvm_irq_routing_entry){
		    .gsi = gsi,
		    .type = KVM_IRQ_ROUTING_MSI,
		    .u.msi = {.address_lo = msg.address, .data = msg.data},
		};
	}
}

static int set_routes(struct split *s)
{
	struct kvm_irq_routing *r =
	    xcalloc(1, sizeof(*r) + SPLIT_PINS * sizeof(struct kvm_irq_routing_entry));

	build_routes(s, r);
	if (s->routes && r->nr == s->routes->nr && !memcmp(r, s->routes, routes_bytes(r))) {
		free(r);
		return 0;
	}
	free(s->routes);
	s->routes = r;
	if (s->m->vm_fd >= 0 && ioctl(s->m->vm_fd, KVM_SET_GSI_ROUTING, r) < 0)
		return -errno;
	return 0;
}

/* The pair's output may have changed: true when vCPU 0 has to be told. */
static bool update_intr(struct split *s)
{
	bool was = s->intr;

	s->intr = s->c->have_pic && pic_intr(s->c->pic);
	return s->intr && !was;
}

/* ---- lines: any thread ---- */

static void tell_vcpu(const struct split *s)
{
	if (s->m->n_vcpus > 0)
		vcpu_kick(s->m->vcpus[0]);
}

static void set_line(struct split *s, unsigned gsi, bool level)
{
	unsigned chip = gsi / IOAPIC_PINS;
	bool tell = false;

	pthread_mutex_lock(&s->lock);
	if (chip < s->c->n_ioapics)
		send_messages(s, chip,
			      ioapic_set_line(&s->c->ioapic[chip], &s->lines[chip],
					      gsi % IOAPIC_PINS, level));
	if (gsi < PIC_LINES && s->c->have_pic) {
		pic_set_line(s->c->pic, gsi, level);
		tell = update_intr(s);
	}
	pthread_mutex_unlock(&s->lock);
	if (tell)
		tell_vcpu(s);
}

static void split_irq_line(struct machine *m, unsigned gsi, bool level)
{
	const struct x86 *x = m->arch_state;

	set_line(x->irqchip.split, gsi, level);
}

/* ---- vCPU threads: machine lock ---- */

int x86_split_eoi(struct vcpu *v)
{
	const struct x86 *x = v->m->arch_state;
	struct split *s = x->irqchip.split;

	if (!s)
		return -ENOTSUP;
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->c->n_ioapics; i++)
		send_messages(s, i, ioapic_eoi(&s->c->ioapic[i], v->run->eoi.vector));
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* The vCPU accepts an interrupt: it takes this one with its next instruction. */
static int inject(const struct vcpu *v, uint8_t vector)
{
	struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_RUNNABLE};
	struct kvm_vcpu_events events;

	if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, &events) < 0)
		return -errno;
	events.flags = 0; /* what another vCPU may change meanwhile is left alone */
	events.interrupt.injected = 1;
	events.interrupt.nr = vector;
	events.interrupt.soft = 0;
	if (ioctl(v->fd, KVM_SET_VCPU_EVENTS, &events) < 0 ||
	    ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0)
		return -errno;
	if (mp.mp_state != KVM_MP_STATE_HALTED)
		return 0;
	mp.mp_state = KVM_MP_STATE_RUNNABLE;
	return ioctl(v->fd, KVM_SET_MP_STATE, &mp) < 0 ? -errno : 0;
}

static void split_before_run(struct vcpu *v)
{
	const struct x86 *x = v->m->arch_state;
	struct split *s = x->irqchip.split;
	int vector = -1, ret;

	if (v->index > 0)
		return;
	pthread_mutex_lock(&s->lock);
	if (s->intr && v->run->ready_for_interrupt_injection) {
		vector = pic_acknowledge(s->c->pic);
		(void)update_intr(s);
	}
	v->run->request_interrupt_window = s->intr;
	pthread_mutex_unlock(&s->lock);
	if (vector < 0)
		return;
	v->run->ready_for_interrupt_injection = 0;
	ret = inject(v, (uint8_t)vector);
	if (ret < 0)
		log_warn("vCPU 0: KVM refuses interrupt 0x%02x of the 8259: %s", (unsigned)vector,
			 err_text(-ret));
}

/* ---- registers: machine lock ---- */

static uint64_t ioapic_bus_read(void *dev, uint64_t off, unsigned len)
{
	const struct split_ioapic *i = dev;
	uint32_t val;

	(void)len;
	pthread_mutex_lock(&i->s->lock);
	val = ioapic_read(&i->s->c->ioapic[i->index], off);
	pthread_mutex_unlock(&i->s->lock);
	return val;
}

static void ioapic_bus_write(void *dev, uint64_t off, unsigned len, uint64_t val)
{
	const struct split_ioapic *i = dev;
	struct split *s = i->s;
	uint32_t send;
	bool changed;
	int ret = 0;

	(void)len;
	pthread_mutex_lock(&s->lock);
	send = ioapic_write(&s->c->ioapic[i->index], off, (uint32_t)val, &changed);
	if (changed)
		ret = set_routes(s); /* first, so that the end of what is sent now is told */
	send_messages(s, i->index, send);
	pthread_mutex_unlock(&s->lock);
	if (ret < 0)
		log_warn("KVM refuses the routes of IOAPIC %u: %s", i->index, err_text(-ret));
}

static const struct bus_ops ioapic_bus = {.read = ioapic_bus_read, .write = ioapic_bus_write};

static uint64_t pic_bus_read(struct split *s, unsigned chip, uint64_t off)
{
	uint8_t val;

	pthread_mutex_lock(&s->lock);
	val = pic_read(s->c->pic, chip, (unsigned)off);
	(void)update_intr(s); /* a poll acknowledges */
	pthread_mutex_unlock(&s->lock);
	return val;
}

static void pic_bus_write(struct split *s, unsigned chip, uint64_t off, uint64_t val)
{
	bool tell;

	pthread_mutex_lock(&s->lock);
	pic_write(s->c->pic, chip, (unsigned)off, (uint8_t)val);
	tell = update_intr(s);
	pthread_mutex_unlock(&s->lock);
	if (tell)
		tell_vcpu(s);
}

static uint64_t master_read(void *dev, uint64_t off, unsigned len)
{
	(void)len;
	return pic_bus_read(dev, 0, off);
}

static void master_write(void *dev, uint64_t off, unsigned len, uint64_t val)
{
	(void)len;
	pic_bus_write(dev, 0, off, val);
}

static uint64_t slave_read(void *dev, uint64_t off, unsigned len)
{
	(void)len;
	return pic_bus_read(dev, 1, off);
}

static void slave_write(void *dev, uint64_t off, unsigned len, uint64_t val)
{
	(void)len;
	pic_bus_write(dev, 1, off, val);
}

static uint64_t elcr_read(void *dev, uint64_t off, unsigned len)
{
	const struct split *s = dev;
	uint64_t val = s->c->pic[off].elcr;

	return len == 2 ? val | (uint64_t)s->c->pic[1].elcr << 8 : val;
}

static void elcr_write(void *dev, uint64_t off, unsigned len, uint64_t val)
{
	struct split *s = dev;

	pthread_mutex_lock(&s->lock);
	pic_write_elcr(s->c->pic, (unsigned)off, (uint8_t)val);
	if (len == 2)
		pic_write_elcr(s->c->pic, 1, (uint8_t)(val >> 8));
	pthread_mutex_unlock(&s->lock);
}

/* ---- the 8254: machine lock ---- */

static void arm_pit(struct split *s)
{
	int64_t now = vclock_now_ns(&s->m->vclock), host = host_now_ns();
	struct itimerspec t = {0};
	__int128 wait;

	if (s->pit_fd < 0)
		return;
	s->pit_due = s->running ? pit_next_rise(&s->c->pit.channels[0], now) : PIT_NEVER;
	if (s->pit_due != PIT_NEVER) {
		/* A stream may bring any time: one that is far off is looked at again. */
		wait = MIN((__int128)s->pit_due - now, (__int128)PIT_LOOK_NS);
		host += MAX((int64_t)wait, PIT_REST_NS);
		t.it_value.tv_sec = host / NS_PER_SEC;
		t.it_value.tv_nsec = host % NS_PER_SEC;
	}
	(void)timerfd_settime(s->pit_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

static void pit_rises(void *opaque, int ready)
{
	struct split *s = opaque;
	uint64_t times;

	(void)ready;
	if (read(s->pit_fd, &times, sizeof(times)) < 0 || !s->running)
		return;
	if (s->pit_due <= vclock_now_ns(&s->m->vclock) && !s->c->pit.irq_disabled) {
		set_line(s, PIT_LINE, false);
		set_line(s, PIT_LINE, true);
	}
	arm_pit(s);
}

static uint64_t pit_bus_read(void *dev, uint64_t off, unsigned len)
{
	struct split *s = dev;

	(void)len;
	return pit_read(&s->c->pit, (unsigned)off, vclock_now_ns(&s->m->vclock));
}

static void pit_bus_write(void *dev, uint64_t off, unsigned len, uint64_t val)
{
	struct split *s = dev;
	int64_t now = vclock_now_ns(&s->m->vclock);

	(void)len;
	pit_write(&s->c->pit, (unsigned)off, (uint8_t)val, now);
	if (!s->c->pit.irq_disabled)
		set_line(s, PIT_LINE, pit_out(&s->c->pit.channels[0], now));
	arm_pit(s);
}

/* ---- creation ---- */

static int add_ports(struct machine *m, struct split *s, struct err *err)
{
	static const struct bus_ops master = {.read = master_read, .write = master_write};
	static const struct bus_ops slave = {.read = slave_read, .write = slave_write};
	static const struct bus_ops elcr = {.read = elcr_read, .write = elcr_write};
	static const struct bus_ops pit = {.read = pit_bus_read, .write = pit_bus_write};
	int ret = 0;

	if (s->c->have_pic) {
		ret = bus_add(&m->ports, PORT_PIC_MASTER, 2, &master, s, err);
		if (ret >= 0)
			ret = bus_add(&m->ports, PORT_PIC_SLAVE, 2, &slave, s, err);
		if (ret >= 0)
			ret = bus_add(&m->ports, PORT_ELCR, 2, &elcr, s, err);
	}
	if (ret >= 0 && s->c->have_pit)
		ret = bus_add(&m->ports, PORT_PIT, 4, &pit, s, err);
	return ret;
}

static int add_ioapics(struct machine *m, struct split *s, struct err *err)
{
	int ret = 0;

	for (unsigned i = 0; ret >= 0 && i < s->c->n_ioapics; i++) {
		s->ioapics[i] = (struct split_ioapic){.s = s, .index = i};
		ret = bus_add(&m->mmio, BOARD_IOAPIC_BASE + i * BOARD_IOAPIC_BYTES, IOAPIC_BYTES,
			      &ioapic_bus, &s->ioapics[i], err);
	}
	return ret;
}

static int open_pit(struct machine *m, struct split *s, struct err *err)
{
	if (!s->c->have_pit)
		return 0;
	s->pit_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->pit_fd < 0)
		return err_set(err, errno, "cannot make the interval timer: %s", err_text(errno));
	s->pit_watch = loop_fd_add(m->loop, s->pit_fd, LOOP_READABLE, pit_rises, s);
	return 0;
}

static int split_in_kvm(struct machine *m, unsigned pins, struct err *err)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {pins}};

	if (machine_kvm_cap(m, KVM_CAP_SPLIT_IRQCHIP) <= 0 ||
	    machine_kvm_cap(m, KVM_CAP_SIGNAL_MSI) <= 0)
		return err_set(err, ENOTSUP,
			       "KVM lacks KVM_CAP_SPLIT_IRQCHIP: -machine kernel_irqchip=split "
			       "cannot be had on this host");
	if (ioctl(m->vm_fd, KVM_ENABLE_CAP, &cap) < 0)
		return err_set(err, errno, "KVM refuses kernel_irqchip=split: %s", err_text(errno));
	return 0;
}

static int split_create(struct machine *m, struct irqchip *c, struct err *err)
{
	struct split *s = NEW(struct split);
	int ret;

	s->m = m;
	s->c = c;
	s->pit_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	c->split = s;
	ret = split_in_kvm(m, c->n_ioapics * IOAPIC_PINS, err);
	if (ret >= 0)
		ret = add_ioapics(m, s, err);
	if (ret >= 0)
		ret = add_ports(m, s, err);
	return ret < 0 ? ret : open_pit(m, s, err);
}

static void split_destroy(struct irqchip *c)
{
	struct split *s = c->split;

	if (!s)
		return;
	loop_fd_del(s->pit_watch);
	if (s->pit_fd >= 0)
		(void)close(s->pit_fd);
	pthread_mutex_destroy(&s->lock);
	free(s->routes);
	free(s);
	c->split = NULL;
}

/* ---- stop, save, load, start: machine lock, vCPUs parked ---- */

static bool an_apic_has(void *opaque, uint8_t vector)
{
	const struct machine *m = opaque;

	for (unsigned i = 0; i < m->n_vcpus; i++) {
		const struct apic_state *a = &x86_vcpu(m->vcpus[i])->apic;

		if ((a->isr[vector / 32] | a->irr[vector / 32]) >> vector % 32 & 1)
			return true;
	}
	return false;
}

static int split_fetch(struct machine *m, struct irqchip *c, struct err *err)
{
	struct split *s = c->split;
	struct pit_channel *ch = &c->pit.channels[0];

	(void)err;
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < c->n_ioapics; i++)
		ioapic_heal(&c->ioapic[i], an_apic_has, m);
	if (m->n_vcpus > 0 && s->intr)
		x86_vcpu(m->vcpus[0])->common.interrupt_request |= PENDING_INTR;
	pthread_mutex_unlock(&s->lock);
	ch->next_transition_time = pit_next_change(ch, vclock_now_ns(&m->vclock));
	c->pit.irq_timer = ch->next_transition_time;
	return 0;
}

static uint32_t level_pins(const struct ioapic_state *s)
{
	uint32_t pins = 0;

	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		if (ioapic_is_level(s->ioredtbl[i]))
			pins |= 1U << i;
	return pins;
}

static int split_push(struct machine *m, struct irqchip *c, struct err *err)
{
	struct split *s = c->split;
	int ret;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < c->n_ioapics; i++) {
		ioapic_heal(&c->ioapic[i], an_apic_has, m);
		s->lines[i] = c->ioapic[i].irr & level_pins(&c->ioapic[i]);
	}
	(void)update_intr(s);
	ret = set_routes(s);
	pthread_mutex_unlock(&s->lock);
	if (m->n_vcpus > 0) /* what KVM said of the state before */
		m->vcpus[0]->run->ready_for_interrupt_injection = 0;
	if (ret < 0)
		return err_set(err, -ret, "KVM refuses the routes of the IOAPICs: %s",
			       err_text(-ret));
	return 0;
}

static int split_stopped(struct machine *m, struct irqchip *c, struct err *err)
{
	(void)m;
	(void)err;
	c->split->running = false;
	arm_pit(c->split);
	return 0;
}

static int split_starting(struct machine *m, struct irqchip *c, struct err *err)
{
	struct split *s = c->split;

	(void)m;
	(void)err;
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < c->n_ioapics; i++)
		send_messages(s, i, ioapic_service(&c->ioapic[i]));
	pthread_mutex_unlock(&s->lock);
	s->running = true;
	arm_pit(s);
	return 0;
}

const struct irqchip_ops irqchip_split = {
    .create = split_create,
    .destroy = split_destroy,
    .fetch = split_fetch,
    .push = split_push,
    .stopped = split_stopped,
    .starting = split_starting,
    .irq_line = split_irq_line,
    .before_run = split_before_run,
};
