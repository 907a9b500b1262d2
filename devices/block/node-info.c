/* node-info.c - copies of the lists of an image, exchanged under a mutex */
#include "devices/block/node-info.h"

#include <stdlib.h>

#include "devices/block/image.h"
#include "devices/block/node.h"
#include "vmm/base/alloc.h"

static void add_snapshot(struct block_node_info *info, const struct qcow2_snapshot *s)
{
	struct qcow2_snapshot *to;

	info->snapshots =
	    xrealloc(info->snapshots, (info->n_snapshots + 1) * sizeof(*info->snapshots));
	to = &info->snapshots[info->n_snapshots++];
	*to = *s;
	to->id = xstrdup(s->id);
	to->name = xstrdup(s->name);
}

static void add_bitmap(struct block_node_info *info, const struct qcow2_bitmap *b)
{
	struct qcow2_bitmap *to;

	info->bitmaps = xrealloc(info->bitmaps, (info->n_bitmaps + 1) * sizeof(*info->bitmaps));
	to = &info->bitmaps[info->n_bitmaps++];
	*to = *b;
	to->name = xstrdup(b->name);
}

struct block_node_info *block_node_info_of(const struct qcow2 *q)
{
	struct block_node_info *info = NEW(struct block_node_info);
	const struct qcow2_snapshot *s;
	const struct qcow2_bitmap *b;

	for (size_t i = 0; (s = qcow2_snapshot_at(q, i)); i++)
		add_snapshot(info, s);
	for (size_t i = 0; (b = qcow2_bitmap_at(q, i)); i++)
		add_bitmap(info, b);
	return info;
}

void block_node_info_free(struct block_node_info *info)
{
	if (!info)
		return;
	for (size_t i = 0; i < info->n_snapshots; i++) {
		free((void *)(uintptr_t)info->snapshots[i].id);
		free((void *)(uintptr_t)info->snapshots[i].name);
	}
	for (size_t i = 0; i < info->n_bitmaps; i++)
		free((void *)(uintptr_t)info->bitmaps[i].name);
	free(info->snapshots);
	free(info->bitmaps);
	free(info);
}

void block_node_refresh(struct block_node *n)
{
	struct block_node_info *info = n->img && n->img->q ? block_node_info_of(n->img->q) : NULL;
	struct block_node_info *old;

	pthread_mutex_lock(&n->info_mutex);
	old = n->info;
	n->info = info;
	pthread_mutex_unlock(&n->info_mutex);
	block_node_info_free(old);
}
