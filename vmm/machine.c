/*
 * machine.c - the machine's life: creation, pause and resume, run state, end
 *
 * A pause has three steps, each of which may have to wait; busy_fd() says for
 * what:
 *
 *     paused     vCPUs are kicked and park themselves
 *     draining   no vCPU runs: devices are told to pause and finish their requests
 *     quiet      nothing is under way: the clocks are held
 *
 * The waits give the machine lock up, so another thread may pause, stop or
 * resume meanwhile: 'pause_depth' counts the pauses, and each caller looks at
 * the run state again.  A pause that is cancelled resumes whatever it had
 * reached.
 *
 * The end takes the same steps, but waits for disks at most END_MS; what they
 * have not finished by then is left behind and the program ends with _exit().
 */
#include "vmm/machine.h"
#include "vmm/objects.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/probes.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/device.h"
#include "vmm/dirty-ring.h"
#include "vmm/dirty-watch.h"
#include "vmm/flush.h"
#include "vmm/loop.h"
#include "vmm/memory/missing.h"
#include "vmm/options/config.h"
#include "vmm/vcpu.h"

/*
 * How long the end of the program waits for disks.  What they have not
 * confirmed by then may be lost, as the guest expects of a power cut.
 */
#define END_MS 2000
/* How long a page may be waited for that cannot be had, before whoever can do without is told. */
#define STUCK_NS 600000000
/* The end of the program waits so long for a virtual CPU when pages are missing. */
#define MISSING_END_MS 250

/* ---- making and ending ---- */

