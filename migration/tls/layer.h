/*
 * layer.h - TLS on the channels to a peer: what the parameters tls-creds, tls-hostname, tls-authz
 * say
 *
 * A layer is a value that holds names: the objects are looked up when a channel gets its TLS,
 * and the channel holds references.
 */
#ifndef MINIVMM_TLS_LAYER_H
#define MINIVMM_TLS_LAYER_H

#include "migration/channel/open.h"

struct migration_params;
struct tls_objects;

struct tls_layer {
	struct channel_layer layer;  /* comes first */
	struct tls_objects *objects; /* borrowed */
	char creds[256], authz[256];
	char host[256]; /* what the server's certificate must name; "": not known */
};

/* 'host': of the address, NULL where it has none.  Machine lock held. */
void tls_layer_fill(struct tls_layer *l, struct tls_objects *objects,
		    const struct migration_params *p, const char *host);
/* The layer for channels; NULL: none is wanted. */
const struct channel_layer *tls_layer_of(const struct tls_layer *l);

#endif
