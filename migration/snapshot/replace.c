/* replace.c - a snapshot that takes the place of one of its name, once it is there */
#include "migration/snapshot/replace.h"

#include <stdlib.h>
#include <string.h>

#include "devices/block/node.h"
#include "devices/block/qcow2/qcow2.h"
#include "migration/snapshot/chain.h"
#include "migration/snapshot/nodes.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"

int replace_check(const struct snapshot_nodes *ns, const char *tag, struct err *err)
{
	for (size_t i = 0; i < ns->n; i++) {
		struct qcow2 *q = snapshot_node_image(ns->v[i]);
		const struct qcow2_snapshot *snap;

		for (size_t k = 0; (snap = qcow2_snapshot_at(q, k)); k++) {
			int ret =
			    strcmp(snap->name, tag) ? 0 : snapshot_check_childless(q, snap, err);

			if (ret < 0)
				return ret;
		}
	}
	return 0;
}

/* One of that name that is older than the last one; NULL: none. */
static const struct qcow2_snapshot *find_older(const struct qcow2 *q, const char *tag)
{
	const struct qcow2_snapshot *last = qcow2_snapshot_named(q, tag), *snap;

	for (size_t k = 0; (snap = qcow2_snapshot_at(q, k)); k++)
		if (snap != last && !strcmp(snap->name, tag))
			return snap;
	return NULL;
}

void replace_delete_older(struct machine *m, const struct snapshot_nodes *ns, const char *tag)
{
	for (size_t i = 0; i < ns->n; i++) {
		struct qcow2 *q = snapshot_node_image(ns->v[i]);
		const struct qcow2_snapshot *old;
		struct err why = {0};
		int ret = 0;

		while (ret == 0 && (old = find_older(q, tag))) {
			char *id = xstrdup(old->id);

			ret = snapshot_node_delete(m, ns->v[i], id, &why);
			free(id);
		}
		if (ret < 0)
			log_warn("the snapshot that '%s' replaces stays in '%s': %s", tag,
				 snapshot_node_name(ns->v[i]), why.msg);
	}
}
