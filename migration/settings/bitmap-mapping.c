#include "migration/settings/bitmap-mapping.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/identifier.h"

#define MAX_NODE_NAME   31
#define MAX_ALIAS       255
#define MAX_BITMAP_NAME 1023

#define INVALID "Invalid mapping given for block-bitmap-mapping: "

/* ---- names ---- */

static int check_length(const char *what, const char *name, size_t max, struct err *err)
{
	if (strlen(name) <= max)
		return 0;
	return err_set(err, EINVAL, INVALID "The %s '%.300s' is longer than %zu bytes", what, name,
		       max);
}

/* ---- check ---- */

static int check_bitmap(const struct node_alias *n, size_t i, struct err *err)
{
	const struct bitmap_alias *b = &n->bitmaps[i];
	int ret = check_length("bitmap name", b->name, MAX_BITMAP_NAME, err);

	if (ret == 0)
		ret = check_length("bitmap alias", b->alias, MAX_ALIAS, err);
	for (size_t k = 0; ret == 0 && k < i; k++) {
		if (!strcmp(n->bitmaps[k].name, b->name))
			ret = err_set(err, EINVAL,
				      INVALID "The bitmap '%.31s'/'%.300s' is mapped twice",
				      n->node_name, b->name);
		else if (!strcmp(n->bitmaps[k].alias, b->alias))
			ret = err_set(err, EINVAL,
				      INVALID "The bitmap alias '%.255s'/'%.255s' is used twice",
				      n->alias, b->alias);
	}
	return ret;
}

static int check_node(const struct bitmap_mapping *map, size_t i, struct err *err)
{
	const struct node_alias *n = &map->nodes[i];
	int ret = check_length("node name", n->node_name, MAX_NODE_NAME, err);

	if (ret == 0)
		ret = check_length("node alias", n->alias, MAX_ALIAS, err);
	if (ret == 0 && !identifier_well_formed(n->alias))
		ret = err_set(err, EINVAL, INVALID "The node alias '%s' is not well-formed",
			      n->alias);
	for (size_t k = 0; ret == 0 && k < i; k++) {
		if (!strcmp(map->nodes[k].node_name, n->node_name))
			ret = err_set(err, EINVAL, INVALID "The node name '%s' is mapped twice",
				      n->node_name);
		else if (!strcmp(map->nodes[k].alias, n->alias))
			ret = err_set(err, EINVAL, INVALID "The node alias '%s' is used twice",
				      n->alias);
	}
	for (size_t k = 0; ret == 0 && k < n->n_bitmaps; k++)
		ret = check_bitmap(n, k, err);
	return ret;
}

int bitmap_mapping_check(const struct bitmap_mapping *map, struct err *err)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < map->n_nodes; i++)
		ret = check_node(map, i, err);
	return ret;
}

/* ---- copies ---- */

static void copy_node(struct node_alias *to, const struct node_alias *from)
{
	*to = (struct node_alias){
	    .node_name = xstrdup(from->node_name),
	    .alias = xstrdup(from->alias),
	    .bitmaps = xcalloc(from->n_bitmaps + 1, sizeof(*to->bitmaps)),
	    .n_bitmaps = from->n_bitmaps,
	};
	for (size_t i = 0; i < from->n_bitmaps; i++) {
		to->bitmaps[i] = from->bitmaps[i];
		to->bitmaps[i].name = xstrdup(from->bitmaps[i].name);
		to->bitmaps[i].alias = xstrdup(from->bitmaps[i].alias);
	}
}

void bitmap_mapping_copy(struct bitmap_mapping *to, const struct bitmap_mapping *from)
{
	bitmap_mapping_free(to);
	to->given = true;
	to->nodes = xcalloc(from->n_nodes + 1, sizeof(*to->nodes));
	to->n_nodes = from->n_nodes;
	for (size_t i = 0; i < from->n_nodes; i++)
		copy_node(&to->nodes[i], &from->nodes[i]);
}

void bitmap_mapping_free(struct bitmap_mapping *map)
{
	for (size_t i = 0; i < map->n_nodes; i++) {
		struct node_alias *n = &map->nodes[i];

		for (size_t k = 0; k < n->n_bitmaps; k++) {
			free((char *)n->bitmaps[k].name);
			free((char *)n->bitmaps[k].alias);
		}
		free(n->bitmaps);
		free((char *)n->node_name);
		free((char *)n->alias);
	}
	free(map->nodes);
	*map = (struct bitmap_mapping){0};
}
