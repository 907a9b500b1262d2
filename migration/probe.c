#include "migration/probe.h"

#include <errno.h>

#include "migration/internal.h"
#include "migration/ram/postcopy/postcopy-ram.h"
#include "vmm/base/error.h"
#include "vmm/machine.h"
#include "vmm/memory/missing.h"
#include "vmm/memory/userfault.h"

int probe_background(const struct migration *mg, struct err *err)
{
	struct err why = {0};
	bool host;
	int ret;

	if (memory_check_complete(&mg->m->mem, err) < 0)
		return err_prefix(err, -EBUSY, "Capability 'background-snapshot' has to wait");
	ret = userfault_probe(&mg->m->mem, USERFAULT_WP, &why);
	if (ret == 0)
		return 0;
	host = userfault_probe(NULL, USERFAULT_WP, NULL) < 0;
	return err_set(err, -ret, "Background-snapshot is not %s: " ERR_WITHIN,
		       host ? "supported by host kernel"
			    : "compatible with guest memory configuration",
		       why.msg);
}

int probe_postcopy(const struct migration *mg, struct err *err)
{
	int ret;

	if (mg->m->state != RS_INMIGRATE)
		return 0;
	ret = postcopy_ram_check(&mg->m->mem, false, mg->set.postcopy_1g, err);
	return ret < 0 ? err_prefix(err, ret, "Postcopy is not supported") : 0;
}
