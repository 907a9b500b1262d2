#include "vmm/blocker.h"

#include <errno.h>

#include "vmm/base/error.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

int blocker_add(struct machine *m, struct blocker *b, struct err *err)
{
	if (m->cfg->only_migratable)
		return err_set(err, EACCES,
			       "disallowing migration blocker (--only-migratable) for: %s",
			       b->reason);
	list_add_tail(&m->blockers, &b->link);
	return 0;
}

void blocker_del(struct blocker *b)
{
	if (b->link.next)
		list_del(&b->link);
	b->link = (struct list){0};
}
