/* roff.h - text for manual pages */
#ifndef MINIVMM_BASE_ROFF_H
#define MINIVMM_BASE_ROFF_H

#include <stdio.h>

/* Text within a line: dashes are not hyphenated, backslashes are themselves. */
void roff_text(FILE *out, const char *text);
/* A line of it; one that begins with a dot or a quote is no request. */
void roff_line(FILE *out, const char *text);

#endif
