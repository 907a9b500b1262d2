/*
 * compare.c - the destination's side of compare.h: what does not fit
 *
 * One row per kind of record.  Each is held against what is here by itself;
 * what is here and was not named is told at the end.  The description is
 * foreign: every value is read through struct src and used in comparisons
 * only.
 */
#include "migration/peer/compare.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migration/settings/capabilities.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/describe.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

struct comparison {
	struct machine *m;
	const bool *caps;
	struct buf *diff;
	bool blocks[MEMORY_MAX_BLOCKS]; /* ours that the source has, too */
	bool devices[BOARD_MAX_DEVICES];
	char lacking[256]; /* a section that there is no taker for; "": none */
};

/* ---- options and processors ---- */

static int compare_option(struct comparison *c, struct src *in)
{
	char name[256], theirs[256];

	if (src_str8(in, name) < 0 || src_str8(in, theirs) < 0)
		return -EIO;
	for (size_t i = 0; i < n_described_options; i++) {
		const struct described_option *o = &described_options[i];
		const char *ours = o->get(c->m->cfg) ? "on" : "off";

		if (strcmp(o->name, name) == 0 && strcmp(ours, theirs) != 0)
			desc_differ(c->diff,
				    "machine option '%s': %s at the source, %s at the destination",
				    name, theirs, ours);
	}
	return 0;
}

static int compare_cpus(struct comparison *c, struct src *in)
{
	const struct config *cfg = c->m->cfg;
	uint32_t cpus, cores, threads, our_cores = MAX(cfg->dies, 1U) * MAX(cfg->cores, 1U);

	if (src_be32(in, &cpus) < 0 || src_be32(in, &cores) < 0 || src_be32(in, &threads) < 0)
		return -EIO;
	if (cpus != cfg->cpus)
		desc_differ(c->diff, "vCPUs: %" PRIu32 " at the source, %u at the destination",
			    cpus, cfg->cpus);
	else if (cores != our_cores || threads != MAX(cfg->threads, 1U))
		desc_differ(c->diff,
			    "vCPU topology: %" PRIu32 " cores of %" PRIu32
			    " threads a socket at the source, %u of %u at the destination",
			    cores, threads, our_cores, MAX(cfg->threads, 1U));
	return 0;
}

/* ---- memory ---- */

struct size_text {
	char s[32];
};

static struct size_text size_text(uint64_t bytes)
{
	struct size_text t;

	if (bytes && bytes % MiB == 0)
		(void)snprintf(t.s, sizeof(t.s), "%" PRIu64 " MiB", (uint64_t)(bytes / MiB));
	else if (bytes && bytes % KiB == 0)
		(void)snprintf(t.s, sizeof(t.s), "%" PRIu64 " KiB", (uint64_t)(bytes / KiB));
	else
		(void)snprintf(t.s, sizeof(t.s), "%" PRIu64 " bytes", bytes);
	return t;
}

/*
 * Pages are sent and placed 4 KiB at a time, so what backs the memory matters
 * only where the backing itself is shared.
 */
static void compare_backing(struct comparison *c, const struct ram_block *b, uint64_t page_bytes)
{
	if (!b->share)
		desc_differ(c->diff,
			    "RAM block '%s': shared at the source, private at the destination: "
			    "x-ignore-shared needs share=on at both",
			    b->name);
	else if (page_bytes != b->page_bytes)
		desc_differ(c->diff,
			    "RAM block '%s': pages of %s at the source, of %s at the destination",
			    b->name, size_text(page_bytes).s, size_text(b->page_bytes).s);
}

static int compare_block(struct comparison *c, struct src *in)
{
	const struct memory *mem = &c->m->mem;
	uint64_t bytes, page_bytes;
	char name[256];
	uint8_t shared;

	if (src_str8(in, name) < 0 || src_be64(in, &bytes) < 0 || src_be64(in, &page_bytes) < 0 ||
	    src_u8(in, &shared) < 0)
		return -EIO;
	for (size_t i = 0; i < mem->n_blocks; i++) {
		const struct ram_block *b = mem->blocks[i];

		if (strcmp(b->name, name) != 0)
			continue;
		c->blocks[i] = true;
		if (bytes != b->bytes)
			desc_differ(c->diff,
				    "RAM block '%s': %s at the source, %s at the destination", name,
				    size_text(bytes).s, size_text(b->bytes).s);
		if (shared && c->caps && c->caps[CAP_X_IGNORE_SHARED])
			compare_backing(c, b, page_bytes);
		return 0;
	}
	desc_differ(c->diff, "RAM block '%s': %s at the source, missing at the destination", name,
		    size_text(bytes).s);
	return 0;
}

