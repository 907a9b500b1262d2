/* probe.h - can this host do what a capability needs?  Asked when it is switched on */
#ifndef MINIVMM_MIGRATION_PROBE_H
#define MINIVMM_MIGRATION_PROBE_H

struct err;
struct migration;

/*
 * 0, or -errno with a sentence in QEMU's words, then the block or what lacks.  Nothing stays.
 * Machine lock held.
 */

/* Can the guest's memory be protected against writes here? */
int probe_background(const struct migration *mg, struct err *err);
/* Can pages come after the guest?  The destination's question: 0 at another machine. */
int probe_postcopy(const struct migration *mg, struct err *err);

#endif
