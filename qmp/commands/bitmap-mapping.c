#include "qmp/commands/bitmap-mapping.h"

#include "migration/settings/bitmap-mapping.h"

struct transform {
	bool has_persistent, persistent;
};

struct bitmap {
	const char *name, *alias;
	bool has_transform;
	struct transform transform;
};

struct node {
	const char *node_name, *alias;
	struct qmp_array bitmaps; /* struct bitmap */
};

static const struct qmp_member transform_members[] = {
    QMP_OPT(struct transform, persistent, "persistent"),
    {0},
};
static const struct qmp_type transform_type =
    QMP_OBJECT_TYPE(struct transform, "BitmapMigrationBitmapAliasTransform", transform_members);
static const struct qmp_member bitmap_members[] = {
    QMP_REQ(struct bitmap, name, "name"),
    QMP_REQ(struct bitmap, alias, "alias"),
    QMP_OPT_T(struct bitmap, transform, "transform", &transform_type),
    {0},
};
static const struct qmp_type bitmap_type =
    QMP_OBJECT_TYPE(struct bitmap, "BitmapMigrationBitmapAlias", bitmap_members);
static const struct qmp_type bitmap_list = QMP_ARRAY_TYPE(&bitmap_type);
static const struct qmp_member node_members[] = {
    QMP_REQ(struct node, node_name, "node-name"),
    QMP_REQ(struct node, alias, "alias"),
    QMP_REQ_T(struct node, bitmaps, "bitmaps", &bitmap_list),
    {0},
};
static const struct qmp_type node_type =
    QMP_OBJECT_TYPE(struct node, "BitmapMigrationNodeAlias", node_members);
const struct qmp_type qmp_bitmap_mapping_type = QMP_ARRAY_TYPE(&node_type);

void qmp_bitmap_mapping_take(struct qmp_pool *pool, const struct qmp_array *from,
			     struct bitmap_mapping *to)
{
	const struct node *nodes = from->v;

	to->given = true;
	to->n_nodes = from->n;
	to->nodes = qmp_alloc(pool, from->n + 1, sizeof(*to->nodes));
	for (size_t i = 0; i < from->n; i++) {
		const struct bitmap *bitmaps = nodes[i].bitmaps.v;
		struct node_alias *n = &to->nodes[i];

		n->node_name = nodes[i].node_name;
		n->alias = nodes[i].alias;
		n->n_bitmaps = nodes[i].bitmaps.n;
		n->bitmaps = qmp_alloc(pool, n->n_bitmaps + 1, sizeof(*n->bitmaps));
		for (size_t k = 0; k < n->n_bitmaps; k++)
			n->bitmaps[k] = (struct bitmap_alias){
			    bitmaps[k].name, bitmaps[k].alias, bitmaps[k].has_transform,
			    bitmaps[k].transform.has_persistent, bitmaps[k].transform.persistent};
	}
}

void qmp_bitmap_mapping_show(struct qmp_pool *pool, const struct bitmap_mapping *from,
			     struct qmp_array *to)
{
	struct node *nodes = qmp_alloc(pool, from->n_nodes + 1, sizeof(*nodes));

	*to = (struct qmp_array){nodes, from->n_nodes};
	for (size_t i = 0; i < from->n_nodes; i++) {
		const struct node_alias *n = &from->nodes[i];
		struct bitmap *bitmaps = qmp_alloc(pool, n->n_bitmaps + 1, sizeof(*bitmaps));

		nodes[i] = (struct node){
		    n->node_name, n->alias, {bitmaps, n->n_bitmaps}
                };
		for (size_t k = 0; k < n->n_bitmaps; k++) {
			const struct bitmap_alias *b = &n->bitmaps[k];

			bitmaps[k] = (struct bitmap){
			    b->name,
			    b->alias,
			    b->has_transform,
			    {b->has_persistent, b->persistent}
                        };
		}
	}
}
