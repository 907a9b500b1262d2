/* units.h - sizes, rounding and other one-liners */
#ifndef MINIVMM_BASE_UNITS_H
#define MINIVMM_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/param.h> /* MIN, MAX */

#define KiB (1024ULL)
#define MiB (1024ULL * KiB)
#define GiB (1024ULL * MiB)

#define PAGE_BITS  12
#define PAGE_BYTES (1UL << PAGE_BITS) /* the guest's page, TPS in the stream's specification */

#define ARRAY_LEN(a)     (sizeof(a) / sizeof((a)[0]))
#define ALIGN_DOWN(x, a) ((x) / (a) * (a))
#define ALIGN_UP(x, a)   ALIGN_DOWN((x) + (a)-1, (a))

/* The struct of type T in which 'member' is what 'ptr' points at. */
#define container_of(ptr, T, member) ((T *)(void *)((char *)(ptr)-offsetof(T, member)))

/* Run f(&var) when var leaves its scope: CLEANUP(close_fd) int fd = -1; */
#define CLEANUP(f) __attribute__((cleanup(f)))

#endif
