/* secret.h - -object secret: bytes that others must not see, by id */
#ifndef MINIVMM_SECRET_H
#define MINIVMM_SECRET_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct machine;
struct object_kind;

extern const struct object_kind secret_kind;

/*
 * The bytes of the secret with this id: borrowed until it is deleted, and a NUL follows them.
 * Machine lock.
 */
int secret_lookup(const struct machine *m, const char *id, const uint8_t **bytes, size_t *n,
		  struct err *err);

#endif
