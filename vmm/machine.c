#include "vmm/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/device.h"
#include "vmm/dirty-ring.h"
#include "vmm/loop.h"
#include "vmm/options/config.h"
#include "vmm/vcpu.h"

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

struct machine *machine_new(const struct config *cfg, struct err *err)
{
	struct machine *m = NEW(struct machine);
	pthread_condattr_t attr;

	m->cfg = cfg;
	m->kvm_fd = m->vm_fd = -1;
	m->state = RS_PRELAUNCH;
	m->paused = true;
	m->quiet = true;
	m->pause_depth = 1; /* until the first machine_start */
	m->autostart = !cfg->paused;
	pthread_mutex_init(&m->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&m->cond, &attr);
	(void)pthread_condattr_destroy(&attr);
	list_init(&m->devices);
	list_init(&m->blockers);
	notify_init(&m->notify);
	vms_registry_init(&m->vmstate);
	memory_init(&m->mem, -1);
	m->loop = loop_new(&m->lock, err);
	m->io = m->loop ? loop_new(NULL, err) : NULL;
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
	if (loop_thread_start(m->io, "io", err) < 0)
		goto fail;
	return m;
fail:
	machine_free(m);
	return NULL;
}

static void end_vcpus(struct machine *m)
{
	machine_lock(m);
	m->quitting = true;
	pthread_cond_broadcast(&m->cond);
	for (unsigned i = 0; i < m->n_vcpus; i++)
		vcpu_kick(m->vcpus[i]);
	machine_unlock(m);
	for (unsigned i = 0; i < m->n_vcpus; i++)
		thread_join(&m->vcpus[i]->thread);
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

void machine_end(struct machine *m)
{
	end_vcpus(m);
	machine_lock(m);
	if (m->pause_depth == 0) /* devices' threads still work: drain them */
		machine_pause(m);
	destroy_devices(m);
	machine_unlock(m);
	if (m->io)
		loop_thread_join(m->io);
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	machine_end(m);
	for (unsigned i = 0; i < m->n_vcpus; i++) {
		if (m->arch)
			m->arch->vcpu_fini(m->vcpus[i]);
		vcpu_free(m->vcpus[i]);
	}
	free(m->vcpus);
	if (m->arch)
		m->arch->fini(m);
	dirty_ring_destroy(m);
	vms_registry_fini(&m->vmstate);
	memory_fini(&m->mem);
	if (m->vm_fd >= 0)
		(void)close(m->vm_fd);
	if (m->kvm_fd >= 0)
		(void)close(m->kvm_fd);
	loop_free(m->io);
	loop_free(m->loop);
	free(m->handed_to);
	pthread_cond_destroy(&m->cond);
	pthread_mutex_destroy(&m->lock);
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

static bool all_parked(const struct machine *m)
{
	for (unsigned i = 0; i < m->n_vcpus; i++)
		if (m->vcpus[i]->thread.live && !m->vcpus[i]->parked)
			return false;
	return true;
}

void machine_pause(struct machine *m)
{
	if (m->pause_depth++ > 0) {
		while (!m->quiet) /* another thread is still at it */
			pthread_cond_wait(&m->cond, &m->lock);
		return;
	}
	m->paused = true;
	pthread_cond_broadcast(&m->cond); /* a throttled vCPU need not sleep on */
	for (unsigned i = 0; i < m->n_vcpus; i++)
		if (!m->vcpus[i]->parked)
			vcpu_kick(m->vcpus[i]);
	while (!all_parked(m))
		pthread_cond_wait(&m->cond, &m->lock);
	list_for_each (d, &m->devices, struct device, link)
		if (d->ops->pause)
			d->ops->pause(d);
	vclock_stop(&m->vclock);
	if (m->arch)
		m->arch->stopped(m);
	m->quiet = true;
	pthread_cond_broadcast(&m->cond);
}

void machine_resume(struct machine *m)
{
	if (--m->pause_depth > 0)
		return;
	if (m->arch)
		m->arch->starting(m);
	vclock_start(&m->vclock);
	list_for_each (d, &m->devices, struct device, link)
		if (d->ops->resume)
			d->ops->resume(d);
	m->paused = false;
	m->quiet = false;
	pthread_cond_broadcast(&m->cond);
}

int machine_set_state(struct machine *m, enum runstate s, struct err *err)
{
	if (!runstate_legal(m->state, s))
		return err_set(err, EINVAL, "invalid runstate transition: '%s' -> '%s'",
			       runstate_name(m->state), runstate_name(s));
	m->state = s;
	machine_retry_requests(m);
	return 0;
}

void machine_stop(struct machine *m, enum runstate s)
{
	if (!machine_running(m))
		return;
	machine_pause(m);
	/* While the pause gave up the lock somebody else may have stopped the guest. */
	if (!machine_running(m)) {
		machine_resume(m);
		return;
	}
	m->state = s;
	notify_event(&m->notify, NOTIFY_STOP, CAUSE_NONE);
}

int machine_handover(struct machine *m, bool give, struct err *err)
{
	list_for_each (d, &m->devices, struct device, link) {
		int ret = d->ops->handover ? d->ops->handover(d, give, err) : 0;

		if (ret < 0)
			return err_prefix(err, ret, "%s%s%s", d->ops->name, d->id ? " " : "",
					  d->id ? d->id : "");
	}
	return 0;
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

/* It has ended by itself; also one that was saved or moved after that. */
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
	if (m->state == RS_FINISH_MIGRATE)
		return err_set(err, EBUSY, "Migration is not finalized yet");
	ret = machine_check_memory(m, err); /* no force helps against this */
	if (ret == 0)
		ret = machine_check_kept(m, err);
	if (ret == 0 && needs_reset(m))
		ret = err_set(err, EINVAL, "Resetting the Virtual Machine is required");
	if (ret == 0 && m->needs_boot)
		ret = machine_reset(m, err);
	if (ret == 0)
		ret = machine_handover(m, false, err);
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

	ret = machine_check_memory(m, err);
	if (ret < 0)
		return ret;
	list_for_each (d, &m->devices, struct device, link)
		if (d->ops->reset)
			d->ops->reset(d);
	for (unsigned i = 0; i < m->n_vcpus; i++)
		m->vcpus[i]->held = false;
	ret = m->arch->reset(m, err);
	if (ret < 0 || m->state == RS_INMIGRATE)
		return ret;
	ret = m->arch->stage_boot(m, err);
	m->needs_boot = ret < 0;
	return ret;
}

void machine_irq(struct machine *m, unsigned gsi, bool level)
{
	struct kvm_irq_level irq = {.irq = gsi, .level = level};

	if (m->vm_fd >= 0)
		(void)ioctl(m->vm_fd, KVM_IRQ_LINE, &irq);
}
