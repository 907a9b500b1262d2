/*
 * machine.h - the virtual machine: memory, vCPUs, devices; start, pause, reset, shutdown
 *
 * The rule: no thread touches guest memory while it holds the machine lock, and
 * no thread that resolves page faults takes it.  A missing page, like a disk that
 * does not answer, may then stop a vCPU, the I/O thread, the work loop or a
 * loader, but never the main loop and the monitors.  machine_lock() knows the
 * threads that may not take it by their role.
 *
 * Locks, in the order in which they may be taken (none is needed for the next):
 *
 *   0  lazy.owner_lock   the thread that brings pages tells migration about them
 *   1  machine.lock      run state, device registers, every field below marked
 *                        so.  Taken by the main loop and the work loop around
 *                        each callback, by vCPU threads around exits, by
 *                        migration threads around control.  Given up by all
 *                        waits: machine_wait(), pthread_cond_wait() on 'cond'.
 *   2  throttle.mutex, dirty_rate.mutex, dirty_limits.mutex
 *      dirty.lock        what was found and who is to be told (dirty-internal.h)
 *      dirty_ring.mutex  the rings of all vCPUs (dirty-ring.c); all three in this order
 *   3  machine.control_lock   monitors: queues of requests, replies and events.
 *                        The control loop holds it around each callback.
 *   4  leaves, under which nothing is taken but split.lock, that of interrupt
 *      controllers which KVM does not emulate: virtio_device.irq_lock,
 *      vser.lock, yanks.mutex, flush.mutex, worker.mutex, block_node.info_mutex, the locks of
 *      images (qcow2, image.partial), migration_stats.lock, page_queue.mutex,
 *      multifd_send.lock, multifd_recv.lock, page_pool.lock, resolve.mutex, lazy.lock,
 *      uffd_placer.lock, resume.mutex, recover_listen.mutex, postcopy.lock;
 *      memory.discard_lock, under which those of lazy loading are taken;
 *      write_protect.lock and postcopy.urgent_lock, under which page_queue.mutex
 *      and migration_stats.lock are taken
 *   5  loop.mutex        any loop_post(), loop_fd_events(), loop_timer_arm_ms()
 *
 * Threads: the main loop and the control thread never wait; the work loop
 * carries out what has to (requests, commands with QMP_WAITS); the I/O thread
 * and the control thread never take the machine lock.
 */
#ifndef MINIVMM_MACHINE_H
#define MINIVMM_MACHINE_H

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"
#include "vmm/base/thread.h"
#include "vmm/board.h"
#include "vmm/bus.h"
#include "vmm/device.h"
#include "vmm/hold.h"
#include "vmm/memory/memory.h"
#include "vmm/notify.h"
#include "vmm/requests.h"
#include "vmm/runstate.h"
#include "vmm/vclock.h"
#include "vmm/vmstate.h"
#include "vmm/yank.h"

struct buf;
struct config;
struct device;
struct dirty;
struct dirty_ring;
struct err;
struct host;
struct loop;
struct object_kind;
struct machine;
struct src;
struct throttle;
struct vcpu;

