/*
 * alloc.h - memory for the program's own small, bounded objects
 *
 * These never return NULL: a host that cannot give a few KiB cannot run the
 * program, and says so once.  A size that comes from a guest, a peer or a
 * file must be bounded first; above 1 MiB use malloc() and handle NULL.
 */
#ifndef MINIVMM_BASE_ALLOC_H
#define MINIVMM_BASE_ALLOC_H

#include <stddef.h>

/* Zeroed memory for n objects of 'size' bytes; returns owned, free with free(). */
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xstrndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));
/* A formatted string; returns owned. */
char *xasprintf(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), malloc, returns_nonnull));

#define NEW(T) ((T *)xcalloc(1, sizeof(T)))

/* For CLEANUP(): free what a pointer variable holds, close what an int holds (if >= 0). */
void cleanup_free(void *pp);
void cleanup_close(const int *fd);

#endif
