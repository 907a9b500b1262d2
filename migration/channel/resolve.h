/* resolve.h - from a host's name to socket addresses, without holding the program up */
#ifndef MINIVMM_MIGRATION_RESOLVE_H
#define MINIVMM_MIGRATION_RESOLVE_H

#include <stdbool.h>

#include "migration/channel/uri.h"

struct loop;
struct resolve;

/* 'list' is NULL on failure, with the cause in *err; called on the loop's thread, its lock held. */
typedef void resolve_done_fn(void *opaque, const struct sockaddr_list *list, const struct err *err);

/*
 * Look uri's host up, on a thread of its own: neither other look-ups nor disks
 * wait for a name server.  'passive': to listen there.  Loop's thread.  'uri' is
 * borrowed for the call.  Returns owned until 'done' is called, or NULL.
 */
struct resolve *resolve_start(struct loop *l, const struct migration_uri *uri, bool passive,
			      resolve_done_fn *done, void *opaque, struct err *err);
/*
 * Wait at most timeout_ms for it: 1: *list is the answer, -errno: it failed; 'r' is
 * gone then, and 'done' is not called.  0: not yet.  Loop's thread.
 */
int resolve_wait(struct resolve *r, unsigned timeout_ms, struct sockaddr_list *list,
		 struct err *err);
/* 'done' is no longer called; NULL is fine. */
void resolve_abandon(struct resolve *r);
/* At once, when the host is a number or empty: 0, else -errno. */
int resolve_now(const struct migration_uri *uri, bool passive, struct sockaddr_list *list,
		struct err *err);

#endif