/* What arch/ provides to this floor. */
struct arch_ops {
	/* CPUID, MSRs and v->arch of a new vCPU; registers its state tables. */
	int (*vcpu_init)(struct vcpu *v, struct err *err);
	void (*vcpu_fini)(struct vcpu *v);
	/* Power-on or after-INIT state of all vCPUs and the interrupt controllers, pushed into KVM.
	 */
	int (*reset)(struct machine *m, struct err *err);
	/*
	 * Put kernel, tables and boot registers in place for a fresh start of the
	 * guest; after reset.  Gives the machine lock up while it writes guest memory.
	 */
	int (*stage_boot)(struct machine *m, struct err *err);
	/*
	 * The machine has just stopped (vCPUs parked): capture the clocks.
	 * The machine is about to run: restore them.  Order: arch/x86/clock.c.
	 */
	void (*stopped)(struct machine *m);
	void (*starting)(struct machine *m);
	/*
	 * The guest that was loaded was stopped at 'since_ns' (since 1970; 0: as the description
	 * says that was compared with this machine): at the next start its clocks go on by
	 * the time that has passed.  Machine lock held; -ENODATA: nothing says since when, and
	 * they go on from where they stood.  NULL: there are none.
	 */
	int (*advance)(struct machine *m, uint64_t since_ns);
	/* Fetch all vCPU and irqchip state from KVM, before save. */
	int (*fetch)(struct machine *m, struct err *err);
	/* Push what the state tables loaded into KVM, after the last section of a stream. */
	int (*push)(struct machine *m, struct err *err);
	/*
	 * Before it: touch the pages of guest memory that KVM will then, for they may have to be
	 * waited for.  The machine lock is not held, nor does anything else change the state.
	 * May be NULL.
	 */
	void (*touch)(const struct machine *m);
	/*
	 * What the guest sees of its processors, as records (describe.h) appended to 'out'; and
	 * one such record of another machine, from DESC_ARCH on, held against what this one has:
	 * what would not fit is told in 'diff'.  A kind that is not known is skipped.
	 * -EIO: the record is broken.  Machine lock held; NULL: nothing to tell.
	 */
	void (*describe)(struct machine *m, struct buf *out);
	int (*compare)(struct machine *m, unsigned kind, struct src *body, struct buf *diff);
	/*
	 * Drive interrupt line 'gsi'; any thread, no lock needed.  NULL: with
	 * machine_kvm_irq_line().
	 */
	void (*irq_line)(struct machine *m, unsigned gsi, bool level);
	/* The vCPU's thread is about to enter the guest; machine lock held.  May be NULL. */
	void (*before_run)(struct vcpu *v);
	/* An exit vcpu.c does not know: 0 handled, else -errno (internal error). */
	int (*unknown_exit)(struct vcpu *v);
	void (*fini)(struct machine *m);
};

struct machine {
	/* set at creation and then constant */
	const struct config *cfg;
	struct host *host;   /* borrowed; NULL: no restrictions (unit tests) */
	int kvm_fd, vm_fd;   /* -1: no KVM (unit tests) */
	bool manual_protect; /* KVM_CLEAR_DIRTY_LOG is how dirty pages are protected again */
	struct loop *loop;   /* main; its lock is 'lock'; no callback waits */
	/* requests and commands that wait; its lock is 'lock', which they give up meanwhile */
	struct loop *work;
	/* monitors; its lock is control_lock, and no callback takes the machine lock */
	struct loop *control;
	struct loop *io; /* the I/O thread that serves queues */
	struct memory mem;
	struct bus ports, mmio;
	struct board board;
	const struct arch_ops *arch;
	void *arch_state;        /* owned by arch/ */
	struct dirty_ring *ring; /* NULL: the dirty log is used */
	struct vcpu **vcpus;
	unsigned n_vcpus;
	struct vms_registry vmstate;
	int parked_fd; /* eventfd: a vCPU has parked; the waiting thread clears it */
	int quit_fd;   /* eventfd: readable once the program ends */
	int stuck_fd;  /* timerfd: readable when pages of guest memory cannot be had for long */

