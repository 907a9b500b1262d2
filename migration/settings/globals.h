/*
 * globals.h - -global migration.NAME=VALUE: capabilities, parameters, and what can be set only so
 */
#ifndef MINIVMM_MIGRATION_SETTINGS_GLOBALS_H
#define MINIVMM_MIGRATION_SETTINGS_GLOBALS_H

#include <stdbool.h>
#include <stddef.h>

struct err;
struct keyvals;
struct migration_settings;

/* What is neither capability nor parameter: on or off, for the program's life. */
struct migration_property {
	const char *name;
	size_t offset; /* of a bool in struct migration_settings */
	const char *help;
};
extern const struct migration_property migration_properties[]; /* ends with a NULL name */

/*
 * Put all of them into *s, the last of a name wins.  Which go together is asked
 * when all have been read, whatever their order.  A refusal names the option,
 * and changes nothing.  Machine lock held.
 */
int globals_apply(struct migration_settings *s, const struct keyvals *globals, struct err *err);

#endif
