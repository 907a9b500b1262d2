/*
 * qcow2-node.c - the disk of a guest in a qcow2 image
 *
 * A request is cut into pieces, each of which goes one of three ways:
 *
 *     mapped      the tables in memory know where its clusters are: one request to the file
 *                 below, in the same io_uring (or threads) as a raw image's
 *     zeroes      nothing is stored: the I/O thread fills the guest's memory
 *     the rest    clusters to allocate or to copy, compressed ones, tables to read, backing
 *                 files, flushes: the node's worker, one after the other
 *
 * Requests that let go of clusters, and calls (BLOCK_CALL), run alone: a cluster that is freed
 * under a request in flight could be another's before that request has ended.  What comes
 * meanwhile waits, in its order.
 */
#include "devices/block/qcow2-node.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "devices/block/file.h"
#include "devices/block/image.h"
#include "devices/block/qcow2/qcow2.h"
#include "devices/block/worker.h"
#include "vmm/base/alloc.h"
#include "vmm/base/iov.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"

/* The node's state; the I/O thread's. */
struct qcow2_disk {
	struct block_node *n;
	struct worker *worker;
	unsigned in_flight;             /* requests that were started and have not ended */
	bool alone;                     /* the one in flight suffers no other */
	struct block_req *head, **tail; /* waiting for it, or to be alone */
	bool corrupt;                   /* the log says so */
};

/* A request that was started. */
struct started {
	struct qcow2_disk *d;
	struct block_req *req;
	unsigned pieces; /* on their way, and one while the request is being cut */
	int ret;
	struct worker_job answer; /* all was answered while it was cut */
};

struct piece {
	struct started *s;
	struct block_req io;   /* to the file below, */
	struct worker_job job; /* or to the worker */
	uint64_t off, bytes;   /* of the disk */
	int ret;
	const struct iovec *iov;
	int n_iov;
	struct iovec own[];
};

static void disk_kick(struct qcow2_disk *d);

/* ---- the end of a request ---- */

/* One line in the log, whatever the number of requests that fail from now on. */
static void report_corrupt(struct qcow2_disk *d)
{
	if (d->corrupt || !qcow2_info(d->n->img->q)->corrupt)
		return;
	d->corrupt = true;
	log_error("'%s' is corrupt: requests that need what is damaged fail ('qemu-img check' "
		  "tells what it is)",
		  d->n->filename);
}

static void started_end(struct started *s)
{
	struct qcow2_disk *d = s->d;
	struct block_req *req = s->req;
	int ret = s->ret;

	free(s);
	d->in_flight--;
	d->alone = false;
	if (ret < 0)
		report_corrupt(d);
	block_req_done(req, ret);
	disk_kick(d);
}

static void started_answered(struct worker_job *j)
{
	started_end(container_of(j, struct started, answer));
}

static void piece_end(struct piece *p, int ret)
{
	struct started *s = p->s;

	free(p);
	if (ret < 0 && s->ret == 0)
		s->ret = ret;
	if (--s->pieces == 0)
		started_end(s);
}

static void file_done(struct block_req *io, int ret)
{
	piece_end(container_of(io, struct piece, io), ret);
}

static void worker_done(struct worker_job *j)
{
	struct piece *p = container_of(j, struct piece, job);

	piece_end(p, p->ret);
}

/* ---- pieces ---- */

static struct piece *piece_new(struct started *s, uint64_t off, uint64_t bytes)
{
	const struct block_req *req = s->req;
	bool whole = bytes == req->bytes;
	size_t n_iov = whole ? 0 : (size_t)req->n_iov;
	struct piece *p = xcalloc(1, sizeof(*p) + n_iov * sizeof(struct iovec));

	p->s = s;
	p->off = off;
	p->bytes = bytes;
	p->iov = whole ? req->iov : p->own;
	p->n_iov =
	    whole ? req->n_iov : (int)iov_slice(p->own, req->iov, n_iov, off - req->off, bytes);
	s->pieces++;
	return p;
}

/* To the file below. */
static void piece_to_file(struct started *s, uint64_t off, const struct qcow2_extent *e)
{
	struct piece *p = piece_new(s, off, e->bytes);

	p->io = (struct block_req){.op = s->req->op,
				   .iov = p->iov,
				   .n_iov = p->n_iov,
				   .off = e->host_off,
				   .bytes = e->bytes,
				   .done = file_done};
	block_submit(s->d->n->file, &p->io);
}

