/*
 * blk.c - virtio-blk (virtio 1.2, 5.2)
 *
 * A request is a chain: 16 bytes of header and the data to write in its
 * readable part, the data to read and one status byte at the end of its
 * writable part, cut into descriptors as the driver likes.  It lives as a
 * struct blk_req from the pop until the block node is done with it.
 */
#include "devices/virtio/blk.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/node.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/iov.h"
#include "vmm/base/log.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/vmstate.h"

#define HEADER_BYTES  16
#define RANGE_BYTES   16              /* of a discard or write zeroes request */
#define MAX_RANGE     (INT_MAX / 512) /* sectors in one of these */
#define MAX_BYTES     (MAX_RANGE * 512UL)
#define CONFIG_WCE_AT 32 /* offset of 'writeback' in the configuration space */
#define HEADS         16U
#define TRACK_SECTORS 63UL

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
#define RANGE_UNMAP 1 /* flag of a write zeroes range */

struct blk_req {
	struct block_req io;
	struct virtio_blk *b;
	struct virtq_elem *e;
	bool then_flush; /* no write cache: the write counts when it is on the medium */
	struct iovec iov[];
};

/* ---- completion ---- */

struct io_error {
	struct machine *m;
	char *id, *node; /* owned */
	bool write;
	int errnum;
};

static void publish_error(void *opaque)
{
	struct io_error *e = opaque;
	struct notification n = {.kind = NOTIFY_BLOCK_IO_ERROR,
				 .number = e->errnum,
				 .text = e->id,
				 .text2 = e->write ? "write" : "read",
				 .text3 = e->node};

	notify_publish(&e->m->notify, &n);
	free(e->id);
	free(e->node);
	free(e);
}

static void report_error(struct virtio_blk *b, enum block_op op, int errnum)
{
	struct io_error *e = NEW(struct io_error);

	e->m = b->v.dev.m;
	e->id = xstrdup(b->node->drive_id);
	e->node = xstrdup(b->node->name);
	e->write = op != BLOCK_READ;
	e->errnum = errnum;
	loop_post(e->m->loop, publish_error, e);
}

/* Put the status into the last writable byte and give the chain back. */
static void blk_finish(struct virtio_blk *b, const struct virtq_elem *e, uint8_t status)
{
	uint64_t bytes = virtq_elem_room(e);

	(void)virtq_elem_write(e, bytes - 1, &status, 1);
	virtio_push(&b->v, 0, e, bytes);
}

static void req_free(struct blk_req *r)
{
	free(r->e);
	free(r);
}

static void req_done(struct block_req *io, int ret)
{
	struct blk_req *r = container_of(io, struct blk_req, io);
	struct virtio_blk *b = r->b;

	/* A read that failed has written something, too. */
	if (io->op == BLOCK_READ)
		virtq_elem_dma_done(r->e, 0, io->bytes);
	if (ret >= 0 && r->then_flush) {
		r->then_flush = false;
		io->op = BLOCK_FLUSH;
		block_submit(b->node, io);
		return;
	}
	if (ret < 0)
		report_error(b, io->op, -ret);
	blk_finish(b, r->e, (uint8_t)(ret < 0 ? S_IOERR : S_OK));
	virtio_interrupt(&b->v, 0);
	req_free(r);
	virtio_request_end(&b->v);
}

/* ---- requests ---- */

static bool range_ok(const struct virtio_blk *b, uint64_t sector, uint64_t bytes)
{
	uint64_t total = block_node_bytes(b->node);

	return bytes <= MAX_BYTES && bytes <= total && bytes % b->blk_bytes == 0 &&
	       sector % (b->blk_bytes / BLK_SECTOR_BYTES) == 0 &&
	       sector <= (total - bytes) / BLK_SECTOR_BYTES;
}

/* The request's data in the guest, put into iov[]; returns the number of pieces. */
static size_t req_data(const struct virtq_elem *e, enum block_op op, uint64_t bytes,
		       struct iovec *iov)
{
	switch (op) {
	case BLOCK_READ:
		return virtq_elem_dma(e, 0, bytes, iov);
	case BLOCK_WRITE:
		return iov_slice(iov, e->out, e->n_out, HEADER_BYTES, bytes);
	default: /* no data, or a range that was read already */
		return 0;
	}
}

static void blk_submit(struct virtio_blk *b, enum block_op op, uint64_t sector, uint64_t bytes,
		       bool unmap)
{
	const struct virtq_elem *e = b->v.elem;
	struct blk_req *r = xcalloc(1, sizeof(*r) + (e->n_out + e->n_in) * sizeof(struct iovec));

	r->b = b;
	r->e = virtq_elem_dup(e);
	r->io = (struct block_req){.op = op,
				   .iov = r->iov,
				   .n_iov = (int)req_data(e, op, bytes, r->iov),
				   .off = sector * BLK_SECTOR_BYTES,
				   .bytes = bytes,
				   .unmap = unmap,
				   .done = req_done};
	r->then_flush = op != BLOCK_READ && op != BLOCK_FLUSH &&
			!__atomic_load_n(&b->writeback, __ATOMIC_RELAXED);
	virtio_request_begin(&b->v);
	block_submit(b->node, &r->io);
}

