/*
 * report.h - what the log says of moves and saves
 *
 * Machine lock held.  The lines go to stderr, and into the file of -D too.
 */
#ifndef MINIVMM_MIGRATION_REPORT_H
#define MINIVMM_MIGRATION_REPORT_H

struct incoming;
struct outgoing;

/* A move or a save to this address begins (o->uri and o->fd are set). */
void report_outgoing_start(struct outgoing *o, const char *uri);
/* It has ended; the status says how. */
void report_outgoing_end(struct outgoing *o);
/* A source has connected (in->ch is set). */
void report_incoming_start(struct incoming *in);
/* The guest is here, in the machine's run state. */
void report_arrival(const struct incoming *in);
/* ... is not; in->error says why. */
void report_incoming_failure(const struct incoming *in);

#endif
