/*
 * handshake.c - what two minivmm agree on before the first page
 *
 * The machines are compared (peer/compare.h), memory that both can have is
 * left out or passed as descriptors (peer/shared-memory.h), and pages that the
 * guest never touched need not travel (peer/untouched.h).  A peer that is not
 * known to be minivmm sees nothing of it.
 */
#include "migration/channel/channel.h"
#include "migration/outgoing/outgoing.h"
#include "migration/outgoing/rp-wait.h"
#include "migration/peer/compare.h"
#include "migration/peer/shared-memory.h"
#include "migration/peer/untouched.h"
#include "vmm/machine.h"

static int compare_machines(struct outgoing *o, struct err *err)
{
	int ret = describe_send(o->m, o->w, err);

	return ret == 0 ? rp_wait_compared(o, err) : ret;
}

int handshake_machines(struct outgoing *o, struct err *err)
{
	int ret = o->rp.minivmm ? compare_machines(o, err) : 0;

	o->shared_given = false;
	if (ret == 0 && o->caps[CAP_X_IGNORE_SHARED])
		ret = shared_offer(&o->m->mem, o->w, o->rp.minivmm, &o->shared_given, err);
	return ret;
}

int handshake_memory(struct outgoing *o, struct err *err)
{
	if (!o->rp.minivmm)
		return 0;
	return sparse_offer(&o->m->mem, o->w, o->ram.ignore_shared, &o->ram.sparse, err);
}
