/*
 * device.c - -device and -global
 *
 * Which models there are, which properties they have, and what to use in the
 * place of those that are not offered is in the table that options_parse() was
 * given (device-row.h).
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

static const struct device_row *find_model(const struct opt_parse *p, const char *name)
{
	const struct device_row *row = device_row_find(p->devices, name);

	return row && row->kind != DEVICE_PART ? row : NULL;
}

static int no_model(const struct opt_parse *p, const char *name, struct err *err)
{
	struct opt_near n = {.word = name};
	int ret = p->devices->refuse(name, err);
	char near[OPT_NEAR_BYTES];

	if (ret < 0)
		return ret;
	for (const struct device_row *const *r = p->devices->rows; *r; r++)
		if ((*r)->kind != DEVICE_PART)
			opt_near_try(&n, (*r)->name);
	return err_set(err, EINVAL, "'" OPT_QUOTE "' is not a valid device model name%s", name,
		       opt_near_text(&n, "", near));
}

/* "help": the models; "MODEL,help": its properties. */
static int device_help(struct opt_parse *p, struct err *err)
{
	CLEANUP(cleanup_free) char *name = xstrndup(p->val, strcspn(p->val, ","));
	const struct device_row *row = device_row_find(p->devices, name);

	p->done = true;
	if (row) {
		const struct opt_list list = opt_device_list(row);

		opt_print_list(stdout, &list);
		return 0;
	}
	if (!opt_wants_help(name))
		return no_model(p, name, err);
	for (const struct device_row *const *r = p->devices->rows; *r; r++)
		if ((*r)->kind != DEVICE_PART)
			(void)printf("%-20s %s\n", (*r)->name, (*r)->help);
	return 0;
}

static bool id_used(const struct config *cfg, const char *id)
{
	for (size_t i = 0; i < cfg->n_devices; i++) {
		if (cfg->devices[i].id && !strcmp(cfg->devices[i].id, id))
			return true;
	}
	return false;
}

/* Another way to write -serial chardev:ID. */
static int add_uart(struct opt_parse *p, const struct cfg_device *d, struct err *err)
{
	const char *chardev = device_text(d, "chardev");

	if (p->cfg->serial)
		return err_set(err, ENOTSUP, "the board has one serial port, and it is in use");
	p->serial_given = true;
	opt_set_str(&p->cfg->serial, chardev);
	opt_add_ref(p, REF_SERIAL, chardev);
	return 0;
}

/* Copy all but driver and id, each key as the row spells it. */
static void copy_props(struct cfg_device *d, const struct keyvals *kv)
{
	const struct opt_list list = opt_device_list(d->row);

	for (size_t i = 0; i < kv->n; i++) {
		const struct opt_prop *pr = opt_find_prop(&list, kv->v[i].key);

		if (strcmp(kv->v[i].key, "driver") != 0 && strcmp(kv->v[i].key, "id") != 0)
			keyvals_add(&d->props, pr ? pr->key : kv->v[i].key, kv->v[i].val);
	}
}

static void free_device(struct cfg_device *d)
{
	free(d->driver);
	free(d->id);
	free(d->where);
	keyvals_fini(&d->props);
}

int opt_add_device(struct opt_parse *p, const struct keyvals *kv, struct err *err)
{
	const char *driver = keyvals_get(kv, "driver"), *id = keyvals_get(kv, "id");
	struct cfg_device d = {0};
	int ret;

	if (!driver || !*driver)
		return opt_missing("driver", err);
	d.row = find_model(p, driver);
	if (!d.row)
		return no_model(p, driver, err);
	ret = id ? opt_need_id("id", id, err) : 0;
	if (ret == 0 && id && id_used(p->cfg, id))
		ret = opt_duplicate(id, "device", err);
	if (ret < 0)
		return ret;
	d.driver = xstrdup(driver);
	d.id = id ? xstrdup(id) : NULL;
	d.where = opt_where(p);
	copy_props(&d, kv);
	ret = device_check(&d, err);
	if (ret == 0 && d.row->kind == DEVICE_UART)
		ret = add_uart(p, &d, err);
	if (ret < 0 || d.row->kind == DEVICE_UART)
		free_device(&d);
	else
		*OPT_ADD(p->cfg->devices, p->cfg->n_devices) = d;
	return ret;
}

int opt_device(struct opt_parse *p, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals kv = {0};
	int ret;

	if (opt_wants_help(p->val))
		return device_help(p, err);
	ret = opt_split_any(&kv, p->val, "driver", false, err);
	return ret < 0 ? ret : opt_add_device(p, &kv, err);
}

/* ---- -global ---- */

/* Most of these are checked by migration/. */
static int global_migration(struct config *cfg, const char *prop, const char *val, struct err *err)
{
	bool on;

	if (strcmp(prop, "exit-on-error") != 0) {
		keyvals_add(&cfg->migration_globals, prop, val);
		return 0;
	}
	if (opt_parse_bool(val, &on) < 0)
		return err_set(err, EINVAL,
			       "can't apply global migration.exit-on-error=" OPT_QUOTE
			       ": Parameter 'exit-on-error' expects 'on' or 'off'",
			       val);
	cfg->exit_on_error = on ? CFG_ON : CFG_OFF;
	return 0;
}

