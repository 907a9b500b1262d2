/* globals.h - -global migration.NAME=VALUE: capabilities and parameters from the command line */
#ifndef MINIVMM_MIGRATION_SETTINGS_GLOBALS_H
#define MINIVMM_MIGRATION_SETTINGS_GLOBALS_H

struct err;
struct keyvals;
struct migration_settings;

/*
 * Put all of them into *s, the last of a name wins.  Which go together is asked
 * when all have been read, whatever their order.  A refusal names the option,
 * and changes nothing.  Machine lock held.
 */
int globals_apply(struct migration_settings *s, const struct keyvals *globals, struct err *err);

#endif
