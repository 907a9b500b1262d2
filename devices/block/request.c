/* request.c - what drivers do with a request, whichever of them has it */
#include <errno.h>
#include <unistd.h>

#include "devices/block/file-io.h"
#include "devices/block/file.h"

bool block_req_aligned(const struct block_node *n, const struct block_req *req)
{
	return !n->direct || file_iov_aligned(req->iov, req->n_iov);
}

#define COUNT(counter, by) ((void)__atomic_fetch_add(&(counter), (by), __ATOMIC_RELAXED))

void block_req_done(struct block_req *req, int ret)
{
	struct block_stats *s = &req->node->stats;

	if (ret < 0) {
		COUNT(s->failed, 1);
	} else if (req->op == BLOCK_READ) {
		COUNT(s->rd_ops, 1);
		COUNT(s->rd_bytes, req->bytes);
	} else if (req->op == BLOCK_WRITE) {
		COUNT(s->wr_ops, 1);
		COUNT(s->wr_bytes, req->bytes);
	} else if (req->op == BLOCK_FLUSH) {
		COUNT(s->flush_ops, 1);
	}
	req->done(req, ret);
}

int block_node_flush(struct block_node *n)
{
	if (n->readonly || n->no_flush)
		return 0;
	return fdatasync(n->fd) < 0 ? -errno : 0;
}
