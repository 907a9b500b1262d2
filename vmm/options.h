/* options.h - the command line: one table that parses, checks, prints the help and the manual page
 */
#ifndef MINIVMM_OPTIONS_H
#define MINIVMM_OPTIONS_H

struct config;
struct err;

/*
 * Parse argv into *cfg (zeroed by this call, config_fini() frees it).
 * 0: go on.  1: the option asked only for a text (-version, -help, -cpu help,
 * -man), which has been printed; exit with 0.  -errno: refused, *err says
 * "-opt value: text".
 */
int options_parse(struct config *cfg, int argc, char *const *argv, struct err *err);

#endif