static int open_kvm(struct machine *m, struct err *err)
{
	int version;

	m->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (m->kvm_fd < 0)
		return err_set(err, errno, "Could not access KVM kernel module /dev/kvm: %s%s",
			       err_text(errno),
			       errno == EACCES ? " (is the user in group kvm?)" : "");
	version = ioctl(m->kvm_fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return err_set(err, ENOTSUP, "/dev/kvm speaks version %d, version %d is needed",
			       version, KVM_API_VERSION);
	m->vm_fd = ioctl(m->kvm_fd, KVM_CREATE_VM, 0UL);
	if (m->vm_fd < 0)
		return err_set(err, errno, "KVM cannot make a virtual machine: %s",
			       err_text(errno));
	return 0;
}

int machine_kvm_cap(const struct machine *m, long cap)
{
	int ret = m->vm_fd < 0 ? 0 : ioctl(m->vm_fd, KVM_CHECK_EXTENSION, cap);

	return ret < 0 ? 0 : ret;
}

static int check_caps(const struct machine *m, struct err *err)
{
	static const struct {
		long cap;
		const char *name;
	} needed[] = {
	    {KVM_CAP_USER_MEMORY,    "KVM_CAP_USER_MEMORY"   },
	    {KVM_CAP_IRQCHIP,        "KVM_CAP_IRQCHIP"       },
	    {KVM_CAP_IRQ_ROUTING,    "KVM_CAP_IRQ_ROUTING"   },
	    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
	    {KVM_CAP_MP_STATE,       "KVM_CAP_MP_STATE"      },
	    {KVM_CAP_XSAVE,          "KVM_CAP_XSAVE"         },
	};

	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		if (!machine_kvm_cap(m, needed[i].cap))
			return err_set(err, ENOTSUP, "this kernel's KVM lacks %s", needed[i].name);
	return 0;
}

static void enable_manual_protect(struct machine *m)
{
	struct kvm_enable_cap cap = {
	    .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
	    .args = {KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE},
	};

	if (machine_kvm_cap(m, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) &
	    KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE)
		m->manual_protect = ioctl(m->vm_fd, KVM_ENABLE_CAP, &cap) == 0;
}

int machine_init(struct machine *m, const struct config *cfg, struct err *err)
{
	pthread_condattr_t attr;

	m->cfg = cfg;
	m->kvm_fd = m->vm_fd = -1;
	m->state = RS_PRELAUNCH;
	m->paused = m->draining = m->quiet = true;
	m->pause_depth = 1; /* until the first machine_start */
	m->autostart = !cfg->paused;
	m->actions.no_reboot = cfg->no_reboot;
	m->actions.no_shutdown = cfg->no_shutdown;
	m->actions.panic = (int)cfg->panic;
	pthread_mutex_init(&m->lock, NULL);
	pthread_mutex_init(&m->control_lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&m->cond, &attr);
	(void)pthread_condattr_destroy(&attr);
	list_init(&m->devices);
	list_init(&m->objects);
	list_init(&m->jobs);
	list_init(&m->requests.waiters);
	m->requests.asked_fd = -1;
	list_init(&m->blockers);
	notify_init(&m->notify);
	yanks_init(&m->yanks);
	vms_registry_init(&m->vmstate);
	memory_init(&m->mem, -1);
	m->parked_fd = wake_open();
	m->quit_fd = wake_open();
	m->stuck_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (m->parked_fd < 0 || m->quit_fd < 0 || m->stuck_fd < 0)
		return err_set(err, errno, "cannot make the machine: %s", err_text(errno));
	return 0;
}

void machine_fini(struct machine *m)
{
	vms_registry_fini(&m->vmstate);
	memory_fini(&m->mem);
	if (m->parked_fd >= 0)
		(void)close(m->parked_fd);
	if (m->quit_fd >= 0)
		(void)close(m->quit_fd);
	if (m->stuck_fd >= 0)
		(void)close(m->stuck_fd);
	pthread_cond_destroy(&m->cond);
	yanks_fini(&m->yanks);
	free(m->handed_to);
	pthread_mutex_destroy(&m->control_lock);
	pthread_mutex_destroy(&m->lock);
}

struct machine *machine_new(const struct config *cfg, struct err *err)
{
	struct machine *m = NEW(struct machine);

	if (machine_init(m, cfg, err) < 0)
		goto fail;
	m->loop = loop_new(&m->lock, err);
	m->work = m->loop ? loop_new(&m->lock, err) : NULL;
	m->control = m->work ? loop_new(&m->control_lock, err) : NULL;
	m->io = m->control ? loop_new(NULL, err) : NULL;
	if (!m->io || open_kvm(m, err) < 0 || check_caps(m, err) < 0)
		goto fail;
	if (cfg->dirty_ring_size) {
		if (dirty_ring_create(m, cfg->dirty_ring_size, err) < 0)
			goto fail;
	} else {
		enable_manual_protect(m);
	}
	memory_init(&m->mem, m->vm_fd);
	vms_register(&m->vmstate, VMS_RANK_TIMER, "timer", 0, -1, &vclock_vmstate, &m->vclock);
	vcpu_init_signals();
	if (loop_thread_start(m->io, "io", THREAD_IO, err) < 0 ||
	    loop_thread_start(m->work, "work", THREAD_HELPER, err) < 0)
		goto fail;
	return m;
fail:
	machine_free(m);
	return NULL;
}

static bool all_parked(const struct machine *m)
{
	for (unsigned i = 0; i < m->n_vcpus; i++)
		if (m->vcpus[i]->thread.live && !m->vcpus[i]->parked)
			return false;
	return true;
}

/*
 * What a pausing machine still waits for; -1: nothing.  Devices are asked to
 * pause once no vCPU can ask anything of them.  Lock held.
 */
static int busy_fd(struct machine *m)
{
	if (!all_parked(m)) {
		wake_clear(m->parked_fd); /* what comes from now on counts */
		return m->parked_fd;
	}
	list_for_each (d, &m->devices, struct device, link)
		if (!m->draining && d->ops->pause)
			d->ops->pause(d);
	m->draining = true;
	list_for_each (d, &m->devices, struct device, link) {
		int fd = d->ops->busy_fd ? d->ops->busy_fd(d) : -1;

		if (fd >= 0)
			return fd;
	}
	return -1;
}

bool machine_quit(struct machine *m)
{
	wake_set(m->quit_fd);
	return !m->work || loop_thread_join_ms(m->work, END_MS);
}

/* One that waits for a page of the guest's that does not come cannot be waited for. */
static bool join_vcpu(struct machine *m, struct vcpu *v)
{
	if (memory_check_complete(&m->mem, NULL) < 0)
		return thread_join_ms(&v->thread, MISSING_END_MS);
	thread_join(&v->thread);
	return true;
}

static bool end_vcpus(struct machine *m)
{
	bool all = true;

	machine_lock(m);
	m->quitting = true;
	pthread_cond_broadcast(&m->cond);
	for (unsigned i = 0; i < m->n_vcpus; i++)
		vcpu_kick(m->vcpus[i]);
	machine_unlock(m);
	for (unsigned i = 0; all && i < m->n_vcpus; i++)
		all = join_vcpu(m, m->vcpus[i]);
	return all;
}

static void destroy_devices(struct machine *m)
{
	while (!list_empty(&m->devices)) {
		struct device *d = container_of(m->devices.prev, struct device, link);

		list_del(&d->link);
		free(d->id);
		d->ops->destroy(d);
	}
}

/* Wait, but not for ever, until all devices are idle.  Lock held, no vCPU runs. */
static bool drain_at_end(struct machine *m)
{
	int64_t until = host_now_ns() + END_MS * 1000000LL;
	int fd;

	m->paused = true;
	while ((fd = busy_fd(m)) >= 0) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int64_t left_ms = (until - host_now_ns()) / 1000000;

		if (left_ms <= 0)
			return false;
		machine_unlock(m);
		(void)poll(&p, 1, (int)left_ms);
		machine_lock(m);
	}
	return true;
}

