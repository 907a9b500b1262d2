/* hints.h - pages that the guest says are free need not be sent */
#ifndef MINIVMM_MIGRATION_HINTS_H
#define MINIVMM_MIGRATION_HINTS_H

struct outgoing;

/* After the first sync, while the guest runs.  Migration thread, machine lock held. */
void hints_start(struct outgoing *o);
/* Before the next sync, and at the end; none started is fine.  Migration thread, no lock needed. */
void hints_stop(struct outgoing *o);

#endif
