/* notes.c - which file belongs to a snapshot (notes.h) */
#include "migration/snapshot/notes.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "devices/block/node.h"
#include "devices/block/qcow2/qcow2.h"
#include "migration/ram/lazy/page-index.h"
#include "migration/snapshot/nodes.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"

char *snapshot_notes_path(const struct block_node *n, const uint8_t *identity)
{
	struct stat st;

	if (!n->filename || (n->fd >= 0 && fstat(n->fd, &st) == 0 && S_ISBLK(st.st_mode)))
		return NULL;
	return xasprintf("%s.%016llx.working-set", n->filename,
			 (unsigned long long)get_be64(identity));
}

struct vm_state {
	struct qcow2 *q;
	const struct qcow2_snapshot *snap;
};

static int vm_state_read(void *opaque, void *buf, size_t n, uint64_t pos, struct err *err)
{
	const struct vm_state *v = opaque;

	return qcow2_snapshot_read(v->q, v->snap->id, buf, n, v->snap->vmstate_off + pos, err);
}

char *snapshot_notes_of(const struct block_node *n, const char *id)
{
	uint8_t identity[PAGE_INDEX_IDENTITY];
	struct vm_state v = {.q = snapshot_node_image(n)};
	struct page_index_file f = {.read = vm_state_read, .opaque = &v};

	v.snap = qcow2_snapshot_with_id(v.q, id);
	if (!v.snap || !v.snap->vmstate_bytes)
		return NULL;
	f.bytes = v.snap->vmstate_bytes;
	return page_index_identity(&f, identity) == 0 ? snapshot_notes_path(n, identity) : NULL;
}
