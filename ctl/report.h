/*
 * report.h - how a move went, as one page to look at (docs/minivmm-ctl.md, "A report")
 *
 * The caller watches the migration and tells the report what it sees: the figures of each look at
 * query-migrate, at the end that sends and, where it is reachable, at the end that receives, and
 * the events of both. report_finish() makes of it one HTML page, or one SVG picture, without
 * scripts and without anything from outside.
 *
 * Memory is bounded however long a move takes: when REPORT_SAMPLES looks are kept at an end, each
 * second one of them is forgotten, and from then on each second new one is passed over.
 * One thread.
 */
#ifndef MINIVMM_CTL_REPORT_H
#define MINIVMM_CTL_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "ctl/figures.h"

struct err;
struct report;

enum report_end { REPORT_SOURCE, REPORT_PEER, REPORT_ENDS };

#define REPORT_SAMPLES 1024
#define REPORT_EVENTS  512

/*
 * A report that is to stand in 'file' (copied), whose name ends with .html, .htm or .svg. -EINVAL
 * for another one, and what the directory says when no file can be made in it: a report that
 * cannot be written is refused before the guest moves. Returns owned, or NULL.
 */
struct report *report_new(const char *file, struct err *err);
void report_free(struct report *r); /* NULL is fine */

/* Who is at an end: its name ("db1", or the socket's path) and its program ("minivmm 0.1.0"). */
void report_about(struct report *r, enum report_end end, const char *name, const char *program);
/* Where it goes: the URI, and the options that matter in words ("postcopy, 4 multifd channels"). */
void report_move(struct report *r, const char *uri, const char *options);
/* downtime-limit, ms; 0: not known. */
void report_limit(struct report *r, uint64_t ms);

/*
 * What the end said at 'now_ns' (CLOCK_MONOTONIC; the same clock for both ends, it never goes
 * back). r NULL: nothing happens, so that a caller need not ask whether there is a report.
 */
void report_sample(struct report *r, enum report_end end, uint64_t now_ns, const struct figures *f);
/* The same for an event: its name, and for MIGRATION its status, for others "". */
void report_event(struct report *r, enum report_end end, uint64_t now_ns, const char *event,
		  const char *detail);

/* Writes the file, complete or not at all. Does not free. 0 or -errno. */
int report_finish(struct report *r, struct err *err);

#endif
