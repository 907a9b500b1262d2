/* copy.h - a guest that was made from a file: it is a copy, and time has passed */
#ifndef MINIVMM_MIGRATION_COPY_H
#define MINIVMM_MIGRATION_COPY_H

#include <stdint.h>

struct err;
struct machine;
struct migration_settings;

/*
 * Everything has been loaded and pushed into KVM, and the machine does not run
 * yet: the guest gets another generation ID, and the clock that
 * x-minivmm-load-clock asks for.  saved_ns: when it was saved, in ns since 1970,
 * if whoever keeps it knows; 0: as its machine's description says.  Any thread but
 * those of the loops; may wait for guest memory; the machine lock is not held.
 */
int copy_loaded(struct machine *m, const struct migration_settings *set, uint64_t saved_ns,
		struct err *err);

#endif
