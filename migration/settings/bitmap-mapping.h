/*
 * bitmap-mapping.h - block-bitmap-mapping: under which names dirty bitmaps would travel
 * (qmp-surface 3.2)
 *
 * minivmm moves no bitmaps (the capability is refused), so a mapping is checked, kept and shown.
 */
#ifndef MINIVMM_MIGRATION_SETTINGS_BITMAP_MAPPING_H
#define MINIVMM_MIGRATION_SETTINGS_BITMAP_MAPPING_H

#include <stdbool.h>
#include <stddef.h>

struct err;

struct bitmap_alias {
	const char *name, *alias;
	bool has_transform, has_persistent, persistent;
};

struct node_alias {
	const char *node_name, *alias;
	struct bitmap_alias *bitmaps;
	size_t n_bitmaps;
};

struct bitmap_mapping {
	bool given; /* even if it maps nothing */
	struct node_alias *nodes;
	size_t n_nodes;
};

/* One-to-one, with names that can be names: 0, or -EINVAL with *err set. */
int bitmap_mapping_check(const struct bitmap_mapping *map, struct err *err);
/* *to (zeroed, or an earlier copy) becomes a copy that owns its strings. */
void bitmap_mapping_copy(struct bitmap_mapping *to, const struct bitmap_mapping *from);
void bitmap_mapping_free(struct bitmap_mapping *map); /* a copy */

#endif
