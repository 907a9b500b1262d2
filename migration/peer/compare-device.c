/*
 * compare-device.c - what two machines are held against each other by: the devices of the board
 *
 * A device is found by its slot, or by its name and address where it has none.
 */
#include "migration/peer/comparison.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/describe.h"
#include "vmm/machine.h"

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

	board_feature_list(list, sizeof(list), d->feature_name, missing, 0);
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

int compare_device(struct comparison *c, struct src *in)
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

void compare_devices_left(struct comparison *c)
{
	const struct board *board = &c->m->board;

	for (size_t i = 0; i < board->n; i++) {
		const struct board_device *d = &board->devices[i];

		if (device_is_described(d) && !c->devices[i])
			desc_differ(c->diff, "%s: missing at the source",
				    placed_text(d->name, d->id, slot_of(d), d->base).s);
	}
}
