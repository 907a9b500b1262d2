/* texts.h - help, version, manual page and completion of minivmm-img, from the table of commands */
#ifndef MINIVMM_IMG_TEXTS_H
#define MINIVMM_IMG_TEXTS_H

#include <stdio.h>

#include "vmm/base/completion.h"

struct img_command;

void img_print_version(FILE *out);
void img_print_help(FILE *out);
void img_print_command_help(FILE *out, const struct img_command *c);
/* minivmm-img(1), for man */
void img_print_man(FILE *out);
void img_print_completion(FILE *out, enum completion_shell shell);

#endif
