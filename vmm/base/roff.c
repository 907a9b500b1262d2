/* roff.c - text for manual pages */
#include "vmm/base/roff.h"

void roff_text(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '-')
			(void)fputs("\\-", out);
		else if (*text == '\\')
			(void)fputs("\\e", out);
		else
			(void)fputc(*text, out);
	}
}

void roff_line(FILE *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		(void)fputs("\\&", out);
	roff_text(out, text);
	(void)fputc('\n', out);
}
