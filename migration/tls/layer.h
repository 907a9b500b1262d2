/*
 * layer.h - TLS on the channels to a peer: what the parameters tls-creds, tls-hostname, tls-authz
 * say
 *
 * A layer holds references to the objects that the parameters name, as they are when it is
 * filled.  An object that is not there is an error only when a channel is to get its TLS.
 */
#ifndef MINIVMM_TLS_LAYER_H
#define MINIVMM_TLS_LAYER_H

#include <stdbool.h>

#include "migration/channel/open.h"

struct authz;
struct machine;
struct migration_params;
struct tls_creds;

struct tls_layer {
	struct channel_layer layer; /* comes first */
	bool wanted;
	/* references; NULL: none, or 'why' there is none */
	struct tls_creds *creds;
	struct authz *authz;
	char host[256]; /* what the server's certificate must name; "": not known */
	int errnum;
	char why[200];
};

/*
 * *l is overwritten; tls_layer_fini() gives up what it holds.  'host': of the address, NULL where
 * it has none.  Machine lock held.
 */
void tls_layer_fill(struct tls_layer *l, const struct machine *m, const struct migration_params *p,
		    const char *host);
struct tls_layer tls_layer_copy(const struct tls_layer *l);
void tls_layer_fini(struct tls_layer *l); /* a zeroed one is fine */
/* The layer for channels, good for as long as *l is; NULL: none is wanted. */
const struct channel_layer *tls_layer_of(const struct tls_layer *l);

#endif
