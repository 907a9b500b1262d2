#include "vmm/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int errnum, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		err->errnum = errnum;
		va_start(ap, fmt);
		(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
		va_end(ap);
	}
	return -errnum;
}

int err_prefix(struct err *err, int ret, const char *fmt, ...)
{
	char tail[sizeof(err->msg)];
	va_list ap;
	int n;

	if (!err)
		return ret;

	memcpy(tail, err->msg, sizeof(tail));
	va_start(ap, fmt);
	n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(err->msg))
		(void)snprintf(err->msg + n, sizeof(err->msg) - (size_t)n, ": %s", tail);
	return ret;
}

const char *err_text(int errnum)
{
	const char *s = strerrordesc_np(errnum);

	return s ? s : "Unknown error";
}
