/* options.h - the command line: one table that parses, checks, prints the help and the manual page
 */
#ifndef MINIVMM_OPTIONS_H
#define MINIVMM_OPTIONS_H

#include <stdio.h>

struct cfg_authz;
struct config;
struct device_table;
struct err;

/*
 * Parse argv into *cfg (zeroed by this call, config_fini() frees it, whatever
 * the result); 'devices', borrowed for as long as the config lives, are the
 * models that -device makes.  0: go on.  0 with cfg->text set: nothing behind
 * that option was looked at; the caller prints the text, in which higher floors
 * have a part, and exits.  1: the option asked only for a text (-version,
 * -help, -machine help), which has been printed on stdout; exit with 0.  -errno:
 * refused, *err says "-opt value: text", sometimes with a hint on a second
 * line.
 */
int options_parse(struct config *cfg, const struct device_table *devices, int argc,
		  char *const *argv, struct err *err);

/*
 * Append a node, described as -blockdev has it, to cfg->blockdevs; a node of the list that becomes
 * part of it is no longer there.  -errno: refused, and the list is of no use any more.
 */
int options_blockdev(struct config *cfg, const char *json, struct err *err);

/*
 * The rules of an authz-list-file, a JSON object with the members of authz-list.  'a' is zeroed;
 * config_authz_fini() frees it, whatever the result.
 */
int options_authz(struct cfg_authz *a, const char *json, struct err *err);

/* What can stand in an option's list, for code that describes the command line. */
enum option_key_type { OPTION_KEY_STRING, OPTION_KEY_BOOLEAN, OPTION_KEY_NUMBER, OPTION_KEY_SIZE };

struct option_key {
	const char *option; /* without the dash */
	const char *key;
	enum option_key_type type;
	const char *help; /* may be NULL */
};

/*
 * Call fn for each key of each option that takes a list, option by option.
 * Keys that are refused are left out; a key of several kinds of an option
 * (-netdev tap, stream) comes once for each.
 */
void options_each_key(void (*fn)(void *opaque, const struct option_key *key), void *opaque);

/* ---- the manual page and the completion ---- */

/* Names that a higher floor adds to both: migration's capabilities and parameters. */
struct manual_part {
	const char *title;  /* "CAPABILITIES OF MIGRATION"; NULL ends a list of parts */
	const char *text;   /* what the chapter opens with, in roff; ends with a newline */
	const char *driver; /* -global DRIVER.NAME=VALUE sets one */
	/* Call fn for each; 'values' as "on|off" or "N". */
	void (*each)(void (*fn)(void *opaque, const char *name, const char *values,
				const char *help),
		     void *opaque);
};

/* minivmm(1) as roff source. */
void options_print_man(FILE *out, const struct device_table *devices,
		       const struct manual_part *parts);
/* A script for bash that completes options, keys and values. */
void options_print_completion(FILE *out, const struct device_table *devices,
			      const struct manual_part *parts);

#endif
