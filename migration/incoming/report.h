/*
 * report.h - what the log says of guests that come
 *
 * Machine lock held.  The lines go to stderr, and into the file of -D too.
 */
#ifndef MINIVMM_MIGRATION_INREPORT_H
#define MINIVMM_MIGRATION_INREPORT_H

#include <stdint.h>

struct incoming;

/* It listens at in->where. */
void report_incoming_awaited(const struct incoming *in);
/* A source has connected; its descriptor (borrowed). */
void report_incoming_start(struct incoming *in, int fd);
/* The guest is here, in the machine's run state. */
void report_incoming_done(const struct incoming *in);
void report_incoming_resident(const struct incoming *in);
/* The guest is not here; in->error says why. */
void report_incoming_failure(const struct incoming *in);
/* The program ends while the guest runs here and pages of 4 KiB are still at the source. */
void report_incoming_torn(const struct incoming *in, uint64_t pages);
/* The program ends while the guest is being loaded. */
void report_incoming_given_up(const struct incoming *in);

#endif
