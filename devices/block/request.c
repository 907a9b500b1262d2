/* request.c - what drivers do with a request, whichever of them has it */
#include <errno.h>
#include <unistd.h>

#include "devices/block/file-io.h"
#include "devices/block/file.h"
#include "vmm/vclock.h"

bool block_req_aligned(const struct block_node *n, const struct block_req *req)
{
	return !n->direct || file_iov_aligned(req->iov, req->n_iov);
}

/* The counters of one kind of request; NULL: there is none. */
struct counters {
	uint64_t *ops, *bytes, *ns, *failed;
};

static struct counters counters_of(struct block_stats *s, enum block_op op)
{
	switch (op) {
	case BLOCK_READ:
		return (struct counters){&s->rd_ops, &s->rd_bytes, &s->rd_ns, &s->failed_rd};
	case BLOCK_WRITE:
	case BLOCK_WRITE_ZEROES:
		return (struct counters){&s->wr_ops, &s->wr_bytes, &s->wr_ns, &s->failed_wr};
	case BLOCK_FLUSH:
		return (struct counters){&s->flush_ops, NULL, &s->flush_ns, &s->failed_flush};
	case BLOCK_DISCARD:
		return (struct counters){&s->unmap_ops, &s->unmap_bytes, &s->unmap_ns,
					 &s->failed_unmap};
	case BLOCK_CALL:
	default:
		return (struct counters){0};
	}
}

static void count(uint64_t *counter, uint64_t by)
{
	if (counter)
		(void)__atomic_fetch_add(counter, by, __ATOMIC_RELAXED);
}

/* I/O thread, the only one that writes here. */
static void count_end(struct block_stats *s, uint64_t end)
{
	if (end > s->wr_end)
		__atomic_store_n(&s->wr_end, end, __ATOMIC_RELAXED);
}

static void count_req(struct block_stats *s, const struct block_req *req, int ret)
{
	struct counters c = counters_of(s, req->op);

	count(c.ns, (uint64_t)(host_now_ns() - req->begun_ns));
	if (ret < 0) {
		count(c.failed, 1);
		return;
	}
	count(c.ops, 1);
	count(c.bytes, req->bytes);
	if (req->op == BLOCK_WRITE || req->op == BLOCK_WRITE_ZEROES)
		count_end(s, req->off + req->bytes);
}

void block_req_done(struct block_req *req, int ret)
{
	if (req->op != BLOCK_CALL)
		count_req(&req->node->stats, req, ret);
	req->done(req, ret);
}

int block_node_flush(struct block_node *n)
{
	if (n->readonly || n->no_flush)
		return 0;
	return fdatasync(n->fd) < 0 ? -errno : 0;
}
