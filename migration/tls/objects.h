/* objects.h - the kinds of -object that TLS is set up with: tls-creds-*, authz-* */
#ifndef MINIVMM_TLS_OBJECTS_H
#define MINIVMM_TLS_OBJECTS_H

struct authz;
struct err;
struct machine;
struct object_kind;
struct tls_creds;

extern const struct object_kind tls_x509_kind, tls_psk_kind, tls_anon_kind;
extern const struct object_kind authz_simple_kind, authz_list_kind, authz_list_file_kind,
    authz_listfile_kind;

/* References to what the object of that name is; NULL with *err set.  Machine lock held. */
struct tls_creds *tls_find_creds(const struct machine *m, const char *id, struct err *err);
struct authz *tls_find_authz(const struct machine *m, const char *id, struct err *err);

#endif
