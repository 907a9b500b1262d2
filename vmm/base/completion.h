/*
 * completion.h - scripts for bash and zsh that complete a command line
 *
 * A script is a fixed function over associative arrays that a program writes from its tables, so
 * that a new row is completed without a line here. The arrays read the same in both shells. What
 * this file has is for programs of the form
 *
 *     PROGRAM [option]... COMMAND [option | word]...
 *
 * whose script has three arrays; a command of "-" stands for the options of the program itself:
 *
 *     options[COMMAND]        '-f --format= '     with '=' where an argument follows
 *     values["COMMAND -f"]    'raw qcow2'         what the argument can be; FILE is a file's name
 *     words[COMMAND]          'save load'         what other words can be
 */
#ifndef MINIVMM_BASE_COMPLETION_H
#define MINIVMM_BASE_COMPLETION_H

#include <stdio.h>

enum completion_shell { COMPLETION_BASH, COMPLETION_ZSH };

/* The words of "a|b|C:NAME|FILE" that one can type as they stand: "a b", and FILE. */
void completion_words(FILE *out, const char *sketch);

/* The first lines of the script for 'program'. */
void completion_open(FILE *out, enum completion_shell shell, const char *program);
/* One of its arrays begins, or ends; the entries in between are lines [key]='words'. */
void completion_array(FILE *out, const char *program, const char *array);
void completion_array_end(FILE *out);
/* 'text' with the program's name, as a shell takes it for a name, in the place of each '~'. */
void completion_put(FILE *out, const char *program, const char *text);
/* The last lines: the functions of a program of commands, and their registration. */
void completion_close_commands(FILE *out, enum completion_shell shell, const char *program);
/* The last lines: the registration of the function _PROGRAM. */
void completion_register(FILE *out, enum completion_shell shell, const char *program);

#endif
