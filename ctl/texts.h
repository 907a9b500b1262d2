/* texts.h - help, version, manual page and completion of minivmm-ctl, from the table of commands */
#ifndef MINIVMM_CTL_TEXTS_H
#define MINIVMM_CTL_TEXTS_H

#include <stdio.h>

#include "vmm/base/completion.h"

struct ctl_command;

void ctl_print_version(FILE *out);
void ctl_print_help(FILE *out);
void ctl_print_command_help(FILE *out, const struct ctl_command *c);
/* minivmm-ctl(1), as roff source (manual.c) */
void ctl_print_man(FILE *out);
void ctl_print_completion(FILE *out, enum completion_shell shell);

#endif
