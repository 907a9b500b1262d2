/*
 * report.h - what the log says of moves and saves
 *
 * Machine lock held.  The lines go to stderr, and into the file of -D too.
 */
#ifndef MINIVMM_MIGRATION_OUTREPORT_H
#define MINIVMM_MIGRATION_OUTREPORT_H

struct err;
struct migration_where;
struct outgoing;

/* A move or a save to this address begins (o->uri and o->fd are set). */
void report_outgoing_start(struct outgoing *o, const struct migration_where *where);
/* The move or save has ended; the status says how. */
void report_outgoing_end(struct outgoing *o);
/* The program ends while 'percent' of the guest have been sent. */
void report_outgoing_given_up(const struct outgoing *o, unsigned percent);
/* A guest is being saved: -EBUSY, and what 'quit' would give up. */
int report_check_quit(const struct outgoing *o, unsigned percent, struct err *err);

#endif
