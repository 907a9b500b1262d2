/* listen.h - where an incoming migration waits for its connections */
#ifndef MINIVMM_MIGRATION_LISTEN_H
#define MINIVMM_MIGRATION_LISTEN_H

struct err;
struct listen_set;
struct migration_address;
struct migration_uri;
struct sockaddr_list;

/*
 * Listen where a unix: URI says, or a tcp: one whose host stands for 'list' (NULL
 * for unix:); *addr becomes the real address.  *set is to be closed by the caller.
 */
int channel_listen(struct listen_set *set, const struct migration_uri *uri,
		   const struct sockaddr_list *list, struct migration_address *addr,
		   struct err *err);

#endif
