#include "vmm/board.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/units.h"

struct board_device *board_add(struct board *b, enum board_kind kind, const char *name)
{
	struct board_device *d;

	if (b->n == ARRAY_LEN(b->devices))
		return NULL;
	d = &b->devices[b->n++];
	*d = (struct board_device){.kind = kind, .slot = -1};
	(void)snprintf(d->name, sizeof(d->name), "%s", name);
	return d;
}

void board_feature_list(char *list, size_t n, const char *(*name)(unsigned bit), uint64_t bits,
			unsigned base)
{
	size_t at = strlen(list);

	for (unsigned b = 0; b < 64 && at < n; b++) {
		const char *key = name ? name(base + b) : NULL, *comma = at ? ", " : "";

		if (!(bits >> b & 1))
			continue;
		at += (size_t)(key ? snprintf(list + at, n - at, "%s%s", comma, key)
				   : snprintf(list + at, n - at, "%sbit %u", comma, base + b));
	}
}

void board_prop(struct board_device *d, const char *name, const char *fmt, ...)
{
	struct board_prop *p = d->props;
	va_list ap;

	while (p < d->props + d->n_props && strcmp(p->name, name) != 0)
		p++;
	if (p == d->props + ARRAY_LEN(d->props))
		return;
	if (p == d->props + d->n_props)
		d->n_props++;
	(void)snprintf(p->name, sizeof(p->name), "%s", name);
	va_start(ap, fmt);
	(void)vsnprintf(p->text, sizeof(p->text), fmt, ap);
	va_end(ap);
}