/* IN and OUT; S_OK: submitted. */
static int blk_transfer(struct virtio_blk *b, uint32_t type, uint64_t sector)
{
	const struct virtq_elem *e = b->v.elem;
	uint64_t out = iov_bytes(e->out, e->n_out) - HEADER_BYTES;
	uint64_t in = virtq_elem_room(e) - 1;
	uint64_t bytes = type == T_IN ? in : out;

	if (type == T_OUT && b->node->readonly)
		return S_IOERR;
	if (!range_ok(b, sector, bytes))
		return S_IOERR;
	blk_submit(b, type == T_IN ? BLOCK_READ : BLOCK_WRITE, sector, bytes, false);
	return S_OK;
}

/* DISCARD and WRITE_ZEROES: one range. */
static int change_range(struct virtio_blk *b, uint32_t type)
{
	const struct virtq_elem *e = b->v.elem;
	uint8_t range[RANGE_BYTES];
	uint64_t sector, bytes;
	uint32_t flags, allowed = type == T_WRITE_ZEROES ? RANGE_UNMAP : 0;

	if (!virtio_has(&b->v, type == T_DISCARD ? BLK_F_DISCARD : BLK_F_WRITE_ZEROES) ||
	    iov_bytes(e->out, e->n_out) != HEADER_BYTES + RANGE_BYTES)
		return S_UNSUPP;
	(void)iov_read(e->out, e->n_out, HEADER_BYTES, range, sizeof(range));
	sector = get_le64(range);
	bytes = (uint64_t)get_le32(range + 8) * BLK_SECTOR_BYTES;
	flags = get_le32(range + 12);
	if (flags & ~allowed)
		return S_UNSUPP;
	if (b->node->readonly || bytes / BLK_SECTOR_BYTES > MAX_RANGE ||
	    !range_ok(b, sector, bytes))
		return S_IOERR;
	blk_submit(b, type == T_DISCARD ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES, sector, bytes,
		   flags & RANGE_UNMAP);
	return S_OK;
}

static void get_id(struct virtio_blk *b)
{
	const struct virtq_elem *e = b->v.elem;
	uint64_t room = virtq_elem_room(e) - 1;
	size_t n = MIN(strlen(b->serial) + 1, MIN(room, BLK_ID_BYTES));

	(void)virtq_elem_write(e, 0, b->serial, n);
	blk_finish(b, e, S_OK);
}

static bool serve_one(struct virtio_device *v)
{
	struct virtio_blk *b = to_blk(v);
	const struct virtq_elem *e = v->elem;
	uint8_t header[HEADER_BYTES];
	uint32_t type;
	int status = S_OK;

	if (iov_read(e->out, e->n_out, 0, header, sizeof(header)) < sizeof(header) || !e->n_in) {
		virtio_fail(v, "a request has no header or no status byte");
		return false;
	}
	type = get_le32(header);
	switch (type) {
	case T_IN:
	case T_OUT:
		status = blk_transfer(b, type, get_le64(header + 8));
		break;
	case T_FLUSH:
		blk_submit(b, BLOCK_FLUSH, 0, 0, false);
		break;
	case T_GET_ID:
		get_id(b);
		break;
	case T_DISCARD:
	case T_WRITE_ZEROES:
		status = change_range(b, type);
		break;
	default:
		status = S_UNSUPP;
		break;
	}
	if (status != S_OK)
		blk_finish(b, e, (uint8_t)status);
	return true;
}

static void blk_serve(struct virtio_device *v, unsigned q)
{
	virtio_serve_all(v, q, serve_one);
}

/* ---- configuration space ---- */

static void get_config(struct virtio_device *v, uint8_t *c)
{
	const struct virtio_blk *b = to_blk(v);
	uint64_t cylinders = virtio_blk_capacity(b) / (HEADS * TRACK_SECTORS);
	uint32_t per_block = b->blk_bytes / BLK_SECTOR_BYTES;
	uint8_t track = TRACK_SECTORS;

	if (block_node_bytes(b->node) / HEADS / TRACK_SECTORS % b->blk_bytes)
		track = (uint8_t)(track & ~(per_block - 1));
	memset(c, 0, v->config_bytes);
	put_le64(c, virtio_blk_capacity(b));
	put_le32(c + 12, b->queue_size - 2U); /* seg_max: header and status take two */
	put_le16(c + 16, (uint16_t)MIN(MAX(cylinders, 2), 16383));
	c[18] = HEADS;
	c[19] = track;
	put_le32(c + 20, b->blk_bytes);
	c[24] = (uint8_t)__builtin_ctz(b->physical_bytes / b->blk_bytes);
	put_le16(c + 26, (uint16_t)(b->min_io_bytes / b->blk_bytes));
	put_le32(c + 28, b->opt_io_bytes / b->blk_bytes);
	c[CONFIG_WCE_AT] = __atomic_load_n(&b->writeback, __ATOMIC_RELAXED);
	put_le16(c + 34, 1); /* queues */
	if (v->config_bytes >= 48) {
		put_le32(c + 36, MAX_RANGE);
		put_le32(c + 40, 1); /* ranges in a discard request */
		put_le32(c + 44, per_block);
	}
	if (v->config_bytes >= 57) {
		put_le32(c + 48, MAX_RANGE);
		put_le32(c + 52, 1);
		c[56] = 1; /* may unmap */
	}
}

