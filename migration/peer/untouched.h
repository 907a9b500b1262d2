/*
 * untouched.h - pages that the guest never touched do not travel to a minivmm
 *
 * The source tells for which blocks (SPARSE commands, before RAM), and the
 * destination makes these all zero before pages come, whatever they held.
 *
 * QEMU must not see the command, and its memory may hold something: a file's
 * content.  A stored stream may be loaded by either.  So both get a ZERO record
 * for each of these pages.
 */
#ifndef MINIVMM_MIGRATION_SPARSE_H
#define MINIVMM_MIGRATION_SPARSE_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct machine;
struct memory;
struct ram_load;
struct writer;

/*
 * Source, before ram_save_begin(), when the other end is known to be a
 * minivmm: for every block that is sent.  *sparse: the other end takes what
 * does not come for zero.  Migration thread.
 */
int sparse_offer(const struct memory *mem, struct writer *w, bool ignore_shared, bool *sparse,
		 struct err *err);
/* Destination: a SPARSE command of n bytes. */
int sparse_take(struct machine *m, struct ram_load *ram, const uint8_t *payload, uint16_t n,
		struct err *err);

#endif
