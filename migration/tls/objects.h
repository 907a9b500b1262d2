/*
 * objects.h - the objects that TLS is set up with, by name: tls-creds-*, authz-*
 *
 * Any thread; a lock of its own, a leaf (vmm/machine.h).  An object that a connection uses may be
 * deleted: the connection keeps what it holds.
 */
#ifndef MINIVMM_TLS_OBJECTS_H
#define MINIVMM_TLS_OBJECTS_H

#include <stdbool.h>

struct authz;
struct cfg_object;
struct err;
struct tls_creds;
struct tls_objects;

struct tls_objects *tls_objects_new(void);
void tls_objects_free(struct tls_objects *s); /* NULL is fine */

/* Is this qom-type one of these? */
bool tls_objects_has_type(const char *type);
/*
 * Make what 'o' describes; the files are read and checked now.  'password', borrowed, is that of
 * 'passwordid', or NULL.  -EEXIST: the name is taken.
 */
int tls_objects_add(struct tls_objects *s, const struct cfg_object *o, const char *password,
		    struct err *err);
/* -ENOENT: there is none of that name. */
int tls_objects_del(struct tls_objects *s, const char *id);

/* References; NULL with *err set. */
struct tls_creds *tls_objects_creds(struct tls_objects *s, const char *id, struct err *err);
struct authz *tls_objects_authz(struct tls_objects *s, const char *id, struct err *err);

#endif
