#include "migration/settings/manual.h"

#include <inttypes.h>
#include <stdlib.h>

#include "migration/settings/capabilities.h"
#include "migration/settings/globals.h"
#include "migration/settings/params.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

typedef void item_fn(void *opaque, const char *name, const char *values, const char *help);

static void each_capability(item_fn *fn, void *opaque)
{
	for (int c = 0; c < CAP_COUNT; c++)
		if (migration_capabilities[c].offered)
			fn(opaque, migration_capabilities[c].name, "on|off",
			   migration_capabilities[c].help);
}

/* "on|off", "none|zlib|zstd", "N": returns owned. */
static char *values_of(const struct migration_param_info *r)
{
	char *all = xstrdup(r->kind == PARAM_BOOL   ? "on|off"
			    : r->kind == PARAM_ENUM ? r->values[0]
			    /* QEMU's type of some that count milliseconds or packets, too */
			    : r->kind == PARAM_SIZE && r->max > UINT32_MAX ? "SIZE"
									   : "N");

	for (size_t i = 1; r->kind == PARAM_ENUM && r->values[i]; i++) {
		char *more = xasprintf("%s|%s", all, r->values[i]);

		free(all);
		all = more;
	}
	return all;
}

static void param_item(const struct migration_param_info *r, item_fn *fn, void *opaque)
{
	CLEANUP(cleanup_free) char *values = values_of(r);
	CLEANUP(cleanup_free) char *text = NULL;

	if (r->kind == PARAM_BOOL)
		text = xasprintf("%s (default %s)", r->help, r->initial ? "on" : "off");
	else if (r->kind == PARAM_ENUM)
		text = xasprintf("%s (default %s)", r->help, r->values[r->initial]);
	else if (r->max < UINT32_MAX)
		text = xasprintf("%s (%" PRIu64 " to %" PRIu64 ", default %" PRIu64 ")", r->help,
				 r->min, r->max, r->initial);
	else
		text = xasprintf("%s (default %" PRIu64 ")", r->help, r->initial);
	fn(opaque, r->name, values, text);
}

static void each_param(item_fn *fn, void *opaque)
{
	for (const struct migration_param_info *r = migration_param_table; r->name; r++)
		if (r->offered)
			param_item(r, fn, opaque);
}

static void each_property(item_fn *fn, void *opaque)
{
	for (const struct migration_property *p = migration_properties; p->name; p++)
		fn(opaque, p->name, "on|off", p->help);
}

const struct manual_part migration_manual[] = {
    {"CAPABILITIES OF MIGRATION",
     "What migrate\\-set\\-capabilities, or \\-global\n"
     ".RI migration. NAME =on,\n"
     "switches on.  All are off at first, and so are those of QEMU that are not listed\n"
     "here: to switch one of them on is refused by name.\n", "migration", each_capability},
    {"PARAMETERS OF MIGRATION",
     "What migrate\\-set\\-parameters, or \\-global\n"
     ".RI migration. NAME = VALUE ,\n"
     "sets.  Those of speed, pause and throttle take effect at once, also while a\n"
     "migration runs.\n", "migration", each_param},
    {"PROPERTIES OF MIGRATION",
     "What only \\-global\n"
     ".RI migration. NAME =on\n"
     "switches on.  All are off at first.\n", "migration", each_property},
    {.title = NULL        },
};
