/* stopped.h - the mode that saves a guest which stands still from the first page to the last */
#ifndef MINIVMM_MIGRATION_SNAPSHOT_STOPPED_H
#define MINIVMM_MIGRATION_SNAPSHOT_STOPPED_H

struct migration_mode;

/* Into a one-way channel, for outgoing.snapshot; the caller holds the guest (vmm/hold.h). */
extern const struct migration_mode stopped_mode;

#endif
