/* zero.h - is a piece of memory all zero? */
#ifndef MINIVMM_MIGRATION_ZERO_H
#define MINIVMM_MIGRATION_ZERO_H

#include <stdbool.h>
#include <stddef.h>

/* Any length, any alignment; an empty one is zero.  The widest vectors that the processor has. */
bool buffer_is_zero(const void *p, size_t n);

/* The same by name, for tests: a NULL name ends the list. */
struct zero_test {
	const char *name;
	bool (*usable)(void);
	bool (*test)(const void *p, size_t n);
};
extern const struct zero_test zero_tests[];

#endif
