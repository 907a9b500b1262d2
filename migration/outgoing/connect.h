/* connect.h - a connection to the destination, with TLS on it where that is wanted */
#ifndef MINIVMM_MIGRATION_OUTGOING_CONNECT_H
#define MINIVMM_MIGRATION_OUTGOING_CONNECT_H

struct channel;
struct channel_layer;
struct err;
struct migration_uri;
struct outgoing;
struct sockaddr_list;
struct tls_layer;

/* Migration thread.  Takes fd (of fd:, else -1); returns owned, or NULL with *err set. */
struct channel *outgoing_connect(struct outgoing *o, struct migration_uri *uri,
				 const struct sockaddr_list *to, int fd,
				 const struct tls_layer *tls, int cancel_fd, struct err *err);
/* What is put on each connection; NULL: nothing. */
const struct channel_layer *outgoing_layer(const struct outgoing *o, const struct tls_layer *tls);
/* Is TLS possible to that address?  Machine lock held. */
int outgoing_check_tls(const struct outgoing *o, const struct migration_uri *uri, struct err *err);

#endif
