/*
 * net.c - virtio-net's data path (virtio 1.2, 5.1)
 *
 * Every frame on the queues is preceded by 12 bytes of header.  A back end with
 * a vnet header takes and gives the same bytes; for another one the header is
 * cut off, or made of zeroes.  A received frame may be spread over several
 * buffers of the guest (MRG_RXBUF); if they do not suffice, all are given back
 * to the ring untaken and the back end keeps the frame until the guest adds
 * more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/nic.h"
#include "devices/virtio/virtio-devices.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/iov.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/memory/memory.h"

#define ETH_HEADER_BYTES 14UL
#define MAX_RAW_BYTES    1514
#define NUM_BUFFERS_AT   10 /* offset in the header */

/* ---- receive ---- */

/* A modern device's header, and a legacy one's with mergeable buffers, ends with their number. */
static size_t nic_hdr_bytes(const struct nic *nic)
{
	return nic->v.legacy && !virtio_has(&nic->v, NET_F_MRG_RXBUF) ? NUM_BUFFERS_AT
								      : NIC_HDR_BYTES;
}

/* A frame on its way into the guest. */
struct rx {
	uint8_t header[NIC_HDR_BYTES];
	size_t hdr;           /* of it, what the driver takes */
	const uint8_t *frame; /* behind the header */
	size_t bytes, done;   /* of both */
	unsigned chains;
	uint64_t count_gpa[2]; /* where each byte of the header's num_buffers lies */
};

/* Fill the chain in v->elem with as much of the frame as fits. */
static void rx_fill(struct nic *nic, struct rx *rx)
{
	const struct virtq_elem *e = nic->v.elem;
	size_t n = 0;

	for (unsigned i = 0; rx->chains == 0 && i < 2; i++)
		rx->count_gpa[i] = virtq_elem_gpa(e, NUM_BUFFERS_AT + i);
	if (rx->done < rx->hdr) {
		n = virtq_elem_write(e, 0, rx->header + rx->done, rx->hdr - rx->done);
		rx->done += n;
	}
	if (rx->done >= rx->hdr) {
		size_t at = rx->done - rx->hdr;
		size_t part = virtq_elem_write(e, n, rx->frame + at, rx->bytes - rx->done);

		rx->done += part;
		n += part;
	}
	virtq_fill(&nic->v.queues[NIC_RX], e->head, (uint32_t)n, rx->chains);
	rx->chains++;
}

/* The header says 1 until it is known how many chains the frame took. */
static void rx_count(struct nic *nic, const struct rx *rx)
{
	uint8_t num_buffers[2];

	put_le16(num_buffers, (uint16_t)rx->chains);
	for (unsigned i = 0; rx->chains > 1 && i < 2; i++)
		(void)memory_write(&nic->v.dev.m->mem, rx->count_gpa[i], &num_buffers[i], 1);
}

/* No more buffers: give back what was taken. */
static int rx_later(struct nic *nic, const struct rx *rx)
{
	struct virtq *q = &nic->v.queues[NIC_RX];
	/* Listen for what comes behind the chains taken so far: they are known not to suffice. */
	bool more = virtq_listen(q);

	virtq_unpop(q, rx->chains);
	if (more)
		virtio_again(&nic->v, NIC_RX);
	return -EAGAIN;
}

static int rx_frame(struct nic *nic, struct rx *rx)
{
	struct virtio_device *v = &nic->v;
	bool mergeable = virtio_has(v, NET_F_MRG_RXBUF);

	while (rx->done < rx->bytes) {
		if (!virtio_pop(v, NIC_RX))
			return v->broken ? -EIO : rx_later(nic, rx);
		if (rx->chains == 0 && virtq_elem_room(v->elem) < rx->hdr) {
			virtio_fail(v, "queue 0: a buffer has no room for the header");
			return -EIO;
		}
		if (!mergeable && virtq_elem_room(v->elem) < rx->bytes) {
			virtq_unpop(&v->queues[NIC_RX], 1);
			return 0; /* the driver does not want frames of this size */
		}
		rx_fill(nic, rx);
	}
	rx_count(nic, rx);
	virtq_flush(&v->queues[NIC_RX], rx->chains);
	virtio_interrupt(v, NIC_RX);
	return 0;
}

static bool is_unplugged(const struct nic *nic)
{
	return __atomic_load_n(&nic->link_down, __ATOMIC_RELAXED);
}

