/* bare-machine.h - a machine without KVM, vCPUs or an architecture, for tests of devices */
#ifndef MINIVMM_TESTS_BARE_MACHINE_H
#define MINIVMM_TESTS_BARE_MACHINE_H

#include <stdlib.h>

#include "vmm/base/alloc.h"
#include "vmm/base/list.h"
#include "vmm/device.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

/* Interrupts go nowhere; the main loop runs when the test calls loop_run(). */
static inline struct machine *bare_machine_new(const struct config *cfg)
{
	struct machine *m = NEW(struct machine);

	m->cfg = cfg;
	m->kvm_fd = m->vm_fd = -1;
	m->state = RS_PRELAUNCH;
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->cond, NULL);
	list_init(&m->devices);
	list_init(&m->blockers);
	notify_init(&m->notify);
	vms_registry_init(&m->vmstate);
	memory_init(&m->mem, -1);
	m->loop = loop_new(&m->lock, NULL);
	return m;
}

static inline void bare_machine_free(struct machine *m)
{
	list_for_each_safe (d, &m->devices, struct device, link) {
		list_del(&d->link);
		free(d->id);
		d->ops->destroy(d);
	}
	vms_registry_fini(&m->vmstate);
	memory_fini(&m->mem);
	loop_free(m->loop);
	pthread_cond_destroy(&m->cond);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

/* What machine_resume() and machine_pause() do to devices. */
static inline void bare_machine_run(struct machine *m, bool run)
{
	if (run)
		vclock_start(&m->vclock);
	list_for_each (d, &m->devices, struct device, link) {
		void (*fn)(struct device * d) = run ? d->ops->resume : d->ops->pause;

		if (fn)
			fn(d);
	}
	if (!run)
		vclock_stop(&m->vclock);
}

#endif
