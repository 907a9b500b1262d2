/*
 * blocker.h - reasons why the machine cannot be moved to another process
 *
 * A component that cannot be migrated adds a blocker, and removes it when it is
 * destroyed.  Machine lock held.
 */
#ifndef MINIVMM_BLOCKER_H
#define MINIVMM_BLOCKER_H

#include "vmm/base/list.h"

struct err;
struct machine;

struct blocker {
	const char *reason; /* a sentence; borrowed while it blocks */
	struct list link;
};

/* Refused, and not added, when the machine is to stay migratable (-only-migratable). */
int blocker_add(struct machine *m, struct blocker *b, struct err *err);
void blocker_del(struct blocker *b); /* one that was never added is fine */

#endif