static int nic_receive(void *opaque, const uint8_t *frame, size_t n)
{
	struct nic *nic = opaque;
	size_t hdr = nic->be->vnet_hdr ? nic->be->hdr_bytes : 0;
	struct rx rx = {0};

	if (!nic->v.serving || !nic->v.queues[NIC_RX].mem)
		return -EAGAIN;
	if (n < hdr + ETH_HEADER_BYTES || n > NET_MAX_FRAME)
		return -EMSGSIZE;
	if (is_unplugged(nic) || !nic_wants(nic, frame + hdr, n - hdr))
		return 0;
	memcpy(rx.header, frame, MIN(hdr, sizeof(rx.header)));
	put_le16(rx.header + NUM_BUFFERS_AT, 1);
	rx.frame = frame + hdr;
	rx.hdr = nic_hdr_bytes(nic);
	rx.bytes = rx.hdr + n - hdr;
	return rx_frame(nic, &rx);
}

/* ---- transmit ---- */

/* The frame goes with as much of a header as the back end takes: all, none, or filled up. */
static int tx_send(struct nic *nic, const struct virtq_elem *e, uint64_t hdr, uint64_t bytes)
{
	uint64_t wanted = nic->be->vnet_hdr ? nic->be->hdr_bytes : 0;
	CLEANUP(cleanup_free) struct iovec *v = NULL;
	uint8_t zeros[NIC_HDR_BYTES] = {0};
	size_t n;

	if (wanted <= hdr) {
		n = iov_slice(e->out, e->out, e->n_out, hdr - wanted, bytes - (hdr - wanted));
		return net_backend_send(nic->be, e->out, (int)n);
	}
	v = xcalloc(e->n_out + 2, sizeof(*v));
	n = iov_slice(v, e->out, e->n_out, 0, hdr);
	v[n++] = (struct iovec){.iov_base = zeros, .iov_len = wanted - hdr};
	n += iov_slice(v + n, e->out, e->n_out, hdr, bytes - hdr);
	return net_backend_send(nic->be, v, (int)n);
}

static bool tx_one(struct virtio_device *v)
{
	struct nic *nic = to_nic(v);
	const struct virtq_elem *e = v->elem;
	uint64_t bytes = iov_bytes(e->out, e->n_out);
	uint64_t hdr = nic_hdr_bytes(nic);
	int ret = 0;

	if (bytes < hdr) {
		virtio_fail(v, "queue 1: a frame has no header");
		return false;
	}
	if (bytes <= NET_MAX_FRAME && bytes >= hdr + ETH_HEADER_BYTES && !is_unplugged(nic))
		ret = tx_send(nic, e, hdr, bytes);
	if (ret == -EAGAIN) {
		virtq_unpop(&v->queues[NIC_TX], 1);
		nic->tx_blocked = true;
		return false;
	}
	virtio_push(v, NIC_TX, e, 0);
	return true;
}

static void nic_serve(struct virtio_device *v, unsigned q)
{
	struct nic *nic = to_nic(v);

	switch (q) {
	case NIC_RX:
		virtq_quiet(&v->queues[q]);
		net_backend_can_receive(nic->be);
		break;
	case NIC_TX:
		if (!nic->tx_blocked)
			virtio_serve_all(v, q, tx_one);
		break;
	default:
		virtio_serve_all(v, q, nic_ctrl_one);
		break;
	}
}

static void nic_writable(void *opaque)
{
	struct nic *nic = opaque;

	nic->tx_blocked = false;
	if (nic->v.serving && nic->v.queues[NIC_TX].mem)
		nic_serve(&nic->v, NIC_TX);
}

const struct net_client nic_client = {.receive = nic_receive, .writable = nic_writable};

/* ---- start, reset ---- */

static void nic_start(struct virtio_device *v)
{
	nic_push_offloads(to_nic(v));
}

static void nic_stop(struct virtio_device *v)
{
	/* Frames that come now stay with the back end; a blocked one is in the ring. */
	to_nic(v)->tx_blocked = false;
}

static void nic_negotiated(struct virtio_device *v)
{
	struct nic *nic = to_nic(v);

	nic->guest_offloads = nic->be->vnet_hdr ? v->features & NET_GUEST_OFFLOADS : 0;
	if (virtio_has(v, NET_F_CTRL_VLAN))
		memset(nic->filter.vlans, 0, sizeof(nic->filter.vlans));
}

static void nic_reset(struct virtio_device *v)
{
	struct nic *nic = to_nic(v);

	nic_filter_reset(nic);
	nic->guest_offloads = 0;
	pthread_mutex_lock(&v->irq_lock);
	nic->mac = nic->own_mac;
	nic->status = is_unplugged(nic) ? 0 : NET_S_LINK_UP;
	pthread_mutex_unlock(&v->irq_lock);
}

