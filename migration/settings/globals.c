#include "migration/settings/globals.h"

#include <errno.h>
#include <string.h>

#include "migration/settings/rules.h"
#include "migration/settings/settings.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"

/* Properties that only change the stream for machine types older than this one. */
static const struct {
	const char *name;
	const char *only; /* the one value that is possible */
} fixed_globals[] = {
    {"send-configuration",     "on"},
    {"send-section-footer",    "on"},
    {"store-global-state",     "on"},
    {"decompress-error-check", "on"},
};

const struct migration_property migration_properties[] = {
    {"send-switchover-start",             offsetof(struct migration_settings, send_switchover_start),
     "say SWITCHOVER_START when the guest has stopped; QEMU before 10.0 refuses it (source)"},
    {"switchover-ack-legacy",             offsetof(struct migration_settings, switchover_ack_legacy),
     "switchover-ack is a message that the destination sends, as in QEMU 8.1 to 10; off: it is "
     "not, as in 11 (both ends)"},
    {"multifd-flush-after-each-section",                                   offsetof(struct migration_settings, flush_sections),
     "synchronise multifd at each section, as QEMU before 8.1 does, not at each pass; towards a "
     "QEMU "
     "(source)"},
    {"x-preempt-pre-7-2",offsetof(struct migration_settings, preempt_pre_7_2),
     "open the second connection of postcopy-preempt when the migration starts, and say where it "
     "ends, as QEMU 7.2 wants it (source)"},
    {"x-minivmm-fault-float",         offsetof(struct migration_settings, fault_float),
     "in postcopy, let the threads that ask for a page and put it in run on any processor, not on "
     "that of the vCPU which waits (destination)"},
    {"x-minivmm-postcopy-1g",  offsetof(struct migration_settings, postcopy_1g),
     "in postcopy, take memory in huge pages of 1 GiB: the guest stands still for a second or more "
     "for each that it touches, and each connection takes 1 GiB of memory more (destination)"},
    {.name = NULL		   },
};

static int take_fixed(const struct keyval *kv, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(fixed_globals); i++) {
		if (strcmp(fixed_globals[i].name, kv->key) != 0)
			continue;
		if (strcmp(fixed_globals[i].only, kv->val) == 0)
			return 0;
		return err_set(err, ENOTSUP, "only '%s' is supported", fixed_globals[i].only);
	}
	return err_set(err, EINVAL, "there is no such property");
}

static int take_bool(bool *to, const char *name, const char *val, struct err *err)
{
	bool on = !strcmp(val, "on") || !strcmp(val, "yes") || !strcmp(val, "true");

	if (!on && strcmp(val, "off") != 0 && strcmp(val, "no") != 0 && strcmp(val, "false") != 0)
		return err_set(err, EINVAL, "Parameter '%s' expects 'on' or 'off'", name);
	*to = on;
	return 0;
}

/* Neither a capability nor a parameter. */
static int take_property(struct migration_settings *s, const struct keyval *kv, struct err *err)
{
	for (const struct migration_property *p = migration_properties; p->name; p++)
		if (!strcmp(p->name, kv->key))
			return take_bool((bool *)((uint8_t *)s + p->offset), kv->key, kv->val, err);
	return take_fixed(kv, err);
}

static int take_param(struct migration_params *p, int row, const char *val, struct err *err)
{
	struct migration_params_set set = {0};
	int ret = migration_params_parse(&set, row, val, err);

	return ret < 0 ? ret : migration_params_apply(p, &set, err);
}

/* A name may be written with QEMU's "x-" in front. */
static int take(struct migration_settings *s, const struct keyval *kv, struct err *err)
{
	const char *bare = strncmp(kv->key, "x-", 2) == 0 ? kv->key + 2 : kv->key;
	int c = capability_parse(kv->key), row = migration_params_find(kv->key);

	if (c < 0)
		c = capability_parse(bare);
	if (row < 0)
		row = migration_params_find(bare);
	if (c >= 0)
		return take_bool(&s->caps[c], migration_capabilities[c].name, kv->val, err);
	return row < 0 ? take_property(s, kv, err) : take_param(&s->params, row, kv->val, err);
}

int globals_apply(struct migration_settings *s, const struct keyvals *globals, struct err *err)
{
	struct migration_settings next = *s;
	const struct rules_subject all = {
	    .caps = next.caps, .params = &next.params, .dirty_ring = s->dirty_ring};
	int ret;

	for (size_t i = 0; i < globals->n; i++) {
		const struct keyval *kv = &globals->v[i];

		ret = take(&next, kv, err);
		if (ret < 0)
			return err_prefix(err, ret, "-global migration.%s=%s", kv->key, kv->val);
	}
	ret = rules_check(RULES_SET, &all, err);
	if (ret < 0)
		return err_prefix(err, ret, "-global migration");
	*s = next;
	return 0;
}