bool machine_end(struct machine *m)
{
	bool idle;

	if (!machine_quit(m))
		return false;
	if (!end_vcpus(m))
		return false;
	machine_lock(m);
	idle = drain_at_end(m);
	if (idle)
		destroy_devices(m);
	else
		log_warn("a disk has not answered for %d ms: its requests are given up", END_MS);
	machine_unlock(m);
	if (idle && m->io)
		loop_thread_join(m->io);
	return idle;
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	(void)machine_end(m);
	for (unsigned i = 0; i < m->n_vcpus; i++) {
		if (m->arch)
			m->arch->vcpu_fini(m->vcpus[i]);
		vcpu_free(m->vcpus[i]);
	}
	objects_end(m);
	free(m->vcpus);
	if (m->arch)
		m->arch->fini(m);
	dirty_ring_destroy(m);
	loop_free(m->io);
	loop_free(m->control);
	loop_free(m->work);
	loop_free(m->loop);
	machine_fini(m);
	if (m->vm_fd >= 0)
		(void)close(m->vm_fd);
	if (m->kvm_fd >= 0)
		(void)close(m->kvm_fd);
	free(m);
}

int machine_add_vcpus(struct machine *m, unsigned n, struct err *err)
{
	m->vcpus = xcalloc(n, sizeof(struct vcpu *));
	for (unsigned i = 0; i < n; i++) {
		struct vcpu *v = vcpu_new(m, i, err);
		int ret;

		if (!v)
			return -EIO;
		m->vcpus[m->n_vcpus++] = v;
		ret = m->arch->vcpu_init(v, err);
		if (ret >= 0)
			ret = vcpu_start(v, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

void machine_add_device(struct machine *m, struct device *d)
{
	d->m = m;
	list_add_tail(&m->devices, &d->link);
}

/* ---- pause and run ---- */

int machine_wait(struct machine *m, int fd, int cancel_fd)
{
	struct pollfd p[] = {
	    {.fd = fd,         .events = POLLIN},
	    {.fd = m->quit_fd, .events = POLLIN},
	    {.fd = cancel_fd,  .events = POLLIN}
        };

	machine_unlock(m);
	(void)poll(p, ARRAY_LEN(p), -1);
	machine_lock(m);
	return p[1].revents || p[2].revents ? -ECANCELED : 0;
}

static void pause_begin(struct machine *m)
{
	__atomic_store_n(&m->paused, true, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&m->cond); /* a throttled vCPU need not sleep on */
	for (unsigned i = 0; i < m->n_vcpus; i++)
		if (!m->vcpus[i]->parked)
			vcpu_kick(m->vcpus[i]);
}

static void pause_end(struct machine *m)
{
	vclock_stop(&m->vclock);
	if (m->arch)
		m->arch->stopped(m);
	m->quiet = true;
	pthread_cond_broadcast(&m->cond);
}

int machine_pause_cancellable(struct machine *m, int cancel_fd)
{
	int fd;

	if (m->pause_depth++ == 0)
		pause_begin(m);
	while (!m->quiet && (fd = busy_fd(m)) >= 0) {
		if (machine_wait(m, fd, cancel_fd) == 0)
			continue;
		machine_resume(m);
		return -ECANCELED;
	}
	if (!m->quiet)
		pause_end(m);
	return 0;
}

void machine_set_stuck(struct machine *m, bool stuck)
{
	struct itimerspec when = {.it_value.tv_nsec = stuck ? STUCK_NS : 0};

	(void)timerfd_settime(m->stuck_fd, 0, &when, NULL);
}

int machine_pause(struct machine *m)
{
	return machine_pause_cancellable(m, -1);
}

void machine_resume(struct machine *m)
{
	if (--m->pause_depth > 0)
		return;
	if (m->quiet) {
		if (m->arch)
			m->arch->starting(m);
		vclock_start(&m->vclock);
	}
	list_for_each (d, &m->devices, struct device, link)
		if (m->draining && d->ops->resume)
			d->ops->resume(d);
	__atomic_store_n(&m->paused, false, __ATOMIC_SEQ_CST);
	m->draining = m->quiet = false;
	pthread_cond_broadcast(&m->cond);
}

int machine_set_state(struct machine *m, enum runstate s, struct err *err)
{
	if (!runstate_legal(m->state, s))
		return err_set(err, EINVAL, "invalid runstate transition: '%s' -> '%s'",
			       runstate_name(m->state), runstate_name(s));
	m->state = s;
	PROBE(run_state, runstate_name(s));
	machine_retry_requests(m);
	return 0;
}

int machine_stop_cancellable(struct machine *m, enum runstate s, int cancel_fd)
{
	int ret;

	if (!machine_running(m))
		return 0;
	ret = machine_pause_cancellable(m, cancel_fd);
	if (ret < 0)
		return ret;
	/* While the pause gave the lock up another thread may have stopped the guest. */
	if (!machine_running(m)) {
		machine_resume(m);
		return 0;
	}
	m->state = s;
	PROBE(run_state, runstate_name(s));
	notify_event(&m->notify, NOTIFY_STOP, CAUSE_NONE);
	return 0;
}

int machine_stop(struct machine *m, enum runstate s)
{
	return machine_stop_cancellable(m, s, -1);
}

int machine_stay_stopped(struct machine *m, struct err *err)
{
	int ret = machine_check_kept(m, err);

	if (ret < 0 || m->before_stop != RS_RUNNING)
		return ret;
	m->before_stop = RS_PAUSED;
	m->requests.stopped_late = m->requests.frozen;
	return 0;
}

static int handover_step(struct machine *m, enum handover what, struct err *err)
{
	list_for_each (d, &m->devices, struct device, link) {
		int ret = d->ops->handover ? d->ops->handover(d, what, err) : 0;

		if (ret < 0)
			return err_prefix(err, ret, "%s%s%s", d->ops->name, d->id ? " " : "",
					  d->id ? d->id : "");
	}
	return 0;
}

int machine_handover(struct machine *m, enum handover what, struct err *err)
{
	int ret = what == HANDOVER_RELEASE ? machine_flush_for(m, FLUSH_RELEASE, -1, err) : 0;

	if (ret == 0)
		ret = handover_step(m, what, err);
	if (ret == 0 && what == HANDOVER_ACQUIRE)
		ret = machine_flush_for(m, FLUSH_ACQUIRE, -1, err);
	return ret;
}

void machine_set_handed(struct machine *m, const char *to, bool certain)
{
	char *copy = xstrdup(to);

	free(m->handed_to);
	m->handed_to = copy;
	m->handed_certain = certain;
}

void machine_set_kept(struct machine *m)
{
	free(m->handed_to);
	m->handed_to = NULL;
	machine_retry_requests(m);
}

int machine_check_kept(const struct machine *m, struct err *err)
{
	if (!m->handed_to)
		return 0;
	if (m->state == RS_FINISH_MIGRATE && m->handed_certain)
		return err_set(err, EBUSY,
			       "The guest lives at %.200s, which is sent the rest of its memory "
			       "(postcopy): it cannot run here; if the connection is lost, "
			       "migrate-recover there and 'migrate' with 'resume' here go on",
			       m->handed_to);
	if (m->state == RS_FINISH_MIGRATE)
		return err_set(err, EBUSY,
			       "The guest is being handed to %.200s: ask again when the migration "
			       "has ended",
			       m->handed_to);
	if (m->handed_certain)
		return err_set(err, EBUSY,
			       "The guest was handed to %.200s and lives there; 'cont' with "
			       "'x-minivmm-force' runs it here all the same",
			       m->handed_to);
	return err_set(err, EBUSY,
		       "The guest was given to %.200s, which has not confirmed that it runs there, "
		       "and it may; 'cont' with 'x-minivmm-force' runs it here, for when it does "
		       "not run there",
		       m->handed_to);
}

int machine_check_memory(const struct machine *m, struct err *err)
{
	if (m->memory_given)
		return err_set(err, EBUSY,
			       "The guest's memory was handed to the destination of a migration");
	if (m->memory_released)
		return err_set(err, ENODATA,
			       "The guest's memory was released when its migration had completed "
			       "(capability 'release-ram')");
	return 0;
}

/* The guest has ended by itself, also when it was saved or moved after that. */
static bool needs_reset(const struct machine *m)
{
	enum runstate s = m->state == RS_POSTMIGRATE ? m->before_stop : m->state;

	return s == RS_SHUTDOWN || s == RS_INTERNAL_ERROR;
}

int machine_start(struct machine *m, struct err *err)
{
	int ret;

	if (machine_running(m))
		return 0;
	if (m->state == RS_FINISH_MIGRATE && m->handed_to && m->handed_certain)
		return machine_check_kept(m, err);
	if (m->state == RS_FINISH_MIGRATE)
		return err_set(err, EBUSY, "Migration is not finalized yet");
	ret = machine_check_memory(m, err); /* forcing does not override this */
	if (ret == 0)
		ret = machine_check_hold(m, err); /* nor this */
	if (ret == 0)
		ret = machine_check_kept(m, err);
	if (ret == 0 && needs_reset(m))
		ret = err_set(err, EINVAL, "Resetting the Virtual Machine is required");
	if (ret == 0 && m->needs_boot)
		ret = machine_reset(m, err);
	if (ret == 0)
		ret = machine_handover(m, HANDOVER_ACQUIRE, err);
	if (ret < 0)
		return ret;
	if (machine_set_state(m, RS_RUNNING, err) < 0)
		return -EINVAL;
	notify_event(&m->notify, NOTIFY_RESUME, CAUSE_NONE);
	machine_resume(m);
	return 0;
}

int machine_start_forced(struct machine *m, struct err *err)
{
	char *to = m->handed_to;
	int ret;

	if (m->state == RS_FINISH_MIGRATE) /* nor is this overridden */
		return machine_start(m, err);
	m->handed_to = NULL;
	ret = machine_start(m, err);
	if (ret < 0 && !needs_reset(m))
		m->handed_to = to;
	else
		free(to);
	return ret;
}

int machine_reset(struct machine *m, struct err *err)
{
	int ret;

	if (!m->arch)
		return err_set(err, ENODEV, "there is no machine (-machine none)");
	while (m->resetting) /* another thread resets it */
		pthread_cond_wait(&m->cond, &m->lock);
	ret = machine_check_memory(m, err);
	if (ret < 0)
		return ret;
	dirty_lose(m, "the guest has been reset");
	list_for_each (d, &m->devices, struct device, link)
		if (d->ops->reset)
			d->ops->reset(d);
	for (unsigned i = 0; i < m->n_vcpus; i++)
		m->vcpus[i]->held = false;
	ret = m->arch->reset(m, err);
	if (ret < 0 || m->state == RS_INMIGRATE || m->hold == HOLD_LOAD)
		return ret;
	m->resetting = true;
	ret = m->arch->stage_boot(m, err);
	m->resetting = false;
	pthread_cond_broadcast(&m->cond);
	m->needs_boot = ret < 0;
	m->broken.errnum = m->needs_boot ? m->broken.errnum : 0;
	return ret;
}

void machine_irq(struct machine *m, unsigned gsi, bool level)
{
	if (m->arch && m->arch->irq_line)
		m->arch->irq_line(m, gsi, level);
	else
		machine_kvm_irq_line(m, gsi, level);
}

void machine_kvm_irq_line(struct machine *m, unsigned gsi, bool level)
{
	struct kvm_irq_level irq = {.irq = gsi, .level = level};

	if (m->vm_fd >= 0)
		(void)ioctl(m->vm_fd, KVM_IRQ_LINE, &irq);
}
