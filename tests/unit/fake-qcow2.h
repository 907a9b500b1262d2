/*
 * fake-qcow2.h - images in memory that fail when a test says so
 *
 * Stands for devices/block/qcow2 in tests of what is built on snapshots: the functions that
 * migration/snapshot calls, and no more.  A disk is one number.
 */
#ifndef MINIVMM_TESTS_FAKE_QCOW2_H
#define MINIVMM_TESTS_FAKE_QCOW2_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "devices/block/image.h"
#include "devices/block/node-info.h"
#include "devices/block/node.h"
#include "devices/block/qcow2/qcow2.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define FAKE_DISK_BYTES MiB
#define FAKE_SNAPSHOTS  8

struct fake_snapshot {
	struct qcow2_snapshot s;
	char *id, *name;
	int disk;
	struct buf vmstate;
};

enum fake_failure {
	FAKE_BEGIN,
	FAKE_WRITE,
	FAKE_COMMIT,
	FAKE_DELETE,
	FAKE_APPLY,
	FAKE_READ,
	FAKE_FAILURES
};

struct qcow2 {
	struct qcow2_info info;
	int disk;
	struct fake_snapshot list[FAKE_SNAPSHOTS];
	size_t n;
	unsigned next_id;
	unsigned savings;              /* begun and not over */
	unsigned left;                 /* given up for later */
	unsigned resizes;              /* of the node */
	unsigned calls;                /* of the node, with nothing else in flight */
	bool alone;                    /* within one */
	int call_fails;                /* -errno: a call cannot be made */
	unsigned fails[FAKE_FAILURES]; /* the how-manieth call fails; 0: none */
	/* Called within each write of a VM state. */
	void (*writing)(void *opaque);
	void *opaque;
};

struct qcow2_saving {
	struct qcow2 *q;
	int disk;
	struct buf vmstate;
};

static inline int fake_fails(struct qcow2 *q, enum fake_failure f, struct err *err)
{
	if (q->fails[f] == 0 || --q->fails[f] > 0)
		return 0;
	return err_set(err, ENOSPC, "the image is full");
}

const struct qcow2_info *qcow2_info(const struct qcow2 *q)
{
	return &q->info;
}

const struct qcow2_snapshot *qcow2_snapshot_at(const struct qcow2 *q, size_t i)
{
	return i < q->n ? &q->list[i].s : NULL;
}

const struct qcow2_snapshot *qcow2_snapshot_with_id(const struct qcow2 *q, const char *id)
{
	for (size_t i = 0; i < q->n; i++)
		if (!strcmp(q->list[i].id, id))
			return &q->list[i].s;
	return NULL;
}

const struct qcow2_snapshot *qcow2_snapshot_named(const struct qcow2 *q, const char *name)
{
	for (size_t i = q->n; i-- > 0;)
		if (!strcmp(q->list[i].name, name))
			return &q->list[i].s;
	return NULL;
}

static inline struct fake_snapshot *fake_find(struct qcow2 *q, const char *id)
{
	for (size_t i = 0; i < q->n; i++)
		if (!strcmp(q->list[i].id, id))
			return &q->list[i];
	abort();
}

int qcow2_saving_begin(struct qcow2 *q, struct qcow2_saving **s, struct err *err)
{
	int ret = fake_fails(q, FAKE_BEGIN, err);

	if (ret < 0)
		return ret;
	*s = NEW(struct qcow2_saving);
	(*s)->q = q;
	(*s)->disk = q->disk;
	q->savings++;
	return 0;
}

size_t qcow2_saving_cluster_bytes(const struct qcow2_saving *s)
{
	(void)s;
	return 65536;
}

int qcow2_saving_write(struct qcow2_saving *s, const struct iovec *iov, int n_iov, uint64_t pos,
		       struct err *err)
{
	if (s->q->writing)
		s->q->writing(s->q->opaque);
	if (fake_fails(s->q, FAKE_WRITE, err) < 0)
		return -ENOSPC;
	if (pos != s->vmstate.len)
		abort();
	for (int i = 0; i < n_iov; i++)
		buf_put(&s->vmstate, iov[i].iov_base, iov[i].iov_len);
	return 0;
}

static inline void fake_saving_free(struct qcow2_saving *s)
{
	s->q->savings--;
	buf_free(&s->vmstate);
	free(s);
}

/* It gives clusters back: no request may be in flight. */
void qcow2_saving_abort(struct qcow2_saving *s)
{
	if (!s->q->alone)
		abort();
	fake_saving_free(s);
}

void qcow2_saving_leave(struct qcow2_saving *s)
{
	s->q->left++;
	fake_saving_free(s);
}

