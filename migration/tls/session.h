/* session.h - a channel that encrypts what goes through it */
#ifndef MINIVMM_TLS_SESSION_H
#define MINIVMM_TLS_SESSION_H

#include <stdbool.h>

struct authz;
struct channel;
struct err;
struct tls_creds;

/*
 * TLS on 'below', which the new channel owns from now on; references to the credentials and the
 * authorization (NULL: whoever has proved itself) are its own.  'host' (NULL: whatever it is)
 * is what a server's certificate must name.  Nothing is sent before channel_handshake() or
 * the first attempt to read.  NULL with *err set, and 'below' left alone.
 */
struct channel *tls_channel_new(struct channel *below, struct tls_creds *creds, struct authz *authz,
				const char *host, bool incoming, struct err *err);

#endif
