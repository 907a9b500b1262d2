/*
 * authz.h - who may come in: authz-simple, authz-list, authz-list-file
 *
 * An identity is the name in the peer's certificate, in one line, as
 * "CN=host,O=Example" in the order of the certificate.  A list's rules are
 * looked at in their order: the first whose match fits decides, else the list's own policy.
 */
#ifndef MINIVMM_TLS_AUTHZ_H
#define MINIVMM_TLS_AUTHZ_H

#include <stdbool.h>

struct authz;
struct cfg_object;
struct err;

/* What 'o' describes, a reference; NULL with *err set. */
struct authz *authz_new(const struct cfg_object *o, struct err *err);
struct authz *authz_ref(struct authz *a);
void authz_unref(struct authz *a); /* NULL is fine */
/*
 * May it?  A file that has changed is read again first; where that fails nobody may, with
 * *err set.  Any thread; a lock of its own, a leaf.
 */
bool authz_allows(struct authz *a, const char *identity, struct err *err);

#endif
