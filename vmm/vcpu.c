/*
 * vcpu.c - a vCPU's thread: KVM_RUN, its exits, parking
 *
 *     running --paused, held, requests that hold vCPUs--> parked --resume--> running
 *
 * The thread holds the machine lock except inside KVM_RUN and while it waits on
 * 'cond'.  A kick sets immediate_exit first and sends the signal then: KVM_RUN
 * returns at once, whether the thread is inside it or about to enter.
 *
 * A port or MMIO read is only finished by the next KVM_RUN, so a thread parks
 * after KVM_RUN calls with immediate_exit set, which finish the instruction
 * without running the next (complete_io).  The registers may then be saved.
 */
#include "vmm/vcpu.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/probes.h"
#include "vmm/base/thread.h"
#include "vmm/base/wake.h"
#include "vmm/dirty-ring.h"
#include "vmm/kvm-stats.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"
#include "vmm/throttle.h"

static void kicked(int signum)
{
	(void)signum; /* its only effect is that KVM_RUN returns */
}

void vcpu_init_signals(void)
{
	struct sigaction sa = {.sa_handler = kicked};

	(void)sigemptyset(&sa.sa_mask);
	(void)sigaction(THREAD_KICK_SIGNAL, &sa, NULL);
}

struct vcpu *vcpu_new(struct machine *m, unsigned index, struct err *err)
{
	struct vcpu *v = NEW(struct vcpu);
	int bytes = ioctl(m->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	v->m = m;
	v->index = index;
	v->run = MAP_FAILED;
	v->stats_fd = -1;
	v->fd = ioctl(m->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (v->fd < 0 || bytes < 0)
		goto fail;
	v->stats_fd = kvm_stats_open(v->fd);
	v->run_bytes = (size_t)bytes;
	v->run = mmap(NULL, v->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED)
		goto fail;
	if (dirty_ring_map(v, err) < 0) {
		vcpu_free(v);
		return NULL;
	}
	return v;
fail:
	(void)err_set(err, errno, "cannot make vCPU %u: %s", index, err_text(errno));
	vcpu_free(v);
	return NULL;
}

void vcpu_free(struct vcpu *v)
{
	if (!v)
		return;
	dirty_ring_unmap(v);
	if (v->run != MAP_FAILED)
		(void)munmap(v->run, v->run_bytes);
	if (v->fd >= 0)
		(void)close(v->fd);
	if (v->stats_fd >= 0)
		(void)close(v->stats_fd);
	free(v);
}

void vcpu_kick(struct vcpu *v)
{
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	if (v->thread.live)
		(void)pthread_kill(v->thread.id, THREAD_KICK_SIGNAL);
}

void vcpu_flush(struct vcpu *v)
{
	uint64_t runs = __atomic_load_n(&v->runs, __ATOMIC_SEQ_CST);

	if (!__atomic_load_n(&v->in_guest, __ATOMIC_SEQ_CST))
		return;
	vcpu_kick(v);
	while (__atomic_load_n(&v->in_guest, __ATOMIC_SEQ_CST) &&
	       __atomic_load_n(&v->runs, __ATOMIC_SEQ_CST) == runs)
		(void)sched_yield(); /* the signal is on its way: microseconds */
}

/* ---- exits; machine lock held ---- */

static void port_access(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned size = run->io.size;

	for (uint32_t i = 0; i < run->io.count; i++, data += size) {
		uint64_t val = 0;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&val, data, size);
			bus_write(&v->m->ports, run->io.port, size, val);
		} else {
			val = bus_read(&v->m->ports, run->io.port, size);
			memcpy(data, &val, size);
		}
	}
}

static void internal_error(struct vcpu *v, const char *what, uint64_t detail)
{
	struct kvm_regs regs;

	if (ioctl(v->fd, KVM_GET_REGS, &regs) == 0)
		log_error("vCPU %u: %s (0x%" PRIx64 ") at rip 0x%llx", v->index, what, detail,
			  regs.rip);
	else
		log_error("vCPU %u: %s (0x%" PRIx64 ")", v->index, what, detail);
	v->held = true;
	machine_request_stop(v->m, RS_INTERNAL_ERROR);
}

#ifndef KVM_EXIT_MEMORY_FAULT /* Linux 6.8 */
#define KVM_EXIT_MEMORY_FAULT 39
#endif
#define MEMORY_FAULT_GPA 8 /* offset behind the exit's head: flags, gpa, size */

/* Where the page is that KVM could not have; UINT64_MAX: an older kernel does not tell. */
static uint64_t fault_gpa(const struct kvm_run *run)
{
	uint64_t gpa;

	if (run->exit_reason != KVM_EXIT_MEMORY_FAULT)
		return UINT64_MAX;
	memcpy(&gpa, (const uint8_t *)&run->hw + MEMORY_FAULT_GPA, sizeof(gpa));
	return gpa;
}

static void no_page(struct vcpu *v, uint64_t gpa)
{
	struct err err = {0};

	(void)memory_say_no_room(&v->m->mem, gpa, &err);
	log_error("vCPU %u: %s: the guest is stopped", v->index, err.msg);
	internal_error(v, "KVM_RUN failed, a page of guest memory cannot be had", EFAULT);
}

