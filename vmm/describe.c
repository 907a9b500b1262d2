#include "vmm/describe.h"

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/bytes.h"

#define SENTENCE_BYTES 1024
#define NEXT           "\n    "
#define CUT            NEXT "and more"

size_t desc_begin(struct buf *out, enum desc_kind kind)
{
	size_t begun = out->len;

	buf_be16(out, (uint16_t)kind);
	buf_be16(out, 0);
	return begun;
}

void desc_end(struct buf *out, size_t begun)
{
	size_t body = out->len - begun - 4;

	assert(body <= UINT16_MAX);
	put_be16(out->data + begun + 2, (uint16_t)body);
}

static bool is_cut(const struct buf *diff)
{
	size_t n = strlen(CUT);

	return diff->len >= n && memcmp(diff->data + diff->len - n, CUT, n) == 0;
}

void desc_differ(struct buf *diff, const char *fmt, ...)
{
	char s[SENTENCE_BYTES];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(s, sizeof(s), fmt, ap);
	va_end(ap);
	for (char *c = s; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	if (diff->len + strlen(NEXT) + strlen(s) <= DESC_DIFF_BYTES)
		buf_printf(diff, "%s%s", diff->len ? NEXT : "", s);
	else if (!is_cut(diff))
		buf_printf(diff, "%s", CUT);
}