	struct yanks yanks; /* a lock of its own */
	pthread_mutex_t control_lock;
	pthread_mutex_t lock;
	/* under lock */
	pthread_cond_t cond; /* a vCPU parked or may run; a request arrived */
	struct list devices; /* struct device, in order of creation */
	struct list objects; /* struct object, in order of creation */
	const struct object_kind *const *object_kinds; /* set at start; objects.h */
	struct list jobs;                              /* struct job, in order of creation */
	struct list blockers; /* struct blocker: why this machine cannot be moved */
	struct notify notify;
	struct vclock vclock;
	enum runstate state;
	/* of a switchover or a snapshot: where it leads there, and back here */
	enum runstate before_stop;
	enum machine_hold hold; /* hold.h: a snapshot is being saved or loaded */
	bool hold_stopped;      /* ... and the guest ran before */
	struct err broken;      /* errnum 0, or why there is no guest to run until it is reset */
	bool paused;            /* vCPUs must park; read without the lock by machine_pausing() */
	bool draining;          /* they have, and the devices have been asked to pause */
	bool quiet;             /* ... and are idle */
	bool quitting;          /* vCPU threads must end */
	bool autostart;         /* run when an incoming migration has finished */
	bool needs_boot;        /* stage_boot before the next run */
	bool resetting;         /* machine_reset() has given the lock up: vCPUs stay outside */
	bool memory_given;      /* RAM is another process's now: nothing may run in it here */
	bool memory_released;   /* RAM has been given back to the host, or is about to be */
	unsigned pause_depth;   /* machine_pause() calls outstanding */
	struct requests requests;
	struct {
		bool no_reboot, no_shutdown;
		int panic; /* enum cfg_action_panic */
	} actions;         /* as -action has it, until set-action */
	/*
	 * The guest was handed over: the URI of its new place, owned; NULL: it is
	 * here.  handed_certain: that place has said that it has the guest.
	 */
	char *handed_to;
	bool handed_certain;
	int exit_status;
	bool exit_forced;          /* -no-shutdown does not apply */
	bool ending;               /* the loop has been told to stop */
	struct dirty *dirty;       /* while tracking; owned by dirty.c */
	struct throttle *throttle; /* while a user throttles; owned by throttle.c */
	/* the one GED, told of the power button; NULL without */
	void (*powerdown)(void *opaque);
	void *powerdown_opaque;
};

/*
 * Open /dev/kvm, make the VM and its loops.  No vCPU yet.  'cfg' is borrowed.
 * Returns owned, or NULL with *err set (no /dev/kvm, no permission, missing
 * capability by name).
 */
struct machine *machine_new(const struct config *cfg, struct err *err);
/*
 * The part of machine_new() that needs no KVM, and its undoing: locks, lists, no loops, no vCPU;
 * paused.  For machine_new() and for tests.  0 or -errno with *err set.
 */
int machine_init(struct machine *m, const struct config *cfg, struct err *err);
void machine_fini(struct machine *m);
/*
 * The program ends: machine_wait() returns from now on, and the work loop is
 * ended.  Then machine_end(): ends the vCPU threads and destroys the devices;
 * then their back ends may be closed, and then the machine freed.  False from
 * either: a disk does not answer, or a page of the guest's memory does not come; nothing
 * of that may be done, and the program has to end with _exit().  The caller does not
 * hold the lock.
 */
bool machine_quit(struct machine *m);
bool machine_end(struct machine *m);
/* NULL is fine. */
void machine_free(struct machine *m);
/* Make vCPUs (arch must be set).  Their threads start parked. */
int machine_add_vcpus(struct machine *m, unsigned n, struct err *err);
void machine_add_device(struct machine *m, struct device *d);

static inline void machine_lock(struct machine *m)
{
	enum thread_role role = thread_role();

	assert(role != THREAD_IO && role != THREAD_CONTROL && role != THREAD_FAULT);
	pthread_mutex_lock(&m->lock);
}

static inline void machine_unlock(struct machine *m)
{
	pthread_mutex_unlock(&m->lock);
}

/* Does the machine stand still, or is it about to?  Any thread, no lock needed. */
static inline bool machine_pausing(const struct machine *m)
{
	return __atomic_load_n(&m->paused, __ATOMIC_SEQ_CST);
}

/* ---- everything below: machine lock held ---- */

/*
 * Give the lock up until 'fd' is readable: 0; or until 'cancel_fd' is (-1:
 * none) or the program ends: -ECANCELED.  Not on the main loop.
 */
int machine_wait(struct machine *m, int fd, int cancel_fd);

