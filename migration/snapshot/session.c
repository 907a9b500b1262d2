/*
 * session.c - a snapshot's VM state as the source of pages, and what has to wait for them
 *
 * Pages are read through the image (qcow2_snapshot_read()), whose lock lets the guest's requests
 * go on beside; the clusters of a snapshot stay what they are as long as it is there.  So the
 * snapshot must not go away, which the next save, load or delete would allow: each waits until all
 * pages have come.  The disk must not go or change its size either, which node->jobs tells.
 */
#include "migration/snapshot/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/node.h"
#include "devices/block/qcow2/qcow2.h"
#include "migration/channel/vmstate.h"
#include "migration/incoming/lazy.h"
#include "migration/ram/lazy/lazy.h"
#include "migration/ram/lazy/page-index.h"
#include "migration/ram/lazy/stream-source.h"
#include "migration/ram/placer-uffd.h"
#include "migration/snapshot/notes.h"
#include "migration/snapshot/snapshot.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/job.h"
#include "vmm/machine.h"

struct vmstate_pages {
	struct machine *m;
	struct block_node *node; /* kept by its 'jobs' */
	struct qcow2 *q;         /* the node's */
	char *id;                /* owned */
	char *notes;             /* owned; beside the image; NULL: none */
	uint64_t off, bytes;     /* of the VM state */
};

/* ---- the source: any thread, no lock held ---- */

static int pages_read(void *opaque, void *buf, size_t n, uint64_t pos, struct err *err)
{
	const struct vmstate_pages *p = opaque;

	if (pos > p->bytes || n > p->bytes - pos)
		return err_set(err, EIO, "a page of the snapshot lies beyond its VM state");
	return qcow2_snapshot_read(p->q, p->id, buf, n, p->off + pos, err);
}

static void pages_close(void *opaque)
{
	struct vmstate_pages *p = opaque;

	machine_lock(p->m);
	p->node->jobs--;
	machine_unlock(p->m);
	free(p->id);
	free(p->notes);
	free(p);
}

static struct vmstate_pages *pages_new(const struct vmstate_source *from, struct block_node *node,
				       struct machine *m)
{
	struct vmstate_pages *p = NEW(struct vmstate_pages);

	*p = (struct vmstate_pages){
	    .m = m,
	    .node = node,
	    .q = from->q,
	    .id = xstrdup(from->id),
	    .off = from->off,
	    .bytes = from->bytes,
	};
	machine_lock(m);
	p->node->jobs++;
	machine_unlock(m);
	return p;
}

/*
 * The index behind the stream, if it is there and all of this memory can come by it: else the
 * stream has to be read whole before anything is touched.
 */
static struct page_index *read_index(struct vmstate_pages *p)
{
	const struct page_index_file file = {.read = pages_read, .opaque = p, .bytes = p->bytes};
	struct page_index *ix = NULL;
	struct err why = {0};
	int ret = uffd_placer_check(&p->m->mem, &why);

	if (ret == 0)
		ret = page_index_read(&ix, &file, &why);
	if (ret == -ENOENT)
		log_info("the snapshot has no index of its pages, and is read whole first");
	else if (ret < 0)
		log_info("the snapshot is read whole first: %s", why.msg);
	return ix;
}

/* The source of the pages, and the index if it has one that fits; both taken. */
static struct page_source *make_source(struct vmstate_pages *p, const struct page_index **index)
{
	struct page_index *ix = read_index(p);
	struct stream_access access = {
	    .read = pages_read,
	    .close = pages_close,
	    .opaque = p,
	    .name = "the snapshot",
	};
	struct page_source *source;
	struct err why = {0};

	p->notes = ix ? snapshot_notes_path(p->node, ix->identity) : NULL;
	access.notes_path = p->notes;
	source = stream_source_new(&access, &p->m->mem);
	if (ix && stream_source_use(source, ix, &why) < 0) {
		log_info("the snapshot is read whole first, its index is another machine's: %s",
			 why.msg);
		ix = NULL;
	}
	*index = ix;
	return source;
}

struct lazy *snapshot_session_new(const struct vmstate_source *from, struct block_node *node,
				  struct machine *m, const struct page_index **index)
{
	struct page_source *source = make_source(pages_new(from, node, m), index);
	struct err why = {0};
	struct lazy *lazy = lazy_new(&m->mem, source, &why);

	if (lazy)
		return lazy;
	*index = NULL;
	log_info("the guest's memory is loaded before it runs, not lazily: %s", why.msg);
	return NULL;
}

/* ---- what has to wait ---- */

static int is_cancelled(void *opaque)
{
	return opaque ? job_pause_point(opaque) : 0;
}

int snapshots_await_pages(struct snapshots *s, struct job *j, struct err *err)
{
	return incoming_lazy_await(s->in, is_cancelled, j, err);
}
