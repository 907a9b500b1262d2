/*
 * file-threads.c - a request is one job of libuv's thread pool, done with plain system calls
 */
#include <errno.h>
#include <stdlib.h>
#include <uv.h>

#include "devices/block/file-io.h"
#include "devices/block/file.h"
#include "vmm/base/alloc.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"
#include "vmm/loop.h"

struct job {
	uv_work_t work;
	struct block_req *req;
	int ret;
};

/* A hint: a file system that cannot do it has done enough. */
static int discard(const struct block_node *n, const struct block_req *req)
{
	int ret = n->discard ? file_punch(n->fd, req->off, req->bytes) : 0;

	return ret == -EOPNOTSUPP ? 0 : ret;
}

static int transfer(const struct block_node *n, const struct block_req *req)
{
	if (iov_bytes(req->iov, (size_t)req->n_iov) != req->bytes)
		return -EINVAL;
	return req->op == BLOCK_READ
		   ? file_readv(n->fd, n->direct, req->iov, req->n_iov, req->off)
		   : file_writev(n->fd, n->direct, req->iov, req->n_iov, req->off);
}

static int threads_run(struct block_node *n, struct block_req *req)
{
	switch (req->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		return transfer(n, req);
	case BLOCK_FLUSH:
		return block_node_flush(n);
	case BLOCK_DISCARD:
		return discard(n, req);
	case BLOCK_WRITE_ZEROES:
		return file_write_zeroes(n->fd, n->direct, req->off, req->bytes,
					 req->unmap && n->discard);
	case BLOCK_CALL:
		return req->call(req);
	}
	return -EINVAL;
}

static void job_run(uv_work_t *w)
{
	struct job *j = container_of(w, struct job, work);

	j->ret = threads_run(j->req->node, j->req);
}

static void job_done(uv_work_t *w, int status)
{
	struct job *j = container_of(w, struct job, work);
	struct block_req *req = j->req;
	int ret = status < 0 ? status : j->ret;

	free(j);
	block_req_done(req, ret);
}

static int threads_attach(struct block_node *n, struct loop *io, struct err *err)
{
	(void)n;
	(void)io;
	(void)err;
	return 0;
}

static void threads_detach(struct block_node *n)
{
	(void)n;
}

static void threads_submit(struct block_node *n, struct block_req *req)
{
	struct job *j = NEW(struct job);

	j->req = req;
	(void)uv_queue_work(loop_uv(n->io), &j->work, job_run, job_done);
}

const struct block_driver block_file_threads = {
    .name = "file-threads",
    .attach = threads_attach,
    .detach = threads_detach,
    .submit = threads_submit,
};
