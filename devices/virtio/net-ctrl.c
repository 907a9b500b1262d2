/*
 * net-ctrl.c - virtio-net's control queue; the receive filter and the offloads that it programs
 * (virtio 1.2, 5.1.6.5)
 *
 * A command is class, command and data in the readable part of a chain and one
 * byte of answer in the writable part.  The data is copied out of guest memory
 * before it is looked at.
 */
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/nic.h"
#include "devices/virtio/virtio-devices.h"
#include "vmm/base/bytes.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"

enum { CLASS_RX, CLASS_MAC, CLASS_VLAN, CLASS_ANNOUNCE, CLASS_MQ, CLASS_OFFLOADS };
enum { RX_PROMISC, RX_ALLMULTI, RX_ALLUNI, RX_NOMULTI, RX_NOUNI, RX_NOBCAST };
enum { MAC_TABLE_SET, MAC_ADDR_SET };
enum { VLAN_ADD, VLAN_DEL };
enum { ACK_OK, ACK_ERR };

#define MAC_BYTES      6
#define MAX_DATA       (8 + 1000 * MAC_BYTES) /* the largest command worth reading */
#define ETHERTYPE_VLAN 0x8100

/* ---- offloads ---- */

void nic_push_offloads(struct nic *nic)
{
	static const struct {
		uint64_t feature;
		unsigned tun;
	} map[] = {
	    {NET_F_GUEST_CSUM, TUN_F_CSUM   },
            {NET_F_GUEST_TSO4, TUN_F_TSO4   },
	    {NET_F_GUEST_TSO6, TUN_F_TSO6   },
            {NET_F_GUEST_ECN,  TUN_F_TSO_ECN},
	    {NET_F_GUEST_UFO,  TUN_F_UFO    },
            {NET_F_GUEST_USO4, TUN_F_USO4   },
	    {NET_F_GUEST_USO6, TUN_F_USO6   },
	};
	unsigned tun = 0;

	for (size_t i = 0; i < ARRAY_LEN(map); i++)
		if (nic->guest_offloads & map[i].feature)
			tun |= map[i].tun;
	if (nic->be->vnet_hdr && nic->be->ops->set_offload)
		(void)nic->be->ops->set_offload(nic->be, tun);
}

/* ---- the filter ---- */

static enum nic_rx rx_state(bool none, bool all)
{
	return none ? NIC_RX_NONE : all ? NIC_RX_ALL : NIC_RX_NORMAL;
}

/* The I/O thread may write to it meanwhile: what is read is bounded, and may be of two moments. */
void nic_filter_read(struct nic *nic, struct nic_filter_info *out)
{
	const struct nic_filter f = nic->filter;
	bool filters_vlans = virtio_has(&nic->v, NET_F_CTRL_VLAN);

	*out = (struct nic_filter_info){
	    .promiscuous = f.promisc,
	    .broadcast = !f.nobcast,
	    .multi_overflow = f.multi_overflow,
	    .uni_overflow = f.uni_overflow,
	    .multicast = rx_state(f.nomulti, f.allmulti),
	    .unicast = rx_state(f.nouni, f.alluni),
	    .vlan = filters_vlans ? NIC_RX_NORMAL : NIC_RX_ALL,
	    .n_macs = MIN(f.n_macs, NIC_MACS),
	    .first_multi = MIN(f.first_multi, MIN(f.n_macs, NIC_MACS)),
	};
	nic_mac(nic, out->main_mac);
	memcpy(out->macs, f.macs, sizeof(out->macs));
	if (filters_vlans)
		memcpy(out->vlans, f.vlans, sizeof(out->vlans));
}

void nic_filter_reset(struct nic *nic)
{
	nic->filter = (struct nic_filter){.promisc = 1};
	memset(nic->filter.vlans, 0xff, sizeof(nic->filter.vlans));
}

void nic_filter_loaded(struct nic_filter *f)
{
	for (f->first_multi = 0; f->first_multi < f->n_macs; f->first_multi++)
		if (f->macs[f->first_multi].b[0] & 1)
			break;
}

static bool in_table(const struct nic_filter *f, uint32_t from, uint32_t to, const uint8_t *mac)
{
	for (uint32_t i = from; i < to; i++)
		if (!memcmp(f->macs[i].b, mac, MAC_BYTES))
			return true;
	return false;
}

static bool vlan_wanted(const struct nic_filter *f, const uint8_t *frame, size_t n)
{
	unsigned vid;

	if (n < 16 || get_be16(frame + 12) != ETHERTYPE_VLAN)
		return true;
	vid = get_be16(frame + 14) & (NIC_VLANS - 1);
	return f->vlans[vid / 8] >> (vid % 8) & 1;
}

