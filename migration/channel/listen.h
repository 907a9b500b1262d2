/* listen.h - wait on the main loop for the connections of an incoming migration */
#ifndef MINIVMM_MIGRATION_LISTEN_H
#define MINIVMM_MIGRATION_LISTEN_H

#include <stdbool.h>

struct err;
struct listener;
struct loop;
struct migration_address;
struct migration_uri;

/*
 * Listen where a tcp: or unix: URI says; '*addr' becomes the real address.
 * 'accepted' is called with each connected descriptor (given), and may free
 * the listener.
 * Main loop's thread.  Returns owned, or NULL with *err set.
 */
struct listener *listener_new(struct loop *l, const struct migration_uri *uri,
			      void (*accepted)(void *opaque, int fd), void *opaque,
			      struct migration_address *addr, struct err *err);
void listener_free(struct listener *ls); /* NULL is fine */
/* Has somebody connected who has not been accepted yet?  Any thread, the loop's lock held. */
bool listener_pending(const struct listener *ls);

#endif