/*
 * Pause: returns when every vCPU has left KVM_RUN, every device is idle and no
 * device state can change.  Gives the lock up while it waits, so not on the
 * main loop.  Nests; nothing else stops the machine.  No event, no change of
 * run state.  -ECANCELED: the program ends, or 'cancel_fd' is readable, and the
 * machine goes on as before.
 */
int machine_pause(struct machine *m);
int machine_pause_cancellable(struct machine *m, int cancel_fd);
/*
 * Pages of guest memory cannot be had, or can again.  A vCPU that waits inside KVM_RUN for one does
 * not always leave it when it is told to: where KVM itself reads the page it waits until it is
 * there.  So whoever pauses the machine without being ready to wait for the pages gives 'stuck_fd'
 * as cancel_fd: it becomes readable a second after true.  Any thread.
 */
void machine_set_stuck(struct machine *m, bool stuck);
void machine_resume(struct machine *m);

/*
 * Release what other processes may not use at the same time (disk images),
 * acquire it, or ask whether it could be acquired; the machine is paused.  What is held of them in
 * memory is written back before the release and read again after the acquisition, for which the
 * lock is given up, so not on the main loop.
 * The first device that refuses is named; those asked before it have done what
 * they were asked for.
 */
int machine_handover(struct machine *m, enum handover what, struct err *err);

/* Go to a run state that the table allows; an illegal move is -EINVAL and changes nothing. */
int machine_set_state(struct machine *m, enum runstate s, struct err *err);
static inline bool machine_running(const struct machine *m)
{
	return m->state == RS_RUNNING;
}
/*
 * The guest was handed to 'to' (borrowed), or is being handed over: it can
 * neither run nor be reset here.  'certain' says whether it has arrived.
 */
void machine_set_handed(struct machine *m, const char *to, bool certain);
/* It is here: the move has failed. */
void machine_set_kept(struct machine *m);
/* -EBUSY when the guest was handed over, with a sentence about where it is. */
int machine_check_kept(const struct machine *m, struct err *err);
/* The guest's memory is here; else what has become of it, in a sentence. */
int machine_check_memory(const struct machine *m, struct err *err);
/*
 * Stop a running guest: pause, run state 's', STOP event.  A stopped one keeps
 * its state.  -ECANCELED as machine_pause(): it runs on.
 */
int machine_stop(struct machine *m, enum runstate s);
int machine_stop_cancellable(struct machine *m, enum runstate s, int cancel_fd);
/*
 * The guest stands still for a switchover or a snapshot and is to stay so: where it goes, or
 * here should it come back.  -EBUSY, with the place, once that cannot be told any
 * more.  Run state finish-migrate.
 */
int machine_stay_stopped(struct machine *m, struct err *err);
/* Run a stopped guest: RESUME event.  Refuses (in words) states from which it cannot run. */
int machine_start(struct machine *m, struct err *err);
/*
 * The same for a guest that was handed over: the user knows that it does not
 * run there.  One that has to be reset before it can run is here from then on too.
 */
int machine_start_forced(struct machine *m, struct err *err);

/*
 * Reset devices, vCPUs, RAM for boot.  The machine is paused or not running.
 * Gives the lock up while it writes guest memory.
 */
int machine_reset(struct machine *m, struct err *err);

/* Drive interrupt line 'gsi'.  Any thread, no lock needed. */
void machine_irq(struct machine *m, unsigned gsi, bool level);
/* The same for controllers that KVM emulates. */
void machine_kvm_irq_line(struct machine *m, unsigned gsi, bool level);

/* struct board_ops; false, and not to be called, without one. */
static inline bool machine_adopts(const struct machine *m, const struct ram_block *b,
				  uint64_t bytes)
{
	return m->board.ops && m->board.ops->adopts(m, b, bytes);
}

/* Does a KVM extension exist?  Its value (0: no). */
int machine_kvm_cap(const struct machine *m, long cap);

#endif
