/* options.h - the command line: one table that parses, checks, prints the help and the manual page
 */
#ifndef MINIVMM_OPTIONS_H
#define MINIVMM_OPTIONS_H

struct config;
struct err;

/*
 * Parse argv into *cfg (zeroed by this call, config_fini() frees it, whatever
 * the result).  0: go on.  0 with cfg->help_cpu set: nothing behind -cpu help
 * was looked at; the caller prints the names of CPU models, which arch/ knows,
 * and exits.  1: the option asked only for a text (-version, -help, -machine
 * help, -man), which has been printed on stdout; exit with 0.  -errno:
 * refused, *err says "-opt value: text", sometimes with a hint on a second
 * line.
 */
int options_parse(struct config *cfg, int argc, char *const *argv, struct err *err);

#endif
