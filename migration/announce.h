/* announce.h - what migration_announce() leaves running */
#ifndef MINIVMM_MIGRATION_ANNOUNCE_H
#define MINIVMM_MIGRATION_ANNOUNCE_H

struct migration;

/* End all rounds.  Machine lock held. */
void announce_fini(struct migration *mg);

#endif