int qcow2_saving_commit(struct qcow2_saving *s, const struct qcow2_snapshot *what, struct err *err)
{
	struct qcow2 *q = s->q;
	struct fake_snapshot *f = &q->list[q->n];
	int ret = fake_fails(q, FAKE_COMMIT, err);

	if (ret < 0)
		return ret;
	if (what->vmstate_bytes != s->vmstate.len || q->n == FAKE_SNAPSHOTS)
		abort();
	*f = (struct fake_snapshot){.s = *what, .disk = s->disk, .vmstate = s->vmstate};
	f->s.id = f->id = xasprintf("%u", ++q->next_id);
	f->s.name = f->name = xstrdup(what->name);
	f->s.disk_bytes = q->info.bytes;
	f->s.vmstate_off = q->info.vmstate_off;
	s->vmstate = (struct buf){0};
	q->n++;
	fake_saving_free(s);
	return 0;
}

int qcow2_snapshot_delete(struct qcow2 *q, const char *id, struct err *err)
{
	struct fake_snapshot *f = fake_find(q, id);
	int ret = fake_fails(q, FAKE_DELETE, err);

	if (ret < 0)
		return ret;
	free(f->id);
	free(f->name);
	buf_free(&f->vmstate);
	*f = q->list[--q->n];
	return 0;
}

int qcow2_snapshot_check_apply(struct qcow2 *q, const char *id, struct err *err)
{
	(void)fake_find(q, id);
	(void)err;
	return 0;
}

int qcow2_snapshot_apply(struct qcow2 *q, const char *id, struct err *err)
{
	int ret = fake_fails(q, FAKE_APPLY, err);

	if (ret == 0) {
		q->disk = fake_find(q, id)->disk;
		q->info.bytes = fake_find(q, id)->s.disk_bytes;
	}
	return ret;
}

int qcow2_snapshot_read(struct qcow2 *q, const char *id, void *buf, size_t bytes, uint64_t off,
			struct err *err)
{
	struct fake_snapshot *f = fake_find(q, id);
	int ret = fake_fails(q, FAKE_READ, err);

	if (ret < 0)
		return ret;
	off -= q->info.vmstate_off;
	if (off > f->vmstate.len || bytes > f->vmstate.len - off)
		abort();
	memcpy(buf, f->vmstate.data + off, bytes);
	return 0;
}

int qcow2_room(struct qcow2 *q, uint64_t enough, uint64_t *bytes)
{
	(void)q;
	*bytes = enough;
	return 0;
}

/* ---- nodes over them ---- */

void block_node_refresh(struct block_node *n)
{
	(void)n;
}

int block_node_call(struct block_node *n, struct machine *m, block_node_fn *fn, uint64_t arg,
		    struct err *err)
{
	int ret = n->img->q->call_fails;

	(void)m;
	if (ret < 0)
		return err_set(err, -ret, "no call can be made");
	n->img->q->calls++;
	n->img->q->alone = true;
	ret = fn(n, arg, err);
	n->img->q->alone = false;
	return ret;
}

int block_node_call_through(struct block_node *n, struct machine *m, block_node_fn *fn,
			    uint64_t arg, struct err *err)
{
	return block_node_call(n, m, fn, arg, err);
}

void block_node_size_changed(struct block_node *n, struct machine *m, uint64_t bytes)
{
	(void)m;
	n->bytes = bytes;
	n->img->q->resizes++;
}

struct fake_disk {
	struct block_node node;
	struct image image;
	struct qcow2 q;
	char name[8], format[8], path[24];
};

static inline void fake_disk_init(struct fake_disk *d, const char *name)
{
	static int device;

	*d = (struct fake_disk){
	    .q.info = {.bytes = FAKE_DISK_BYTES, .vmstate_off = GiB}
        };
	(void)snprintf(d->name, sizeof(d->name), "%s", name);
	(void)snprintf(d->path, sizeof(d->path), "/dev/null/%s", name);
	(void)snprintf(d->format, sizeof(d->format), "qcow2");
	d->image.q = &d->q;
	d->image.fd = -1;
	d->node.img = &d->image;
	d->node.name = d->node.drive_id = d->name;
	d->node.filename = d->path; /* beside which no file can be made */
	d->node.format = d->format;
	d->node.bytes = FAKE_DISK_BYTES;
	d->node.active = true;
	d->node.user = &device;
}

static inline void fake_disk_fini(struct fake_disk *d)
{
	while (d->q.n)
		(void)qcow2_snapshot_delete(&d->q, d->q.list[0].id, NULL);
}

#endif
