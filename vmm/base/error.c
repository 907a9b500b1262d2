#include "vmm/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/units.h"

#define CUT_WORD_BYTES 100 /* the longest word that is dropped from the end of a message */

/* The message would have had 'n' bytes. */
static void mark_cut(struct err *err, size_t n)
{
	static const char mark[] = " ...";
	size_t at = sizeof(err->msg) - sizeof(mark), word = at;

	if (n < sizeof(err->msg))
		return;
	while (word > at - CUT_WORD_BYTES && err->msg[word] != ' ')
		word--;
	/* one word without an end, a path, say: in the middle of it */
	memcpy(err->msg + (err->msg[word] == ' ' ? word : at), mark, sizeof(mark));
}

int err_set(struct err *err, int errnum, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (err) {
		err->errnum = errnum;
		va_start(ap, fmt);
		n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
		va_end(ap);
		mark_cut(err, (size_t)MAX(n, 0));
	}
	return -errnum;
}

int err_prefix(struct err *err, int ret, const char *fmt, ...)
{
	char tail[sizeof(err->msg)];
	va_list ap;
	int n, more = 0;

	if (!err)
		return ret;

	memcpy(tail, err->msg, sizeof(tail));
	va_start(ap, fmt);
	n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(err->msg))
		more = snprintf(err->msg + n, sizeof(err->msg) - (size_t)n, ": %s", tail);
	mark_cut(err, (size_t)MAX(n, 0) + (size_t)MAX(more, 0));
	return ret;
}

const char *err_text(int errnum)
{
	const char *s = strerrordesc_np(errnum);

	return s ? s : "Unknown error";
}
