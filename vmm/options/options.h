/* options.h - the command line: one table that parses, checks, prints the help and the manual page
 */
#ifndef MINIVMM_OPTIONS_H
#define MINIVMM_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "vmm/base/completion.h"

struct cfg_authz;
struct cfg_object;
struct config;
struct device_row;
struct device_table;
struct err;
struct keyvals;

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

/* An object, described as -object has it, into *o: config_object_fini() frees it. */
int options_object(struct cfg_object *o, const char *json, struct err *err);
/* Why there are no objects of this type, and what to use; NULL: it is not one that is refused. */
const char *options_object_refused(const char *type);

/*
 * The rules of an authz-list, from its properties or from a file of JSON with the same members.
 * 'a' is zeroed; config_authz_fini() frees it, whatever the result.
 */
int options_authz(struct cfg_authz *a, const struct keyvals *props, struct err *err);
int options_authz_json(struct cfg_authz *a, const char *json, struct err *err);

/* What can stand in an option's list, for code that describes the command line. */
enum option_key_type { OPTION_KEY_STRING, OPTION_KEY_BOOLEAN, OPTION_KEY_NUMBER, OPTION_KEY_SIZE };

struct option_key {
	const char *option; /* without the dash */
	const char *key;
	enum option_key_type type;
	const char *help;      /* may be NULL */
	const char *otherwise; /* the default, as one would type it; NULL: none is known */
	/* what an object has; without one, 'has' is false */
	bool has;
	uint64_t number;  /* numbers, sizes, and a boolean's 0 or 1 */
	const char *text; /* strings; NULL: not given */
	size_t text_len;
};

/*
 * Call fn for each key of each option that takes a list, option by option.
 * Keys that are refused are left out; a key of several kinds of an option
 * (-netdev tap, stream) comes once for each.
 */
typedef void option_key_fn(void *opaque, const struct option_key *key);
void options_each_key(option_key_fn *fn, void *opaque);
/* The same for -machine with what cfg has (NULL: nothing), and for the properties of a device. */
void options_each_machine_key(const struct config *cfg, option_key_fn *fn, void *opaque);
void options_each_device_key(const struct device_row *row, option_key_fn *fn, void *opaque);
/* The i-th type that -object makes, and that of a -chardev; NULL behind the last. */
const char *options_object_type(size_t i);
const char *options_chardev_type(size_t i);
/* Its keys, with what 'o' has (NULL: nothing).  False: there is no such type. */
bool options_each_object_key(const char *type, const struct cfg_object *o, option_key_fn *fn,
			     void *opaque);

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
/* A script that completes options, keys and values. */
void options_print_completion(FILE *out, enum completion_shell shell,
			      const struct device_table *devices, const struct manual_part *parts);

#endif