/* A default for all devices of a row, or of a part of the board. */
static int global_device(struct opt_parse *p, const struct device_row *row, const char *prop,
			 const char *val, struct err *err)
{
	const struct opt_list list = opt_device_list(row);
	const struct opt_prop *pr = opt_find_prop(&list, prop);
	CLEANUP(cleanup_free) char *key = xasprintf("%s.%s", row->name, pr ? pr->key : prop);
	CLEANUP(keyvals_fini) struct keyvals one = {0};
	int ret;

	keyvals_add(&one, prop, val);
	ret = opt_check(&list, &one, err);
	if (ret < 0)
		return err_prefix(err, ret, "can't apply global %s." OPT_QUOTE "=" OPT_QUOTE,
				  row->name, prop, val);
	keyvals_add(row->kind == DEVICE_PART ? &p->cfg->globals : &p->globals, key, val);
	return 0;
}

static int set_global(struct opt_parse *p, const char *driver, const char *prop, const char *val,
		      struct err *err)
{
	const struct device_row *row = device_row_find(p->devices, driver);

	if (!strcmp(driver, "migration"))
		return global_migration(p->cfg, prop, val, err);
	if (row)
		return global_device(p, row, prop, val, err);
	log_warn("global " OPT_QUOTE "." OPT_QUOTE " has invalid class name", driver, prop);
	return 0;
}

static const struct opt_prop global_props[] = {
    PROP_SEEN("driver", NULL, NULL),
    PROP_SEEN("property", NULL, NULL),
    PROP_SEEN("value", NULL, NULL),
    PROP_END,
};
static const struct opt_list global_list = {
    .title = "-global", .style = OPT_STYLE_OPTS, .props = global_props};

/* "driver.prop=value" with the value as it stands, or driver=,property=,value= */
int opt_global(struct opt_parse *p, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals kv = {0};
	size_t n = strcspn(p->val, ".="), m = n + strcspn(p->val + n, "=");
	const char *driver, *prop, *val;
	int ret;

	if (n > 0 && p->val[n] == '.' && p->val[m] == '=' && m > n + 1) {
		CLEANUP(cleanup_free) char *d = xstrndup(p->val, n);
		CLEANUP(cleanup_free) char *k = xstrndup(p->val + n + 1, m - n - 1);

		return set_global(p, d, k, p->val + m + 1, err);
	}
	ret = opt_split(&kv, p->val, NULL, false, err);
	if (ret == 0)
		ret = opt_apply(p, &global_list, NULL, &kv, err);
	if (ret < 0)
		return ret;
	driver = keyvals_get(&kv, "driver");
	prop = keyvals_get(&kv, "property");
	val = keyvals_get(&kv, "value");
	if (!driver || !prop || !val)
		return err_set(err, EINVAL,
			       "options 'driver', 'property', and 'value' are required");
	return set_global(p, driver, prop, val, err);
}

/* A property of -global goes in front, so that the device's own come later and win. */
static void add_globals(const struct keyvals *globals, struct cfg_device *d)
{
	struct keyvals all = {0};
	size_t n = strlen(d->driver);

	for (size_t i = 0; i < globals->n; i++) {
		const struct keyval *g = &globals->v[i];

		if (!strncmp(g->key, d->driver, n) && g->key[n] == '.' &&
		    !keyvals_get(&d->props, g->key + n + 1))
			keyvals_add(&all, g->key + n + 1, g->val);
	}
	for (size_t i = 0; i < d->props.n; i++)
		keyvals_add(&all, d->props.v[i].key, d->props.v[i].val);
	keyvals_fini(&d->props);
	d->props = all;
}

/* The -drive as typed, which its disk's messages name; owned, NULL: it is none. */
static char *where_of_drive(const struct config *cfg, const char *id)
{
	for (size_t i = 0; i < cfg->n_blockdevs; i++) {
		const struct cfg_blockdev *bd = &cfg->blockdevs[i];

		if (bd->where && bd->drive_id && !strcmp(bd->drive_id, id))
			return xstrdup(bd->where);
	}
	return NULL;
}

void opt_finish_devices(struct opt_parse *p)
{
	struct config *cfg = p->cfg;

	for (size_t i = 0; i < p->drives.n; i++) {
		struct cfg_device *d = OPT_ADD(cfg->devices, cfg->n_devices);

		d->row = p->devices->disk;
		d->driver = xstrdup(d->row->name);
		d->where = where_of_drive(cfg, p->drives.v[i].key);
		keyvals_add(&d->props, "drive", p->drives.v[i].key);
	}
	for (size_t i = 0; p->globals.n && i < cfg->n_devices; i++)
		add_globals(&p->globals, &cfg->devices[i]);
}
