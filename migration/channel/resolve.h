/* resolve.h - from a host's name to socket addresses, without holding the program up */
#ifndef MINIVMM_MIGRATION_RESOLVE_H
#define MINIVMM_MIGRATION_RESOLVE_H

#include <pthread.h>

#include "migration/channel/uri.h"

struct loop;
struct resolve;

/* 'list' is NULL on failure, with the cause in *err; called on the loop's thread, 'lock' held. */
typedef void resolve_done_fn(void *opaque, const struct sockaddr_list *list, const struct err *err);

/* Look uri's host up (libuv's threads).  Loop's thread.  'uri' is borrowed for the call. */
struct resolve *resolve_start(struct loop *l, pthread_mutex_t *lock,
			      const struct migration_uri *uri, resolve_done_fn *done, void *opaque,
			      struct err *err);
/* 'done' is not called any more; NULL is fine. */
void resolve_abandon(struct resolve *r);
/* At once: 0 when the host is a number (or, with 'passive', any name: that may block), else -errno.
 */
int resolve_now(const struct migration_uri *uri, bool passive, struct sockaddr_list *list,
		struct err *err);

#endif
