/*
 * node-user.c - what the machine asks of a node: to be flushed, to be handed over, to be called
 *
 * A request of the machine's goes the way of a guest's: it is submitted on the node's loop, and a
 * qcow2 node runs it on its worker.  A node that no disk uses has a keeper, a device without a
 * guest's side, so that its image is written back and handed over like any other.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/block/image.h"
#include "devices/block/lock.h"
#include "devices/block/node-info.h"
#include "devices/block/node.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/flush.h"
#include "vmm/loop.h"
#include "vmm/machine.h"

int block_node_handover(struct block_node *n, enum handover what, struct err *err)
{
	switch (what) {
	case HANDOVER_ACQUIRE:
		return block_node_lock(n, err);
	case HANDOVER_RELEASE:
		block_node_unlock(n);
		return 0;
	case HANDOVER_PROBE:
		return block_node_lock_probe(n, err);
	}
	return -EINVAL;
}

/* ---- flush ---- */

struct node_flush {
	struct block_req io;
	struct block_node *n;
	struct flush *f;
	void (*ended)(void *opaque);
	struct err err;
};

static void node_flush_done(struct block_req *io, int ret)
{
	struct node_flush *nf = container_of(io, struct node_flush, io);

	if (ret < 0 && !nf->err.errnum)
		(void)err_set(&nf->err, -ret, "'%s' cannot be flushed: %s", nf->n->filename,
			      err_text(-ret));
	flush_end(nf->f, ret < 0 ? &nf->err : NULL);
	nf->ended(io->opaque);
	free(nf);
}

static int call_deactivate(struct block_req *io)
{
	struct node_flush *nf = container_of(io, struct node_flush, io);

	return block_node_deactivate(nf->n, &nf->err);
}

static int call_activate(struct block_req *io)
{
	struct node_flush *nf = container_of(io, struct node_flush, io);

	return block_node_activate(nf->n, &nf->err);
}

struct block_req *block_node_flush_req(struct block_node *n, struct flush *f,
				       void (*ended)(void *opaque), void *opaque)
{
	enum flush_kind kind = flush_kind(f);
	bool idle = n->img && block_node_active(n) == (kind == FLUSH_ACQUIRE);
	struct node_flush *nf;

	if (idle || (!n->img && kind != FLUSH_ONLY))
		return NULL;
	nf = NEW(struct node_flush);
	nf->io = (struct block_req){.op = kind == FLUSH_ONLY ? BLOCK_FLUSH : BLOCK_CALL,
				    .call = kind == FLUSH_RELEASE ? call_deactivate : call_activate,
				    .done = node_flush_done,
				    .opaque = opaque};
	nf->n = n;
	nf->f = f;
	nf->ended = ended;
	flush_begin(f);
	return &nf->io;
}

/* ---- a node without a disk ---- */

struct keeper {
	struct device dev; /* first */
	struct block_node *n;
};

static struct block_node *kept_node(struct device *d)
{
	return container_of(d, struct keeper, dev)->n;
}

static void keeper_flush_ended(void *opaque)
{
	(void)opaque;
}

static void keeper_flush_on_io(void *opaque)
{
	struct block_req *req = opaque;

	block_submit(req->opaque, req);
}

static void keeper_flush(struct device *d, struct flush *f)
{
	struct block_node *n = kept_node(d);
	struct block_req *req = block_node_flush_req(n, f, keeper_flush_ended, n);

	if (req)
		loop_post(d->m->io, keeper_flush_on_io, req);
}

static int keeper_handover(struct device *d, enum handover what, struct err *err)
{
	return block_node_handover(kept_node(d), what, err);
}

/*
 * loop_call() with the machine lock given up: the I/O thread may wait for a page of the guest's,
 * and who brings or releases that page may take the lock.
 */
static void call_io(struct machine *m, void (*fn)(void *opaque), void *opaque)
{
	machine_unlock(m);
	loop_call(m->io, fn, opaque);
	machine_lock(m);
}

static void detach_on_io(void *opaque)
{
	block_node_detach(opaque);
}

static void keeper_destroy(struct device *d)
{
	struct block_node *n = kept_node(d);

	if (n->io) /* the program ends: no guest runs */
		loop_call(d->m->io, detach_on_io, n);
	block_node_release(n);
	n->keeper = NULL;
	free(container_of(d, struct keeper, dev));
}

static const struct device_ops keeper_ops = {
    .name = "block-node",
    .flush = keeper_flush,
    .handover = keeper_handover,
    .destroy = keeper_destroy,
};

struct attach {
	struct block_node *n;
	struct loop *io;
	struct err *err;
	int ret;
};

static void attach_on_io(void *opaque)
{
	struct attach *a = opaque;

	a->ret = block_node_attach(a->n, a->io, a->err);
}

int block_node_add_user(struct block_node *n, struct machine *m, struct err *err)
{
	struct attach a = {.n = n, .io = m->io, .err = err};
	struct keeper *k;

	call_io(m, attach_on_io, &a);
	if (a.ret < 0)
		return a.ret;
	k = NEW(struct keeper);
	k->n = n;
	k->dev = (struct device){.ops = &keeper_ops, .m = m};
	machine_add_device(m, &k->dev);
	n->keeper = &k->dev;
	return 0;
}

