/*
 * serial-state.c - virtio-serial's own part of its section (machine-microvm 3.7)
 *
 * A chain that was taken in part is a picture of a struct of QEMU on x86-64,
 * little-endian among big-endian fields: it counts with where it lies in guest
 * memory, and how far the chardev is in it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "devices/virtio/serial.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/vmstate.h"

/* ---- a chain: u32 head, out, in, pad; u64 in_gpa[1024], out_gpa[1024]; {u64 0, u64 bytes}
 * in[1024], out[1024] ---- */

#define HEAD_BYTES  16
#define OUT_GPA_AT  (HEAD_BYTES + 8 * VIRTQ_MAX_NUM)
#define OUT_AT      (HEAD_BYTES + 16 * VIRTQ_MAX_NUM + 16 * VIRTQ_MAX_NUM)
#define CHAIN_BYTES (HEAD_BYTES + 48 * VIRTQ_MAX_NUM)

static int chain_save(void *dev, void *field, struct buf *out, struct err *err)
{
	const struct vser_chain *c = ((const struct vser_wire_port *)dev)->chain;
	CLEANUP(cleanup_free) uint8_t *raw = xcalloc(1, CHAIN_BYTES);

	(void)field;
	(void)err;
	put_le32(raw, c->head);
	put_le32(raw + 4, c->n);
	for (unsigned i = 0; i < c->n; i++) {
		put_le64(raw + OUT_GPA_AT + 8 * (size_t)i, c->piece[i].gpa);
		put_le64(raw + OUT_AT + 16 * (size_t)i + 8, c->piece[i].bytes);
	}
	buf_put(out, raw, CHAIN_BYTES);
	return 0;
}

static int chain_parse(const uint8_t *raw, struct vser_chain **chain, struct err *err)
{
	uint32_t head = get_le32(raw), n = get_le32(raw + 4);
	struct vser_chain *c;

	if (head >= VIRTQ_MAX_NUM || n > VIRTQ_MAX_NUM)
		return err_set(err, EINVAL,
			       "virtio-console: a chain in flight with head %" PRIu32
			       " and %" PRIu32 " pieces",
			       head, n);
	c = xcalloc(1, sizeof(*c) + n * sizeof(c->piece[0]));
	c->head = (uint16_t)head;
	for (uint32_t i = 0; i < n; i++) {
		struct vser_piece *p = &c->piece[c->n++];

		p->gpa = get_le64(raw + OUT_GPA_AT + 8 * (size_t)i);
		p->bytes = get_le64(raw + OUT_AT + 16 * (size_t)i + 8);
		if (p->bytes && p->bytes <= UINT32_MAX) {
			c->bytes += p->bytes;
			continue;
		}
		free(c);
		return err_set(err, EINVAL,
			       "virtio-console: piece %" PRIu32
			       " of a chain in flight is empty or too large",
			       i);
	}
	*chain = c;
	return 0;
}

static int chain_load(void *dev, void *field, struct src *in, struct err *err)
{
	const uint8_t *raw = src_take(in, CHAIN_BYTES);

	(void)field;
	if (!raw)
		return err_set(err, EIO, "virtio-console: the stream ends in a chain in flight");
	return chain_parse(raw, &((struct vser_wire_port *)dev)->chain, err);
}

static const struct vms_codec chain_codec = {
    .json_type = "VirtQueueElement", .save = chain_save, .load = chain_load};

/* ---- a port ---- */

static bool is_popped(const void *dev, uint32_t version)
{
	(void)version;
	return ((const struct vser_wire_port *)dev)->popped != 0;
}

static const struct vms_field port_fields[] = {
    VMS_U32(struct vser_wire_port, id, "id"),
    VMS_U8(struct vser_wire_port, guest_open, "guest_connected"),
    VMS_U8(struct vser_wire_port, host_open, "host_connected"),
    VMS_U32(struct vser_wire_port, popped, "elem_popped"),
    VMS_U32(struct vser_wire_port, piece, "iov_idx", .exists = is_popped),
    VMS_U64(struct vser_wire_port, offset, "iov_offset", .exists = is_popped),
    VMS_CUSTOM(struct vser_wire_port, chain, "elem", &chain_codec, .exists = is_popped),
    VMS_LAST,
};
static const struct vms_desc port_desc = {
    .name = "port", .version = 1, .min_version = 1, .fields = port_fields};

/* Where byte 'at' of the chain is. */
static void find_place(const struct vser_chain *c, uint64_t at, struct vser_wire_port *w)
{
	w->piece = 0;
	while (w->piece < c->n && at >= c->piece[w->piece].bytes)
		at -= c->piece[w->piece++].bytes;
	w->offset = at;
}

