/* device-row.c - the properties of a device, by its row */
#include "vmm/options/device-row.h"

#include <assert.h>

#include "vmm/base/alloc.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

const struct device_row *device_row_find(const struct device_table *t, const char *name)
{
	for (const struct device_row *const *r = t->rows; *r; r++)
		if (!strcmp((*r)->name, name))
			return *r;
	return NULL;
}

struct opt_list opt_device_list(const struct device_row *row)
{
	return (struct opt_list){
	    .title = row->name, .style = OPT_STYLE_QOM, .owner = row->name, .props = row->props};
}

int device_check(const struct cfg_device *cfg, struct err *err)
{
	const struct opt_list list = opt_device_list(cfg->row);

	return opt_apply(NULL, &list, NULL, &cfg->props, err);
}

/* A name that a device asks for is in its row. */
static const struct opt_prop *own_prop(const struct cfg_device *cfg, const char *name)
{
	const struct opt_list list = opt_device_list(cfg->row);
	const struct opt_prop *pr = opt_find_prop(&list, name);

	assert(pr != NULL);
	return pr;
}

const char *device_text(const struct cfg_device *cfg, const char *name)
{
	const struct opt_prop *pr = own_prop(cfg, name);
	const char *val = keyvals_get(&cfg->props, pr->key);

	return val ? val : pr->otherwise;
}

bool device_bool(const struct cfg_device *cfg, const char *name)
{
	const char *val = device_text(cfg, name);
	bool on = false;

	if (val)
		(void)opt_parse_bool(val, &on);
	return on;
}

bool device_part_bool(const struct config *cfg, const struct device_row *row, const char *name,
		      bool otherwise)
{
	CLEANUP(cleanup_free) char *key = xasprintf("%s.%s", row->name, name);
	const char *val = keyvals_get(&cfg->globals, key);
	bool on = otherwise;

	if (val)
		(void)opt_parse_bool(val, &on);
	return on;
}

uint64_t device_number(const struct cfg_device *cfg, const char *name)
{
	const char *val = device_text(cfg, name);
	uint64_t n = 0;

	if (val)
		(void)opt_parse_u64(val, &n);
	return n;
}

uint64_t device_part_number(const struct config *cfg, const struct device_row *row,
			    const char *name)
{
	CLEANUP(cleanup_free) char *key = xasprintf("%s.%s", row->name, name);
	const char *val = keyvals_get(&cfg->globals, key);
	const struct cfg_device defaults = {.row = row};
	uint64_t n = 0;

	if (!val)
		return device_number(&defaults, name);
	(void)opt_parse_u64(val, &n);
	return n;
}
