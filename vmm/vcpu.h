/*
 * vcpu.h - vCPU threads and the KVM_RUN loop
 *
 * A vCPU thread runs the guest, hands port and MMIO exits to the buses under
 * the machine lock, and parks when the machine pauses.  Before it parks it
 * re-enters KVM with immediate_exit, so that a half-done I/O instruction is
 * complete and the registers may be saved.
 *
 * While all vCPUs are parked any thread that holds the machine lock may use
 * vcpu->fd.
 */
#ifndef MINIVMM_VCPU_H
#define MINIVMM_VCPU_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/base/thread.h"

struct err;
struct kvm_run;
struct machine;

struct vcpu {
	/* set at creation and then constant */
	struct machine *m;
	unsigned index; /* also the initial APIC id */
	int fd;
	struct kvm_run *run;
	size_t run_bytes;
	void *arch;   /* owned by arch/ */
	int stats_fd; /* KVM's statistics; -1: it has none */
	void *ring;   /* the dirty ring, or NULL; owned by dirty-ring.c */
	struct thread thread;
	pid_t tid;
	/* under the machine lock */
	bool parked; /* it is outside KVM_RUN and stays there until the machine resumes */
	bool held;   /* it must not run before a reset or a stop has been carried out (triple fault,
			error) */
	/* atomically */
	bool in_guest;          /* within KVM_RUN, or just about to */
	uint64_t runs;          /* returns from KVM_RUN */
	uint64_t dirtied_pages; /* by the dirty ring; a page counts once whenever it is reaped */
	uint32_t throttle;      /* permille of the time to sleep */
	bool throttle_due;      /* a slice has ended */
};

/* Make vCPU 'index' (KVM_CREATE_VCPU); the thread is started by vcpu_start.  Returns owned, or
 * NULL. */
struct vcpu *vcpu_new(struct machine *m, unsigned index, struct err *err);
void vcpu_free(struct vcpu *v); /* its thread has ended */

/* Start the thread; it parks until the machine runs.  Machine lock held. */
int vcpu_start(struct vcpu *v, struct err *err);
/* Install the signal that kicks; once, before the first vcpu_start. */
void vcpu_init_signals(void);
/* Make the vCPU leave KVM_RUN soon.  Any thread. */
void vcpu_kick(struct vcpu *v);
/* Return when the vCPU has left the guest at least once since the call.  Any thread. */
void vcpu_flush(struct vcpu *v);

#endif
