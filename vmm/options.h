/* options.h - the command line: one table that parses, checks, prints the help and the manual page
 */
#ifndef MINIVMM_OPTIONS_H
#define MINIVMM_OPTIONS_H

struct config;
struct err;

/*
 * Parse argv into *cfg (zeroed by this call, config_fini() frees it, whatever
 * the result).  0: go on.  1: the option asked only for a text (-version,
 * -help, -machine help, -man), which has been printed on stdout; exit with 0.
 * With cfg->help_cpu set the caller prints it: the names of CPU models are
 * known to arch/.  -errno: refused, *err says "-opt value: text", sometimes
 * with a second line that is a hint.
 */
int options_parse(struct config *cfg, int argc, char *const *argv, struct err *err);

#endif