/* ---- devices ---- */

struct device_text {
	char s[400];
};

/* "virtio-blk 'disk0'" */
static struct device_text device_text(const char *name, const char *id)
{
	struct device_text t;

	(void)snprintf(t.s, sizeof(t.s), "%.100s%s%.200s%s", name, *id ? " '" : "", id,
		       *id ? "'" : "");
	return t;
}

static unsigned slot_of(const struct board_device *d)
{
	return d->slot < 0 ? DESC_NO_SLOT : (unsigned)d->slot;
}

/* "virtio-blk 'disk0' in slot 7" */
static struct device_text placed_text(const char *name, const char *id, unsigned slot,
				      uint64_t base)
{
	struct device_text t = device_text(name, id);
	size_t n = strlen(t.s);

	if (slot != DESC_NO_SLOT)
		(void)snprintf(t.s + n, sizeof(t.s) - n, " in slot %u", slot);
	else
		(void)snprintf(t.s + n, sizeof(t.s) - n, " at 0x%" PRIx64, base);
	return t;
}

/* Ours in that place: a slot, or by name where there is none. */
static const struct board_device *find_device(struct comparison *c, unsigned slot, const char *name,
					      uint64_t base)
{
	const struct board *board = &c->m->board;

	for (size_t i = 0; i < board->n; i++) {
		const struct board_device *d = &board->devices[i];
		bool there = slot_of(d) == slot;

		if (d->slot < 0)
			there = there && d->base == base && strcmp(d->name, name) == 0;
		if (there && device_is_described(d)) {
			c->devices[i] = true;
			return d;
		}
	}
	return NULL;
}

/* Feature bits that the source's guest may have taken, and that are not here. */
static void compare_features(struct comparison *c, const struct board_device *d, const char *what,
			     const char *theirs, const char *ours)
{
	uint64_t missing = strtoull(theirs, NULL, 16) & ~strtoull(ours, NULL, 16);
	char list[512] = "";
	size_t n = 0;

	for (unsigned b = 0; b < 64 && n < sizeof(list); b++) {
		const char *name = d->feature_name ? d->feature_name(b) : NULL;
		const char *comma = n ? ", " : "";

		if (!(missing >> b & 1))
			continue;
		n += (size_t)(name ? snprintf(list + n, sizeof(list) - n, "%s%s", comma, name)
				   : snprintf(list + n, sizeof(list) - n, "%sbit %u", comma, b));
	}
	if (missing)
		desc_differ(c->diff,
			    "%s: features: %s: on at the source, not offered at the destination",
			    what, list);
}

static void compare_prop(struct comparison *c, const struct board_device *d, const char *name,
			 const char *theirs)
{
	struct device_text what = placed_text(d->name, d->id, slot_of(d), d->base);

	for (size_t i = 0; i < d->n_props; i++) {
		const char *ours = d->props[i].text;

		if (strcmp(d->props[i].name, name) != 0)
			continue;
		if (strcmp(name, "features") == 0)
			compare_features(c, d, what.s, theirs, ours);
		else if (strcmp(theirs, ours) != 0)
			desc_differ(c->diff, "%s: %s: %s at the source, %s at the destination",
				    what.s, name, *theirs ? theirs : "none", *ours ? ours : "none");
	}
}

/* 'd' NULL: only read them. */
static int compare_props(struct comparison *c, const struct board_device *d, struct src *in)
{
	char name[256], text[256];
	uint8_t n;

	if (src_u8(in, &n) < 0)
		return -EIO;
	for (unsigned i = 0; i < n; i++) {
		if (src_str8(in, name) < 0 || src_str8(in, text) < 0)
			return -EIO;
		if (d)
			compare_prop(c, d, name, text);
	}
	return 0;
}

