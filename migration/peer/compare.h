/*
 * compare.h - do the two machines fit?  Asked before a page is sent
 *
 * Between two minivmm the source describes its machine (vmm/describe.h) in a
 * command as soon as both know each other, and a PING follows.  The
 * destination holds it against its own machine; either it goes on, and the
 * PONG says so, or it tells all that differs and gives up.  That costs one
 * round trip.  A destination that does not know the command skips it and
 * answers the PING.
 *
 *     source                                   destination
 *       DESCRIPTION, PING COOKIE_COMPARED  ->
 *                                          <-  PONG COOKIE_COMPARED
 *                                       or <-  DIFFERS ..., ERROR, SHUT 1
 */
#ifndef MINIVMM_MIGRATION_COMPARE_H
#define MINIVMM_MIGRATION_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;
struct machine;
struct writer;

/* Append the description of m.  Machine lock held. */
void machine_describe(struct machine *m, struct buf *out);
/*
 * Hold another machine's description against m; 'caps' (CAP_COUNT of them, or
 * NULL) tell what RAM must have in common.  What differs is in 'diff', empty
 * when the machines fit.  -EINVAL when the description is broken: *err says
 * where.  A format of another time is not compared.  Machine lock held.
 */
int machine_compare(struct machine *m, const bool *caps, const uint8_t *p, size_t n,
		    struct buf *diff, struct err *err);

/* Source: the description and the PING that follows it.  Migration thread, lock not held. */
int describe_send(struct machine *m, struct writer *w, struct err *err);

#endif
