/*
 * report-peer.h - a report's figures and events, taken from connections
 *
 * report.c knows no connection; here what a client says becomes its samples. All functions do
 * nothing for a report of NULL, so that a move asks only once whether there is one. One thread.
 */
#ifndef MINIVMM_CTL_REPORT_PEER_H
#define MINIVMM_CTL_REPORT_PEER_H

#include <stdint.h>

#include "ctl/report.h"

struct client;
struct err;
struct json_object;
struct report_peer;

/* Who is at the end: the guest's name, the program; of the source downtime-limit, too. */
void report_describe(struct report *r, enum report_end end, struct client *c);
/* An event as it came, {"event": ..., "data": ...}; borrows it. */
void report_take_event(struct report *r, enum report_end end, uint64_t now_ns,
		       const struct json_object *event);
/* CLOCK_MONOTONIC. */
uint64_t report_now_ns(void);

/*
 * Watch the other end, too, by the path of a monitor's socket or the name of one that runs. Returns
 * owned; NULL with a sentence when it cannot be reached.
 */
struct report_peer *report_peer_new(struct report *r, const char *where, int timeout_ms,
				    struct err *err);
/* One look, which waits for an answer for PEER_WAIT_MS at most; a peer that is gone is left alone.
 */
void report_peer_look(struct report_peer *p);
/* The source has ended: look until this end has, too, for PEER_END_MS at most. */
void report_peer_end(struct report_peer *p);
void report_peer_free(struct report_peer *p); /* NULL is fine, here and above */

#define PEER_WAIT_MS 300
#define PEER_END_MS  2000

#endif
