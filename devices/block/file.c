/*
 * file.c - raw files and block devices through io_uring
 *
 * One ring per node.  Requests prepared during one turn of the loop go to the
 * kernel together before the loop waits (uv_prepare); completions wake it by
 * an eventfd.  What the kernel finished only in part, refused as not possible
 * in this way, or what io_uring has nothing to offer for, is done again from
 * its start by the thread driver: all these operations may be repeated.
 */
#include "devices/block/file.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/wake.h"
#include "vmm/loop.h"

#define RING_ENTRIES 256 /* requests that the kernel has at a time */

struct uring {
	struct io_uring ring;
	struct block_node *node;
	int event_fd;
	struct loop_fd *watch;
	uv_prepare_t *prepare;          /* frees itself */
	unsigned in_flight;             /* given to the ring */
	struct block_req *head, **tail; /* waiting for a place in it */
};

static void prepare_req(struct uring *u, struct block_req *req)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	/* in_flight is below RING_ENTRIES, so there is one */
	switch (req->op) {
	case BLOCK_READ:
		io_uring_prep_readv(sqe, u->node->fd, req->iov, (unsigned)req->n_iov, req->off);
		break;
	case BLOCK_WRITE:
		io_uring_prep_writev(sqe, u->node->fd, req->iov, (unsigned)req->n_iov, req->off);
		break;
	default:
		io_uring_prep_fsync(sqe, u->node->fd, IORING_FSYNC_DATASYNC);
		break;
	}
	io_uring_sqe_set_data(sqe, req);
	u->in_flight++;
}

static void prepare_waiting(struct uring *u)
{
	while (u->head && u->in_flight < RING_ENTRIES) {
		struct block_req *req = u->head;

		u->head = req->next;
		if (!u->head)
			u->tail = &u->head;
		prepare_req(u, req);
	}
}

static void submit_prepared(uv_prepare_t *p)
{
	struct uring *u = p->data;

	/* What does not go in now (-EAGAIN, -EBUSY) goes in at the next turn: keep turning. */
	if (io_uring_sq_ready(&u->ring) && io_uring_submit(&u->ring) < 0)
		wake_set(u->event_fd);
}

/* Worth a second try by other means? */
static bool unfinished(const struct block_req *req, int res)
{
	if (res >= 0)
		return req->op != BLOCK_FLUSH && (uint64_t)res < req->bytes;
	return res == -EAGAIN || res == -EINTR || res == -EINVAL || res == -EOPNOTSUPP;
}

static void uring_complete(struct block_req *req, int res)
{
	if (unfinished(req, res))
		block_file_threads.submit(req->node, req);
	else
		block_req_done(req, res < 0 ? res : 0);
}

static void completed(void *opaque, int ready)
{
	struct uring *u = opaque;
	struct io_uring_cqe *cqe;

	(void)ready;
	wake_clear(u->event_fd);
	while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		struct block_req *req = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&u->ring, cqe);
		u->in_flight--;
		uring_complete(req, res);
	}
	prepare_waiting(u);
}

static void prepare_closed(uv_handle_t *h)
{
	free(h);
}

static int uring_attach(struct block_node *n, struct loop *io, struct err *err)
{
	struct uring *u = NEW(struct uring);
	int ret = io_uring_queue_init(RING_ENTRIES, &u->ring, 0);

	if (ret < 0) {
		free(u);
		return err_set(err, -ret, "io_uring is not available: %s", err_text(-ret));
	}
	u->event_fd = wake_open();
	ret = u->event_fd < 0 ? -errno : io_uring_register_eventfd(&u->ring, u->event_fd);
	if (ret < 0) {
		if (u->event_fd >= 0)
			(void)close(u->event_fd);
		io_uring_queue_exit(&u->ring);
		free(u);
		return err_set(err, -ret, "io_uring cannot signal an eventfd: %s", err_text(-ret));
	}
	u->node = n;
	u->tail = &u->head;
	u->watch = loop_fd_add(io, u->event_fd, LOOP_READABLE, completed, u);
	u->prepare = NEW(uv_prepare_t);
	(void)uv_prepare_init(loop_uv(io), u->prepare);
	u->prepare->data = u;
	(void)uv_prepare_start(u->prepare, submit_prepared);
	n->state = u;
	return 0;
}

static void uring_detach(struct block_node *n)
{
	struct uring *u = n->state;

	loop_fd_del(u->watch);
	(void)uv_prepare_stop(u->prepare);
	uv_close((uv_handle_t *)u->prepare, prepare_closed);
	io_uring_queue_exit(&u->ring);
	(void)close(u->event_fd);
	free(u);
	n->state = NULL;
}

static bool ring_takes(const struct block_node *n, const struct block_req *req)
{
	switch (req->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		return block_req_aligned(n, req);
	case BLOCK_FLUSH:
		return !n->readonly && !n->no_flush;
	default:
		return false;
	}
}

static void uring_submit(struct block_node *n, struct block_req *req)
{
	struct uring *u = n->state;

	if (!ring_takes(n, req)) {
		block_file_threads.submit(n, req);
		return;
	}
	*u->tail = req;
	u->tail = &req->next;
	prepare_waiting(u);
}

const struct block_driver block_file_uring = {
    .name = "file",
    .attach = uring_attach,
    .detach = uring_detach,
    .submit = uring_submit,
};
