/* listener.h - a loop accepts the connections to listening sockets */
#ifndef MINIVMM_LISTENER_H
#define MINIVMM_LISTENER_H

#include <stdbool.h>

struct listen_set;
struct listener;
struct loop;

/*
 * 'accepted' is called on the loop's thread with each connection (owned,
 * non-blocking), and may free the listener.  'set' is borrowed and stays open.
 * The loop's thread, or its maker before it runs; returns owned.
 */
struct listener *listener_new(struct loop *l, const struct listen_set *set,
			      void (*accepted)(void *opaque, int fd), void *opaque);
/* Off: connections wait in the backlog. */
void listener_switch(struct listener *ls, bool on);
void listener_free(struct listener *ls); /* NULL is fine */

#endif