static void port_fill(struct vser_wire_port *w, const struct vser_port *p)
{
	uint64_t at;

	*w = (struct vser_wire_port){.id = p->id,
				     .guest_open = p->guest_open,
				     .chain = p->chain,
				     .popped = p->chain != NULL};
	/* A guest that has not been told yet is told by the other side. */
	w->host_open = p->ready ? p->told_open : p->host_open;
	if (!p->chain)
		return;
	/* What waits in 'out' is of this chain, but where the driver has set up its queue anew. */
	at = p->chain->at - MIN(p->chain->at, p->n_out - p->out_at);
	find_place(p->chain, p->discard ? p->chain->bytes : at, w);
}

/* The device is idle, and no callback of a chardev runs: the machine lock is held. */
static int body_saving(void *dev, struct err *err)
{
	struct vser *s = dev;

	(void)err;
	vser_wire_free(&s->wire);
	s->wire.max_ports = s->max_ports;
	s->wire.ports_map = s->ports_map;
	s->wire.n_ports = s->n_ports;
	for (unsigned i = 0; i < s->n_ports; i++)
		port_fill(&s->wire.port[i], s->ports[i]);
	return 0;
}

void vser_wire_free(struct vser_wire *w)
{
	for (unsigned i = 0; w->owned && i < VSER_MAX_PORTS; i++)
		free(w->port[i].chain);
	*w = (struct vser_wire){0};
}

static int body_loading(void *dev, struct err *err)
{
	struct vser *s = dev;

	(void)err;
	vser_wire_free(&s->wire);
	s->wire.owned = true;
	return 0;
}

static int port_apply(struct vser *s, struct vser_wire_port *w, struct err *err)
{
	struct vser_port *p = NULL;
	struct vser_chain *c = w->chain;

	for (unsigned i = 0; i < s->n_ports; i++)
		if (s->ports[i]->id == w->id)
			p = s->ports[i];
	if (!p)
		return err_set(err, EINVAL,
			       "virtio-console: the source has port %" PRIu32
			       ", which is not here; give both ends the same virtserialport and "
			       "virtconsole devices",
			       w->id);
	if (c && (w->piece > c->n || (w->piece < c->n && w->offset > c->piece[w->piece].bytes) ||
		  p->chain))
		return err_set(err, EINVAL,
			       "virtio-console: port %" PRIu32 " is at byte %" PRIu64
			       " of piece %" PRIu32 " of its chain, which has %u",
			       w->id, w->offset, w->piece, c->n);
	p->guest_open = w->guest_open != 0;
	p->told_open = w->host_open != 0;
	p->hold = p->chr && (w->host_open || c);
	if (!c)
		return 0;
	for (unsigned i = 0; i < w->piece; i++)
		c->at += c->piece[i].bytes;
	if (w->piece < c->n)
		c->at += w->offset;
	p->chain = c;
	w->chain = NULL;
	return 0;
}

static int body_loaded(void *dev, uint32_t version, struct err *err)
{
	struct vser *s = dev;
	int ret = 0;

	(void)version;
	if (s->wire.ports_map != s->ports_map)
		ret = err_set(err, EINVAL,
			      "virtio-console: the source has ports 0x%" PRIx32
			      " (bit n: port n), here "
			      "are 0x%" PRIx32
			      "; give both ends the same virtserialport and virtconsole devices",
			      s->wire.ports_map, s->ports_map);
	for (unsigned i = 0; ret >= 0 && i < s->wire.n_ports; i++)
		ret = port_apply(s, &s->wire.port[i], err);
	vser_wire_free(&s->wire);
	return ret;
}

/* The stream does not say which ports the driver knows; it takes no harm from news of others. */
int vser_loaded(struct virtio_device *v, struct err *err)
{
	struct vser *s = to_vser(v);

	(void)err;
	for (unsigned i = 0; i < s->n_ports; i++)
		s->ports[i]->ready = virtio_has(v, VSER_F_MULTIPORT);
	return 0;
}

static const struct vms_field body_fields[] = {
    VMS_U16(struct vser, wire.cols, "cols"),
    VMS_U16(struct vser, wire.rows, "rows"),
    VMS_U32(struct vser, wire.max_ports, "max_nr_ports"),
    VMS_U32(struct vser, wire.ports_map, "ports_map"),
    VMS_U32(struct vser, wire.n_ports, "nr_active_ports"),
    VMS_STRUCTS(struct vser, wire.port, "ports", &port_desc, .counted = true,
		.count_at = offsetof(struct vser, wire.n_ports)),
    VMS_LAST,
};
const struct vms_desc vser_body = {
    .name = "virtio-serial-device",
    .version = 3,
    .min_version = 3,
    .fields = body_fields,
    .pre_save = body_saving,
    .pre_load = body_loading,
    .post_load = body_loaded,
};

static const struct vms_field section_fields[] = {
    VMS_CUSTOM(struct virtio_device, dev, "virtio", &virtio_codec),
    VMS_LAST,
};
const struct vms_desc vser_section = {
    .name = "virtio-console", .version = 3, .min_version = 3, .fields = section_fields};
