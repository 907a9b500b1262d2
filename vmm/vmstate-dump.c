/*
 * vmstate-dump.c - the state tables as JSON, as QEMU's -dump-vmstate writes them
 *
 *     {"vmschkmachine": {"Name": "microvm"},
 *      TYPE: {"Name": TYPE, "version_id": N, "minimum_version_id": N, "Description": TABLE}, ...}
 *
 *     TABLE: {"name": .., "version_id": N, "minimum_version_id": N,
 *             "Fields": [{"field": .., "version_id": N, "field_exists": BOOL, "size": BYTES,
 *                         "Description": TABLE}, ...],
 *             "Subsections": [TABLE, ...]}
 *
 * TYPE is the type that QEMU has for the device, so that both programs' files can be
 * compared.  Sizes are those of one element in memory, and a nested table's that of
 * its struct, which says nothing between two programs.
 */
#include "vmm/vmstate-dump.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/vmstate.h"

#define STEP 2 /* columns a level is indented by */

/* Types that are not called as their table; those of virtio are "NAME-device". */
static const struct {
	const char *table, *type;
} types[] = {
    {"acpi-ged",    "acpi-ged-x86"},
    {"fw_cfg",      "fw_cfg_io"   },
    {"i8254",       "kvm-pit"     },
    {"i8259",       "kvm-i8259"   },
    {"ioapic",      "kvm-ioapic"  },
    {"kvm-tpr-opt", "kvmvapic"    },
    {"serial",      "isa-serial"  },
};

static char *type_of(const struct vms_desc *d)
{
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (!strcmp(types[i].table, d->name))
			return xstrdup(types[i].type);
	if (!strncmp(d->name, "virtio-", 7))
		return xasprintf("%s-device", d->name);
	return xstrdup(d->name);
}

static void put_table(FILE *f, const struct vms_desc *d, int in);

/* NOLINTNEXTLINE(misc-no-recursion): tables are constant and nest a few levels */
static void put_field(FILE *f, const struct vms_field *v, int in)
{
	(void)fprintf(f, "%*s{\n", in, "");
	/* "[N]" tells fields of one name apart in a stream's description only */
	(void)fprintf(f, "%*s\"field\": \"%.*s\",\n", in + STEP, "", (int)strcspn(v->name, "["),
		      v->name);
	(void)fprintf(f, "%*s\"version_id\": %u,\n", in + STEP, "", v->since);
	(void)fprintf(f, "%*s\"field_exists\": %s,\n", in + STEP, "", v->exists ? "true" : "false");
	(void)fprintf(f, "%*s\"size\": %zu", in + STEP, "", v->size);
	if (v->sub) {
		(void)fprintf(f, ",\n%*s\"Description\": ", in + STEP, "");
		put_table(f, v->sub, in + STEP);
	}
	(void)fprintf(f, "\n%*s}", in, "");
}

/* NOLINTNEXTLINE(misc-no-recursion): see put_field */
static void put_table(FILE *f, const struct vms_desc *d, int in)
{
	const char *between = "";

	(void)fprintf(f, "{\n%*s\"name\": \"%s\",\n", in + STEP, "", d->name);
	(void)fprintf(f, "%*s\"version_id\": %u,\n", in + STEP, "", d->version);
	(void)fprintf(f, "%*s\"minimum_version_id\": %u", in + STEP, "", d->min_version);
	if (d->fields && d->fields->kind != VMS_END) {
		(void)fprintf(f, ",\n%*s\"Fields\": [\n", in + STEP, "");
		for (const struct vms_field *v = d->fields; v->kind != VMS_END; v++) {
			(void)fputs(between, f);
			put_field(f, v, in + 2 * STEP);
			between = ",\n";
		}
		(void)fprintf(f, "\n%*s]", in + STEP, "");
	}
	if (d->subs && *d->subs) {
		(void)fprintf(f, ",\n%*s\"Subsections\": [\n", in + STEP, "");
		for (const struct vms_desc *const *sub = d->subs; *sub; sub++) {
			(void)fprintf(f, "%*s", in + 2 * STEP, "");
			put_table(f, *sub, in + 2 * STEP);
			(void)fputs(sub[1] ? ",\n" : "\n", f);
		}
		(void)fprintf(f, "%*s]", in + STEP, "");
	}
	(void)fprintf(f, "\n%*s}", in, "");
}

static void put_entry(FILE *f, const struct vms_desc *d)
{
	CLEANUP(cleanup_free) char *type = type_of(d);

	(void)fprintf(f, ",\n%*s\"%s\": {\n", STEP, "", type);
	(void)fprintf(f, "%*s\"Name\": \"%s\",\n", 2 * STEP, "", type);
	(void)fprintf(f, "%*s\"version_id\": %u,\n", 2 * STEP, "", d->version);
	(void)fprintf(f, "%*s\"minimum_version_id\": %u,\n", 2 * STEP, "", d->min_version);
	(void)fprintf(f, "%*s\"Description\": ", 2 * STEP, "");
	put_table(f, d, 2 * STEP);
	(void)fprintf(f, "\n%*s}", STEP, "");
}

/* Several vCPUs and several disks have one table. */
static bool seen_before(const struct vms_registry *r, const struct vms_entry *e)
{
	list_for_each (other, &r->entries, struct vms_entry, link) {
		if (other == e)
			break;
		if (!strcmp(other->desc->name, e->desc->name))
			return true;
	}
	return false;
}

int vms_dump(const struct vms_registry *r, const char *machine, const char *path, struct err *err)
{
	FILE *f = fopen(path, "we");
	bool failed;

	if (!f)
		return err_set(err, errno, "cannot write the state tables to '%s': %s", path,
			       err_text(errno));
	(void)fprintf(f, "{\n%*s\"vmschkmachine\": {\n%*s\"Name\": \"%s\"\n%*s}", STEP, "",
		      2 * STEP, "", machine, STEP, "");
	list_for_each (e, &r->entries, struct vms_entry, link)
		if (!seen_before(r, e))
			put_entry(f, e->desc);
	(void)fputs("\n}\n", f);
	failed = ferror(f) != 0;
	if (fclose(f) || failed)
		return err_set(err, EIO, "cannot write the state tables to '%s'", path);
	return 0;
}