static void mmio_access(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint64_t val = 0, n = 1;

	/* Where KVM emulates the guest's instruction, memory that cannot be had looks like a
	 * device. */
	if (memory_ptr_some(&v->m->mem, run->mmio.phys_addr, &n)) {
		no_page(v, run->mmio.phys_addr);
		return;
	}
	if (run->mmio.is_write) {
		memcpy(&val, run->mmio.data, run->mmio.len);
		bus_write(&v->m->mmio, run->mmio.phys_addr, run->mmio.len, val);
	} else {
		val = bus_read(&v->m->mmio, run->mmio.phys_addr, run->mmio.len);
		memcpy(run->mmio.data, &val, run->mmio.len);
	}
}

static void handle_exit(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		port_access(v);
		break;
	case KVM_EXIT_MMIO:
		mmio_access(v);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	case KVM_EXIT_DIRTY_RING_FULL:
		dirty_ring_reap(v->m);
		break;
	case KVM_EXIT_SHUTDOWN: /* triple fault */
		v->held = true;
		machine_request_reset(v->m, CAUSE_GUEST_RESET);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		v->held = true;
		if (run->system_event.type == KVM_SYSTEM_EVENT_RESET)
			machine_request_reset(v->m, CAUSE_GUEST_RESET);
		else if (run->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN)
			machine_request_shutdown(v->m, CAUSE_GUEST_SHUTDOWN);
		else
			machine_request_stop(v->m, RS_GUEST_PANICKED);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		internal_error(v, "KVM internal error, suberror", run->internal.suberror);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		internal_error(v, "KVM cannot enter the guest, hardware reason",
			       run->fail_entry.hardware_entry_failure_reason);
		break;
	default:
		if (v->m->arch->unknown_exit(v) < 0)
			internal_error(v, "unknown KVM exit, reason", run->exit_reason);
		break;
	}
}

/* ---- the thread ---- */

static bool must_park(const struct vcpu *v)
{
	return (v->m->paused || v->held || machine_holds_vcpus(v->m)) && !v->m->quitting;
}

/*
 * KVM_RUN, without the lock: the guest's memory may have to be fetched.
 * at_once: only finish the instruction that the last exit was about.
 * 0 or -errno.  Lock held before and after.
 */
static int vcpu_enter(struct vcpu *v, bool at_once)
{
	int ret;

	__atomic_store_n(&v->run->immediate_exit, at_once, __ATOMIC_SEQ_CST);
	__atomic_store_n(&v->in_guest, true, __ATOMIC_SEQ_CST);
	/* Behind the store: what comes up after this look kicks us out again. */
	if (!at_once && v->m->arch && v->m->arch->before_run)
		v->m->arch->before_run(v);
	machine_unlock(v->m);
	PROBE(vcpu_enter, v->index);
	ret = ioctl(v->fd, KVM_RUN, 0);
	if (ret < 0)
		ret = -errno;
	PROBE(vcpu_exit, v->index, v->run->exit_reason, ret);
	__atomic_fetch_add(&v->runs, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&v->in_guest, false, __ATOMIC_SEQ_CST);
	machine_lock(v->m);
	return ret;
}

/* Outside KVM_RUN until the machine resumes. */
static void set_parked(struct vcpu *v)
{
	v->parked = true;
	pthread_cond_broadcast(&v->m->cond);
	wake_set(v->m->parked_fd);
}

/*
 * A port or MMIO read is finished by the next KVM_RUN: have it done now,
 * without running the guest further, so that the registers are those of an
 * instruction's end.  Lock held, given up meanwhile.
 */
static void complete_io(struct vcpu *v)
{
	int ret;

	do {
		ret = vcpu_enter(v, true);
		if (ret == 0)
			handle_exit(v);
	} while (ret == 0 &&
		 (v->run->exit_reason == KVM_EXIT_IO || v->run->exit_reason == KVM_EXIT_MMIO));
}

static void vcpu_park(struct vcpu *v)
{
	complete_io(v);
	set_parked(v);
	while (must_park(v))
		pthread_cond_wait(&v->m->cond, &v->m->lock);
	v->parked = false;
}

static void vcpu_run_once(struct vcpu *v)
{
	int ret = vcpu_enter(v, false);

	if (ret == 0)
		handle_exit(v);
	else if (ret == -EFAULT)
		no_page(v, fault_gpa(v->run));
	else if (ret != -EINTR && ret != -EAGAIN)
		internal_error(v, "KVM_RUN failed, errno", (uint64_t)-ret);
	if (__atomic_load_n(&v->throttle_due, __ATOMIC_SEQ_CST))
		throttle_sleep(v);
}

static void *vcpu_main(void *opaque)
{
	struct vcpu *v = opaque;
	struct machine *m = v->m;

	machine_lock(m);
	v->tid = (pid_t)syscall(SYS_gettid);
	pthread_cond_broadcast(&m->cond);
	while (!m->quitting) {
		if (must_park(v))
			vcpu_park(v);
		else
			vcpu_run_once(v);
	}
	set_parked(v);
	machine_unlock(m);
	return NULL;
}

int vcpu_start(struct vcpu *v, struct err *err)
{
	char name[16];
	int ret;

	(void)snprintf(name, sizeof(name), "CPU %u/KVM", v->index);
	ret = thread_start(&v->thread, name, THREAD_VCPU, vcpu_main, v, err);
	if (ret < 0)
		return ret;
	while (!v->tid)
		pthread_cond_wait(&v->m->cond, &v->m->lock);
	return 0;
}
