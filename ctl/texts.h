/* texts.h - help and version of minivmm-ctl, from the table of commands */
#ifndef MINIVMM_CTL_TEXTS_H
#define MINIVMM_CTL_TEXTS_H

#include <stdio.h>

struct ctl_command;

void ctl_print_version(FILE *out);
void ctl_print_help(FILE *out);
void ctl_print_command_help(FILE *out, const struct ctl_command *c);

#endif
