/*
 * creds.h - what one end of TLS proves itself with and knows the other by: tls-creds-x509, -psk,
 * -anon
 *
 * Credentials are read and checked when they are made, and do not change after that; a
 * session holds a reference.  No GnuTLS here: creds.c and the kinds that it names are behind it.
 */
#ifndef MINIVMM_TLS_CREDS_H
#define MINIVMM_TLS_CREDS_H

#include <stdbool.h>

struct cfg_object;
struct err;
struct tls_creds;

/*
 * What 'o' describes, a reference; NULL with *err set: which file is wrong, and why.
 * 'password' of the key file, borrowed, or NULL.  Any thread.
 */
struct tls_creds *tls_creds_new(const struct cfg_object *o, const char *password, struct err *err);
/* Any thread. */
struct tls_creds *tls_creds_ref(struct tls_creds *c);
void tls_creds_unref(struct tls_creds *c); /* NULL is fine */
/* For the end that listens? */
bool tls_creds_of_server(const struct tls_creds *c);
/* Does a client need the name of the server's host, to compare it with a certificate? */
bool tls_creds_want_host(const struct tls_creds *c);

#endif