static void get_config(struct virtio_device *v, uint8_t *config)
{
	const struct nic *nic = to_nic(v);

	memcpy(config, nic->mac.b, sizeof(nic->mac.b));
	put_le16(config + sizeof(nic->mac.b), nic->status);
}

/* ---- what migration sees ---- */

static void nic_arrived(struct virtio_device *v)
{
	nic_announce_guest(to_nic(v));
}

void nic_for_each(struct machine *m, void (*fn)(void *opaque, struct nic *nic), void *opaque)
{
	list_for_each (d, &m->devices, struct device, link) {
		struct virtio_device *v = virtio_from_device(d);

		if (v && v->ops == &nic_ops)
			fn(opaque, to_nic(v));
	}
}

const char *nic_id(const struct nic *nic)
{
	return nic->v.dev.id ? nic->v.dev.id : "";
}

const char *nic_netdev(const struct nic *nic)
{
	return nic->be->id;
}

void nic_set_link(struct nic *nic, bool up)
{
	struct virtio_device *v = &nic->v;

	if (is_unplugged(nic) == !up)
		return;
	__atomic_store_n(&nic->link_down, !up, __ATOMIC_RELAXED);
	pthread_mutex_lock(&v->irq_lock);
	nic->status = (uint16_t)((nic->status & ~NET_S_LINK_UP) | (up ? NET_S_LINK_UP : 0));
	pthread_mutex_unlock(&v->irq_lock);
	virtio_config_changed(v);
}

void nic_mac(struct nic *nic, uint8_t mac[6])
{
	pthread_mutex_lock(&nic->v.irq_lock);
	memcpy(mac, nic->mac.b, sizeof(nic->mac.b));
	pthread_mutex_unlock(&nic->v.irq_lock);
}

struct raw {
	struct nic *nic;
	uint8_t bytes[NIC_HDR_BYTES + MAX_RAW_BYTES]; /* a header of zeroes, the frame */
	size_t n;                                     /* of the frame */
};

static void send_raw(void *opaque)
{
	struct raw *r = opaque;
	struct net_backend *be = r->nic->be;
	size_t hdr = be->vnet_hdr ? be->hdr_bytes : 0;
	struct iovec v = {.iov_base = r->bytes + NIC_HDR_BYTES - hdr, .iov_len = hdr + r->n};

	/* A full back end drops the frame, as a network does. */
	if (!is_unplugged(r->nic))
		(void)net_backend_send(be, &v, 1);
	free(r);
}

void nic_send_raw(struct nic *nic, const uint8_t *frame, size_t n)
{
	struct raw *r;

	if (n < ETH_HEADER_BYTES || n > MAX_RAW_BYTES)
		return;
	r = NEW(struct raw);
	r->nic = nic;
	r->n = n;
	memcpy(r->bytes + NIC_HDR_BYTES, frame, n);
	loop_post(nic->v.dev.m->io, send_raw, r);
}

void nic_announce_guest(struct nic *nic)
{
	struct virtio_device *v = &nic->v;

	if (!virtio_has(v, NET_F_GUEST_ANNOUNCE | NET_F_CTRL_VQ | NET_F_STATUS))
		return;
	pthread_mutex_lock(&v->irq_lock);
	nic->status |= NET_S_ANNOUNCE;
	pthread_mutex_unlock(&v->irq_lock);
	virtio_config_changed(v);
}

static void nic_detach(void *opaque)
{
	net_backend_detach(opaque);
}

static void nic_destroy(struct virtio_device *v)
{
	loop_call(v->dev.m->io, nic_detach, to_nic(v)->be);
}

/* How a legacy driver changes the address where it has no command for that. */
static void set_config(struct virtio_device *v, const uint8_t *config)
{
	struct nic *nic = to_nic(v);

	if (v->legacy && !virtio_has(v, NET_F_CTRL_MAC_ADDR))
		memcpy(nic->mac.b, config, sizeof(nic->mac.b));
}

const struct virtio_ops nic_ops = {
    .device = VIRTIO_DEVICE_OPS("virtio-net-device"),
    .name = "virtio-net",
    .device_id = 1,
    .feature_name = nic_feature_name,
    .legacy_features = NET_F_GSO | VIRTIO_F_NOTIFY_ON_EMPTY | VIRTIO_F_ANY_LAYOUT,
    .get_config = get_config,
    .set_config = set_config,
    .negotiated = nic_negotiated,
    .serve = nic_serve,
    .start = nic_start,
    .stop = nic_stop,
    .reset = nic_reset,
    .arrived = nic_arrived,
    .destroy = nic_destroy,
    .section = &nic_section,
    .body = &nic_body,
    .loaded = nic_loaded,
};
