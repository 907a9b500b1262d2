/*
 * arrivals.h - who has connected to an incoming migration with several channels
 *
 * Connections may come in any order, for a network keeps none between them.
 * What they begin with says what they are: "QEVM" the main stream, the multifd
 * magic a channel of pages.  The bytes are only looked at, not taken.
 */
#ifndef MINIVMM_MIGRATION_ARRIVALS_H
#define MINIVMM_MIGRATION_ARRIVALS_H

#include <stdbool.h>

struct arrivals;
struct loop;

/* The descriptor is given. */
struct arrivals_ops {
	void (*main_stream)(void *opaque, int fd);
	void (*page_channel)(void *opaque, int fd);
	/* One less to wait for. */
	void (*decided)(void *opaque);
};

/* All functions: the loop's thread, but arrivals_waiting(): any, with the loop's lock held. */
struct arrivals *arrivals_new(struct loop *l, const struct arrivals_ops *ops, void *opaque);
/* Closes those of whom nothing is known yet; NULL is fine. */
void arrivals_free(struct arrivals *a);
/* Somebody has connected; takes 'fd'. */
void arrivals_add(struct arrivals *a, int fd);
/* Is there anybody who has not said what they are? */
bool arrivals_waiting(const struct arrivals *a);

#endif
