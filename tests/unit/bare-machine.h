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

	if (machine_init(m, cfg, NULL) < 0)
		abort();
	m->loop = m->work = loop_new(&m->lock, NULL);
	return m;
}

static inline void bare_machine_free(struct machine *m)
{
	list_for_each_safe (d, &m->devices, struct device, link) {
		list_del(&d->link);
		free(d->id);
		d->ops->destroy(d);
	}
	loop_free(m->loop);
	machine_fini(m);
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
