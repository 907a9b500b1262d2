/*
 * sparse.h - pages that the guest never touched do not travel to a minivmm
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

#include <stdint.h>

struct command_state;
struct err;
struct outgoing;

/* Source, before ram_save_begin(), when the other end is known.  Migration thread. */
int sparse_offer(struct outgoing *o, struct err *err);
/* Destination: a SPARSE command. */
int sparse_take(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err);

#endif
