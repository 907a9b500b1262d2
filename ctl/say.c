/*
 * say.c - errors, notes, values, and numbers as people read them
 *
 * What a peer or an entry says goes to a terminal without its control characters.
 */
#include "ctl/say.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"
#include "qmp/json.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define TEXT_BYTES 1024

char *say_clean(char *text)
{
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	return text;
}

void say_text(const char *fmt, ...)
{
	char text[TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)printf("%s\n", say_clean(text));
}

static void say_line(const struct ctl *ctl, const char *key, char *text, int status)
{
	struct buf out = {0};
	struct json_writer w = json_writer(&out, false);

	if (!ctl->json) {
		(void)fflush(stdout); /* what stands before it */
		(void)fprintf(stderr, "minivmm-ctl: %s\n", say_clean(text));
		return;
	}
	jw_open(&w, '{');
	jw_key(&w, key);
	jw_str(&w, text);
	if (status >= 0) {
		jw_key(&w, "status");
		jw_int(&w, status);
	}
	jw_close(&w, '}');
	(void)printf("%.*s\n", (int)out.len, (const char *)out.data);
	(void)fflush(stdout);
	buf_free(&out);
}

int say_error(const struct ctl *ctl, int status, const char *fmt, ...)
{
	char text[TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say_line(ctl, "error", text, status);
	return status;
}

int say_call_error(const struct ctl *ctl, int ret, const struct err *err)
{
	int status = ret == -EREMOTEIO ? CTL_FAILED : CTL_UNKNOWN;

	return say_error(ctl, status, "%s", err->msg);
}

void say_note(const struct ctl *ctl, const char *fmt, ...)
{
	char text[TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say_line(ctl, "note", text, -1);
}

void say_value(const struct ctl *ctl, const struct json_object *v)
{
	struct buf out = {0};
	struct json_writer w = json_writer(&out, !ctl->json);

	jw_value(&w, v);
	(void)printf("%.*s\n", (int)out.len, (const char *)out.data);
	(void)fflush(stdout);
	buf_free(&out);
}

/* ---- numbers ---- */

const char *say_size(char out[SAY_BYTES], uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double v = (double)bytes;
	size_t unit = 0;

	for (; v >= 1000 && unit + 1 < ARRAY_LEN(units); unit++)
		v /= 1024;
	(void)snprintf(out, SAY_BYTES,
		       v < 10 && unit    ? "%.2f %s"
		       : v < 100 && unit ? "%.1f %s"
					 : "%.0f %s",
		       v, units[unit]);
	return out;
}

const char *say_rate(char out[SAY_BYTES], uint64_t bytes_a_second)
{
	size_t n = strlen(say_size(out, bytes_a_second));

	(void)snprintf(out + n, SAY_BYTES - n, "/s");
	return out;
}

const char *say_ms(char out[SAY_BYTES], uint64_t ms)
{
	unsigned long s = ms / 1000 < 360000000 ? (unsigned long)(ms / 1000) : 360000000UL;

	if (ms < 1000)
		(void)snprintf(out, SAY_BYTES, "%u ms", (unsigned)ms);
	else if (ms < 60000)
		(void)snprintf(out, SAY_BYTES, "%.1f s", (double)ms / 1000);
	else if (s < 3600)
		(void)snprintf(out, SAY_BYTES, "%lu:%02lu", s / 60, s % 60);
	else
		(void)snprintf(out, SAY_BYTES, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
	return out;
}
