/*
 * file-threads.c - a request is one job of libuv's thread pool, done with plain system calls
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>
#include <uv.h>

#include "devices/block/file.h"
#include "vmm/base/alloc.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"
#include "vmm/loop.h"

#define WINDOW       64         /* pieces given to one system call */
#define BOUNCE_BYTES (1 * MiB)  /* for memory that O_DIRECT does not take */
#define ZERO_BYTES   (64 * KiB) /* written at a time where the file system cannot zero */

struct job {
	uv_work_t work;
	struct block_req *req;
	int ret;
};

/* Reads beyond the end of a file whose size is no multiple of a sector are zeroes. */
static int end_of_file(const struct block_req *req, uint64_t done)
{
	(void)iov_zero(req->iov, (size_t)req->n_iov, done, req->bytes - done);
	return 0;
}

/* Read or write it all, however short the single calls are. */
static int transfer(const struct block_node *n, const struct block_req *req)
{
	struct iovec window[WINDOW];
	uint64_t done = 0, skip = 0; /* bytes; skip: of the first piece left */
	int i = 0;                   /* that piece */

	while (done < req->bytes) {
		int k = 0;
		ssize_t got;

		for (int j = i; j < req->n_iov && k < WINDOW; j++)
			window[k++] = req->iov[j];
		if (k == 0) /* fewer bytes in iov than in 'bytes' */
			return -EINVAL;
		window[0].iov_base = (uint8_t *)window[0].iov_base + skip;
		window[0].iov_len -= skip;
		got = req->op == BLOCK_READ ? preadv(n->fd, window, k, (off_t)(req->off + done))
					    : pwritev(n->fd, window, k, (off_t)(req->off + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return req->op == BLOCK_READ ? end_of_file(req, done) : -ENOSPC;
		done += (uint64_t)got;
		for (skip += (uint64_t)got; i < req->n_iov && skip >= req->iov[i].iov_len; i++)
			skip -= req->iov[i].iov_len;
	}
	return 0;
}

/* The same through an aligned buffer. */
static int bounce(const struct block_node *n, const struct block_req *req)
{
	size_t n_iov = (size_t)req->n_iov;
	int ret = 0;
	void *buf;

	if (posix_memalign(&buf, PAGE_BYTES, BOUNCE_BYTES))
		return -ENOMEM;
	for (uint64_t done = 0, part; done < req->bytes && ret == 0; done += part) {
		struct iovec v = {.iov_base = buf};
		struct block_req r = *req;

		part = MIN(req->bytes - done, BOUNCE_BYTES);
		v.iov_len = part;
		r.iov = &v;
		r.n_iov = 1;
		r.off += done;
		r.bytes = part;
		if (req->op == BLOCK_WRITE)
			(void)iov_read(req->iov, n_iov, done, buf, part);
		ret = transfer(n, &r);
		if (ret == 0 && req->op == BLOCK_READ)
			(void)iov_write(req->iov, n_iov, done, buf, part);
	}
	free(buf);
	return ret;
}

static int punch(const struct block_node *n, const struct block_req *req, int mode)
{
	int ret;

	do
		ret = fallocate(n->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)req->off,
				(off_t)req->bytes);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

static bool cannot(int ret)
{
	return ret == -EOPNOTSUPP || ret == -ENOSYS || ret == -ENODEV || ret == -EINVAL;
}

/* A hint: a file system that cannot do it has done enough. */
static int discard(const struct block_node *n, const struct block_req *req)
{
	int ret = n->discard && req->bytes ? punch(n, req, FALLOC_FL_PUNCH_HOLE) : 0;

	return cannot(ret) ? 0 : ret;
}

static int write_zeroes(const struct block_node *n, const struct block_req *req)
{
	int ret = req->bytes ? punch(n, req, FALLOC_FL_ZERO_RANGE) : 0;
	void *zeroes;

	if (cannot(ret))
		ret = punch(n, req, FALLOC_FL_PUNCH_HOLE);
	if (!cannot(ret))
		return ret;
	if (posix_memalign(&zeroes, PAGE_BYTES, ZERO_BYTES))
		return -ENOMEM;
	ret = 0;
	for (uint64_t done = 0; done < req->bytes && ret == 0; done += ZERO_BYTES) {
		struct iovec v = {.iov_base = zeroes,
				  .iov_len = MIN(req->bytes - done, ZERO_BYTES)};
		struct block_req r = {.op = BLOCK_WRITE,
				      .iov = &v,
				      .n_iov = 1,
				      .off = req->off + done,
				      .bytes = v.iov_len};

		(void)iov_zero(&v, 1, 0, v.iov_len);
		ret = transfer(n, &r);
	}
	free(zeroes);
	return ret;
}

static int threads_run(struct block_node *n, const struct block_req *req)
{
	switch (req->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		return block_req_aligned(n, req) ? transfer(n, req) : bounce(n, req);
	case BLOCK_FLUSH:
		return block_node_flush(n);
	case BLOCK_DISCARD:
		return discard(n, req);
	case BLOCK_WRITE_ZEROES:
		return write_zeroes(n, req);
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
