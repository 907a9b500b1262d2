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
#include "migration/incoming/lazy.h"
#include "migration/ram/lazy/lazy.h"
#include "migration/ram/lazy/page-index.h"
#include "migration/ram/lazy/stream-source.h"
#include "migration/ram/placer-uffd.h"
#include "migration/snapshot/chain.h"
#include "migration/snapshot/notes.h"
#include "migration/snapshot/snapshot.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/job.h"
#include "vmm/machine.h"

/* One of the streams that the memory is made of. */
struct vmstate_part {
	char *id;            /* owned; of the snapshot */
	uint64_t off, bytes; /* of its VM state */
	uint64_t at;         /* where it begins, of all of them one behind the other */
};

struct vmstate_pages {
	struct machine *m;
	struct block_node *node; /* kept by its 'jobs' */
	struct qcow2 *q;         /* the node's */
	char *notes;             /* owned; beside the image; NULL: none */
	size_t n;
	struct vmstate_part part[]; /* the snapshot's, that of the one it stands on, ... */
};

/* ---- the source: any thread, no lock held ---- */

static int part_read(const struct vmstate_pages *p, const struct vmstate_part *part, void *buf,
		     size_t n, uint64_t pos, struct err *err)
{
	if (pos > part->bytes || n > part->bytes - pos)
		return err_set(err, EIO, "a page of the snapshot lies beyond its VM state");
	return qcow2_snapshot_read(p->q, part->id, buf, n, part->off + pos, err);
}

static int pages_read(void *opaque, void *buf, size_t n, uint64_t pos, struct err *err)
{
	const struct vmstate_pages *p = opaque;
	size_t i = p->n - 1;

	while (i && pos < p->part[i].at)
		i--;
	return part_read(p, &p->part[i], buf, n, pos - p->part[i].at, err);
}

static void pages_close(void *opaque)
{
	struct vmstate_pages *p = opaque;

	machine_lock(p->m);
	p->node->jobs--;
	machine_unlock(p->m);
	for (size_t i = 0; i < p->n; i++)
		free(p->part[i].id);
	free(p->notes);
	free(p);
}

static struct vmstate_pages *pages_new(struct qcow2 *q, const struct snapshot_chain *chain,
				       struct block_node *node, struct machine *m)
{
	struct vmstate_pages *p = xcalloc(1, sizeof(*p) + chain->n * sizeof(struct vmstate_part));
	uint64_t at = 0;

	p->m = m;
	p->node = node;
	p->q = q;
	for (p->n = 0; p->n < chain->n; p->n++) {
		const struct snapshot_link *link = &chain->v[p->n];

		p->part[p->n] =
		    (struct vmstate_part){xstrdup(link->id), link->off, link->bytes, at};
		at += link->bytes;
	}
	machine_lock(m);
	p->node->jobs++;
	machine_unlock(m);
	return p;
}

struct part_file {
	const struct vmstate_pages *p;
	const struct vmstate_part *part;
};

static int part_file_read(void *opaque, void *buf, size_t n, uint64_t pos, struct err *err)
{
	const struct part_file *f = opaque;

	return part_read(f->p, f->part, buf, n, pos, err);
}

static int part_index(const struct vmstate_pages *p, size_t i, struct page_index **ix,
		      struct err *err)
{
	struct part_file f = {p, &p->part[i]};
	const struct page_index_file file = {
	    .read = part_file_read, .opaque = &f, .bytes = f.part->bytes};

	return page_index_read(ix, &file, err);
}

/* Of the snapshot's own stream, over those of all that it stands on.  Owned. */
static int read_layers(const struct vmstate_pages *p, struct page_index **ix, struct err *err)
{
	int ret = part_index(p, 0, ix, err);

	if (ret < 0)
		return ret;
	for (size_t i = 1; ret == 0 && i < p->n; i++) {
		struct page_index *below = NULL;

		ret = part_index(p, i, &below, err);
		if (ret == 0)
			ret = page_index_put_under(*ix, below, p->part[i].at, err);
		page_index_free(below);
	}
	if (ret < 0) {
		page_index_free(*ix);
		*ix = NULL;
	}
	return ret;
}

/*
 * The index behind the stream, if it is there and all of this memory can come by it: else the
 * stream has to be read whole before anything is touched.
 */
static struct page_index *read_index(struct vmstate_pages *p)
{
	struct page_index *ix = NULL;
	struct err why = {0};
	int ret = uffd_placer_check(&p->m->mem, &why);

	if (ret == 0)
		ret = read_layers(p, &ix, &why);
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

struct lazy *snapshot_session_new(struct qcow2 *q, const struct snapshot_chain *chain,
				  struct block_node *node, struct machine *m,
				  const struct page_index **index)
{
	struct vmstate_pages *p = pages_new(q, chain, node, m);
	struct page_source *source = make_source(p, index);
	struct err why = {0};
	struct lazy *lazy = NULL;

	if (!*index && chain->n > 1) { /* notes are of one stream */
		source->ops->close(source);
		(void)err_set(&why, ENOTSUP,
			      "it stands on others, and not all of them have an index");
	} else {
		lazy = lazy_new(&m->mem, source, &why);
	}
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