static int compare_device(struct comparison *c, struct src *in)
{
	const struct board_device *d;
	char name[256], id[256];
	uint64_t base;
	uint16_t slot;
	uint32_t gsi;

	if (src_be16(in, &slot) < 0 || src_str8(in, name) < 0 || src_str8(in, id) < 0 ||
	    src_be64(in, &base) < 0 || src_be32(in, &gsi) < 0)
		return -EIO;
	d = find_device(c, slot, name, base);
	if (!d) {
		desc_differ(c->diff, "%s: missing at the destination",
			    placed_text(name, id, slot, base).s);
	} else if (strcmp(d->name, name) != 0) {
		desc_differ(c->diff, "slot %u: %s at the source, %s at the destination", slot,
			    device_text(name, id).s, device_text(d->name, d->id).s);
		d = NULL;
	} else if (d->base != base || d->gsi != gsi) {
		desc_differ(c->diff,
			    "%s: at 0x%" PRIx64 ", interrupt %" PRIu32
			    " at the source, at 0x%" PRIx64 ", interrupt %u at the destination",
			    placed_text(name, id, slot, base).s, base, gsi, d->base, d->gsi);
	}
	return compare_props(c, d, in);
}

/* ---- state tables ---- */

/*
 * Where a section has no taker, a device, a vCPU or an option has been named
 * already: this is the net below.
 */
static int compare_section(struct comparison *c, struct src *in)
{
	uint32_t instance, version;
	const struct vms_entry *e;
	char idstr[256];

	if (src_str8(in, idstr) < 0 || src_be32(in, &instance) < 0 || src_be32(in, &version) < 0)
		return -EIO;
	e = vms_find(&c->m->vmstate, idstr, instance);
	if (!e)
		memcpy(c->lacking, idstr, sizeof(c->lacking));
	else if (version < e->desc->min_version || version > e->desc->version)
		desc_differ(c->diff,
			    "section '%s': version %" PRIu32
			    " at the source, %u to %u are understood at the destination",
			    idstr, version, e->desc->min_version, e->desc->version);
	return 0;
}

/* ---- all of it ---- */

static const struct {
	unsigned kind;
	int (*compare)(struct comparison *c, struct src *in);
} rows[] = {
    {DESC_OPTION,  compare_option },
    {DESC_CPUS,    compare_cpus   },
    {DESC_BLOCK,   compare_block  },
    {DESC_DEVICE,  compare_device },
    {DESC_SECTION, compare_section},
};

static int compare_record(struct comparison *c, unsigned kind, struct src *in)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].kind == kind)
			return rows[i].compare(c, in);
	if (kind >= DESC_ARCH && c->m->arch && c->m->arch->compare)
		return c->m->arch->compare(c->m, kind, in, c->diff);
	return 0; /* from a time to come */
}

/* What is here only. */
static void compare_rest(struct comparison *c)
{
	const struct machine *m = c->m;

	for (size_t i = 0; i < m->mem.n_blocks; i++)
		if (!c->blocks[i])
			desc_differ(c->diff,
				    "RAM block '%s': missing at the source, %s at the destination",
				    m->mem.blocks[i]->name, size_text(m->mem.blocks[i]->bytes).s);
	for (size_t i = 0; i < m->board.n; i++) {
		const struct board_device *d = &m->board.devices[i];

		if (device_is_described(d) && !c->devices[i])
			desc_differ(c->diff, "%s: missing at the source",
				    placed_text(d->name, d->id, slot_of(d), d->base).s);
	}
	if (c->lacking[0] && !c->diff->len)
		desc_differ(c->diff, "section '%s': nobody takes it at the destination",
			    c->lacking);
}

int machine_compare(struct machine *m, const bool *caps, const uint8_t *p, size_t n,
		    struct buf *diff, struct err *err)
{
	struct comparison c = {.m = m, .caps = caps, .diff = diff};
	struct src in = src_mem(p, n);
	uint16_t format;

	if (src_be16(&in, &format) < 0)
		return err_set(err, EINVAL, "the description is empty");
	if (format != DESC_FORMAT) {
		log_warn("the source describes its machine in format %u, only %u is understood: "
			 "not compared",
			 format, DESC_FORMAT);
		return 0;
	}
	while (in.at < in.len) {
		size_t at = in.at;
		uint16_t kind, length;
		const uint8_t *body;
		struct src record;

		if (src_be16(&in, &kind) < 0 || src_be16(&in, &length) < 0)
			return err_set(err, EINVAL, "the description ends at byte %zu in a record",
				       at);
		body = src_take(&in, length);
		if (!body)
			return err_set(err, EINVAL,
				       "the description ends within record 0x%x at byte %zu", kind,
				       at);
		record = src_mem(body, length);
		if (compare_record(&c, kind, &record) < 0)
			return err_set(err, EINVAL,
				       "record 0x%x at byte %zu of the description is broken", kind,
				       at);
	}
	compare_rest(&c);
	return 0;
}
