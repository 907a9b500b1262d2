/* copy.c - what distinguishes a guest from a file: its generation ID, its clock */
#include "migration/incoming/copy.h"

#include "devices/vmgenid.h"
#include "migration/settings/settings.h"
#include "vmm/base/log.h"
#include "vmm/machine.h"

int copy_loaded(struct machine *m, const struct migration_settings *set, uint64_t saved_ns,
		struct err *err)
{
	int ret = vmgenid_changed(m, err);

	if (ret < 0)
		return ret;
	machine_lock(m);
	if (set->params.load_clock == LOAD_CLOCK_ADVANCE && m->arch && m->arch->advance &&
	    m->arch->advance(m, saved_ns) < 0)
		log_warn(
		    "x-minivmm-load-clock=advance: nothing says when this guest was saved: its "
		    "clock goes on from where it stood");
	machine_unlock(m);
	return 0;
}