void block_node_del_user(struct block_node *n)
{
	struct device *d = n->keeper;

	if (!d)
		return;
	list_del(&d->link);
	call_io(d->m, detach_on_io, n);
	d->ops->destroy(d);
}

/* ---- calls ---- */

/* The caller's and the request's, whichever is done with it last. */
struct node_call {
	struct block_req io;
	struct block_node *n;
	block_node_fn *fn;
	uint64_t arg;
	int done_fd;
	unsigned users; /* atomic */
	int ret;
	struct err err;
};

static void call_put(struct node_call *c)
{
	if (__atomic_sub_fetch(&c->users, 1, __ATOMIC_SEQ_CST) > 0)
		return;
	(void)close(c->done_fd);
	free(c);
}

static int call_run(struct block_req *io)
{
	struct node_call *c = container_of(io, struct node_call, io);

	return c->fn(c->n, c->arg, &c->err);
}

static void call_done(struct block_req *io, int ret)
{
	struct node_call *c = container_of(io, struct node_call, io);

	c->ret = ret;
	wake_set(c->done_fd);
	call_put(c);
}

static void call_on_io(void *opaque)
{
	struct node_call *c = opaque;

	block_submit(c->n, &c->io);
}

/* Machine lock held; given up. */
static void wait_done(struct machine *m, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	machine_unlock(m);
	while (poll(&p, 1, -1) < 0)
		continue;
	machine_lock(m);
}

static int node_call(struct block_node *n, struct machine *m, block_node_fn *fn, uint64_t arg,
		     bool through, struct err *err)
{
	int fd = wake_open(), ret;
	struct node_call *c;

	if (fd < 0)
		return err_set(err, errno, "'%s': %s", n->filename, err_text(errno));
	if (!n->io) { /* a raw one without a disk */
		(void)close(fd);
		return fn(n, arg, err);
	}
	c = NEW(struct node_call);
	*c = (struct node_call){.n = n, .fn = fn, .arg = arg, .done_fd = fd, .users = 2};
	c->io = (struct block_req){.op = BLOCK_CALL, .call = call_run, .done = call_done};
	loop_post(m->io, call_on_io, c);
	ret = through ? 0 : machine_wait(m, fd, -1);
	if (through)
		wait_done(m, fd);
	if (ret == 0)
		wake_clear(fd); /* pairs with call_done(): what it has written is seen */
	if (ret < 0)
		(void)err_set(err, -ret, "the program ends");
	else if (c->ret < 0)
		ret = err_set(err, -c->ret, "%s", c->err.errnum ? c->err.msg : err_text(-c->ret));
	call_put(c);
	return ret;
}

int block_node_call(struct block_node *n, struct machine *m, block_node_fn *fn, uint64_t arg,
		    struct err *err)
{
	return node_call(n, m, fn, arg, false, err);
}

int block_node_call_through(struct block_node *n, struct machine *m, block_node_fn *fn,
			    uint64_t arg, struct err *err)
{
	return node_call(n, m, fn, arg, true, err);
}

/* ---- another size ---- */

static int resize_raw(struct block_node *n, uint64_t bytes, struct err *err)
{
	const struct block_perms perms = {.used = BLOCK_PERM_RESIZE};
	int ret =
	    n->locking == BLOCK_LOCKING_OFF ? 0 : block_lock(n->fd, n->filename, perms, true, err);

	if (ret == -EBUSY)
		return ret;
	if (ftruncate(n->fd, (off_t)bytes) < 0)
		return err_set(err, errno, "'%s' cannot be resized: %s", n->filename,
			       err_text(errno));
	return 0;
}

static int resize_fn(struct block_node *n, uint64_t bytes, struct err *err)
{
	int ret = n->img ? image_resize(n->img, bytes, err) : resize_raw(n, bytes, err);

	if (ret == 0)
		block_node_refresh(n);
	return ret;
}

struct new_size {
	struct block_node *n;
	uint64_t bytes;
};

/* On the loop, where a request that is checked is submitted at once. */
static void set_size(void *opaque)
{
	struct new_size *s = opaque;

	__atomic_store_n(&s->n->bytes, s->bytes, __ATOMIC_RELAXED);
}

void block_node_size_changed(struct block_node *n, struct machine *m, uint64_t bytes)
{
	struct new_size s = {.n = n, .bytes = bytes};

	call_io(m, set_size, &s);
	if (n->user && n->resized)
		n->resized(n->user);
}

int block_node_resize(struct block_node *n, struct machine *m, uint64_t bytes, struct err *err)
{
	int ret;

	if (bytes > INT64_MAX || bytes % BLOCK_SECTOR_BYTES)
		return err_set(err, EINVAL, "The new size must be a multiple of %d",
			       BLOCK_SECTOR_BYTES);
	if (n->readonly)
		return err_set(err, EROFS, "Node '%s' is read-only", n->name);
	if (n->img && !block_node_active(n))
		return err_set(err, EBUSY, "'%s' is another process's now", n->filename);
	n->jobs++; /* until both know it no snapshot may look at the size, or change it */
	ret = block_node_call(n, m, resize_fn, bytes, err);
	if (ret == 0)
		block_node_size_changed(n, m, bytes);
	n->jobs--;
	return ret;
}
