/*
 * command-rows.h - between commands.c, which finds a COMMAND record's row, and the files of rows
 *
 * Each table ends with a NULL name.  Load thread; the machine lock is not held.
 */
#ifndef MINIVMM_MIGRATION_INCOMING_COMMAND_ROWS_H
#define MINIVMM_MIGRATION_INCOMING_COMMAND_ROWS_H

#include <stdint.h>

struct command_state;
struct err;

#define ANY_LENGTH (-1)

struct command_row {
	const char *name;
	uint16_t command;
	int length; /* of the payload, or ANY_LENGTH */
	int (*load)(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err);
};

extern const struct command_row commands_any[];      /* commands-any.c: of every source */
extern const struct command_row commands_minivmm[];  /* commands-minivmm.c */
extern const struct command_row commands_postcopy[]; /* commands-postcopy.c */

/* The load of a row that has no place here, or not at this point of the stream: -EINVAL. */
int command_not_now(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err);

#endif
