/*
 * complete.h - what may stand at a place of a shell's line
 *
 * Commands at its beginning, then names of arguments and their values, as the schema has them;
 * arguments that are given already are left out. In a line of JSON: commands behind "execute":.
 */
#ifndef MINIVMM_CTL_COMPLETE_H
#define MINIVMM_CTL_COMPLETE_H

#include <stddef.h>

struct dictionary;

struct completion {
	size_t start; /* the texts take the place of what stands from here to the cursor */
	char **text;  /* owned, sorted, each once; with what follows: '=', '.', or a space */
	size_t n;
};

/* 'cursor' bytes of the line stand before the cursor. */
struct completion complete_line(const struct dictionary *d, const char *line, size_t cursor);
void completion_free(struct completion *c);

#endif
