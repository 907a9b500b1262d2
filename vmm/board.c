#include "vmm/board.h"

#include <stdarg.h>
#include <stdio.h>

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

void board_prop(struct board_device *d, const char *name, const char *fmt, ...)
{
	struct board_prop *p;
	va_list ap;

	if (d->n_props == ARRAY_LEN(d->props))
		return;
	p = &d->props[d->n_props++];
	(void)snprintf(p->name, sizeof(p->name), "%s", name);
	va_start(ap, fmt);
	(void)vsnprintf(p->text, sizeof(p->text), fmt, ap);
	va_end(ap);
}
