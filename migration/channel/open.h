/* open.h - from an address to a channel, and what is put on top of it */
#ifndef MINIVMM_MIGRATION_CHANNEL_OPEN_H
#define MINIVMM_MIGRATION_CHANNEL_OPEN_H

#include <stdbool.h>

struct channel;
struct err;
struct migration_uri;
struct patience;
struct sockaddr_list;

/*
 * A layer that every channel to a peer gets.  Nothing is said when it is put
 * on, for the one that does it may be the main loop: a handshake is part of the
 * first attempts to read, peek or write.
 */
struct channel_layer {
	/* Takes 'below'; returns owned, or NULL with *err set and 'below' closed. */
	struct channel *(*put_on)(const struct channel_layer *l, struct channel *below,
				  bool incoming, struct err *err);
};

/*
 * Open what an outgoing (incoming: exec, fd and file) URI names; 'to' is for
 * tcp:, fd for fd:.  'patience' (NULL: without end) is with a peer that does not accept.
 * Returns owned, or NULL with *err set; fd is taken either way.
 */
struct channel *channel_open(const struct migration_uri *uri, const struct sockaddr_list *to,
			     int fd, bool writing, int cancel_fd, struct patience *patience,
			     struct err *err);
/* With the layer (NULL: none) on it; a 'c' that is NULL stays so. */
struct channel *channel_with_layer(struct channel *c, const struct channel_layer *l, bool incoming,
				   struct err *err);

#endif