static void set_config(struct virtio_device *v, const uint8_t *c)
{
	if (virtio_has(v, BLK_F_CONFIG_WCE))
		__atomic_store_n(&to_blk(v)->writeback, c[CONFIG_WCE_AT] != 0, __ATOMIC_RELAXED);
}

static void blk_reset(struct virtio_device *v)
{
	struct virtio_blk *b = to_blk(v);

	__atomic_store_n(&b->writeback, b->node->writeback, __ATOMIC_RELAXED);
}

static void blk_negotiated(struct virtio_device *v)
{
	/* A driver that cannot be told of a cache and cannot flush it must not have one. */
	if (!virtio_has(v, BLK_F_CONFIG_WCE))
		__atomic_store_n(&to_blk(v)->writeback, virtio_has(v, BLK_F_FLUSH),
				 __ATOMIC_RELAXED);
}

/* ---- state ---- */

static int body_loaded(void *dev, uint32_t version, struct err *err)
{
	const struct virtio_blk *b = dev;

	(void)version;
	if (b->wire_requests)
		return err_set(err, ENOTSUP,
			       "virtio-blk: requests that the source stopped after an I/O error "
			       "are not supported");
	return 0;
}

static const struct vms_field body_fields[] = {
    VMS_U8(struct virtio_blk, wire_requests, "rq"),
    VMS_LAST,
};
static const struct vms_desc body = {.name = "virtio-blk-device",
				     .version = 2,
				     .min_version = 2,
				     .fields = body_fields,
				     .post_load = body_loaded};

static int section_loaded(void *dev, uint32_t version, struct err *err)
{
	struct virtio_blk *b = dev;
	/* 0: the driver never looked. */
	uint64_t seen = get_le64(b->v.config);

	(void)version;
	(void)err;
	/* QEMU keeps there what the guest has written, which must not make it unmovable. */
	if (seen > virtio_blk_capacity(b))
		log_warn("virtio-blk: the disk had %" PRIu64
			 " sectors at the source (unless its guest has overwritten the number), "
			 "'%s' has only %" PRIu64 ": requests behind its end fail",
			 seen, b->node->filename, virtio_blk_capacity(b));
	if (!virtio_has(&b->v, BLK_F_CONFIG_WCE))
		blk_negotiated(&b->v);
	else if (seen)
		set_config(&b->v, b->v.config);
	return 0;
}

static const struct vms_field section_fields[] = {
    VMS_CUSTOM(struct virtio_device, dev, "virtio", &virtio_codec),
    VMS_LAST,
};
static const struct vms_desc section = {.name = "virtio-blk",
					.version = 2,
					.min_version = 2,
					.fields = section_fields,
					.post_load = section_loaded};

/* ---- the device ---- */

void virtio_blk_detach(void *opaque)
{
	block_node_detach(opaque);
}

static void blk_destroy(struct virtio_device *v)
{
	struct virtio_blk *b = to_blk(v);

	loop_call(v->dev.m->io, virtio_blk_detach, b->node);
	block_node_release(b->node);
	b->node->user = NULL;
}

/* ---- flush: a request of the machine's own ---- */

static void own_flush_ended(void *opaque)
{
	virtio_request_end(opaque);
}

static void own_flush_on_io(void *opaque)
{
	struct block_req *req = opaque;
	struct virtio_device *v = req->opaque;

	virtio_request_begin(v);
	virtio_posted_seen(v);
	block_submit(to_blk(v)->node, req);
}

static void blk_flush(struct device *d, struct flush *f)
{
	struct virtio_blk *b = container_of(d, struct virtio_blk, v.dev);
	struct block_req *req = block_node_flush_req(b->node, f, own_flush_ended, &b->v);

	if (req)
		virtio_post(&b->v, own_flush_on_io, req);
}

static int blk_handover(struct device *d, enum handover what, struct err *err)
{
	return block_node_handover(container_of(d, struct virtio_blk, v.dev)->node, what, err);
}

const struct virtio_ops virtio_blk_ops = {
    .device = VIRTIO_DEVICE_OPS("virtio-blk-device", .flush = blk_flush, .handover = blk_handover),
    .name = "virtio-blk",
    .device_id = 2,
    .feature_name = virtio_blk_feature_name,
    .legacy_features = BLK_F_SCSI | VIRTIO_F_NOTIFY_ON_EMPTY,
    .get_config = get_config,
    .set_config = set_config,
    .negotiated = blk_negotiated,
    .serve = blk_serve,
    .reset = blk_reset,
    .destroy = blk_destroy,
    .section = &section,
    .body = &body,
};