bool nic_wants(const struct nic *nic, const uint8_t *frame, size_t n)
{
	static const uint8_t broadcast[MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	const struct nic_filter *f = &nic->filter;

	if (f->promisc)
		return true;
	if (!vlan_wanted(f, frame, n))
		return false;
	if (!memcmp(frame, broadcast, MAC_BYTES))
		return !f->nobcast;
	if (frame[0] & 1)
		return !f->nomulti && (f->allmulti || f->multi_overflow ||
				       in_table(f, f->first_multi, f->n_macs, frame));
	return !f->nouni &&
	       (f->alluni || f->uni_overflow || !memcmp(frame, nic->mac.b, MAC_BYTES) ||
		in_table(f, 0, f->first_multi, frame));
}

/* ---- commands; data is n bytes, already copied ---- */

static int rx_mode(struct nic *nic, uint8_t cmd, const uint8_t *data, size_t n)
{
	struct nic_filter *f = &nic->filter;
	uint8_t *const flags[] = {
	    [RX_PROMISC] = &f->promisc, [RX_ALLMULTI] = &f->allmulti, [RX_ALLUNI] = &f->alluni,
	    [RX_NOMULTI] = &f->nomulti, [RX_NOUNI] = &f->nouni,       [RX_NOBCAST] = &f->nobcast,
	};

	if (cmd >= ARRAY_LEN(flags) || n != 1)
		return ACK_ERR;
	*flags[cmd] = data[0] != 0;
	return ACK_OK;
}

/* Half a table: le32 count, count addresses.  Returns what follows it, or NULL. */
static const uint8_t *table_half(const uint8_t *p, const uint8_t *end, struct nic_filter *f,
				 uint8_t *overflow)
{
	uint32_t count;

	if (end - p < 4)
		return NULL;
	count = get_le32(p);
	p += 4;
	if (count > (size_t)(end - p) / MAC_BYTES)
		return NULL;
	if (count > NIC_MACS - f->n_macs) {
		*overflow = 1;
	} else if (count) {
		memcpy(&f->macs[f->n_macs], p, (size_t)count * MAC_BYTES);
		f->n_macs += count;
	}
	return p + (size_t)count * MAC_BYTES;
}

static int mac_table(struct nic *nic, const uint8_t *data, size_t n)
{
	const uint8_t *end = data + n, *p;
	struct nic_filter new = nic->filter;

	new.n_macs = 0;
	new.uni_overflow = new.multi_overflow = 0;
	p = table_half(data, end, &new, &new.uni_overflow);
	new.first_multi = new.n_macs;
	if (p)
		p = table_half(p, end, &new, &new.multi_overflow);
	if (p != end)
		return ACK_ERR;
	nic->filter = new;
	return ACK_OK;
}

/* More addresses than the table has room for: let all frames through. */
static uint8_t huge_mac_table(struct nic *nic)
{
	nic->filter.n_macs = nic->filter.first_multi = 0;
	nic->filter.uni_overflow = nic->filter.multi_overflow = 1;
	return ACK_OK;
}

static int mac_command(struct nic *nic, uint8_t cmd, const uint8_t *data, size_t n)
{
	if (cmd == MAC_TABLE_SET)
		return mac_table(nic, data, n);
	if (cmd != MAC_ADDR_SET || n != MAC_BYTES)
		return ACK_ERR;
	pthread_mutex_lock(&nic->v.irq_lock);
	memcpy(nic->mac.b, data, MAC_BYTES);
	pthread_mutex_unlock(&nic->v.irq_lock);
	return ACK_OK;
}

static int vlan_command(struct nic *nic, uint8_t cmd, const uint8_t *data, size_t n)
{
	unsigned vid;

	if (n != 2 || cmd > VLAN_DEL || get_le16(data) >= NIC_VLANS)
		return ACK_ERR;
	vid = get_le16(data);
	if (cmd == VLAN_ADD)
		nic->filter.vlans[vid / 8] |= (uint8_t)(1U << (vid % 8));
	else
		nic->filter.vlans[vid / 8] &= (uint8_t) ~(1U << (vid % 8));
	return ACK_OK;
}

static int announce_command(struct nic *nic, uint8_t cmd)
{
	int ack = ACK_ERR;

	pthread_mutex_lock(&nic->v.irq_lock);
	if (cmd == 0 && nic->status & NET_S_ANNOUNCE) {
		nic->status &= (uint16_t)~NET_S_ANNOUNCE;
		ack = ACK_OK;
	}
	pthread_mutex_unlock(&nic->v.irq_lock);
	return ack;
}

static int offloads_command(struct nic *nic, uint8_t cmd, const uint8_t *data, size_t n)
{
	uint64_t want;

	if (!virtio_has(&nic->v, NET_F_CTRL_OFFLOADS) || cmd != 0 || n != sizeof(want))
		return ACK_ERR;
	want = get_le64(data);
	if (want & ~(nic->v.features & NET_GUEST_OFFLOADS))
		return ACK_ERR;
	nic->guest_offloads = want;
	nic_push_offloads(nic);
	return ACK_OK;
}

static int command(struct nic *nic, uint8_t class, uint8_t cmd, const uint8_t *data, size_t n)
{
	switch (class) {
	case CLASS_RX:
		return rx_mode(nic, cmd, data, n);
	case CLASS_MAC:
		return mac_command(nic, cmd, data, n);
	case CLASS_VLAN:
		return vlan_command(nic, cmd, data, n);
	case CLASS_ANNOUNCE:
		return announce_command(nic, cmd);
	case CLASS_OFFLOADS:
		return offloads_command(nic, cmd, data, n);
	default: /* CLASS_MQ: there is one pair of queues */
		return ACK_ERR;
	}
}

bool nic_ctrl_one(struct virtio_device *v)
{
	const struct virtq_elem *e = v->elem;
	uint8_t msg[2 + MAX_DATA], ack = ACK_ERR;
	uint64_t len = iov_bytes(e->out, e->n_out);

	if (len < 2 || !e->n_in) {
		virtio_fail(v, "a control command has no header or no room for the answer");
		return false;
	}
	(void)iov_read(e->out, e->n_out, 0, msg, MIN(len, sizeof(msg)));
	if (len <= sizeof(msg))
		ack = (uint8_t)command(to_nic(v), msg[0], msg[1], msg + 2, len - 2);
	else if (msg[0] == CLASS_MAC && msg[1] == MAC_TABLE_SET)
		ack = huge_mac_table(to_nic(v));
	(void)virtq_elem_write(e, 0, &ack, 1);
	virtio_push(v, NIC_CTRL, e, 1);
	return true;
}
