/*
 * follow.h - watching a migration to its end, of either direction
 *
 * The migration is watched by its events and by query-migrate: a live line on a terminal, elsewhere
 * a line for each event, with --json an object for each.
 */
#ifndef MINIVMM_CTL_FOLLOW_H
#define MINIVMM_CTL_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "ctl/figures.h"

struct client;
struct ctl;
struct json_object;
struct report;
struct report_peer;

enum follow_policy { POLICY_NONE, POLICY_CANCEL, POLICY_FORCE, POLICY_POSTCOPY };

struct follow {
	struct ctl *ctl;
	struct client *client; /* borrowed */
	bool incoming;         /* a guest is awaited here, none goes */
	bool keep;             /* a paused postcopy is watched on: it was just asked to go on */
	uint64_t
	    postcopy_pass; /* switch to postcopy when so many passes are done; 0: not by passes */
	uint64_t postcopy_ms; /* ... after that time; 0: not by time */
	uint64_t deadline_ms; /* what is done then, for a peer that has no deadlines; 0: none */
	enum follow_policy policy;
	struct report *report;    /* borrowed, NULL: none */
	struct report_peer *peer; /* the same */
	/* result */
	struct figures last;
	bool left; /* it goes on without us */
};

/*
 * Until it has ended, is paused, or is left alone: the exit status (say.h).  What went wrong has
 * been said, a success has not.
 */
int follow_run(struct follow *f);
/* "the guest stood still for 12 ms; 1.2 GiB in 3 passes, 4.2 s, 300 MiB/s", or the object with
 * --json. */
void follow_say_result(const struct follow *f, const char *what, int status);

#endif