/* The worker's thread. */
static void piece_run(struct worker_job *j)
{
	struct piece *p = container_of(j, struct piece, job);
	struct block_node *n = p->s->d->n;
	struct block_req *req = p->s->req;

	switch (req->op) {
	case BLOCK_READ:
		p->ret = image_readv(n->img, p->iov, p->n_iov, p->off);
		break;
	case BLOCK_WRITE:
		p->ret = image_writev(n->img, p->iov, p->n_iov, p->off);
		break;
	case BLOCK_FLUSH:
		p->ret = image_flush(n->img);
		break;
	case BLOCK_DISCARD:
		p->ret = n->discard ? image_discard(n->img, p->off, p->bytes) : 0;
		break;
	case BLOCK_WRITE_ZEROES:
		p->ret = image_write_zeroes(n->img, p->off, p->bytes, req->unmap && n->discard);
		break;
	case BLOCK_CALL:
		p->ret = req->call(req);
		break;
	}
}

static void piece_to_worker(struct started *s, uint64_t off, uint64_t bytes)
{
	struct piece *p = piece_new(s, off, bytes);

	p->job.run = piece_run;
	p->job.done = worker_done;
	worker_submit(s->d->worker, &p->job);
}

static bool reads_zero(const struct block_node *n, const struct qcow2_extent *e)
{
	return e->kind == QCOW2_ZERO || (e->kind == QCOW2_HOLE && !n->img->backing);
}

static void cut_read(struct started *s)
{
	const struct block_req *req = s->req;
	uint64_t end = req->off + req->bytes;
	struct block_node *n = s->d->n;
	struct qcow2_extent e;

	for (uint64_t off = req->off; off < end; off += e.bytes) {
		if (qcow2_map(n->img->q, off, end - off, false, &e) < 0) {
			piece_to_worker(s, off, end - off);
			return;
		}
		if (e.kind == QCOW2_DATA)
			piece_to_file(s, off, &e);
		else if (reads_zero(n, &e))
			(void)iov_zero(req->iov, (size_t)req->n_iov, off - req->off, e.bytes);
		else
			piece_to_worker(s, off, e.bytes);
	}
}

/* From the first cluster on that has no place yet, all goes to the worker. */
static void cut_write(struct started *s)
{
	const struct block_req *req = s->req;
	uint64_t end = req->off + req->bytes;
	struct qcow2_extent e;

	for (uint64_t off = req->off; off < end; off += e.bytes) {
		if (qcow2_map_write(s->d->n->img->q, off, end - off, &e) < 0) {
			piece_to_worker(s, off, end - off);
			return;
		}
		piece_to_file(s, off, &e);
	}
}

/* ---- requests ---- */

static bool runs_alone(const struct block_req *req)
{
	return req->op == BLOCK_DISCARD || req->op == BLOCK_WRITE_ZEROES || req->op == BLOCK_CALL;
}

static bool may_start(const struct qcow2_disk *d, const struct block_req *req)
{
	return !d->alone && (d->in_flight == 0 || !runs_alone(req));
}

static void disk_start(struct qcow2_disk *d, struct block_req *req)
{
	struct started *s = NEW(struct started);

	*s = (struct started){.d = d, .req = req, .pieces = 1, .answer.done = started_answered};
	d->in_flight++;
	d->alone = runs_alone(req);
	if (req->op == BLOCK_READ)
		cut_read(s);
	else if (req->op == BLOCK_WRITE)
		cut_write(s);
	else
		piece_to_worker(s, req->off, req->bytes);
	if (--s->pieces == 0)
		worker_answer(d->worker, &s->answer);
}

static void disk_kick(struct qcow2_disk *d)
{
	while (d->head && may_start(d, d->head)) {
		struct block_req *req = d->head;

		d->head = req->next;
		if (!d->head)
			d->tail = &d->head;
		disk_start(d, req);
	}
}

static void qcow2_node_submit(struct block_node *n, struct block_req *req)
{
	struct qcow2_disk *d = n->state;

	*d->tail = req;
	d->tail = &req->next;
	disk_kick(d);
}

static int qcow2_node_attach(struct block_node *n, struct loop *io, struct err *err)
{
	struct qcow2_disk *d = NEW(struct qcow2_disk);
	int ret = block_node_attach(n->file, io, err);

	if (ret < 0) {
		free(d);
		return ret;
	}
	d->worker = worker_new(io, "block", err);
	if (!d->worker) {
		block_node_detach(n->file);
		free(d);
		return -EAGAIN;
	}
	d->n = n;
	d->tail = &d->head;
	n->state = d;
	return 0;
}

static void qcow2_node_detach(struct block_node *n)
{
	struct qcow2_disk *d = n->state;

	worker_free(d->worker);
	block_node_detach(n->file);
	free(d);
	n->state = NULL;
}

const struct block_driver block_qcow2 = {
    .name = "qcow2",
    .attach = qcow2_node_attach,
    .detach = qcow2_node_detach,
    .submit = qcow2_node_submit,
};
